"""Cosines of a query to the kept embeddings of many pictures, without a model and without torch.

    cosines(query, digests, source, store, folder)      exact, in the order of `digests`
    known(digests, source, store, folder)               whether there is one
    nearest(query, digests, k, source, store, folder)   the k nearest, best first

How to ask: call `cosines` for all pictures of known content. Those that come back as NaN have no
embedding yet: compute and keep them, then ask again. No `Store.with_features` is needed before.

Few pictures are read from the store, many from its mirror (`mirror.py`). One picture has one
cosine, whichever way and among whatever others: the values are the store's (float16, not rounded
again), each product is summed in float64, and the sum is rounded to float32 once. The order in
which numbers are added shows in the 16th digit only; a cosine is printed with 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from imgrank.store.arrays import ArrayState
    from imgrank.store.store import Store
    from imgrank.vectors.mirror import Mirror

__all__ = ["FEATURE", "Notify", "cosines", "known", "nearest"]

FEATURE = "pooled"

Notify = Callable[[str], None]

FEW = 1000
"""So many pictures are read from the store itself, in about 10 ms."""

AT_ONCE = 4096  # embeddings that are read from the store at once
BLOCK = 256  # rows that are multiplied at once: as float64 they stay in the processor's cache
SPAN = 1 << 16  # rows a thread

LEAST_SHARE = 0.1  # of the kept pictures; below it the index finds too many others

_said: set[Path] = set()  # folders of which was said that they cannot be used


def cosines(
    query: NDArray[np.float32],
    digests: Sequence[bytes],
    source: str,
    store: Store,
    folder: Path,
    notify: Notify = lambda text: None,
) -> NDArray[np.float32]:
    """cos(query, picture) of each digest, float32 [n] in their order; NaN where none is kept.

    query: [E], of any length but 0.  digests: of contents; one may come several times.
    source: identity of the features (`BackboneSource.identity`).
    folder: of the mirrors, `Settings.vectors_dir`.
    notify: hears one line, once, if nothing can be kept there.
    """
    import numpy as np

    values = np.full(len(digests), np.nan)
    state = store.array_state(source, FEATURE)
    if not digests or state is None:
        return values.astype(np.float32)
    unit = _unit(query)
    left: Sequence[int] = range(len(digests))
    if len(digests) > FEW:
        left = _fill(values, digests, unit, lambda: _open(folder, source, store, state, notify))
    if left:
        by = dict(_of_store([digests[i] for i in left], unit, source, store))
        values[left] = [by.get(digests[i], np.nan) for i in left]
    return values.astype(np.float32)


def known(
    digests: Sequence[bytes],
    source: str,
    store: Store,
    folder: Path,
    notify: Notify = lambda text: None,
) -> NDArray[np.bool_]:
    """Of which digests an embedding is kept, [n]: those whose cosine would not be NaN."""
    import numpy as np

    state = store.array_state(source, FEATURE)
    if not digests or state is None:
        return np.zeros(len(digests), bool)
    mirror = None
    if len(digests) > FEW:
        mirror = _open(folder, source, store, state, notify)
    if mirror is not None and mirror.whole:
        return mirror.places(digests) >= 0
    there = store.with_features(list(set(digests)), source, {FEATURE})
    return np.array([digest in there for digest in digests])


def nearest(
    query: NDArray[np.float32],
    digests: Sequence[bytes],
    k: int,
    source: str,
    store: Store,
    folder: Path,
    notify: Notify = lambda text: None,
    *,
    approximate: bool = False,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k nearest of the pictures: their places in `digests`, best first, and their cosines.

    Fewer than k if fewer have an embedding; equal cosines keep the order of `digests`.
    approximate: by the index of the extra "approximate"; it may miss some, and the cosines of
    those it finds are exact. Where the index does not serve (few pictures, or few of those that
    are kept; it cannot be written) the answer is exact and `notify` says so. Raises
    MissingExtra without it.
    """
    import numpy as np

    if approximate:
        found = _by_index(query, digests, k, source, store, folder, notify)
        if found is not None:
            return found
    values = cosines(query, digests, source, store, folder, notify)
    return _best(np.flatnonzero(~np.isnan(values)), values, k)


