"""One SQLite file, opened so that nothing that happens to it ends a sort.

    several processes   write-ahead log; writers wait for each other up to `busy_seconds`, then
                        StoreError. Readers never wait.
    several threads     one connection behind one lock. A worker's read may wait for a batch of the
                        main thread to be written (milliseconds); a connection for each thread
                        would not, but could not be replaced for all when the file is damaged.
    damaged file        set aside as NAME.corrupt-TIME with its -wal and -shm, a notice, an empty
                        one in its place; at the opening or in the middle of a run, where the work
                        that found it is done again
    read-only, full     one notice; what can be read is read, nothing more is kept
    later version       StoreError, file untouched (see `migrations`)

`synchronous = NORMAL`: a killed process loses nothing that was committed; a power cut may lose the
last batches, never the consistency of the file.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from imgrank.errors import StoreError
from imgrank.store.migrations import migrate

__all__ = ["Database", "Work"]

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
Fault = Literal["corrupt", "busy", "unusable", "unknown"]

_FAULTS: dict[int, Fault] = {
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "corrupt",
    sqlite3.SQLITE_BUSY: "busy",
    sqlite3.SQLITE_LOCKED: "busy",
    sqlite3.SQLITE_FULL: "unusable",
    sqlite3.SQLITE_READONLY: "unusable",
    sqlite3.SQLITE_CANTOPEN: "unusable",
    sqlite3.SQLITE_IOERR: "unusable",
    sqlite3.SQLITE_PERM: "unusable",
    sqlite3.SQLITE_AUTH: "unusable",
}
_WAL_BYTES_KEPT = 64_000_000


class Database:
    """Runs work on the file; see the module for what it survives."""

    def __init__(self, path: Path, *, busy_seconds: float, notify: Callable[[str], None]) -> None:
        self.path = path.absolute()
        self.lock = threading.RLock()
        self.writable = False
        self._busy_seconds = busy_seconds
        self._notify = notify
        self._db: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._closed = False
        with self.lock:
            self._open()

    def read(self, work: Work[T], otherwise: T) -> T:
        """`work(connection)`, or `otherwise` if there is no database to read."""
        return self._guarded(work, otherwise, writing=False)

    def write(self, work: Work[T], otherwise: T) -> T:
        """`work(connection)` in one transaction, or `otherwise` if nothing can be kept."""

        def transaction(db: sqlite3.Connection) -> T:
            db.execute("BEGIN IMMEDIATE")
            try:
                result = work(db)
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.DatabaseError):
                    db.execute("ROLLBACK")
                raise
            return result

        return self._guarded(transaction, otherwise, writing=True)

    def compact(self) -> None:
        """Gives free pages back to the disk; needs as much free disk again while it runs."""

        def vacuum(db: sqlite3.Connection) -> None:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

        with contextlib.suppress(StoreError):  # somebody is at it; the pages are used again later
            self._guarded(vacuum, None, writing=True)

    def remove(self) -> None:
        """Deletes the file and opens an empty one: the way to clear it when the disk is full.

        Another process that has it open goes on with what it has. Raises StoreError if it cannot
        be deleted.
        """
        with self.lock:
            self._disconnect()
            try:
                for suffix in ("-wal", "-shm", ""):
                    self._beside(suffix).unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(f"The cache {self.path} cannot be cleared: {error}.") from error
            self._open()

    def file_bytes(self) -> int:
        """Bytes on disk, with the write-ahead log."""
        total = 0
        for suffix in ("", "-wal"):
            with contextlib.suppress(OSError):
                total += self._beside(suffix).stat().st_size
        return total

    def set_aside(self) -> tuple[Path, ...]:
        """Files of damaged databases of the past, by name."""
        with contextlib.suppress(OSError):
            return tuple(sorted(self.path.parent.glob(f"{self.path.name}.corrupt-*")))
        return ()

    def close(self) -> None:
        """Closes the file; work after this is a StoreError. May be called twice."""
        with self.lock:
            self._closed = True
            self._disconnect()

    def _guarded(self, work: Work[T], otherwise: T, *, writing: bool) -> T:
        with self.lock:
            for last in (False, True):
                if self._closed:
                    raise StoreError(f"{self.path} is closed.")
                if self._db is None or (writing and not self.writable):
                    return otherwise
                try:
                    return work(self._db)
                except sqlite3.DatabaseError as error:
                    if last:
                        raise self._error(error) from error
                    self._recover(self._db, error, writing)
            raise AssertionError("the loop above returns or raises")

    def stop_keeping(self, why: StoreError) -> None:
        """For a run whose results matter more than the store: says so, and keeps no more."""
        with self.lock:
            if self.writable:
                self._give_up(f"{why}", reading=True)

    def _recover(self, db: sqlite3.Connection, error: sqlite3.DatabaseError, writing: bool) -> None:
        fault = _fault(error)
        if fault == "unknown" and not _sound(db):
            fault = "corrupt"
        if fault == "corrupt" and self.writable:
            self._disconnect()
            if self._set_aside(error):
                self._open()
            else:
                self._give_up(f"{error}", reading=False)
        elif fault in ("corrupt", "unusable"):
            self._give_up(f"{error}", reading=writing)
        else:
            raise self._error(error) from error

    def _open(self) -> None:
        for _ in range(2):
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._inode = self._inode_now()
                self._db = self._connect()
                self._inode = self._inode_now()
                self.writable = True
                return None
            except OSError as error:
                return self._give_up(error.strerror or str(error), reading=False)
            except sqlite3.DatabaseError as error:
                fault = _fault(error)
                if fault == "unusable":
                    return self._open_reading(error)
                if fault != "corrupt":
                    raise self._error(error) from error
                if not self._set_aside(error):
                    return self._give_up(f"{error}", reading=False)
        raise StoreError(
            f"{self.path} is damaged again right after it was rebuilt. Is the disk sound?"
        )

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self.path,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            migrate(db, self.path)
            self._write_ahead(db)
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_KEPT}")
        except BaseException:
            db.close()
            raise
        return db

    def _write_ahead(self, db: sqlite3.Connection) -> None:
        # The switch needs the file for itself and does not wait as other statements do.
        deadline = time.monotonic() + self._busy_seconds
        while db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                db.execute("PRAGMA journal_mode = WAL")
                return  # a file system without shared memory stays with its rollback journal
            except sqlite3.OperationalError as error:
                if _fault(error) != "busy" or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _open_reading(self, error: sqlite3.DatabaseError) -> None:
        # A write-ahead log in a folder that cannot be written is opened as it stands, without its
        # shared memory, unless somebody else is writing it.
        logged = self._beside("-wal").exists()
        uri = f"{self.path.as_uri()}?mode=ro" + ("" if logged else "&immutable=1")
        try:
            db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
            try:
                migrate(db, self.path)
            except BaseException:
                db.close()
                raise
        except sqlite3.DatabaseError:
            return self._give_up(f"{error}", reading=False)
        self._db = db
        return self._give_up(f"{error}", reading=True)

    def _give_up(self, why: str, *, reading: bool) -> None:
        """From here on nothing is kept; without `reading` nothing is looked up either."""
        self.writable = False
        if reading:
            what = "Known scores are still used, new ones are not kept"
        else:
            what = "Going on without it"
            self._disconnect()
        self._notify(
            f"The cache {self.path} cannot be {'written' if reading else 'used'} ({why}). {what}; "
            "set IMGRANK_HOME to a folder with room to keep them."
        )

    def _set_aside(self, error: sqlite3.DatabaseError) -> bool:
        if self._inode_now() != self._inode:
            return True  # another process has put a new one there already
        stamp = time.strftime("%Y%m%d-%H%M%S")
        name = f"{self.path.name}.corrupt-{stamp}"
        count = 1
        while (target := self.path.with_name(name)).exists():
            count += 1
            name = f"{self.path.name}.corrupt-{stamp}-{count}"
        # The log goes first: SQLite would apply a log that it finds to the new file.
        try:
            for suffix in ("-wal", "-shm", ""):
                with contextlib.suppress(FileNotFoundError):
                    self._beside(suffix).rename(target.with_name(target.name + suffix))
        except OSError:
            return False
        self._notify(
            f"The cache {self.path} was damaged ({error}). It is set aside as {target.name} and "
            "rebuilt empty; scores are computed again."
        )
        return True

    def _inode_now(self) -> int | None:
        try:
            return self.path.stat().st_ino
        except FileNotFoundError:
            return None

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def _disconnect(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.DatabaseError):
                self._db.close()
            self._db = None

    def _error(self, error: sqlite3.DatabaseError) -> StoreError:
        if _fault(error) == "busy":
            return StoreError(
                f"The cache {self.path} was locked by another process for "
                f"{self._busy_seconds:g} s. Try again when it is done, or set IMGRANK_HOME to "
                "another folder."
            )
        return StoreError(
            f"The cache {self.path} failed: {error}. If it happens again, move the file away."
        )


def _fault(error: sqlite3.DatabaseError) -> Fault:
    # The low byte is SQLite's primary code, the rest says more about the same.
    return _FAULTS.get(getattr(error, "sqlite_errorcode", -1) & 0xFF, "unknown")


def _sound(db: sqlite3.Connection) -> bool:
    """Whether a database that failed for a reason unknown is whole and has its tables."""
    try:
        whole = db.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
    except sqlite3.DatabaseError:
        return False
    ours = {"files", "queries", "scores", "features", "feature_data", "texts", "answers"}
    ours |= {"database", "drops"}
    return whole and ours <= tables
