"""The content-addressed feature store: what the frozen network said, kept between runs.

A row is the vector of one picture in one *space*. The space names everything but the picture
(weights, preprocessing, decoder, view, cut, pooling, precision, engine, instruction set), the
picture is named by the SHA-256 of its bytes, and so equal keys mean equal vectors: nothing in
the store is ever out of date, it can only be absent.

Rows that arrive together lie together in a block with one checksum. A block that fails it is
dropped, and its rows are then absent. See ``docs/decisions/0003-feature-store.md``.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from regraft.errors import RegraftError
from regraft.files import folder_bytes, forget, sweep
from regraft.frozen.blocks import (
    block_uses,
    check_batch,
    count,
    delete_blocks,
    held_bytes,
    in_blocks,
    insert_block,
    load_block,
    read_note,
    shrink,
    write_note,
)
from regraft.frozen.database import Database
from regraft.frozen.files import cache_dir, forget_training, size_cap
from regraft.frozen.index import Indexes, Location, SpaceIndex
from regraft.frozen.shelf import Shelved, clear_shelf, count_networks, evict, idle, shelf

USE_GRAIN_SECONDS: Final = 3600
_IDLE_TRAINING_SECONDS: Final = 30 * 24 * 3600


class StoreMiss(RegraftError, LookupError):  # noqa: N818 - an outcome to act on, not a failure
    """Rows that were asked for are not in the store (any more): compute them again.

    Attributes
    ----------
    space : str
        The space that was read.
    digests : tuple of bytes
        The pictures that it lacks.
    """

    def __init__(self, space: str, digests: Sequence[bytes]) -> None:
        self.space = space
        self.digests = tuple(digests)
        super().__init__(f"{len(self.digests)} rows of space {space} are not in the store")


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What the cache folder holds.

    Parameters
    ----------
    path : Path
        The cache folder.
    bytes : int
        Bytes on disk, converted networks included.
    pictures : int
        Different pictures with at least one row.
    rows : int
        Vectors.
    spaces : int
        Spaces with at least one row.
    networks : int
        Converted networks.
    cap_bytes : int
        The size that `FeatureStore.trim` keeps the folder within.
    """

    path: Path
    bytes: int
    pictures: int
    rows: int
    spaces: int
    networks: int
    cap_bytes: int


