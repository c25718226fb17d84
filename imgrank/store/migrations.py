"""The schema, as numbered migrations.

`PRAGMA user_version` counts the migrations that a database has been through; migration number n is
`MIGRATIONS[n - 1]`, a tuple of statements. A released migration is never changed: add another.
All that are missing run in one transaction under SQLite's write lock, so that several processes
may open a new or an old database at once.

Layout, version 1
    files          path (absolute, os.fsencode), size, mtime_ns -> digest: short-cuts the hashing
    queries        ranker identity + prompt, interned. Ids are never used twice (AUTOINCREMENT), so
                   that a score can never turn up under another model's name
    scores         query, digest -> value, low, high; value NULL: asked, and there is none
    feature_kinds  source identity + name, interned likewise
    features       digest, kind -> type, shape, bytes, last_used; `last_used` is a nanosecond clock
    feature_data   the arrays, apart from `features` so that a touch rewrites no token map

Version 2
    texts          what a text tower said of a text: source identity, kind, text -> float32 array;
                   `kept` is the nanosecond clock at which it was written

Version 3 (for copies of the features outside the database, see `arrays`)
    database       one row: a token that no other database has
    drops          of a feature kind, how many arrays were dropped or replaced so far; evictable
                   ones are not counted

Version 4
    answers        what a language model answered: kind, model and address, question -> text; see
                   `answers`
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from imgrank.errors import StoreError

__all__ = ["APPLICATION_ID", "MIGRATIONS", "Migration", "migrate"]

APPLICATION_ID = 0x696D6772
"""b"imgr": marks the file as ours, for `file(1)` and against opening a stranger's database."""

Migration = tuple[str, ...]

MIGRATIONS: tuple[Migration, ...] = (
    (
        """CREATE TABLE files (
            path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
            digest BLOB NOT NULL
        ) WITHOUT ROWID""",
        "CREATE INDEX files_by_digest ON files (digest)",
        """CREATE TABLE queries (
            id INTEGER PRIMARY KEY AUTOINCREMENT, ranker TEXT NOT NULL, prompt TEXT NOT NULL,
            UNIQUE (ranker, prompt)
        )""",
        """CREATE TABLE scores (
            query INTEGER NOT NULL, digest BLOB NOT NULL, value REAL, low REAL, high REAL,
            PRIMARY KEY (query, digest)
        ) WITHOUT ROWID""",
        """CREATE TABLE feature_kinds (
            id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, name TEXT NOT NULL,
            UNIQUE (source, name)
        )""",
        """CREATE TABLE features (
            id INTEGER PRIMARY KEY, digest BLOB NOT NULL, kind INTEGER NOT NULL,
            dtype TEXT NOT NULL, shape TEXT NOT NULL, bytes INTEGER NOT NULL,
            evictable INTEGER NOT NULL, last_used INTEGER NOT NULL,
            UNIQUE (digest, kind)
        )""",
        "CREATE INDEX features_by_age ON features (last_used, id, bytes) WHERE evictable = 1",
        "CREATE TABLE feature_data (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    ),
    (
        """CREATE TABLE texts (
            id INTEGER PRIMARY KEY, source TEXT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
            kept INTEGER NOT NULL, shape TEXT NOT NULL, data BLOB NOT NULL,
            UNIQUE (source, kind, text)
        )""",
    ),
    (
        "CREATE TABLE database (token TEXT NOT NULL)",
        "INSERT INTO database (token) VALUES (lower(hex(randomblob(16))))",
        "CREATE TABLE drops (kind INTEGER PRIMARY KEY, count INTEGER NOT NULL)",
        """CREATE TRIGGER features_dropped AFTER DELETE ON features WHEN OLD.evictable = 0 BEGIN
            INSERT OR IGNORE INTO drops (kind, count) VALUES (OLD.kind, 0);
            UPDATE drops SET count = count + 1 WHERE kind = OLD.kind;
        END""",
    ),
    (
        """CREATE TABLE answers (
            id INTEGER PRIMARY KEY, kind TEXT NOT NULL, source TEXT NOT NULL,
            question TEXT NOT NULL, kept INTEGER NOT NULL, answer TEXT NOT NULL,
            UNIQUE (kind, source, question)
        )""",
    ),
)


def migrate(
    db: sqlite3.Connection, path: Path, migrations: Sequence[Migration] = MIGRATIONS
) -> None:
    """Brings an open database to the latest version; does nothing to one that is there already.

    db: in autocommit mode (`isolation_level=None`).  path: for messages.
    Raises StoreError for a database that a later version wrote or that is not ours; neither is
    touched. Raises sqlite3.DatabaseError as it comes.
    """
    if _mark(db) == (APPLICATION_ID, len(migrations)):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        version = _version(db, path, len(migrations))  # again: another process may have been here
        for statements in migrations[version:]:
            for statement in statements:
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {len(migrations)}")
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.DatabaseError):
            db.execute("ROLLBACK")
        raise


def _version(db: sqlite3.Connection, path: Path, known: int) -> int:
    application, version = _mark(db)
    empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application != APPLICATION_ID and not (application == 0 and version == 0 and empty):
        raise StoreError(
            f"{path} is a database of another program. Move it away, or set IMGRANK_HOME to "
            "another folder."
        )
    if version > known:
        raise StoreError(
            f"{path} was written by a later imgrank (schema {version}; this one knows {known}). "
            "Upgrade imgrank, or set IMGRANK_HOME to another folder."
        )
    return version


def _mark(db: sqlite3.Connection) -> tuple[int, int]:
    application: int = db.execute("PRAGMA application_id").fetchone()[0]
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return application, version
