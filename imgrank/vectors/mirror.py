"""The kept embeddings of one source, in files that are mapped into memory.

Reading 100,000 arrays out of SQLite takes longer than everything else in a search; mapped, they
are there at once, and one copy in memory serves all processes. The store stays the truth: a mirror
is made from it, brought up to date by what is new in it (`store/arrays.py`), and may be deleted.

    FOLDER/                 one for each source: the first 24 digits of its identity's SHA-256
      about.json            format, source, the state of the store, type and width, rows, run
      RUN.vectors           [rows, width], in the type that the store has, so 768 bytes a picture
      RUN.rows              a `ROW` for each: whose it is, since when, its length
      lock                  held while the two grow

Rows are only ever added, and count once `about.json` says so, which is written last and in one
step: an end that was torn off is cut off by the next to write. After arrays were dropped or
replaced in the store, what stayed is copied to files of another run. Readers take no lock: what
they have mapped stays as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgrank.store.features import as_array

if TYPE_CHECKING:
    from imgrank.store.arrays import ArrayState, KeptArray
    from imgrank.store.store import Store

__all__ = ["FEATURE", "Mirror", "about_of", "folder_of", "lengths", "mapped", "open_mirror"]

FEATURE = "pooled"
FORMAT = 1
ABOUT = "about.json"
CHUNK = 4096  # arrays that are read from the store at once
PATIENCE = 20.0  # seconds to wait for another process that writes

ROW = np.dtype([("digest", "<u8", 4), ("id", "<i8"), ("kept", "<i8"), ("length", "<f8")])
"""digest: SHA-256 of the picture.  id, kept: its `Stamp` in the store.  length: Euclidean."""


@dataclass(frozen=True, slots=True)
class About:
    """What `about.json` says. odd: arrays of another type or shape than the first, left out."""

    source: str
    store: str
    kind: int
    dropped: int
    last: int
    dtype: str
    width: int
    rows: int
    run: str
    odd: int = 0

    def possible(self) -> bool:
        """Whether the values are of the right kinds, as they need not be in a file."""
        numbers = (self.kind, self.dropped, self.last, self.width, self.rows, self.odd)
        whole = all(isinstance(number, int) and number >= 0 for number in numbers)
        named = isinstance(self.run, str) and self.run.isalnum()
        return whole and named and (not self.rows or np.dtype(self.dtype).kind == "f")

    def knows(self, state: ArrayState) -> bool:
        """Whether nothing was kept or dropped since."""
        return self.extends_to(state) and self.last == state.last

    def extends_to(self, state: ArrayState) -> bool:
        """Whether nothing was dropped since, so that rows need but be added."""
        same = (self.store, self.kind, self.dropped) == (state.store, state.kind, state.dropped)
        return same and self.last <= state.last


@dataclass(frozen=True, slots=True)
class Mirror:
    """Embeddings as they are mapped.

    vectors: [rows, width].   rows: [rows] of `ROW`.
    whole: whether every embedding of the source is here, so that others need not be looked for.
    """

    folder: Path
    about: About
    vectors: NDArray[Any]
    rows: NDArray[Any]
    whole: bool

    def places(self, digests: Sequence[bytes]) -> NDArray[np.int64]:
        """The row of each digest, [n]; -1 where there is none."""
        wanted = np.frombuffer(b"".join(digests), "<u8").reshape(len(digests), 4)
        have = self.rows["digest"]
        first = np.ascontiguousarray(have[:, 0])
        order = np.argsort(first)
        at = np.searchsorted(first, wanted[:, 0], sorter=order)
        places = order[np.minimum(at, len(order) - 1)]
        places[(have[places] != wanted).any(axis=1)] = -1
        return places

    def sound(self, places: NDArray[np.int64], cosines: NDArray[np.float64]) -> bool:
        """Whether these can be the cosines of those rows: a disk that lost power leaves zeros, one
        that fails leaves anything."""
        if not (np.abs(cosines) < 1.001).all():  # also where one is NaN
            return False
        nothing = places[cosines == 0]
        empty = ~self.vectors[nothing].any(axis=1)
        return not (self.rows["length"][nothing[empty]] > 0).any()

    def discard(self) -> None:
        """Makes the next to open it build it anew, where that can be."""
        with contextlib.suppress(OSError):
            (self.folder / ABOUT).unlink(missing_ok=True)


def folder_of(root: Path, source: str) -> Path:
    """Where the mirror of a source is, among those below `root`."""
    return root / hashlib.sha256(source.encode("utf-8", "backslashreplace")).hexdigest()[:24]


def open_mirror(root: Path, source: str, store: Store, state: ArrayState) -> Mirror | None:
    """The mirror of the embeddings that the store has of a source at this state, made or brought up
    to date first; None if there is nothing to mirror.

    Raises OSError where that cannot be: no room, no permission, another process is at it for long.
    """
    folder = folder_of(root, source)
    for last in (False, True):
        about = about_of(folder)
        if about is None or about.source != source or not about.knows(state):
            about = _updated(folder, source, store, state)
        try:
            return _mapped(folder, about) if about.rows else None
        except FileNotFoundError:  # another process has just begun another run
            if last:
                raise
    raise AssertionError("the loop above returns or raises")


def about_of(folder: Path) -> About | None:
    """What is said of a mirror; None if it is none, or damaged, or not of this format."""
    try:
        facts = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if facts.pop("format") != FORMAT:
            return None
        about = About(**facts)
        if not about.possible():
            return None
        sizes = [path.stat().st_size for path in _paths(folder, about.run)]
        wanted = [about.rows * size for size in (_row_bytes(about), ROW.itemsize)]
        sound = all(size >= least for size, least in zip(sizes, wanted, strict=True))
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None
    return about if sound else None


def _row_bytes(about: About) -> int:
    return about.width * np.dtype(about.dtype).itemsize if about.rows else 0


def _paths(folder: Path, run: str) -> tuple[Path, Path]:
    return folder / f"{run}.vectors", folder / f"{run}.rows"


def mapped(folder: Path) -> Mirror:
    """The mirror in a folder as it stands. Raises OSError if there is none."""
    about = about_of(folder)
    if about is None or not about.rows:
        raise OSError(f"there are no embeddings in {folder}")
    return _mapped(folder, about)


def _mapped(folder: Path, about: About) -> Mirror:
    vectors, rows = _paths(folder, about.run)
    shape = (about.rows, about.width)
    return Mirror(
        folder,
        about,
        np.memmap(vectors, np.dtype(about.dtype), "r", shape=shape),
        np.memmap(rows, ROW, "r", shape=(about.rows,)),
        whole=not about.odd,
    )


# ---- bringing it up to date ----------------------------------------------------------------------


def _updated(folder: Path, source: str, store: Store, state: ArrayState) -> About:
    """Under the lock: another process may have been faster."""
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock", timeout=PATIENCE):
        about = about_of(folder)
        if about is not None and about.source == source and about.knows(state):
            return about
        if about is None or (about.source, about.store) != (source, state.store):
            about = _begun(source, state)
        elif not (about.extends_to(state) and _last_is_there(folder, about, store, state)):
            about = _copied(folder, about, store, state)
        try:
            about = _extended(folder, about, store, state)
            _say(folder, about)
        finally:
            said = about_of(folder)
            _tidy(folder, said.run if said else "")
    return about


def _begun(source: str, state: ArrayState) -> About:
    """Of nothing yet, in files that are not there yet."""
    run = secrets.token_hex(4)
    return About(source, state.store, state.kind, state.dropped, 0, "", 0, 0, run)


def _last_is_there(folder: Path, about: About, store: Store, state: ArrayState) -> bool:
    """False for a store that was put back from a copy, and has grown in another way since."""
    if not about.rows:
        return True
    row = _mapped(folder, about).rows[-1]
    found = store.arrays(state, int(row["id"]) - 1, 1)
    return bool(found) and found[0][:3] == (row["id"], row["kept"], row["digest"].tobytes())


def _copied(folder: Path, old: About, store: Store, state: ArrayState) -> About:
    """Files of another run, with those rows that the store has still."""
    about = _begun(old.source, state)
    if old.kind != state.kind or not old.rows:
        return about
    before = _mapped(folder, old)
    there = {(stamp.id, stamp.kept, stamp.digest) for stamp in store.stamps(state)}
    digests = [row.tobytes() for row in before.rows["digest"]]
    keys = zip(before.rows["id"].tolist(), before.rows["kept"].tolist(), digests, strict=True)
    stayed = np.flatnonzero([key in there for key in keys])
    if not len(stayed):
        return about
    vectors, rows = _paths(folder, about.run)
    with vectors.open("wb") as out:
        for start in range(0, len(stayed), CHUNK):
            out.write(before.vectors[stayed[start : start + CHUNK]].tobytes())
    rows.write_bytes(before.rows[stayed].tobytes())
    # New arrays have higher ids than all that were there when they came.
    last = int(before.rows["id"][stayed[-1]])
    return replace(about, dtype=old.dtype, width=old.width, rows=len(stayed), last=last)


def _extended(folder: Path, about: About, store: Store, state: ArrayState) -> About:
    """With all that the store has beyond the last row; on the disk when this returns."""
    vectors, rows = _paths(folder, about.run)
    with vectors.open("ab") as matrix, rows.open("ab") as table:
        matrix.truncate(about.rows * _row_bytes(about))
        table.truncate(about.rows * ROW.itemsize)
        while found := store.arrays(state, about.last, CHUNK):
            about = _added(matrix, table, about, found)
        for stream in (matrix, table):
            stream.flush()
            os.fsync(stream.fileno())
    return replace(about, last=state.last)


def _added(matrix: IO[bytes], table: IO[bytes], about: About, found: list[KeptArray]) -> About:
    if not about.rows:
        first = as_array(found[0].data, found[0].dtype, found[0].shape)
        about = replace(about, dtype=first.dtype.str, width=first.size)
    kind = (about.dtype, str(about.width))
    even = [a for a in found if (a.dtype, a.shape) == kind and len(a.digest) == 32]
    values = np.frombuffer(b"".join(array.data for array in even), about.dtype)
    fresh = np.zeros(len(even), ROW)
    fresh["digest"] = np.frombuffer(b"".join(a.digest for a in even), "<u8").reshape(-1, 4)
    fresh["id"] = [array.id for array in even]
    fresh["kept"] = [array.kept for array in even]
    fresh["length"] = lengths(values.reshape(len(even), about.width))
    matrix.write(values.tobytes())
    table.write(fresh.tobytes())
    odd = about.odd + len(found) - len(even)
    return replace(about, rows=about.rows + len(even), odd=odd, last=found[-1].id)


def lengths(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Euclidean, [n], of vectors [n, E]."""
    exact = vectors.astype(np.float64)
    found: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", exact, exact))
    return found


def _say(folder: Path, about: About) -> None:
    path = folder / f"{ABOUT}.{about.run}"
    with path.open("w", encoding="utf-8") as out:
        json.dump({"format": FORMAT, **asdict(about)}, out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    path.replace(folder / ABOUT)


def _tidy(folder: Path, run: str) -> None:
    """Removes files of other runs; where that cannot be (mapped, on Windows), another time."""
    for path in folder.iterdir():
        if path.suffix in (".vectors", ".rows") and path.stem != run:
            with contextlib.suppress(OSError):
                path.unlink()
