"""An index of a mirror's rows: the nearest of very many embeddings without looking at all of them.

A graph after Malkov and Yashunin (HNSW, 2016), by the library usearch (extra "approximate"), kept
beside the mirror and mapped like it. It is built once, in one to three minutes for 100,000
embeddings, and changed by what was added and dropped since. It may miss some;
`tests/bench/search.py` measures how many. Looking at all is faster until there are far more than
100,000.

All of it runs in a process of its own (`python -m imgrank.vectors.index FOLDER COUNT`, the query on
standard input): the library and torch each bring an OpenMP, and one that had both did not come to
an end.

    FOLDER/index.usearch   the graph; a row's key is its id in the store
    FOLDER/index.stamps    `STAMP` of each row in it, by id; without it the graph counts for nothing
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgrank.errors import MissingExtra
from imgrank.vectors.mirror import CHUNK, PATIENCE, mapped

if TYPE_CHECKING:
    from imgrank.vectors.mirror import Mirror

__all__ = ["candidates", "drop_stale", "index_bytes", "main", "open_index", "require"]

Notify = Callable[[str], None]

GRAPH, STAMPS = "index.usearch", "index.stamps"
STAMP = np.dtype([("id", "<i8"), ("kept", "<i8")])
NOTICE = "notice: "
SAID = 20_000  # rows that take so long to add that it is said

CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 16, 96, 256
"""Neighbours of a row; rows looked at to find them; rows looked at in a search, at least."""


def candidates(
    mirror: Mirror, unit: NDArray[np.float64], count: int, notify: Notify
) -> NDArray[np.int64]:
    """Rows of the mirror that may be the nearest to a vector, [at most count], in no order.

    The index is built or changed first where it has others. notify: hears when that takes long.
    Raises OSError where it cannot be written or another process is at it for long.
    """
    # -P: nothing is imported from the folder that one is in, which may hold anything.
    command = [sys.executable, "-P", "-m", "imgrank.vectors.index", str(mirror.folder), str(count)]
    package = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    with (
        ThreadPoolExecutor(1, "index") as reader,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        ) as child,
    ):
        assert child.stdin and child.stdout and child.stderr
        child.stdin.write(unit.astype("<f4").tobytes())
        child.stdin.close()
        answer = reader.submit(child.stdout.read)  # a full pipe would hold both up
        last = ""
        for line in child.stderr:
            last = line.decode("utf-8", "replace").strip()
            if last.startswith(NOTICE):
                notify(last.removeprefix(NOTICE))
        found = answer.result()
    if child.returncode:
        raise OSError(last or f"status {child.returncode}")
    ids = np.frombuffer(found, "<i8")
    have = mirror.rows["id"]  # ascending
    places = np.minimum(np.searchsorted(have, ids), len(have) - 1)
    there: NDArray[np.int64] = places[have[places] == ids].astype(np.int64)
    return there


def main() -> None:
    """The process: raw float32 [E] in, raw ids (int64) out; notices on standard error."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    query = np.frombuffer(sys.stdin.buffer.read(), "<f4")

    def say(text: str) -> None:
        sys.stderr.write(f"{NOTICE}{text}\n")
        sys.stderr.flush()

    try:
        mirror = mapped(folder)
        index = open_index(mirror, say)
    except OSError as error:
        sys.exit(error.strerror or str(error))
    index.expansion_search = max(EXPANSION_SEARCH, count)
    found = index.search(query, min(count, len(mirror.rows)), threads=1)
    sys.stdout.buffer.write(np.asarray(found.keys, "<i8").tobytes())


def open_index(mirror: Mirror, notify: Notify) -> Any:
    """The graph of a mirror's rows, mapped; built or changed first. Raises OSError."""
    from filelock import FileLock
    from usearch.index import Index

    if (index := _current(mirror, Index)) is not None:
        return index
    with FileLock(mirror.folder / "index.lock", timeout=PATIENCE):
        if (index := _current(mirror, Index)) is None:
            _build(mirror, Index, notify)
            index = _current(mirror, Index)
    if index is None:
        raise OSError(f"the index in {mirror.folder} is not as it was written")
    return index


