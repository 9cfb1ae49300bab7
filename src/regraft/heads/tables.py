"""Where the features of pictures come from, for everything that reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from regraft.strategy import Tap


class FeatureTable(Protocol):
    """Where features of pictures come from; rows are numbered 0 to ``n - 1``."""

    @property
    def n(self) -> int:
        """Number of pictures."""

    def dim(self, tap: Tap) -> int:
        """Length of a tap's vector."""

    def read(self, taps: Sequence[Tap], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Vectors of some pictures with the taps side by side, of shape (len(rows), dim).

        A memory-mapped file will do where the whole does not fit into memory.
        """


@dataclass(frozen=True, slots=True, eq=False)
class ArrayTable:
    """Features that lie in memory.

    Parameters
    ----------
    arrays : mapping of Tap to ndarray of shape (n, dim), float
        One matrix per tap, all with the same rows.
    """

    arrays: Mapping[Tap, NDArray[np.floating]]

    @property
    def n(self) -> int:
        """Number of pictures."""
        return len(next(iter(self.arrays.values())))

    def dim(self, tap: Tap) -> int:
        """Length of a tap's vector."""
        return int(self.arrays[tap].shape[1])

    def read(self, taps: Sequence[Tap], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Vectors of some pictures with the taps side by side."""
        return np.concatenate(
            [self.arrays[tap][rows].astype(np.float32, copy=False) for tap in taps], axis=1
        )
