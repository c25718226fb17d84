"""Cosines of a query to the kept embeddings of many pictures, without a model and without torch.

    cosines(query, digests, source, store, folder)       exact, in the order of `digests`
    nearest(query, digests, k, source, store, folder)    the k nearest, best first; maybe approximate

How to ask: call `cosines` for all pictures of known content. Those that come back as NaN have no
embedding yet: compute and keep them (`pipeline.compute_features`), then ask again. No call of
`Store.with_features` is needed before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from imgrank.store.store import Store

__all__ = ["FEATURE", "Notify", "cosines", "nearest"]

FEATURE = "pooled"

Notify = Callable[[str], None]


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
    folder: where the memory-mapped copy is kept, `settings.cache_dir / "vectors"`.
    notify: hears one line if nothing can be kept there.
    """
    found, matrix = store.feature_matrix(list(dict.fromkeys(digests)), source, FEATURE)
    if not found:
        return np.full(len(digests), np.nan, np.float32)
    pooled = matrix.astype(np.float64)
    unit = np.asarray(query, np.float64) / np.linalg.norm(query)
    values = pooled @ unit / np.maximum(np.linalg.norm(pooled, axis=1), 1e-12)
    by = dict(zip(found, values.tolist(), strict=True))
    return np.array([by.get(digest, np.nan) for digest in digests], np.float32)


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
    approximate: by the index of the extra "search"; it may miss some, and the cosines of those it
    finds are exact. Raises MissingExtra without it. Where the index cannot serve (few of the kept
    pictures are asked for, it cannot be written) the answer is exact and `notify` says so.
    """
    values = cosines(query, digests, source, store, folder, notify)
    places = np.argsort(-values, kind="stable")  # NaN last
    places = places[: min(k, int((~np.isnan(values)).sum()))]
    return places, values[places]
