"""Weight files of the hubs, in the hubs' own usual caches, checked before they are used.

The Hugging Face hub keeps large files as ``blobs/SHA256``, PyTorch puts the first digits of the
SHA-256 into the file's name. Both programs trust a file that lies in the cache; here it is hashed
first, and a damaged or truncated one is fetched again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from regraft.errors import UserError
from regraft.files import storage_error

_TIMEOUT = 8.0  # seconds without an answer
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[^.]+$")
_WEIGHT_SUFFIXES = frozenset({".safetensors", ".bin", ".pth", ".pt", ".h5", ".keras"})
_DISK_TROUBLE = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EEXIST", "ENOTDIR")
)

_hashes: dict[tuple[Path, int, int, int, int], str] = {}


def sha256_of(path: Path) -> str:
    """Hash a file; once in a process as long as its size and time of change stay the same.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    path = path.resolve()
    state = path.stat()
    key = (path, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
    if key not in _hashes:
        with path.open("rb") as file:
            _hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _hashes[key]


def hub_file(
    repo: str,
    filenames: Sequence[str],
    *,
    revision: str | None,
    spelling: str,
    say: Callable[[str], None],
) -> Path:
    """Find a weight file of the Hugging Face hub in its cache, or fetch it into the cache.

    Parameters
    ----------
    repo : str
        For example ``"timm/resnet50.a1_in1k"``.
    filenames : sequence of str
        The names that the file may have, the preferred one first.
    revision : str or None
        Branch, tag or commit; None for the main branch.
    spelling : str
        What the user typed, for the messages.
    say : callable
        Hears what is fetched and from where.

    Returns
    -------
    Path
        The file, whole, in the cache.

    Raises
    ------
    UserError
        It is not in the cache (or damaged there) and cannot be fetched.
    """
    hub = _hub()
    state = "is not on this disk"
    wanted = filenames[0]
    for name in filenames:
        try:
            found = hub.try_to_load_from_cache(repo, name, revision=revision)
            if isinstance(found, str):
                if _named_by_its_hash(Path(found)):
                    return Path(found)
                state, wanted = f"is damaged: {found} has another SHA-256 than its name says", name
                say(f"{found} is damaged")
        except OSError as error:
            raise UserError(
                f"cannot read the cache of the Hugging Face hub for {spelling}: {error}; mend it "
                "or set HF_HUB_CACHE to another folder"
            ) from error
    try:
        if hub.constants.HF_HUB_OFFLINE:
            raise UserError("HF_HUB_OFFLINE is set")
        path = _fetch_from_hub(hub, repo, filenames, revision, say)
        if not _named_by_its_hash(path):
            raise UserError("what came has another SHA-256 than the hub announced")
    except Exception as error:  # of the hub's client, its HTTP client, hf_xet, or the disk
        cache = Path(hub.constants.HF_HUB_CACHE)
        raise _unavailable(
            f"{spelling} needs the file {wanted} of {repo}, which {state}",
            cache,
            error,
            [*_hub_steps(hub, repo, wanted, revision, error), _own_file(spelling)],
        ) from error
    return path


def url_file(url: str, *, spelling: str, say: Callable[[str], None]) -> Path:
    """Find a weight file in the cache of ``torch.hub``, or fetch it into the cache.

    Parameters
    ----------
    url : str
        Its last part is the file's name. A ``-`` and at least eight hexadecimal digits before
        the extension are the beginning of its SHA-256; a name without them is not checked.
    spelling, say
        As in `hub_file`.

    Returns
    -------
    Path
        The file, whole, in the cache.

    Raises
    ------
    UserError
        It is not in the cache (or damaged there) and cannot be fetched.
    """
    import torch

    name = Path(urlsplit(url).path).name
    folder = Path(torch.hub.get_dir(), "checkpoints")
    path = folder / name
    digits = _HASH_IN_NAME.search(name)
    prefix = digits.group(1) if digits else ""
    state = "is not on this disk"
    try:
        if path.is_file():
            if not prefix or sha256_of(path).startswith(prefix):
                return path
            state = f"is damaged: {path} has another SHA-256 than its name says"
            say(f"{path} is damaged")
        folder.mkdir(parents=True, exist_ok=True)
        _download(url, path, prefix, say)
    except (OSError, HTTPException, ValueError) as error:
        raise _unavailable(
            f"{spelling} needs the file {name}, which {state}",
            folder,
            error,
            [f"where you have network, fetch {url} and put it into {folder}", _own_file(spelling)],
        ) from error
    return path


def cached_hub_repos() -> list[tuple[str, int]]:
    """List what lies in the cache of the Hugging Face hub, without opening a framework.

    Returns
    -------
    list of (str, int)
        Repositories with weight files, by name, and how many bytes these have.
    """
    from huggingface_hub import constants

    found = []
    for folder in _entries(Path(constants.HF_HUB_CACHE)):
        kind, *parts = folder.name.split("--")
        if kind != "models" or not parts:
            continue
        blobs: dict[Path, int] = {}  # a file may belong to several snapshots
        for snapshot in _entries(folder / "snapshots"):
            for file in _entries(snapshot):
                if file.suffix in _WEIGHT_SUFFIXES:
                    with contextlib.suppress(OSError):
                        blobs[file.resolve()] = file.stat().st_size
        if blobs:
            found.append(("/".join(parts), sum(blobs.values())))
    return sorted(found)


def cached_url_files() -> dict[str, int]:
    """List what lies in the cache of ``torch.hub``, without importing PyTorch.

    Returns
    -------
    dict of str to int
        Names of the files and their bytes.
    """
    base = os.environ.get("XDG_CACHE_HOME", "~/.cache")  # as torch.hub has it
    home = Path(os.environ.get("TORCH_HOME", Path(base, "torch"))).expanduser()
    found = {}
    for file in _entries(home / "hub" / "checkpoints"):
        if file.suffix != ".partial" and not file.name.startswith("."):
            with contextlib.suppress(OSError):
                if file.is_file():
                    found[file.name] = file.stat().st_size
    return found


def _hub() -> Any:
    """Import the hub's client, and keep it from telling home."""
    import huggingface_hub
    import huggingface_hub.constants
    import huggingface_hub.errors

    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    return huggingface_hub


def _named_by_its_hash(path: Path) -> bool:
    """Whether a file of the cache has the SHA-256 that its blob is named by, where it is.

    Only the first link counts: a blob may itself be a link into a store that several
    repositories share, whose names are 64 digits of another hash.
    """
    blob = path.readlink().name if path.is_symlink() else ""
    return not _SHA256.fullmatch(blob) or sha256_of(path) == blob


def _fetch_from_hub(
    hub: Any, repo: str, filenames: Sequence[str], revision: str | None, say: Callable[[str], None]
) -> Path:
    """Fetch the first of the files that the hub has; forced, so that it never waits to retry."""
    for name in filenames:
        options = {"revision": revision, "etag_timeout": _TIMEOUT, "force_download": True}
        try:
            plan = hub.hf_hub_download(repo, name, dry_run=True, **options)
        except hub.errors.EntryNotFoundError:
            continue
        say(_fetching(name, plan.file_size, f"{hub.constants.ENDPOINT}/{repo}"))
        return Path(hub.hf_hub_download(repo, name, **options))
    raise UserError(f"{repo} has no such file")


def _hub_steps(hub: Any, repo: str, name: str, revision: str | None, error: Exception) -> list[str]:
    folder = f"models--{repo.replace('/', '--')}"
    cache = hub.constants.HF_HUB_CACHE
    command = f"hf download {repo} {name}" + (f" --revision {revision}" if revision else "")
    steps = [
        f"where you have network, run `{command}`, then copy the folder {folder} from the cache "
        f"there (~/.cache/huggingface/hub, if nothing else is set) into {cache}",
    ]
    if isinstance(_root(error), hub.errors.GatedRepoError):
        page = f"{hub.constants.ENDPOINT}/{repo}"
        steps.insert(0, f"its publisher wants to be asked: do so on {page}, then `hf auth login`")
    return steps


def _download(url: str, path: Path, prefix: str, say: Callable[[str], None]) -> None:
    """Fetch a file to a name beside its place, check it and move it there.

    ``torch.hub.download_url_to_file`` would wait for ever on a server that falls silent.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    request = Request(url, headers={"User-Agent": "torch.hub"})
    try:
        with urlopen(request, timeout=_TIMEOUT) as answer, partial.open("xb") as file:
            length = answer.headers.get("Content-Length")
            size = int(length) if length else None
            say(_fetching(path.name, size, url))
            shutil.copyfileobj(answer, file, 1 << 20)
        if size is not None and partial.stat().st_size != size:
            raise ValueError(f"only {partial.stat().st_size} of {size} bytes came")
        if not sha256_of(partial).startswith(prefix):
            raise ValueError(f"what came has another SHA-256 than {prefix}…")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _unavailable(what: str, folder: Path, error: Exception, steps: Sequence[str]) -> UserError:
    if isinstance(error, OSError) and error.errno in _DISK_TROUBLE:
        return storage_error(folder, error, f"{what}, and must be kept there")
    cause = _root(error)
    text = " ".join(str(cause).split())[:300]
    reason = text if isinstance(cause, UserError) else f"{type(cause).__name__}: {text}"
    return UserError(f"{what} and cannot be fetched ({reason}); what to do:", steps)


def _root(error: Exception) -> BaseException:
    """Find what went wrong first: the hub's client wraps it."""
    return error.__cause__ or error


def _own_file(spelling: str) -> str:
    return f"or name a file of your own with the weights: {spelling}@FILE"


def _fetching(name: str, size: int | None, source: str) -> str:
    much = f" ({size / 1e6:,.1f} MB)" if size is not None else ""
    return f"fetching {name}{much} from {source}"


def _entries(folder: Path) -> list[Path]:
    """List a folder; nothing where it is none or cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
