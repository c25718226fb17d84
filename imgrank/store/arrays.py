"""What a copy of kept arrays outside the database needs: what changed since, and what is new.

`vectors/mirror.py` keeps the embeddings in a file that can be mapped into memory. Two numbers tell
whether it still says what the database says: rows get ever higher ids as long as none is dropped,
so that the highest id of all tells whether something is new, and `drops` counts what was dropped or
replaced. After a drop an id may come again, yet not with the same instant beside it: id and instant
(`Stamp`) tell what stayed.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

__all__ = ["ArrayState", "KeptArray", "Stamp", "array_state", "arrays", "stamps"]


class ArrayState(NamedTuple):
    """The arrays of one source and name at one moment.

    store: token of the database.  kind: id of source and name.  dropped: arrays of this kind that
    were dropped or replaced so far.  last: the highest id of all arrays, of whatever kind.
    """

    store: str
    kind: int
    dropped: int
    last: int


class Stamp(NamedTuple):
    """Of which picture an array is, and when it was kept (nanoseconds)."""

    id: int
    kept: int
    digest: bytes


class KeptArray(NamedTuple):
    """An array as `features.as_array` takes it."""

    id: int
    kept: int
    digest: bytes
    data: bytes
    dtype: str
    shape: str


def array_state(db: sqlite3.Connection, source: str, name: str) -> ArrayState | None:
    """None if nothing of the kind was ever kept."""
    row = db.execute(
        "SELECT (SELECT token FROM database), id,"
        " coalesce((SELECT count FROM drops WHERE kind = feature_kinds.id), 0),"
        " coalesce((SELECT max(id) FROM features), 0)"
        " FROM feature_kinds WHERE source = ? AND name = ?",
        (source, name),
    ).fetchone()
    return None if row is None else ArrayState(*row)


def arrays(db: sqlite3.Connection, state: ArrayState, after: int, count: int) -> list[KeptArray]:
    """Those with ids above `after`, up to the state's last."""
    rows = db.execute(
        "SELECT features.id, last_used, digest, data, dtype, shape FROM features"
        " JOIN feature_data ON feature_data.id = features.id"
        " WHERE features.id > ? AND features.id <= ? AND kind = ? ORDER BY features.id LIMIT ?",
        (after, state.last, state.kind, count),
    )
    return [KeptArray(*row) for row in rows]


def stamps(db: sqlite3.Connection, state: ArrayState) -> list[Stamp]:
    """See `Store.stamps`."""
    rows = db.execute(
        "SELECT id, last_used, digest FROM features WHERE kind = ? AND id <= ? ORDER BY id",
        (state.kind, state.last),
    )
    return [Stamp(*row) for row in rows]
