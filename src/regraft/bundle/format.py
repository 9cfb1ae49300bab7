"""A trained model on disk: a folder of plain files with a SHA-256 for each.

==================== ==========================================================
``config.json``      what timm needs to load the network, and a ``regraft`` object
``model.safetensors``  weights of the network
``head.safetensors``   weights of the head
``frozen.xml/.bin``  the frozen graph for the inference engine
``README.md``        the model card
``SHA256SUMS``       sums of all the others, for ``sha256sum -c`` too
==================== ==========================================================

Nothing in a bundle is code or a pickle. This module reads, writes and verifies the files and
knows nothing of what they mean beyond the format version.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from regraft.bundle.fields import Fields
from regraft.errors import UserError
from regraft.files import copy_source, flush_folder, mend, staged, storage_error, swap_in

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT_VERSION: Final = 1
CONFIG: Final = "config.json"
MODEL: Final = "model.safetensors"
HEAD: Final = "head.safetensors"
GRAPH: Final = "frozen.xml"
GRAPH_WEIGHTS: Final = "frozen.bin"
CARD: Final = "README.md"
SUMS: Final = "SHA256SUMS"
REQUIRED: Final = (CONFIG, MODEL, HEAD, GRAPH, GRAPH_WEIGHTS, CARD)

_MAX_CONFIG_BYTES: Final = 32 << 20
_MAX_SUMS_BYTES: Final = 1 << 20
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}")
_SUM_LINE: Final = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_ADVICE: Final = "give --out a folder on a disk with room that can be written to"
_RESTORE: Final = "copy the bundle again from where it came from, or train it again"


@dataclass(frozen=True, slots=True)
class BundleFiles:
    """An opened bundle: its settings, read and checked, and the way to its files.

    Parameters
    ----------
    path : Path
        The folder.
    config : Mapping
        ``config.json`` as it is.
    sums : Mapping of str to str
        SHA-256 (hex) by file name.
    """

    path: Path
    config: Mapping[str, Any]
    sums: Mapping[str, str]

    @property
    def settings(self) -> Fields:
        """The ``regraft`` object of ``config.json``, with typed access."""
        return Fields(self.config, str(self.path / CONFIG)).child("regraft")

    def verify(self, names: Iterable[str]) -> None:
        """Check the contents of some files against their sums.

        Raises
        ------
        UserError
            A file was edited, cut short, or cannot be read; all of them are named.
        """
        wrong = [name for name in names if _file_sum(self.file(name)) != self.sums[name]]
        if wrong:
            raise _damaged(self.path, wrong)

    def file(self, name: str) -> Path:
        """Return the path of a listed file.

        Raises
        ------
        UserError
            The bundle lists no such file.
        """
        if name not in self.sums:
            raise UserError(f"{self.path} lists no {name} in {SUMS}; {_RESTORE}")
        return self.path / name

    def read(self, name: str) -> bytes:
        """Return the contents of a file, checked against its sum.

        Raises
        ------
        UserError
            It was edited, cut short, or cannot be read.
        """
        data = _read(self.file(name))
        if hashlib.sha256(data).hexdigest() != self.sums[name]:
            raise _damaged(self.path, [name])
        return data

    def tensors(self, name: str) -> dict[str, NDArray[np.generic]]:
        """Return the arrays of a safetensors file, checked against its sum.

        Raises
        ------
        UserError
            It was edited, cut short, or cannot be read.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        data = self.read(name)
        try:
            return load(data)
        except (SafetensorError, KeyError) as error:
            raise UserError(f"{self.path / name} is no safetensors file: {error}") from error


