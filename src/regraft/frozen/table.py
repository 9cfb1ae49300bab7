"""The stored features of a set of pictures, read as arrays."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regraft.files import storage_error
from regraft.frozen.plan import PassPlan
from regraft.frozen.store import FeatureStore
from regraft.strategy import Tap

# A table that takes less than this is read once and kept; a matrix that takes more is a memory map
# on disk.
_IN_MEMORY_BYTES = 256 << 20
_READ_ROWS = 4096


@dataclass(frozen=True, slots=True)
class StoredFeatures:
    """A table with a row a picture and columns by tap, which lies in the feature store.

    Parameters
    ----------
    store : FeatureStore
        Where the rows are.
    plan : PassPlan
        What the frozen pass took.
    spaces : tuple of str
        The key of each cut's rows, in the order of the plan.
    digests : tuple of bytes
        The picture of each row.
    scratch : Path
        Where a matrix too large for memory is mapped: a folder on a disk with room.
    beside : StoredFeatures, optional
        Where taps are that the plan has not, of the same pictures.
    """

    store: FeatureStore
    plan: PassPlan
    spaces: tuple[str, ...]
    digests: tuple[bytes, ...]
    scratch: Path
    beside: StoredFeatures | None = None
    _kept: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.digests)

    def dim(self, tap: Tap) -> int:
        """Size of a tap's vector."""
        if self.beside is not None and tap not in self.plan.taps:
            return self.beside.dim(tap)
        return self.plan.tap_width(tap)

    def read(self, taps: Sequence[Tap], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Read some rows of some taps.

        Parameters
        ----------
        taps : sequence of Tap
            Their vectors are laid side by side.
        rows : ndarray of shape (n,), int
            Row numbers.

        Returns
        -------
        ndarray of shape (n, D), float32
            A large one is a memory map of a nameless file in the scratch folder.

        Raises
        ------
        regraft.frozen.store.StoreMiss
            If another process evicted rows, or a row is damaged.
        """
        width = sum(self.dim(tap) for tap in taps)
        if 4 * width * len(rows) <= _IN_MEMORY_BYTES:
            return self._fill(taps, rows, np.empty((len(rows), width), np.float32))
        mapped = _scratch(self.scratch, (len(rows), width))
        for start in range(0, len(rows), _READ_ROWS):
            part = slice(start, start + _READ_ROWS)
            self._fill(taps, rows[part], mapped[part])
        return mapped

    def _fill(
        self, taps: Sequence[Tap], rows: NDArray[np.intp], out: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        start = 0
        for tap in taps:
            stop = start + self.dim(tap)
            out[:, start:stop] = self._tap(tap, rows)
            start = stop
        return out

    def _tap(self, tap: Tap, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        if self.beside is not None and tap not in self.plan.taps:
            return self.beside._tap(tap, rows)
        cut = self.plan.cut_of(tap)
        space = self.spaces[self.plan.cuts.index(cut)]
        if 4 * self.plan.width * self.n <= _IN_MEMORY_BYTES:
            if space not in self._kept:
                self._kept[space] = self.store.read(space, self.digests)
            return self._kept[space][rows, cut.columns(tap)]
        return self.store.read(space, [self.digests[row] for row in rows], cut.columns(tap))


def _scratch(folder: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Map a new file of that shape; its space is reserved first, so that writing cannot fail."""
    try:
        with tempfile.TemporaryFile(dir=folder) as scratch:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(scratch.fileno(), 0, 4 * shape[0] * shape[1])
            return np.memmap(scratch, dtype=np.float32, mode="w+", shape=shape)
    except OSError as error:
        raise storage_error(folder, error, "free some space or set REGRAFT_CACHE") from error
