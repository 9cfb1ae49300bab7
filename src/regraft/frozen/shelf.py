"""The shelf of converted networks in the cache folder: made once, checked, evicted when unused.

Each folder on it carries the sums of its files. They are checked before this process first uses
the folder: a damaged network would give wrong features, under keys that promise the right ones.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from regraft.errors import UserError
from regraft.files import discard, folder_bytes, locked, storage_error, sweep
from regraft.frozen.files import ADVICE, publish_dir

SUMS: Final = "SHA256SUMS"
SOURCE: Final = "-source"
_ATTEMPTS: Final = 3

# Name, size and time of change of every file.
_State = tuple[tuple[str, int, int], ...]

# What this process has checked, and therefore uses, by real path.
_checked: dict[str, _State] = {}


@dataclass(frozen=True, slots=True)
class Shelved:
    """A folder on the shelf that this process does not use.

    Parameters
    ----------
    path : Path
        The folder.
    bytes : int
        Its size.
    used_at : int
        When a process last took it, in seconds since the epoch.
    """

    path: Path
    bytes: int
    used_at: int


def shelf(cache: Path) -> Path:
    """Where converted networks lie inside the cache folder."""
    return cache / "networks"


def take(folder: Path, build: Callable[[Path], None]) -> Path:
    """Return a folder of the shelf, every file in it as it was written.

    Parameters
    ----------
    folder : Path
        The folder; one that is absent or damaged is made anew.
    build : callable
        Fills the empty folder it is given with files.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    UserError
        It cannot be written, or was removed or damaged again and again.
    """

    def build_with_sums(place: Path) -> None:
        build(place)
        (place / SUMS).write_text(_sums(place), encoding="utf-8")

    for _ in range(_ATTEMPTS):
        if not folder.is_dir():
            publish_dir(build_with_sums, folder)
        if _is_whole(folder):
            with contextlib.suppress(OSError):
                os.utime(folder)  # noted as used, for `idle`
            return folder
        _remove_damaged(folder)
    raise UserError(
        f"{folder} was removed or damaged {_ATTEMPTS} times while it was made; check that disk, "
        "or set REGRAFT_CACHE to a folder on another one"
    )


def idle(cache: Path) -> list[Shelved]:
    """List the folders that this process has not taken."""
    found = []
    for path in shelf(cache).glob("[!.]*/"):
        if os.path.realpath(path) not in _checked:
            with contextlib.suppress(FileNotFoundError):
                found.append(Shelved(path, folder_bytes(path), int(path.stat().st_mtime)))
    return found


def evict(shelved: Shelved) -> None:
    """Remove a folder, unless it is gone or cannot be removed."""
    with contextlib.suppress(OSError):
        discard(shelved.path)


def count_networks(cache: Path) -> int:
    """Count the converted networks."""
    return sum(1 for _ in shelf(cache).glob(f"[!.]*{SOURCE}"))


def clear_shelf(cache: Path) -> None:
    """Remove every folder from the shelf, but none that is being built.

    Raises
    ------
    UserError
        Something on it cannot be removed.
    """
    place = shelf(cache)
    sweep(place)
    try:
        for path in place.glob("[!.]*"):
            with contextlib.suppress(FileNotFoundError):  # another process is clearing too
                discard(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise UserError(f"cannot clear {place}: {error.strerror}; remove it by hand") from error


def _is_whole(folder: Path) -> bool:
    try:
        state = _state(folder)
        place = os.path.realpath(folder)
        if _checked.get(place) != state:
            if (folder / SUMS).read_bytes() != _sums(folder).encode():
                return False
            _checked[place] = state
    except OSError:
        return False
    return True


def _state(folder: Path) -> _State:
    return tuple(
        sorted((e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in os.scandir(folder))
    )


def _sums(folder: Path) -> str:
    """Return a line for each file, as ``sha256sum`` writes it."""
    lines = []
    for path in sorted(folder.glob("[!.]*")):
        if path.name != SUMS:
            with path.open("rb") as file:
                lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    return "".join(lines)


def _remove_damaged(folder: Path) -> None:
    """Remove a folder that is not whole, unless another process has made it anew meanwhile."""
    try:
        with locked(folder.parent):
            if not _is_whole(folder):
                discard(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(folder, error, ADVICE) from error