def open_bundle(path: str | Path) -> BundleFiles:
    """Open a bundle and check everything that costs no reading of big files.

    Parameters
    ----------
    path : str or Path
        The folder.

    Returns
    -------
    BundleFiles
        Call its `~BundleFiles.verify` or `~BundleFiles.read` for the files that are to be used.

    Raises
    ------
    UserError
        No bundle, one that a newer regraft made, one with files missing, or one that names a
        file outside the folder.
    """
    folder = Path(path).expanduser().absolute()
    try:
        mend(_resolved(folder))
        mode = folder.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{folder} does not exist; give the folder that `regraft fit --out` made"
        ) from error
    except OSError as error:
        raise _unreadable(folder, error) from error
    if not stat.S_ISDIR(mode):
        raise UserError(f"{folder} is a file; a bundle is the folder that `regraft fit` made")
    text = _read_config(folder)
    config = _parse_config(folder, text)
    _check_version(folder, config)
    sums = _parse_sums(folder)
    _check_names(folder, sums)
    if hashlib.sha256(text).hexdigest() != sums[CONFIG]:
        raise _damaged(folder, [CONFIG])
    return BundleFiles(folder, config, sums)


def check_target(target: Path, force: bool) -> None:
    """Complain now about what `write_bundle` would complain about after all the work.

    Parameters
    ----------
    target : Path
        Where the bundle is to be written.
    force : bool
        Whether a bundle that is there may be replaced.

    Raises
    ------
    UserError
        Something is there already, or the place cannot be written to.
    """
    target = _resolved(target)
    parent = target.parent
    try:
        mend(target)
        _check_occupied(target, force)
        while not parent.exists() and parent != parent.parent:
            parent = parent.parent
        with staged(parent / target.name):
            pass
    except OSError as error:
        raise storage_error(parent, error, _ADVICE) from error


def write_bundle(target: Path, files: Mapping[str, bytes | Path], *, force: bool) -> None:
    """Write a bundle whole or not at all.

    It is built beside `target`, flushed to disk and renamed. With `force` the old bundle is set
    aside first; should the process be killed between the two renames, the next `open_bundle`,
    `check_target` or `write_bundle` of the same target puts the old one back.

    Parameters
    ----------
    target : Path
        The folder to make; parents are made too.
    files : Mapping of str to (bytes or Path)
        Contents by name: bytes, or a file to copy. ``SHA256SUMS`` is added.
    force : bool
        Replace a bundle that is there. Anything else that is there is never replaced.

    Raises
    ------
    UserError
        Something is there already, the place cannot be written to, the disk is full, or a file
        that is to be copied is gone.
    ValueError
        `files` lacks one of the required ones, or has a name that is not plain.
    """
    _check_contents(files)
    target = _resolved(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        mend(target)
        _check_occupied(target, force)
        with staged(target) as folder:
            _fill(folder, files)
            flush_folder(folder)
            swap_in(folder, target, lambda: _check_occupied(target, force))
    except OSError as error:
        raise storage_error(target, error, _ADVICE) from error


def _check_contents(files: Mapping[str, bytes | Path]) -> None:
    missing = [name for name in REQUIRED if name not in files]
    odd = [name for name in files if not _PLAIN_NAME.fullmatch(name) or name == SUMS]
    if missing or odd:
        raise ValueError(f"a bundle needs {REQUIRED}; missing {missing}, bad names {odd}")


def _fill(folder: Path, files: Mapping[str, bytes | Path]) -> None:
    lines = []
    for name, content in sorted(files.items()):
        place = folder / name
        if isinstance(content, Path):
            copy_source(content, place)
            digest = _file_sum(place)
        else:
            place.write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
        lines.append(f"{digest}  {name}\n")
    (folder / SUMS).write_text("".join(lines), encoding="ascii")


def _resolved(target: Path) -> Path:
    """Return the real place, so that a link to a bundle stays a link."""
    return Path(os.path.realpath(target.expanduser()))


def _check_occupied(target: Path, force: bool) -> None:
    """Refuse to touch what is at `target`, unless it is nothing or a bundle to be replaced."""
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise UserError(f"--out must be a folder, but {target} is a file; give another name")
    if os.path.ismount(target):
        raise UserError(
            f"--out cannot be {target} itself, a mount point; give a folder in it, "
            f"such as {target / 'model'}"
        )
    present = {entry.name for entry in os.scandir(target)}
    if not present:
        return
    if not force:
        raise UserError(f"--out {target} exists; give another name, or --force to replace it")
    _check_replaceable(target, present)


def _check_replaceable(target: Path, present: set[str]) -> None:
    try:
        _parse_config(target, _read_config(target))
        listed = {*_parse_sums(target), SUMS}
    except UserError as error:
        raise UserError(
            f"--force replaces only a bundle that regraft made, and {target} is none; "
            "give another name, or remove the folder yourself",
            [error.message],
        ) from error
    strangers = sorted(present - listed)
    if strangers:
        raise UserError(
            f"--force would delete files in {target} that are not part of the bundle; "
            "move them elsewhere or give another name",
            strangers[:20],
        )


def _read_config(folder: Path) -> bytes:
    place = folder / CONFIG
    if not place.is_file():
        raise UserError(f"{folder} is not a regraft bundle: it has no {CONFIG}")
    return _read(place, _MAX_CONFIG_BYTES)


def _parse_config(folder: Path, text: bytes) -> dict[str, Any]:
    place = folder / CONFIG
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place} is not readable as JSON: {error}; {_RESTORE}") from error
    if not isinstance(config, dict) or not isinstance(config.get("regraft"), dict):
        raise UserError(f'{folder} is not a regraft bundle: its {CONFIG} has no "regraft" object')
    return config


