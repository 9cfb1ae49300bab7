"""The cache folder, and folders published into it in one step."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from regraft.errors import UserError
from regraft.files import flush, flush_folder, folder_bytes, staged, storage_error, sweep

CACHE_VARIABLE: Final = "REGRAFT_CACHE"
CAP_VARIABLE: Final = "REGRAFT_CACHE_GB"
DEFAULT_CAP_GB: Final = 20.0
ADVICE: Final = f"free some space there, or set {CACHE_VARIABLE} to a folder that can be written to"


def cache_dir() -> Path:
    """Return the folder that holds everything regraft stores between runs; make it if need be.

    Returns
    -------
    Path
        ``$REGRAFT_CACHE`` where that is set, else ``regraft`` in the user's cache folder.

    Raises
    ------
    UserError
        The folder cannot be made.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        folder = Path(chosen).expanduser().absolute()
    else:
        from platformdirs import user_cache_path

        folder = user_cache_path("regraft", appauthor=False)
    make_folder(folder)
    return folder


def size_cap() -> int:
    """Return the size cap of the cache in bytes: ``REGRAFT_CACHE_GB`` (GiB), 20 by default.

    Raises
    ------
    UserError
        The variable is not a positive number.
    """
    text = os.environ.get(CAP_VARIABLE, "").strip()
    if not text:
        return int(DEFAULT_CAP_GB * 2**30)
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = math.nan
    if not (gigabytes > 0 and math.isfinite(gigabytes)):
        raise UserError(
            f"{CAP_VARIABLE} must be a positive number of gigabytes, got {text!r}; "
            f"unset it for the default of {DEFAULT_CAP_GB:g}"
        )
    return int(gigabytes * 2**30)


def make_folder(folder: Path, advice: str = ADVICE) -> None:
    """Make a folder, parents included.

    Raises
    ------
    UserError
        It cannot be made; the message names it and ends in `advice`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error, advice) from error


def publish_dir(build: Callable[[Path], None], target: Path, advice: str = ADVICE) -> bool:
    """Build a folder out of sight and give it its name in one step.

    Parameters
    ----------
    build : callable
        Fills the empty folder it is given.
    target : Path
        The final place. Two processes may publish the same one at once: the first wins and the
        other's is thrown away, so equal names must mean equal contents.
    advice : str
        What to do where the place cannot be written to; by default what helps inside the cache.

    Returns
    -------
    bool
        Whether the folder now at `target` is the one built here.

    Raises
    ------
    UserError
        The place cannot be written to, or the disk is full. Other exceptions of `build` pass
        through; nothing is left behind in either case.
    """
    make_folder(target.parent, advice)
    try:
        with staged(target) as folder:
            build(folder)
            flush_folder(folder)
            try:
                folder.rename(target)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and target.is_dir():
                    return False
                raise
            flush(target.parent)
            return True
    except OSError as error:
        raise storage_error(target, error, advice) from error


def training_folder(cache: Path) -> Path:
    """Return where the checkpoints of fits that were interrupted lie, within the cache folder."""
    return cache / "training"


def forget_training(cache: Path, idle_seconds: float = 0.0) -> int:
    """Delete the checkpoints that were not written to for so long.

    Returns
    -------
    int
        Bytes freed.
    """
    freed, latest = 0, time.time() - idle_seconds
    for path in training_folder(cache).glob("*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime <= latest:
                size = folder_bytes(path) if path.is_dir() else path.stat().st_size
                _remove(path)
                freed += size
    return freed


def forget_checkpoint(path: Path) -> None:
    """Delete a checkpoint, and what killed writers left of it; one who is writing goes on."""
    path.unlink(missing_ok=True)
    sweep(path.parent, path.name)


def _remove(place: Path) -> None:
    """Delete a file, or the folder in which a killed writer had begun one."""
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)
