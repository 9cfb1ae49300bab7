"""Folders that appear whole or not at all.

A folder is built beside its final place under a hidden name, flushed to disk and renamed. The
builder holds a lock on the hidden folder for as long as it lives; the lock dies with the
process, so an unlocked one is litter of a process that was killed, and the next builder sweeps it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from regraft.errors import UserError

_MARK = ".regraft-tmp-"


def storage_error(path: Path, error: OSError, advice: str) -> UserError:
    """Say which place failed, why, and what to do about it.

    Parameters
    ----------
    path : Path
        The place that could not be read or written.
    error : OSError
        What the system said.
    advice : str
        The next step, a clause that ends the sentence.

    Returns
    -------
    UserError
        For the caller to raise ``from error``.
    """
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = "the disk is full" if full else (error.strerror or str(error)).lower()
    return UserError(f"cannot write to {path}: {reason}; {advice}")


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Give an empty hidden folder beside `target` to build in.

    Parameters
    ----------
    target : Path
        Where the folder is to end up; its parent exists.

    Yields
    ------
    Path
        The hidden folder, on the file system of `target`. Rename it to `target` inside the
        block; whatever is still under the hidden name when the block ends is removed.

    Raises
    ------
    OSError
        The folder cannot be made.
    """
    sweep(target.parent, target.name)
    folder, descriptor = _locked_folder(target)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def sweep(parent: Path, name: str | None = None) -> None:
    """Remove what killed builders of the folder `name`, or of any, left in `parent`."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(parent):
            before, mark, _ = entry.name.partition(_MARK)
            if mark and name in (None, before.removeprefix(".")):
                with contextlib.suppress(OSError):
                    _remove_unlocked(entry.path)


def discard(folder: Path) -> None:
    """Remove a folder at one stroke: others find it whole or not at all.

    Raises
    ------
    OSError
        It cannot be removed, or is gone already.
    """
    aside = _hidden_name(folder)
    folder.rename(aside)
    with contextlib.suppress(FileNotFoundError):  # a sweeper helps
        shutil.rmtree(aside)


@contextlib.contextmanager
def locked(path: Path, *, create: bool = False) -> Iterator[None]:
    """Hold the lock of `path` (a folder, or a file made on demand) against other processes."""
    flags = os.O_RDWR | os.O_CREAT if create else os.O_RDONLY
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def swap_in(folder: Path, target: Path, check: Callable[[], None]) -> None:
    """Give a finished folder the name `target`, in place of the folder that has it now.

    The old one is set aside first and deleted last; `mend` finishes or takes back what a killed
    process left half done. One process at a time does this in a parent folder.

    Parameters
    ----------
    folder : Path
        The new folder, flushed to disk, in the parent of `target`.
    target : Path
        The name it is to have.
    check : callable
        Called once no other process can interfere; raises where `target` must not be replaced.

    Raises
    ------
    OSError
        A rename failed; the old folder is in its place again.
    """
    old = _set_aside_name(target)
    with locked(target.parent):
        check()
        replaced = target.exists() and any(target.iterdir())
        if replaced:
            target.rename(old)
        try:
            folder.rename(target)
        except OSError:
            if replaced:
                old.rename(target)
            raise
        flush(target.parent)
        if replaced:
            shutil.rmtree(old, ignore_errors=True)


def mend(target: Path) -> None:
    """Finish or take back a `swap_in` that was killed half way; wait for one under way.

    Raises
    ------
    OSError
        The folder set aside cannot be put back.
    """
    old = _set_aside_name(target)
    if not target.parent.is_dir() or (target.exists() and not old.exists()):
        return
    with locked(target.parent):
        if not old.exists():
            return
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)


def copy_source(source: Path, place: Path) -> None:
    """Copy a file of the cache.

    Raises
    ------
    UserError
        It cannot be read (any more): no fault of the place that it is to go to.
    OSError
        The copy cannot be written.
    """
    with open_source(source) as file, place.open("wb") as copy:
        shutil.copyfileobj(file, copy, 1 << 20)


def open_source(source: Path) -> BinaryIO:
    """Open a file of the cache for reading.

    Raises
    ------
    UserError
        It cannot be read (any more).
    """
    try:
        return source.open("rb")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(
            f"cannot read {source}: {reason}; was `regraft cache clear` run meanwhile? "
            "Give the same command again"
        ) from error


def flush_folder(folder: Path) -> None:
    """Force the files of `folder`, and its own entries, to the disk."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            flush_folder(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            flush(Path(entry.path))
    flush(folder)


def flush(path: Path) -> None:
    """Force a file to the disk, or the names in a folder (after a rename, say)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def folder_bytes(folder: Path) -> int:
    """Bytes of the regular files below `folder`; 0 where there is none."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(Path(where, name)).st_size
    return total


def _set_aside_name(target: Path) -> Path:
    return target.parent / f".{target.name}.regraft-old"


def _hidden_name(target: Path) -> Path:
    return target.parent / f".{target.name}{_MARK}{secrets.token_hex(6)}"


def _locked_folder(target: Path) -> tuple[Path, int]:
    """Make a hidden folder and lock it; a sweeper may win the moment between the two."""
    while True:
        folder = _hidden_name(target)
        folder.mkdir()
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            os.close(descriptor)
            folder.rmdir()
            raise
        if folder.exists():
            return folder, descriptor
        os.close(descriptor)


def _remove_unlocked(folder: str) -> None:
    """Remove a hidden folder; `BlockingIOError` where its builder lives and holds the lock."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def forget(paths: Iterable[Path]) -> None:
    """Ask the operating system to drop files from its memory, where it can be asked."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in paths:
        with contextlib.suppress(OSError), path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