def _check_version(folder: Path, config: Mapping[str, Any]) -> None:
    settings = Fields(config, str(folder / CONFIG)).child("regraft")
    version = settings.integer("format_version")
    if version > FORMAT_VERSION:
        raise UserError(
            f"{folder} was made by a newer regraft (bundle format {version}, this one reads up "
            f"to {FORMAT_VERSION}); upgrade regraft"
        )
    if version < 1:
        raise UserError(f"{folder / CONFIG}: format_version must be 1 or more, got {version}")


def _parse_sums(folder: Path) -> dict[str, str]:
    place = folder / SUMS
    if not place.is_file():
        raise UserError(f"{folder} is not a whole bundle: it has no {SUMS}; {_RESTORE}")
    data = _read(place, _MAX_SUMS_BYTES)
    sums: dict[str, str] = {}
    problems = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        found = _SUM_LINE.fullmatch(line)
        if found is None:
            problems.append(f"line {number} is not a sum and a name")
        elif not _PLAIN_NAME.fullmatch(found[2]):
            problems.append(f"line {number}: {found[2]!r} is not a plain file name")
        elif found[2] in sums:
            problems.append(f"line {number} lists {found[2]} again")
        else:
            sums[found[2]] = found[1]
    if problems:
        raise UserError(f"{place} is damaged; {_RESTORE}", problems[:20])
    return sums


def _check_names(folder: Path, sums: Mapping[str, str]) -> None:
    """Check that every file is listed, there, a real file, and inside the folder."""
    problems = [f"{name} is not listed in {SUMS}" for name in REQUIRED if name not in sums]
    inside = Path(os.path.realpath(folder))
    for name in sums:
        try:
            mode = (folder / name).stat().st_mode
        except OSError as error:
            problems.append(f"{name}: {(error.strerror or str(error)).lower()}")
            continue
        if not stat.S_ISREG(mode):
            problems.append(f"{name} is not a file")
        elif Path(os.path.realpath(folder / name)).parent != inside:
            problems.append(f"{name} is a link that leads out of the bundle")
    if problems:
        raise UserError(f"{folder} is not a whole bundle; {_RESTORE}", problems)


def _read(place: Path, limit: int | None = None) -> bytes:
    try:
        with place.open("rb") as file:
            if limit is not None and os.fstat(file.fileno()).st_size > limit:
                raise UserError(f"{place} is larger than any that regraft writes; {_RESTORE}")
            return file.read()
    except OSError as error:
        raise _unreadable(place, error) from error


def _file_sum(place: Path) -> str:
    try:
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(place, error) from error


def _unreadable(place: Path, error: OSError) -> UserError:
    reason = (error.strerror or str(error)).lower()
    return UserError(f"cannot read {place}: {reason}; check the path and its permissions")


def _damaged(folder: Path, names: Iterable[str]) -> UserError:
    what = f"{', '.join(names)} differs from what {SUMS} says: edited or cut short"
    return UserError(f"{folder}: {what}; {_RESTORE}")
