"""Feature arrays inside the store: small ones for good, large ones under a budget.

When a batch would take the large ones (`evictable`) over the budget, those that were not used for
the longest time make room, before the new ones are written, so that the file does not grow past
it. Order is by `last_used`, a nanosecond clock that never stands still within a process: the
arrays of one batch are older or newer as they lie in it. A read does not write; it notes the row,
and the notes are written with the next batch.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from imgrank.store.values import ALWAYS_KEPT, FeatureRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["as_array", "evict", "evictable_bytes", "put_features", "touch"]


def put_features(
    db: sqlite3.Connection, rows: Iterable[FeatureRow], budget: int, tick: Callable[[], int]
) -> None:
    """Writes features in the caller's transaction, newer ones in place of older of the same key.

    An array larger than the whole budget is not kept; of a batch larger than it, the last are.
    Two pictures of a batch may have one content: then the later of the two rows is kept.
    """
    import numpy as np

    fresh: list[tuple[bytes, int, NDArray[Any], bool]] = []
    room = budget
    seen: set[tuple[bytes, int]] = set()
    for row in reversed(list(rows)):
        kind = _kind(db, row.source, row.name)
        if (row.digest, kind) in seen:
            continue
        seen.add((row.digest, kind))
        old = db.execute(
            "SELECT id FROM features WHERE digest = ? AND kind = ?", (row.digest, kind)
        ).fetchall()
        _delete(db, old)
        array = np.asarray(row.array)
        if array.dtype.hasobject:
            raise TypeError(f"feature {row.name!r} is an array of objects, not of numbers")
        evictable = row.name not in ALWAYS_KEPT if row.evictable is None else row.evictable
        if evictable and array.nbytes > room:
            continue
        room -= array.nbytes if evictable else 0
        fresh.append((row.digest, kind, array, evictable))
    evict(db, room)
    for digest, kind, array, evictable in reversed(fresh):
        shape = ",".join(map(str, array.shape))
        cursor = db.execute(
            "INSERT INTO features (digest, kind, dtype, shape, bytes, evictable, last_used)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (digest, kind, array.dtype.str, shape, array.nbytes, evictable, tick()),
        )
        db.execute(
            "INSERT INTO feature_data (id, data) VALUES (?, ?)", (cursor.lastrowid, array.tobytes())
        )


def evictable_bytes(db: sqlite3.Connection) -> int:
    """Bytes of the features under the budget (from an index, about 1 ms for 2 GB of token maps)."""
    total: int = db.execute(
        "SELECT coalesce(sum(bytes), 0) FROM features WHERE evictable = 1"
    ).fetchone()[0]
    return total


def evict(db: sqlite3.Connection, budget: int, unused_since: int = 0) -> None:
    """Drops least recently used features until they fit, and all last used before a tick."""
    excess = evictable_bytes(db) - budget
    doomed: list[tuple[int]] = []
    cursor = db.execute(
        "SELECT id, bytes, last_used FROM features WHERE evictable = 1 ORDER BY last_used, id"
    )
    for row, size, last_used in cursor:
        if excess <= 0 and last_used >= unused_since:
            break
        doomed.append((row,))
        excess -= size
    cursor.close()
    _delete(db, doomed)


def touch(db: sqlite3.Connection, used: Iterable[tuple[int, int]]) -> None:
    """Notes uses as (row, tick)."""
    db.executemany("UPDATE features SET last_used = ?2 WHERE id = ?1 AND last_used < ?2", used)


def as_array(data: bytes, dtype: str, shape: str) -> NDArray[Any]:
    """A stored array, as a writable copy."""
    import numpy as np

    lengths = tuple(int(n) for n in shape.split(",")) if shape else ()
    return np.frombuffer(data, np.dtype(dtype)).reshape(lengths).copy()


def _kind(db: sqlite3.Connection, source: str, name: str) -> int:
    db.execute("INSERT OR IGNORE INTO feature_kinds (source, name) VALUES (?, ?)", (source, name))
    kind: int = db.execute(
        "SELECT id FROM feature_kinds WHERE source = ? AND name = ?", (source, name)
    ).fetchone()[0]
    return kind


def _delete(db: sqlite3.Connection, rows: Sequence[tuple[int]]) -> None:
    db.executemany("DELETE FROM feature_data WHERE id = ?", rows)
    db.executemany("DELETE FROM features WHERE id = ?", rows)
