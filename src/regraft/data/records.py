"""What a collection of pictures is, as plain values: the types that the readers return."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Role = Literal["train", "val", "test"]
Layout = Literal["folders", "split-folders", "table"]


@dataclass(frozen=True, slots=True)
class Picture:
    r"""One labelled file, not yet opened.

    Parameters
    ----------
    path : Path
        Where the file lies.
    name : str
        What the user is shown: the posix path relative to the root of the collection. Line
        breaks are kept; bytes that are not UTF-8 are written ``\xNN``.
    label : str
        The class.
    role : {"train", "val", "test"} or None
        The part that the user put it into, or None where the user made no parts.
    group : str or None
        Pictures with the same group (a patient, a shoot) must stay on one side of a split.
    row : int or None
        Line of the CSV table, or row of the Parquet table, that names it.
    """

    path: Path
    name: str
    label: str
    role: Role | None = None
    group: str | None = None
    row: int | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was found and not used, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All pictures of a collection, in a fixed order.

    Parameters
    ----------
    root : Path
        The folder that names are relative to.
    layout : {"folders", "split-folders", "table"}
        A folder per class; parts with a folder per class; or a CSV / Parquet table.
    pictures : tuple of Picture
        Candidates: whether a file really holds a picture shows when it is decoded.
    skipped : tuple of Skipped
        What was left out while listing.
    notes : tuple of str
        What the owner may want to know.
    """

    root: Path
    layout: Layout
    pictures: tuple[Picture, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, sorted, each once."""
        return tuple(sorted({picture.label for picture in self.pictures}))


def shown(path: str) -> str:
    r"""Text for a file name: valid Unicode, with bytes that are not UTF-8 written ``\xNN``.

    Examples
    --------
    >>> shown("caf\udce9/1.jpg")
    'caf\\xe9/1.jpg'
    """
    if path.isascii():
        return path
    return os.fsencode(path).decode("utf-8", "backslashreplace")
