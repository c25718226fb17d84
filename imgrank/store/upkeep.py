"""`imgrank cache info|prune|clear`: counting what the store holds, and making it smaller."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from imgrank.store.database import Database
from imgrank.store.features import evict, evictable_bytes
from imgrank.store.migrations import MIGRATIONS
from imgrank.store.values import AnswerCount, FeatureCount, ScoreCount, StoreInfo, TextCount

__all__ = ["Freed", "clear", "info", "prune"]


class Freed(NamedTuple):
    """What pruning took away; bytes are of the file on disk."""

    files: int
    scores: int
    features: int
    texts: int
    bytes: int


def info(database: Database, budget: int) -> StoreInfo:
    """Counts, in one look at the database."""

    def work(db: sqlite3.Connection) -> StoreInfo:
        return StoreInfo(
            path=database.path,
            version=len(MIGRATIONS),
            writable=database.writable,
            file_bytes=database.file_bytes(),
            files=_count(db, "SELECT count(*) FROM files"),
            pictures=_count(db, "SELECT count(DISTINCT digest) FROM files"),
            scores=tuple(ScoreCount(*row) for row in db.execute(_SCORES)),
            features=tuple(
                FeatureCount(source, name, arrays, size, bool(evictable))
                for source, name, arrays, size, evictable in db.execute(_FEATURES)
            ),
            texts=tuple(TextCount(*row) for row in db.execute(_TEXTS)),
            answers=tuple(AnswerCount(*row) for row in db.execute(_ANSWERS)),
            evictable_bytes=evictable_bytes(db),
            feature_budget=budget,
            set_aside=database.set_aside(),
        )

    aside = database.set_aside()
    nothing = StoreInfo(
        database.path, len(MIGRATIONS), False, 0, 0, 0, (), (), (), (), 0, budget, aside
    )
    return database.read(work, nothing)


def prune(database: Database, budget: int, unused_since: int, gone_folders: bool) -> Freed:
    """See `Store.prune`. The disk is looked at before the database is locked for writing."""
    paths: list[bytes] = database.read(
        lambda db: [row[0] for row in db.execute("SELECT path FROM files")], []
    )
    gone = [(path,) for path in _gone(paths, gone_folders)]

    def work(db: sqlite3.Connection) -> tuple[int, int, int, int]:
        before = _counts(db)
        db.executemany("DELETE FROM files WHERE path = ?", gone)
        db.execute("DELETE FROM scores WHERE digest NOT IN (SELECT digest FROM files)")
        db.execute("DELETE FROM queries WHERE id NOT IN (SELECT query FROM scores)")
        db.execute("DELETE FROM features WHERE digest NOT IN (SELECT digest FROM files)")
        db.execute("DELETE FROM feature_data WHERE id NOT IN (SELECT id FROM features)")
        evict(db, budget, unused_since)
        db.execute("DELETE FROM texts WHERE kept < ?", (unused_since,))
        db.execute("DELETE FROM feature_kinds WHERE id NOT IN (SELECT kind FROM features)")
        db.execute("DELETE FROM drops WHERE kind NOT IN (SELECT id FROM feature_kinds)")
        files, scores, features, texts = map(int.__sub__, before, _counts(db))
        return files, scores, features, texts

    size = database.file_bytes()
    dropped = database.write(work, (0, 0, 0, 0))
    database.compact()
    return Freed(*dropped, bytes=max(0, size - database.file_bytes()))


def clear(database: Database) -> int:
    """See `Store.clear`. Rows are deleted, not the file, which other processes may have open."""

    def work(db: sqlite3.Connection) -> bool:
        for table in _TABLES:
            db.execute(f"DELETE FROM {table}")
        return True

    size = database.file_bytes()
    if database.write(work, False):
        database.compact()
    else:
        database.remove()
    freed = max(0, size - database.file_bytes())
    for path in database.set_aside():
        with contextlib.suppress(OSError):
            size = path.stat().st_size
            path.unlink()
            freed += size
    return freed


_TABLES = (
    "files",
    "scores",
    "queries",
    "features",
    "feature_data",
    "feature_kinds",
    "texts",
    "drops",
    "answers",
)
_SCORES = """SELECT ranker, count(DISTINCT query), count(*) FROM scores
    JOIN queries ON queries.id = query GROUP BY ranker ORDER BY ranker"""
_FEATURES = """SELECT source, name, count(*), sum(bytes), max(evictable) FROM features
    JOIN feature_kinds ON feature_kinds.id = kind GROUP BY kind ORDER BY source, name"""
_TEXTS = """SELECT source, kind, count(*), sum(length(data)) FROM texts
    GROUP BY source, kind ORDER BY source, kind"""
_ANSWERS = """SELECT source, kind, count(*), sum(length(answer)) FROM answers
    GROUP BY source, kind ORDER BY source, kind"""


def _gone(paths: list[bytes], gone_folders: bool) -> Iterator[bytes]:
    folders: dict[bytes, bool] = {}
    for path in paths:
        if os.path.lexists(path):
            continue
        folder = os.path.dirname(path)  # noqa: PTH120 bytes, as they may not be text
        if folder not in folders:
            folders[folder] = Path(os.fsdecode(folder)).is_dir()
        if gone_folders or folders[folder]:
            yield path


def _counts(db: sqlite3.Connection) -> list[int]:
    tables = ("files", "scores", "features", "texts")
    return [_count(db, f"SELECT count(*) FROM {table}") for table in tables]


def _count(db: sqlite3.Connection, statement: str) -> int:
    number: int = db.execute(statement).fetchone()[0]
    return number
