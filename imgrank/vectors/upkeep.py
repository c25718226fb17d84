"""`imgrank cache info|prune|clear` for embeddings outside the store: mirrors and their indexes."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from imgrank.vectors.index import drop_stale, index_bytes
from imgrank.vectors.mirror import FEATURE, about_of, folder_of, open_mirror

if TYPE_CHECKING:
    from imgrank.store.store import Store

__all__ = ["Mirrored", "clear", "mirrored", "prune"]


class Mirrored(NamedTuple):
    """Those of one source. bytes: of all files; of_index: the part for `search --approximate`."""

    source: str
    embeddings: int
    bytes: int
    of_index: int


def mirrored(root: Path) -> list[Mirrored]:
    """What there is, by source; a damaged one has no embeddings and is called after its folder."""
    found = []
    for folder in _folders(root):
        about = about_of(folder)
        name, count = (about.source, about.rows) if about else (folder.name, 0)
        found.append(Mirrored(name, count, _bytes(folder), index_bytes(folder)))
    return sorted(found)


def prune(root: Path, store: Store) -> int:
    """Takes out what the store has no more; a mirror of another store, or damaged, goes altogether.

    Returns the bytes freed. A mirror that cannot be written stays as it is: it is not used.
    """
    freed = 0
    for folder in _folders(root):
        before = _bytes(folder)
        about = about_of(folder)
        state = store.array_state(about.source, FEATURE) if about else None
        if about is None or state is None or state.store != about.store:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                mirror = open_mirror(root, about.source, store, state)
                if mirror is not None:
                    drop_stale(mirror)
        freed += before - _bytes(folder)
    return max(0, freed)


def clear(root: Path) -> int:
    """Removes all mirrors; returns the bytes freed. They are made again by the next search."""
    freed = 0
    for folder in _folders(root):
        freed += _bytes(folder)
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        root.rmdir()  # only if nothing of others is in it
    return freed


def _folders(root: Path) -> Iterator[Path]:
    """Those that are named as a mirror."""
    length = len(folder_of(root, "").name)
    with contextlib.suppress(OSError):
        for path in sorted(root.iterdir()):
            if re.fullmatch(f"[0-9a-f]{{{length}}}", path.name) and path.is_dir():
                yield path


def _bytes(folder: Path) -> int:
    total = 0
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            total += path.stat().st_size
    return total