def index_bytes(folder: Path) -> int:
    """Of what is kept of an index beside a mirror."""
    paths = [folder / name for name in (GRAPH, STAMPS)]
    return sum(path.stat().st_size for path in paths if path.exists())


def drop_stale(mirror: Mirror) -> None:
    """Removes an index in which there are embeddings that the mirror has no more."""
    try:
        kept = np.fromfile(mirror.folder / STAMPS, STAMP)
    except OSError:
        return
    if not _among(kept, _stamps(mirror.rows)).all():
        for name in (STAMPS, GRAPH):
            (mirror.folder / name).unlink(missing_ok=True)


def require() -> None:
    """Raises MissingExtra without the library, which is not loaded."""
    if importlib.util.find_spec("usearch") is None:
        raise MissingExtra("search --approximate", "approximate")


def _stamps(rows: NDArray[Any]) -> NDArray[Any]:
    """Of a mirror's rows, whose ids ascend."""
    stamps = np.empty(len(rows), STAMP)
    stamps["id"], stamps["kept"] = rows["id"], rows["kept"]
    return stamps


def _among(some: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
    """Which stamps are among others, both by id."""
    if not len(others):
        return np.zeros(len(some), bool)
    at = np.minimum(np.searchsorted(others["id"], some["id"]), len(others) - 1)
    found: NDArray[np.bool_] = others[at] == some
    return found


def _current(mirror: Mirror, library: Any) -> Any:
    """The graph as it is kept, if it has the mirror's rows and no others; else None."""
    try:
        kept = np.fromfile(mirror.folder / STAMPS, STAMP)
        if not np.array_equal(kept, _stamps(mirror.rows)):
            return None
        return _loaded(mirror, library, view=True)
    except (OSError, RuntimeError, ValueError):
        return None


def _loaded(mirror: Mirror, library: Any, *, view: bool) -> Any:
    """Raises RuntimeError or ValueError for a file that is no graph of these vectors."""
    index = library.restore(str(mirror.folder / GRAPH), view=view)
    if index is None or index.ndim != mirror.about.width:
        raise ValueError("a graph of something else")
    return index


def _build(mirror: Mirror, library: Any, notify: Notify) -> None:
    """Writes graph and stamps of the mirror's rows."""
    now = _stamps(mirror.rows)
    index, there = _old(mirror, library, now)
    fresh = np.flatnonzero(~_among(now, there))
    if len(fresh) > SAID:
        notify(f"building an index of {len(fresh):,} embeddings, once; this takes minutes")
    for start in range(0, len(fresh), CHUNK):
        some = fresh[start : start + CHUNK]
        index.add(mirror.rows["id"][some], mirror.vectors[some].astype(np.float32))
    graph, rows = (mirror.folder / f"{name}.new" for name in (GRAPH, STAMPS))
    try:
        (mirror.folder / STAMPS).unlink(missing_ok=True)
        index.save(str(graph))
        graph.replace(mirror.folder / GRAPH)
        now.tofile(rows)
        rows.replace(mirror.folder / STAMPS)
    except RuntimeError as error:  # how the library says that there is no room
        raise OSError(f"the index cannot be written: {error}") from error
    finally:
        graph.unlink(missing_ok=True)
        rows.unlink(missing_ok=True)


def _old(mirror: Mirror, library: Any, now: NDArray[Any]) -> tuple[Any, NDArray[Any]]:
    """The kept graph without what the mirror has no more, and the stamps in it; or an empty one."""
    try:
        kept = np.fromfile(mirror.folder / STAMPS, STAMP)
        stays = _among(kept, now)
        if 2 * stays.sum() > len(kept):
            index = _loaded(mirror, library, view=False)
            if len(index) == len(kept):
                if not stays.all():
                    index.remove(kept["id"][~stays])
                return index, kept[stays]
    except (OSError, RuntimeError, ValueError):
        pass
    index = library(
        ndim=mirror.about.width,
        metric="cos",
        dtype="f16",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
    )
    return index, np.empty(0, STAMP)


if __name__ == "__main__":
    main()
