"""A bundle is written whole or not at all, and never over something else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from regraft.bundle.format import (
    ONE_OF,
    PLAIN_NAME,
    REPORT,
    REQUIRED,
    SUMS,
    file_sum,
    parse_config,
    parse_sums,
    read_config,
    real_place,
)
from regraft.errors import UserError
from regraft.files import copy_source, flush_folder, mend, staged, storage_error, swap_in

_ADVICE: Final = "give --out a folder on a disk with room that can be written to"


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
    target = real_place(target)
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
    target = real_place(target)
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
    if not any(name in files for name in ONE_OF):
        missing.append(" or ".join(ONE_OF))
    odd = [name for name in files if not PLAIN_NAME.fullmatch(name) or name == SUMS]
    if missing or odd:
        raise ValueError(f"a bundle needs {REQUIRED}; missing {missing}, bad names {odd}")


def _fill(folder: Path, files: Mapping[str, bytes | Path]) -> None:
    lines = []
    for name, content in sorted(files.items()):
        place = folder / name
        if isinstance(content, Path):
            copy_source(content, place)
            digest = file_sum(place)
        else:
            place.write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
        lines.append(f"{digest}  {name}\n")
    (folder / SUMS).write_text("".join(lines), encoding="ascii")


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
        raise UserError(
            f"--out {target} exists; give another name, or --force to replace it (in Python "
            "force=True)"
        )
    _check_replaceable(target, present)


def _check_replaceable(target: Path, present: set[str]) -> None:
    try:
        parse_config(target, read_config(target))
        listed = {*parse_sums(target), SUMS, REPORT}
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