class FeatureStore:
    """Vectors of pictures on disk, by space and picture.

    Safe to share between threads, and between processes that open the same folder. A process
    killed at any instant leaves the rows of every finished `put_batches`, and nothing else.

    Parameters
    ----------
    folder : Path, optional
        The cache folder; `cache_dir` by default.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder, FeatureStore(Path(folder)) as store:
    ...     store.put_batches([("5ace", [bytes(32)], np.ones((1, 3), np.float32))])
    ...     store.read("5ace", [bytes(32)])
    array([[1., 1., 1.]], dtype=float32)
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = cache_dir() if folder is None else folder
        self._database = Database(self.folder)
        self._generation = 0
        self._indexes = Indexes()
        self._in_use: set[int] = set()

    def __enter__(self) -> Self:
        """Open the store.

        Raises
        ------
        UserError
            The folder cannot be used.
        """
        self._database.run(lambda _: None, write=False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Using the store again opens it again."""
        self._database.close()

    def known(self, space: str) -> set[bytes]:
        """Return the digests of all pictures that have a row in `space`."""

        def look(connection: sqlite3.Connection) -> set[bytes]:
            return self._indexes.digests(self._index(connection, space))

        return self._database.run(look, write=False)

    def put_batches(
        self,
        batches: Iterable[tuple[str, Sequence[bytes], NDArray[np.float32]]],
        *,
        scattered: bool = False,
    ) -> None:
        """Store rows, all or none of them. Rows that are there already are left as they are.

        Parameters
        ----------
        batches : iterable of (space, digests, vectors)
            Digests of 32 bytes; vectors of shape (n_digests, dim), float32, one dim per space.
            Some dozens of pictures at a time make blocks of a good size.
        scattered : bool
            The rows are wide and will be read a few at a time, in any order: each lies alone.

        Raises
        ------
        UserError
            The disk is full, or the folder cannot be written to.
        ValueError
            Digests or vectors of another shape or type.
        """
        arrived: dict[str, list[tuple[Sequence[bytes], NDArray[np.float32]]]] = {}
        for space, digests, vectors in batches:
            check_batch(space, digests, vectors)
            if digests:
                arrived.setdefault(space, []).append((digests, vectors))
        if arrived:
            self._database.run(
                lambda connection: self._insert(connection, arrived, scattered), write=True
            )

    def read(
        self,
        space: str,
        digests: Sequence[bytes],
        columns: slice | None = None,
    ) -> NDArray[np.float32]:
        """Read the rows of some pictures, in the order asked for.

        Parameters
        ----------
        space : str
            The space.
        digests : sequence of bytes
            The pictures; one may be named several times.
        columns : slice, optional
            The part of each vector that is wanted; all of it by default.

        Returns
        -------
        ndarray of shape (n, n_columns), float32

        Raises
        ------
        StoreMiss
            Some rows are not there, were evicted meanwhile, or fail their checksum (those are
            dropped, so that `known` no longer lists them).
        """
        where = self._located(space, digests)
        absent = np.flatnonzero(where.blocks < 0)
        if len(absent):
            raise StoreMiss(space, [digests[int(i)] for i in absent])
        wanted = slice(None) if columns is None else columns
        out = np.empty((len(digests), len(range(where.dim)[wanted])), np.float32)
        lost: dict[int, NDArray[np.intp]] = {}
        for block, places in where.by_block():
            pictures = [digests[int(i)] for i in places]
            vectors = self._load(space, block, where.rows[places], pictures)
            if vectors is None:
                lost[block] = places
            else:
                out[places] = vectors[where.rows[places], wanted]
        if lost:
            self._database.run(lambda connection: self._delete(connection, list(lost)), write=True)
            raise StoreMiss(space, [digests[int(i)] for i in np.concatenate(list(lost.values()))])
        self._mark(space, where)
        return out

    def cold_read_seconds(self, space: str, digests: Sequence[bytes]) -> float:
        """Time `read` when the operating system has none of the rows in memory."""
        forget(self._database.files())
        began = time.perf_counter()
        self.read(space, digests)
        return time.perf_counter() - began

    def note(self, key: str) -> Any:
        """Return the value kept under `key` by `set_note`, None where there is none."""
        found = self._database.run(lambda connection: read_note(connection, key), write=False)
        return None if found is None else json.loads(found)

    def set_note(self, key: str, value: Any) -> None:
        """Keep a small JSON value under `key`."""
        text = json.dumps(value).encode()
        self._database.run(lambda connection: write_note(connection, key, text), write=True)

    def info(self) -> StoreInfo:
        """Return how much the cache folder holds."""
        pictures, rows, spaces = self._database.run(count, write=False)
        networks = count_networks(self.folder)
        used = self._disk_bytes()
        return StoreInfo(self.folder, used, pictures, rows, spaces, networks, size_cap())

    def trim(self, cap_bytes: int | None = None) -> int:
        """Evict the rows and networks not used for longest until the folder is within its cap.

        Rows that this object has read or written go last, and only where they exceed the cap by
        themselves. Networks that this process uses or that are being converted stay.

        Parameters
        ----------
        cap_bytes : int, optional
            `size_cap` by default.

        Returns
        -------
        int
            Bytes freed on disk.
        """
        forget_training(self.folder, _IDLE_TRAINING_SECONDS)
        cap = size_cap() if cap_bytes is None else cap_bytes
        before = self._disk_bytes()
        if before <= cap:
            return 0
        sweep(shelf(self.folder))
        spare = cap - folder_bytes(shelf(self.folder))
        networks = idle(self.folder)
        for network in self._database.run(
            lambda connection: self._evict(connection, spare, networks), write=True
        ):
            evict(network)
        self._database.run(shrink, write=False)
        return max(0, before - self._disk_bytes())

    def clear(self) -> int:
        """Delete every stored row, note, converted network and checkpoint.

        Returns
        -------
        int
            Bytes freed on disk.
        """
        before = self._disk_bytes()
        self._database.remove()
        clear_shelf(self.folder)
        return max(0, before - self._disk_bytes()) + forget_training(self.folder)

    def _insert(
        self,
        connection: sqlite3.Connection,
        arrived: Mapping[str, Sequence[tuple[Sequence[bytes], NDArray[np.float32]]]],
        scattered: bool,
    ) -> None:
        now = int(time.time())
        for space, parts in arrived.items():
            index = self._index(connection, space)
            dims = {vectors.shape[1] for _, vectors in parts} | ({index.dim} - {0})
            if len(dims) > 1:
                raise ValueError(f"space {space}: its vectors have one length, got {sorted(dims)}")
            digests = [digest for names, _ in parts for digest in names]
            vectors = parts[0][1] if len(parts) == 1 else np.concatenate([v for _, v in parts])
            numbers = self._indexes.learn(digests)
            unique, first = np.unique(numbers, return_index=True)
            fresh = np.sort(first[index.locate(unique).blocks < 0])
            for rows in in_blocks(fresh, vectors.shape[1], scattered=scattered):
                names = [digests[row] for row in rows]
                block = insert_block(connection, space, names, vectors[rows], now)
                index.add(block, vectors.shape[1], now, numbers[rows])
                self._in_use.add(block)

    def _index(self, connection: sqlite3.Connection, space: str) -> SpaceIndex:
        if self._generation != self._database.generation:
            self._generation = self._database.generation
            self._indexes.clear()
        return self._indexes.current(connection, space)

    def _located(self, space: str, digests: Sequence[bytes]) -> Location:
        def look(connection: sqlite3.Connection) -> Location:
            index = self._index(connection, space)
            return index.locate(self._indexes.recall(digests))

        return self._database.run(look, write=False)

    def _load(
        self, space: str, block: int, rows: NDArray[np.int32], digests: Sequence[bytes]
    ) -> NDArray[np.float32] | None:
        """All vectors of one block, None where it is gone, damaged, or not about these pictures."""
        found = self._database.run(
            lambda connection: load_block(connection, space, block), write=False
        )
        if found is None:
            return None
        pictures, vectors = found
        if any(pictures[row] != digest for row, digest in zip(rows, digests, strict=True)):
            return None
        return vectors

    def _delete(self, connection: sqlite3.Connection, blocks: Sequence[int]) -> None:
        delete_blocks(connection, blocks)
        self._indexes.clear()

    def _mark(self, space: str, where: Location) -> None:
        """Remember the use of blocks; on disk only where the last one is some time ago."""
        blocks = {int(block) for block in np.unique(where.blocks) if block >= 0}
        self._in_use |= blocks
        now = int(time.time())

        def update(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "UPDATE blocks SET used_at = ? WHERE id = ?", [(now, block) for block in old]
            )
            self._index(connection, space).used_at.update(dict.fromkeys(old, now))

        used_at = self._database.run(
            lambda connection: self._index(connection, space).used_at, write=False
        )
        old = [block for block in blocks if used_at.get(block, now) < now - USE_GRAIN_SECONDS]
        if old:
            self._database.run(update, write=True)

    def _evict(
        self, connection: sqlite3.Connection, cap_bytes: int, networks: Sequence[Shelved]
    ) -> list[Shelved]:
        """Delete the oldest blocks; return the networks that are to go with them."""
        found: list[tuple[bool, int, int, int | Shelved]] = [
            (block in self._in_use, used_at, size, block)
            for block, size, used_at in block_uses(connection)
        ]
        found += [(False, network.used_at, network.bytes, network) for network in networks]
        found.sort(key=lambda item: item[:2])
        excess = held_bytes(connection) - cap_bytes
        doomed = []
        for _, _, size, what in found:
            if excess <= 0:
                break
            doomed.append(what)
            excess -= size
        self._delete(connection, [what for what in doomed if isinstance(what, int)])
        return [what for what in doomed if isinstance(what, Shelved)]

    def _disk_bytes(self) -> int:
        files = sum(path.stat().st_size for path in self._database.files())
        return files + folder_bytes(shelf(self.folder))
