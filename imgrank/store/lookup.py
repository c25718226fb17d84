"""Many keys looked up at once: paths of files, digests of pictures."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from imgrank.images import ImageFile

__all__ = ["known_contents", "marks", "path_keys", "pieces", "rows_of"]

T = TypeVar("T")
_AT_ONCE = 500  # keys a statement; SQLite builds older than 3.32 take at most 999


def path_keys(files: Sequence[ImageFile]) -> list[bytes]:
    """The absolute path of each, as the table `files` has it.

    What `os.path.abspath` gives; it is asked once a folder, since it takes longer than the look-up.
    """
    folders: dict[str, str] = {}
    keys = []
    encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
    for file in files:
        folder, slash, name = str(file.path).rpartition(os.sep)
        if not slash or name == "..":
            keys.append(os.fsencode(os.path.abspath(file.path)))  # noqa: PTH100 may have ".."
            continue
        whole = folders.get(folder)
        if whole is None:
            whole = os.path.join(os.path.abspath(folder + slash), "")  # noqa: PTH100, PTH118
            folders[folder] = whole
        keys.append((whole + name).encode(encoding, errors))  # as os.fsencode does
    return keys


def known_contents(
    db: sqlite3.Connection, files: Sequence[ImageFile], keys: Sequence[bytes]
) -> list[bytes | None]:
    """See `Store.contents`; keys: of the files, at least one."""
    ends = (min(keys), max(keys))
    what = "path, size, mtime_ns, digest FROM files"
    found = rows_of(db, what, "path", "path BETWEEN ? AND ?", ends, keys)
    rows = {row[0]: row for row in found}
    none = (b"", -1, 0, None)
    return [
        row[3] if row[1] == file.size and row[2] == file.mtime_ns else None
        for key, file in zip(keys, files, strict=True)
        for row in (rows.get(key, none),)
    ]


def rows_of(
    db: sqlite3.Connection,
    what: str,
    key: str,
    where: str,
    values: tuple[object, ...],
    keys: Sequence[bytes],
) -> Iterator[tuple[Any, ...]]:
    """Rows `where` the key is one of many, and maybe others.

    Reading a range from end to end is three times as fast as looking its rows up, so that is done
    where at least half of the range is wanted: a folder sorted again, a store of one folder.
    """
    limit = 2 * len(keys)
    near = db.execute(
        f"SELECT count(*) FROM (SELECT {what} WHERE {where} LIMIT ?)", (*values, limit + 1)
    ).fetchone()[0]
    if near <= limit:
        yield from db.execute(f"SELECT {what} WHERE {where}", values)
        return
    for some in pieces(keys):
        yield from db.execute(
            f"SELECT {what} WHERE {where} AND {key} IN {marks(some)}", (*values, *some)
        )


def pieces(keys: Sequence[T]) -> Iterator[Sequence[T]]:
    return (keys[i : i + _AT_ONCE] for i in range(0, len(keys), _AT_ONCE))


def marks(keys: Collection[object]) -> str:
    return f"({','.join('?' * len(keys))})"
