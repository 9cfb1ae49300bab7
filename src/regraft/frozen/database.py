"""The SQLite file of the feature store: opened, healed, and spoken about in plain words.

What is in the file can be computed again, so a damaged or foreign file is set aside (as
``features-1.sqlite.damaged``, one at most) and a fresh one begun. The version of the tables is
part of the file's name: an older or newer regraft keeps a file of its own beside this one.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from regraft.errors import UserError
from regraft.files import locked, storage_error
from regraft.frozen.blocks import PAGE_BYTES, SCHEMA, DamagedFileError
from regraft.frozen.files import ADVICE, make_folder

SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x52474654  # "RGFT"
WAIT_SECONDS: Final = 60.0

# The statements are fixed, so an error in one means that the tables are not as they were made.
_DAMAGED: Final = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_TOOBIG,
)
# Names that are no text come up in SQLite's complaints about damaged tables.
_NONSENSE: Final = (DamagedFileError, UnicodeDecodeError)
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_FULL: Final = (sqlite3.SQLITE_FULL,)

_T = TypeVar("_T")


class Database:
    """One SQLite file, shared by the threads of this process and by other processes.

    Parameters
    ----------
    folder : Path
        The folder the file lies in; made on first use.

    Attributes
    ----------
    generation : int
        Grows whenever the file was opened or a transaction was taken back, so that what was
        remembered of it is dropped.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / f"features-{SCHEMA_VERSION}.sqlite"
        self.generation = 0
        self._lock = threading.RLock()
        self._open: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def run(self, work: Callable[[sqlite3.Connection], _T], *, write: bool) -> _T:
        """Do `work` with the connection to itself, as one transaction.

        Parameters
        ----------
        work : callable
            May be called a second time, on an empty file, where the first one was damaged or
            has been removed by another process.
        write : bool
            Whether it changes the file.

        Raises
        ------
        UserError
            The file cannot be opened or written, the disk is full, or another process does not
            let go of it.
        """
        with self._lock, self._plainly():
            try:
                return self._attempt(work, write=write)
            except (sqlite3.DatabaseError, *_NONSENSE) as error:
                if _is_damaged(error):
                    self._set_aside()
                elif _was_removed(error):
                    self.close()
                else:
                    raise
                return self._attempt(work, write=write)

    def close(self) -> None:
        """Close the file; the next `run` opens it again."""
        with self._lock:
            connection, self._open = self._open, None
            if connection is not None:
                with contextlib.suppress(sqlite3.DatabaseError):
                    connection.close()

    def remove(self) -> None:
        """Delete the file, those of other versions, and what was set aside.

        A process that has the file open may read on; its next write begins a fresh file.
        """
        with self._lock, self._plainly():
            make_folder(self.folder)
            with locked(self._gate, create=True):
                self.close()
                for path in self.files():
                    path.unlink(missing_ok=True)

    def files(self) -> list[Path]:
        """Every file that this or another version of the store has in the folder."""
        return sorted(p for p in self.folder.glob("features-*.sqlite*") if p.is_file())

    @property
    def _gate(self) -> Path:
        """Held while the file is opened, replaced or removed."""
        return self.folder / "features.lock"

    def _attempt(self, work: Callable[[sqlite3.Connection], _T], *, write: bool) -> _T:
        connection = self._connection()
        if not write:
            return work(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            self.generation += 1
            with contextlib.suppress(sqlite3.DatabaseError):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            raise
        return result

    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            make_folder(self.folder)
            with locked(self._gate, create=True):
                self._identity = _identity(self.path)
                self._open = _connect(self.path)
                self._identity = _identity(self.path)
            self.generation += 1
        return self._open

    def _set_aside(self) -> None:
        """Move a file that cannot be read out of the way, unless another process already has."""
        with locked(self._gate, create=True):
            if self.path.exists() and _identity(self.path) == self._identity:
                self.path.replace(self.path.with_name(f"{self.path.name}.damaged"))
                self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)
            self.close()

    @contextlib.contextmanager
    def _plainly(self) -> Iterator[None]:
        """Turn what SQLite and the system say into what the user can do."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if not _kind(error):
                raise  # a misuse of the connection: a defect, not a matter of files
            raise _explain(self.path, error) from error
        except OSError as error:
            raise storage_error(self.path, error, ADVICE) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the tables in a fresh file; refuse a file with other tables than ours."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    fresh = (application, version) == (0, 0) and not _has_tables(connection)
    if not fresh and (application, version) != (APPLICATION_ID, SCHEMA_VERSION):
        raise DamagedFileError("other tables")
    if fresh:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -8000")
    if fresh:
        connection.executescript(
            f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
            f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master").fetchone() is not None


def _identity(path: Path) -> tuple[int, int] | None:
    """Tell a file from another one of the same name."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _kind(error: sqlite3.DatabaseError) -> int:
    """Return the primary result code; extended codes carry detail in the upper bits."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_damaged(error: Exception) -> bool:
    if isinstance(error, _NONSENSE):
        return True
    return isinstance(error, sqlite3.DatabaseError) and _kind(error) in _DAMAGED


def _was_removed(error: Exception) -> bool:
    """Whether another process cleared the store while this one had it open."""
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY_DBMOVED


def _explain(path: Path, error: sqlite3.DatabaseError) -> UserError:
    if _kind(error) in _BUSY:
        return UserError(
            f"the feature store {path} has been in use by another process for more than "
            f"{WAIT_SECONDS:.0f} seconds; wait for it to finish, or set REGRAFT_CACHE to "
            "another folder"
        )
    reason = "the disk is full" if _kind(error) in _FULL else str(error)
    return UserError(f"cannot use the feature store {path}: {reason}; {ADVICE}")
