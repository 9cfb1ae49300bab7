"""What the checks of an audit look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regraft.alike.looks import Look
from regraft.data.records import Picture
from regraft.data.splits import units_of


@dataclass(frozen=True, slots=True, eq=False)
class Collection:
    """The readable pictures, what they look like, and which of them are copies.

    Parameters
    ----------
    pictures : tuple of Picture
        The readable ones.
    digests : tuple of bytes
        SHA-256 of the content of each.
    looks : tuple of Look
        What each looks like.
    copies : tuple of tuple of int
        Groups of pictures that show the same, byte for byte or nearly.
    bursts : tuple of tuple of int
        Groups of pictures of one scene.
    """

    pictures: tuple[Picture, ...]
    digests: tuple[bytes, ...]
    looks: tuple[Look, ...]
    copies: tuple[tuple[int, ...], ...]
    bursts: tuple[tuple[int, ...], ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, sorted, each once."""
        return tuple(sorted({picture.label for picture in self.pictures}))

    @property
    def y(self) -> NDArray[np.intp]:
        """Column of each picture's class."""
        column = {label: number for number, label in enumerate(self.classes)}
        return np.array([column[picture.label] for picture in self.pictures], dtype=np.intp)

    @property
    def units(self) -> NDArray[np.intp]:
        """Pictures with the same number depend on each other."""
        groups = [picture.group for picture in self.pictures]
        return units_of(groups, self.digests, [*self.copies, *self.bursts])

    def names(self, rows: Sequence[int]) -> tuple[str, ...]:
        """Return what the user is shown of some pictures."""
        return tuple(self.pictures[row].name for row in rows)