def _best(
    places: NDArray[np.int64], values: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k highest of the values at these places, which ascend."""
    import numpy as np

    some = values[places]
    if len(some) > k:
        least = np.partition(some, len(some) - k)[len(some) - k] if k else np.inf
        places = places[some >= least]
    places = places[np.argsort(-values[places], kind="stable")[:k]]
    return places, values[places]


def _by_index(
    query: NDArray[np.float32],
    digests: Sequence[bytes],
    k: int,
    source: str,
    store: Store,
    folder: Path,
    notify: Notify,
) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """As `nearest`; None, said, where the exact way has to do."""
    import numpy as np

    from imgrank.vectors.index import candidates, require

    require()
    state = store.array_state(source, FEATURE)
    different = len(set(digests))
    if state is None or different <= FEW:
        notify(f"exact: of {different:,} pictures that is as fast as approximate")
        return None
    mirror = _open(folder, source, store, state, notify)
    if mirror is None:
        return None
    places = mirror.places(digests)
    share = len(np.unique(places[places >= 0])) / len(mirror.rows)
    wanted = int(np.ceil((2 * k + 32) / max(share, 1e-9)))  # more than k: the order is made exact
    if share < LEAST_SHARE or wanted > len(mirror.rows) // 10:
        notify(
            f"exact: {k} of {different:,} pictures, where {len(mirror.rows):,} are kept, is "
            "as fast as approximate"
        )
        return None
    unit = _unit(query)
    try:
        rows = np.unique(candidates(mirror, unit, wanted, notify))
    except OSError as error:
        notify(f"exact: the index cannot be used ({error.strerror or error})")
        return None
    there = np.flatnonzero(np.isin(places, rows))
    if len(there) < min(k, int((places >= 0).sum())):
        notify(f"exact: among the nearest {wanted:,} too few are of these {different:,} pictures")
        return None
    values = np.full(len(digests), np.nan, np.float32)
    values[there] = _of_mirror(mirror, places[there], unit)
    return _best(there, values, k)


def _unit(query: NDArray[np.float32]) -> NDArray[np.float64]:
    import numpy as np

    exact = np.asarray(query, np.float64)
    unit: NDArray[np.float64] = exact / np.linalg.norm(exact)
    return unit


def _open(
    folder: Path, source: str, store: Store, state: ArrayState, notify: Notify
) -> Mirror | None:
    """None where the store has to do."""
    from imgrank.vectors.mirror import open_mirror

    try:
        return open_mirror(folder, source, store, state)
    except OSError as error:
        if folder not in _said:
            _said.add(folder)
            notify(
                f"Embeddings cannot be kept in {folder} ({error.strerror or error}). They are read "
                "from the cache one by one, which takes longer and gives the same."
            )
        return None


def _fill(
    values: NDArray[np.float64],
    digests: Sequence[bytes],
    unit: NDArray[np.float64],
    opened: Callable[[], Mirror | None],
) -> Sequence[int]:
    """Fills in the cosines that the mirror gives; returns the places that it cannot speak of."""
    import numpy as np

    for _ in range(2):  # a damaged mirror is built anew, once
        mirror = opened()
        if mirror is None:
            break
        places = mirror.places(digests)
        there = np.flatnonzero(places >= 0)
        found = _of_mirror(mirror, places[there], unit)
        if mirror.sound(places[there], found):
            values[there] = found
            return [] if mirror.whole else np.flatnonzero(places < 0).tolist()
        mirror.discard()
    return range(len(digests))


def _of_store(
    digests: Sequence[bytes], unit: NDArray[np.float64], source: str, store: Store
) -> Iterator[tuple[bytes, float]]:
    """Cosines by digest, of those that the store has."""
    from imgrank.vectors.mirror import lengths

    different = list(dict.fromkeys(digests))
    for start in range(0, len(different), AT_ONCE):
        found, vectors = store.feature_matrix(different[start : start + AT_ONCE], source, FEATURE)
        if found:
            values = _over(_products(vectors, unit), lengths(vectors))
            yield from zip(found, values.tolist(), strict=True)


def _of_mirror(
    mirror: Mirror, places: NDArray[np.int64], unit: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cosines of the rows at these places, [n]."""
    import numpy as np

    if 2 * len(places) >= len(mirror.rows):  # most of them: in the order in which they lie
        products = _products(mirror.vectors, unit)
        return _over(products, mirror.rows["length"])[places]
    rows, back = np.unique(places, return_inverse=True)
    values = _over(_products(mirror.vectors, unit, rows), mirror.rows["length"][rows])
    return values[back]


def _products(
    vectors: NDArray[Any], unit: NDArray[np.float64], rows: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Inner products with a vector [E] of vectors [n, E], or of these rows of them; [n]."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    count = len(vectors) if rows is None else len(rows)
    products = np.empty(count)

    def work(start: int) -> None:
        room = np.empty((BLOCK, len(unit)))
        for low in range(start, min(start + SPAN, count), BLOCK):
            high = min(low + BLOCK, start + SPAN, count)
            block = room[: high - low]
            np.copyto(block, vectors[low:high] if rows is None else vectors[rows[low:high]])
            np.einsum("ij,j->i", block, unit, out=products[low:high])  # no BLAS: no threads of its

    starts = range(0, count, SPAN)
    if len(starts) < 2:
        for start in starts:
            work(start)
    else:
        with ThreadPoolExecutor(min(len(starts), 8), "cosines") as pool:
            list(pool.map(work, starts))
    return products


def _over(products: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """A vector of length 0 is at right angles to all."""
    import numpy as np

    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
