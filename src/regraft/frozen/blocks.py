"""How rows lie in the tables of the feature store.

Rows of one space that arrive together form a block: their digests end to end, their vectors end
to end, one checksum over both and over the space's name. Against one table row per vector, that
saves an index entry and a statement per vector, and a whole data set is read with few seeks.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES: Final = 32
BLOCK_BYTES: Final = 4 << 20
PAGE_BYTES: Final = 16384
# About, in bytes: of a leaf page of a table; of each row in it (length, pointer, the other column);
# and of what the row has in `blocks` and in its index.
_PAGE_HEADER: Final = 8
_ROW_HEADER: Final = 16
_ENTRY: Final = 410

SCHEMA: Final = """
CREATE TABLE blocks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    space TEXT NOT NULL,
    dim INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    size INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    digests BLOB NOT NULL
);
CREATE INDEX blocks_of_space ON blocks (space, id);
CREATE TABLE vectors (block INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE notes (
    key TEXT PRIMARY KEY,
    crc INTEGER NOT NULL,
    value BLOB NOT NULL
) WITHOUT ROWID;
"""


class DamagedFileError(Exception):
    """The file holds something that was never written there."""


def insert_block(
    connection: sqlite3.Connection,
    space: str,
    pictures: Sequence[bytes],
    vectors: NDArray[np.float32],
    now: int,
) -> int:
    """Write one block and return its id."""
    digests = b"".join(pictures)
    data = np.ascontiguousarray(vectors, "<f4").data.cast("B")
    crc = _checksum(space, digests, data)
    cursor = connection.execute(
        "INSERT INTO blocks (space, dim, used_at, size, crc, digests) VALUES (?, ?, ?, ?, ?, ?)",
        [space, vectors.shape[1], now, len(data) + len(digests), crc, digests],
    )
    block = cursor.lastrowid or 0
    connection.execute("INSERT INTO vectors VALUES (?, ?)", [block, data])
    return block


def load_block(
    connection: sqlite3.Connection, space: str, block: int
) -> tuple[list[bytes], NDArray[np.float32]] | None:
    """Read digests and vectors of one block; None where it is gone or fails its checksum."""
    found = connection.execute(
        "SELECT dim, crc, digests, data FROM blocks JOIN vectors ON block = id WHERE id = ?",
        [block],
    ).fetchone()
    if found is None:
        return None
    dim, crc, digests, data = found
    if not isinstance(data, bytes) or _checksum(space, digests, data) != crc:
        return None
    return split_digests(digests), np.frombuffer(data, "<f4").reshape(-1, dim)


def list_blocks(
    connection: sqlite3.Connection, space: str, after: int
) -> Iterator[tuple[int, int, int, list[bytes]]]:
    """Yield id, dim, time of last use and pictures of the blocks with an id above `after`.

    Raises
    ------
    DamagedFileError
        The entries contradict themselves.
    """
    found = connection.execute(
        "SELECT id, dim, used_at, size, digests FROM blocks WHERE space = ? AND id > ? ORDER BY id",
        [space, after],
    )
    for block, dim, used_at, size, digests in found:
        typed = isinstance(digests, bytes) and type(dim) is type(used_at) is type(size) is int
        if not typed or not digests or size * DIGEST_BYTES != _row_bytes(dim) * len(digests):
            raise DamagedFileError(f"block {block}")
        yield block, dim, used_at, split_digests(digests)


def write_note(connection: sqlite3.Connection, key: str, value: bytes) -> None:
    """Keep bytes under a key."""
    crc = _checksum(key, b"", value)
    connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", [key, crc, value])


def read_note(connection: sqlite3.Connection, key: str) -> bytes | None:
    """Return what is kept under a key; None where there is nothing, or it is damaged."""
    found = connection.execute("SELECT crc, value FROM notes WHERE key = ?", [key]).fetchone()
    if found is None or not isinstance(found[1], bytes):
        return None
    crc, value = found
    return value if _checksum(key, b"", value) == crc else None


def delete_blocks(connection: sqlite3.Connection, blocks: Sequence[int]) -> None:
    """Remove blocks; those that are gone already are no matter."""
    ids = [(block,) for block in blocks]
    connection.executemany("DELETE FROM vectors WHERE block = ?", ids)
    connection.executemany("DELETE FROM blocks WHERE id = ?", ids)


def block_uses(connection: sqlite3.Connection) -> list[tuple[int, int, int]]:
    """List id, size in bytes and time of last use of every block, in the order of their ids."""
    return connection.execute(
        "SELECT id, CAST(size AS INTEGER), CAST(used_at AS INTEGER) FROM blocks ORDER BY id"
    ).fetchall()


def bytes_on_disk(row_bytes: int) -> int:
    """Return what a row that lies alone takes in the file, in bytes.

    Rows share a page as long as they fit: of 10 KiB there is one to a page of 16. What does not
    fit into one goes on in pages of its own (https://www.sqlite.org/fileformat2.html, 1.6).
    """
    link = PAGE_BYTES - 4  # bytes of a row in a page of its own, which names the next one
    most, kept = PAGE_BYTES - 35 - _ROW_HEADER, row_bytes
    if row_bytes > most:
        least = (PAGE_BYTES - 12) * 32 // 255 - 23
        kept = least + (row_bytes - least) % link
        kept = kept if kept <= most else least
    to_a_page = max(1, (PAGE_BYTES - _PAGE_HEADER) // (kept + _ROW_HEADER))
    pages = -(-(row_bytes - kept) // link)
    return pages * PAGE_BYTES + PAGE_BYTES // to_a_page + _ENTRY


def held_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold something."""
    pages, free, page_bytes = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * page_bytes


def shrink(connection: sqlite3.Connection) -> None:
    """Give free pages back to the file system."""
    connection.executescript("PRAGMA incremental_vacuum")  # `execute` would free one page only


def count(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Count pictures, rows and spaces."""
    (spaces,) = connection.execute("SELECT count(DISTINCT space) FROM blocks").fetchone()
    pictures: set[bytes] = set()
    rows = 0
    for (digests,) in connection.execute("SELECT CAST(digests AS BLOB) FROM blocks"):
        pictures.update(split_digests(digests))
        rows += len(digests) // DIGEST_BYTES
    return len(pictures), rows, spaces


def split_digests(digests: bytes) -> list[bytes]:
    """Take the digests of a block apart."""
    return [digests[i : i + DIGEST_BYTES] for i in range(0, len(digests), DIGEST_BYTES)]


def in_blocks(rows: NDArray[np.intp], dim: int, *, scattered: bool) -> Iterator[NDArray[np.intp]]:
    """Cut row numbers into pieces of at most `BLOCK_BYTES`, at least one row each; or of one."""
    step = 1 if scattered else max(1, BLOCK_BYTES // (4 * dim))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _row_bytes(dim: int) -> int:
    return 4 * dim + DIGEST_BYTES


def _checksum(space: str, digests: bytes, data: bytes | memoryview) -> int:
    return zlib.crc32(data, zlib.crc32(digests, zlib.crc32(space.encode())))


def check_batch(space: str, digests: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
    """Raise ``ValueError`` where these are no digests with a vector each."""
    odd = {len(digest) for digest in digests} - {DIGEST_BYTES}
    if odd:
        raise ValueError(f"a picture's digest has {DIGEST_BYTES} bytes, got {odd.pop()}")
    shape = vectors.shape
    if len(shape) != 2 or len(digests) != shape[0] or not shape[1] or vectors.dtype != np.float32:
        raise ValueError(
            f"space {space}: {len(digests)} pictures need float32 vectors of shape "
            f"({len(digests)}, dim), got {vectors.dtype} {shape}"
        )
