"""Where the rows of the feature store lie, remembered in memory and kept up to date.

Each picture gets a number that holds within this process, so that the index of a space is two
small arrays instead of one more dictionary of digests.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regraft.frozen.blocks import list_blocks


@dataclass(frozen=True, slots=True)
class Location:
    """Where some rows of a space lie.

    Parameters
    ----------
    dim : int
        Length of a vector; 0 where the space is empty.
    blocks : ndarray of shape (n,), int64
        The block of each row, -1 where there is none.
    rows : ndarray of shape (n,), int32
        Its place in the block.
    """

    dim: int
    blocks: NDArray[np.int64]
    rows: NDArray[np.int32]

    def by_block(self) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """Yield each block once, with the indices (0 .. n-1) of the rows that lie in it."""
        order = np.argsort(self.blocks, kind="stable")
        ordered = self.blocks[order]
        cuts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
        for places in np.split(order, cuts):
            if len(places):
                yield int(self.blocks[places[0]]), places


class SpaceIndex:
    """The rows of one space, by the number that this process gave each picture."""

    def __init__(self) -> None:
        self.version = -1  # of the file, when this was last brought up to date
        self.last = 0  # the newest block known
        self.dim = 0
        self.used_at: dict[int, int] = {}  # by block
        self._block_of = np.full(0, -1, np.int64)
        self._row_of = np.zeros(0, np.int32)

    def add(self, block: int, dim: int, used_at: int, numbers: NDArray[np.intp]) -> None:
        """Note a block and the pictures in it."""
        grown = int(numbers.max(initial=-1)) + 1 - len(self._block_of)
        if grown > 0:
            grown = max(grown, len(self._block_of))
            self._block_of = np.concatenate([self._block_of, np.full(grown, -1, np.int64)])
            self._row_of = np.concatenate([self._row_of, np.zeros(grown, np.int32)])
        self._block_of[numbers] = block
        self._row_of[numbers] = np.arange(len(numbers), dtype=np.int32)
        self.used_at[block] = used_at
        self.last = max(self.last, block)
        self.dim = dim

    def locate(self, numbers: NDArray[np.intp]) -> Location:
        """Find pictures; the number -1 stands for one this process never heard of."""
        blocks = np.full(len(numbers), -1, np.int64)
        rows = np.zeros(len(numbers), np.int32)
        here = (numbers >= 0) & (numbers < len(self._block_of))
        blocks[here] = self._block_of[numbers[here]]
        rows[here] = self._row_of[numbers[here]]
        return Location(self.dim, blocks, rows)

    def numbers(self) -> list[int]:
        """Return the numbers of all pictures that have a row."""
        return [int(number) for number in np.flatnonzero(self._block_of >= 0)]


class Indexes:
    """The indexes of all spaces in use. Only for whoever holds the connection."""

    def __init__(self) -> None:
        self._spaces: dict[str, SpaceIndex] = {}
        self._numbers: dict[bytes, int] = {}
        self._digests: list[bytes] = []

    def clear(self) -> None:
        """Forget where rows lie; `current` looks again."""
        self._spaces.clear()

    def current(self, connection: sqlite3.Connection, space: str) -> SpaceIndex:
        """Return the index of `space` as the file now is; other processes write and evict too."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        index = self._spaces.setdefault(space, SpaceIndex())
        if index.version == version:
            return index
        self._extend(connection, space, index)
        (count,) = connection.execute(
            "SELECT count(*) FROM blocks WHERE space = ?", [space]
        ).fetchone()
        if count != len(index.used_at):  # some were evicted
            index = self._spaces[space] = SpaceIndex()
            self._extend(connection, space, index)
        index.version = version
        return index

    def learn(self, digests: Sequence[bytes]) -> NDArray[np.intp]:
        """Return the numbers of pictures, new ones included."""
        for digest in digests:
            if digest not in self._numbers:
                self._numbers[digest] = len(self._digests)
                self._digests.append(digest)
        return self.recall(digests)

    def recall(self, digests: Sequence[bytes]) -> NDArray[np.intp]:
        """Return the numbers of pictures, -1 for one this process never heard of."""
        known = self._numbers
        return np.fromiter((known.get(digest, -1) for digest in digests), np.intp, len(digests))

    def digests(self, index: SpaceIndex) -> set[bytes]:
        """Return the pictures that have a row in a space."""
        return {self._digests[number] for number in index.numbers()}

    def _extend(self, connection: sqlite3.Connection, space: str, index: SpaceIndex) -> None:
        for block, dim, used_at, digests in list_blocks(connection, space, index.last):
            index.add(block, dim, used_at, self.learn(digests))
