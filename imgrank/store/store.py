"""What is kept between runs: digests of files, scores, features.

    known_digests   path + size + mtime -> digest, so that a known file is not even read
    scores          digest + ranker + prompt -> score
    features        digest + source + name -> array
    put             a batch of all three in one transaction
    text, put_text  source + kind + text -> what a text tower said of it

A score is found by content, never by path: renaming, moving or copying a picture costs one hash, a
changed picture or model never shows an old score. Every method may be called from any thread.
Where nothing can be kept (read-only folder, full disk) `put` does nothing and look-ups find what
there is, so keep what you computed until you have used it. See `database` for the rest.
"""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.errors import StoreError
from imgrank.store import upkeep
from imgrank.store.answers import Answers
from imgrank.store.arrays import ArrayState, KeptArray, Stamp, array_state, arrays, stamps
from imgrank.store.database import Database
from imgrank.store.features import as_array, put_features, touch
from imgrank.store.lookup import known_contents, marks, path_keys, pieces, rows_of
from imgrank.store.values import (
    ALWAYS_KEPT,
    Batch,
    FeatureRow,
    FileRow,
    Score,
    ScoreRow,
    StoreInfo,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from imgrank.images import ImageFile

__all__ = [
    "ALWAYS_KEPT",
    "Batch",
    "FeatureRow",
    "FileRow",
    "Score",
    "ScoreRow",
    "Store",
    "StoreInfo",
]

_TOUCHES = 4096  # uses noted in memory before they are written without a batch


def _log(notice: str) -> None:
    import logging

    logging.getLogger(__name__).warning(notice)


class Store:
    """The store in one SQLite file, made if it is absent.

    feature_budget: bytes for evictable features.  notify: hears one line when the file is damaged,
    read-only or full (default: the `imgrank.store.store` logger).  busy_seconds: how long to wait
    for another process that writes.  clock: nanoseconds, for `last_used`.
    Raises StoreError for a file of a later version or another program, or locked for too long.
    """

    def __init__(
        self,
        path: Path,
        *,
        feature_budget: int = 2_000_000_000,
        notify: Callable[[str], None] = _log,
        busy_seconds: float = 15.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._database = Database(path, busy_seconds=busy_seconds, notify=notify)
        self._budget = feature_budget
        self._clock = clock
        self.answers = Answers(self._database, clock)  # of language models
        self._last_tick = 0
        self._used: dict[int, int] = {}  # feature row -> tick, not yet written

    @property
    def path(self) -> Path:
        """Of the SQLite file."""
        return self._database.path

    @property
    def writable(self) -> bool:
        """False once it has turned out that nothing can be kept."""
        return self._database.writable

    def known_digests(self, files: Sequence[ImageFile]) -> dict[Path, bytes]:
        """Digests of files whose path, size and modification time are as they were, by path."""
        found = zip(files, self.contents(files), strict=True)
        return {file.path: digest for file, digest in found if digest is not None}

    def contents(self, files: Sequence[ImageFile]) -> list[bytes | None]:
        """The same in the order of the files, None where it is not known; twice as fast."""
        keys = path_keys(files)
        nothing: list[bytes | None] = [None] * len(files)
        if not keys:
            return nothing
        return self._database.read(lambda db: known_contents(db, files, keys), nothing)

    def scores(self, digests: Sequence[bytes], ranker: str, prompt: str) -> dict[bytes, Score]:
        """Scores that are known, by digest; a value of NaN is a known absence (see `ScoreRow`)."""

        def work(db: sqlite3.Connection) -> dict[bytes, Score]:
            query = _query(db, ranker, prompt)
            if query is None:
                return {}
            wanted = set(digests)
            rows = rows_of(
                db, "digest, value, low, high FROM scores", "digest", "query = ?", (query,), digests
            )
            return {
                digest: Score(math.nan if value is None else value, low, high)
                for digest, value, low, high in rows
                if digest in wanted
            }

        return self._database.read(work, {})

    def features(
        self, digest: bytes, source: str, names: Collection[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Arrays of one picture from one source, by name; {} if there are none.

        names: only these; others, maybe large ones, are not read, and not noted as used.
        """
        some = "" if names is None else f" AND name IN {marks(names)}"

        def work(db: sqlite3.Connection) -> dict[str, NDArray[Any]]:
            rows = db.execute(
                "SELECT features.id, name, evictable, data, dtype, shape FROM features"
                " JOIN feature_kinds ON feature_kinds.id = kind"
                " JOIN feature_data ON feature_data.id = features.id"
                f" WHERE digest = ? AND source = ?{some}",
                (digest, source, *(names or ())),
            ).fetchall()
            self._used.update((row[0], self._tick()) for row in rows if row[2])
            return {name: as_array(*stored) for _, name, _, *stored in rows}

        nothing: dict[str, NDArray[Any]] = {}
        found = self._database.read(work, nothing)
        if len(self._used) >= _TOUCHES:
            self._write_uses()
        return found

    def with_features(
        self, digests: Sequence[bytes], source: str, names: Collection[str]
    ) -> set[bytes]:
        """Which of the pictures have all the named features; reads no array."""
        if not names:
            return set(digests)

        def work(db: sqlite3.Connection) -> set[bytes]:
            kinds = [
                row[0]
                for row in db.execute(
                    f"SELECT id FROM feature_kinds WHERE source = ? AND name IN {marks(names)}",
                    (source, *names),
                )
            ]
            return {
                row[0]
                for some in pieces(digests)
                for row in db.execute(
                    f"SELECT digest FROM features WHERE kind IN {marks(kinds)}"
                    f" AND digest IN {marks(some)} GROUP BY digest HAVING count(*) = ?",
                    (*kinds, *some, len(set(names))),
                )
            }

        return self._database.read(work, set())

    def feature_matrix(
        self, digests: Sequence[bytes], source: str, name: str
    ) -> tuple[list[bytes], NDArray[np.generic]]:
        """One feature of many pictures: the digests that have it, in the order given, and [n, ...].

        Arrays of one source and name have one shape; with none found the matrix is float32 [0, 0].
        """
        import numpy as np

        def work(db: sqlite3.Connection) -> dict[bytes, tuple[bytes, str, str]]:
            rows = [
                row
                for some in pieces(digests)
                for row in db.execute(
                    "SELECT digest, data, dtype, shape, features.id, evictable FROM features"
                    " JOIN feature_kinds ON feature_kinds.id = kind"
                    " JOIN feature_data ON feature_data.id = features.id"
                    f" WHERE source = ? AND name = ? AND digest IN {marks(some)}",
                    (source, name, *some),
                )
            ]
            self._used.update((row[4], self._tick()) for row in rows if row[5])
            return {digest: (data, dtype, shape) for digest, data, dtype, shape, *_ in rows}

        nothing: dict[bytes, tuple[bytes, str, str]] = {}
        found = self._database.read(work, nothing)
        if len(self._used) >= _TOUCHES:
            self._write_uses()
        kept = [digest for digest in digests if digest in found]
        if not kept:
            return [], np.zeros((0, 0), np.float32)
        stored = [found[digest] for digest in kept]
        if len({(dtype, shape) for _, dtype, shape in stored}) > 1:
            return kept, np.stack([as_array(*one) for one in stored])
        one = as_array(*stored[0])
        data = bytearray().join(data for data, *_ in stored)  # one copy, and it can be written to
        return kept, np.frombuffer(data, one.dtype).reshape(len(kept), *one.shape)

    def array_state(self, source: str, name: str) -> ArrayState | None:
        """By what a copy of all arrays of one name is known to be current; see `arrays`."""
        return self._database.read(lambda db: array_state(db, source, name), None)

    def arrays(self, state: ArrayState, after: int, count: int) -> list[KeptArray]:
        """At most `count` arrays that were there at that state, in the order of their ids."""
        return self._database.read(lambda db: arrays(db, state, after, count), [])

    def stamps(self, state: ArrayState) -> list[Stamp]:
        """Of all arrays that are there still, in the order of their ids."""
        return self._database.read(lambda db: stamps(db, state), [])

    def put(self, batch: Batch) -> None:
        """Keeps a batch in one transaction; later values take the place of earlier ones.

        If another process has been writing all the time, says so and keeps no more in this run.
        """
        if not (batch.files or batch.scores or batch.features):
            return
        try:
            self._database.write(lambda db: self._put(db, batch), None)
        except StoreError as error:
            self._database.stop_keeping(error)

    def _put(self, db: sqlite3.Connection, batch: Batch) -> None:
        db.executemany(
            "REPLACE INTO files (path, size, mtime_ns, digest) VALUES (?, ?, ?, ?)",
            (
                (os.fsencode(os.path.abspath(f.path)), f.size, f.mtime_ns, digest)  # noqa: PTH100
                for f, digest in batch.files
            ),
        )
        # Looked up anew in every transaction: another process may have cleared the table.
        queries = {
            key: _query(db, *key, make=True)
            for key in dict.fromkeys((row.ranker, row.prompt) for row in batch.scores)
        }
        db.executemany(
            "REPLACE INTO scores (query, digest, value, low, high) VALUES (?, ?, ?, ?, ?)",
            (
                (queries[ranker, prompt], digest, *map(_number, score))
                for digest, ranker, prompt, score in batch.scores
            ),
        )
        self._touch(db)
        if batch.features:
            put_features(db, batch.features, self._budget, self._tick)

    def text(self, source: str, kind: str, text: str) -> NDArray[np.float32] | None:
        """What a source gave for a text, as a copy of its own; None if that is not known."""

        def work(db: sqlite3.Connection) -> tuple[bytes, str] | None:
            key = (_text(source), _text(kind), _text(text))
            row: tuple[bytes, str] | None = db.execute(
                "SELECT data, shape FROM texts WHERE source = ? AND kind = ? AND text = ?", key
            ).fetchone()
            return row

        found = self._database.read(work, None)
        return None if found is None else as_array(found[0], "<f4", found[1])

    def put_text(self, source: str, kind: str, text: str, array: NDArray[np.float32]) -> None:
        """Keeps it, as float32, in place of an earlier one. Fails as `put` does: with a notice."""
        shape = ",".join(map(str, array.shape))
        key = (_text(source), _text(kind), _text(text))
        row = (*key, self._clock(), shape, array.astype("<f4").tobytes())
        statement = (
            "REPLACE INTO texts (source, kind, text, kept, shape, data) VALUES (?, ?, ?, ?, ?, ?)"
        )
        try:
            self._database.write(lambda db: db.execute(statement, row) and None, None)
        except StoreError as error:
            self._database.stop_keeping(error)

    def info(self) -> StoreInfo:
        """What the store holds."""
        return upkeep.info(self._database, self._budget)

    def prune(
        self, *, unused_days: float | None = None, gone_folders: bool = False
    ) -> upkeep.Freed:
        """Drops what is no longer of use and gives the space back to the disk.

        Files that are gone from a folder that is still there, scores and features of pictures that
        no known file holds, features over the budget, evictable ones not used for `unused_days`,
        what texts gave longer ago than that.
        gone_folders: also files whose folder is gone, which is how a disk that is not plugged in
        looks too.
        """
        self._write_uses()
        since = 0 if unused_days is None else self._clock() - round(unused_days * 86_400e9)
        return upkeep.prune(self._database, self._budget, since, gone_folders)

    def clear(self) -> int:
        """Empties the store and deletes what was set aside; returns the bytes freed."""
        return upkeep.clear(self._database)

    def close(self) -> None:
        """Closes the file; may be called twice."""
        with contextlib.suppress(StoreError):  # a use not noted is no loss, a second close no error
            self._write_uses()
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _write_uses(self) -> None:
        if self._used:
            with contextlib.suppress(StoreError):
                self._database.write(self._touch, None)

    def _touch(self, db: sqlite3.Connection) -> None:
        used, self._used = self._used, {}
        touch(db, used.items())

    def _tick(self) -> int:
        self._last_tick = max(self._last_tick + 1, self._clock())
        return self._last_tick


def _query(db: sqlite3.Connection, ranker: str, prompt: str, *, make: bool = False) -> int | None:
    key = (_text(ranker), _text(prompt))
    if make:
        db.execute("INSERT OR IGNORE INTO queries (ranker, prompt) VALUES (?, ?)", key)
    row = db.execute("SELECT id FROM queries WHERE ranker = ? AND prompt = ?", key).fetchone()
    return None if row is None else row[0]


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)  # numpy's float32 is no float to SQLite


def _text(text: str) -> str:
    # A command line that is not UTF-8 arrives with lone surrogates, which SQLite does not take.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
