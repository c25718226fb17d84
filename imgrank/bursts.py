"""`sort --near-duplicates`: which pictures of an order are near-duplicates of a better one.

Whatever model ranks, the embeddings are those of the embedded backbone: similarities of another
have another scale, and the levels were measured with this one. Embeddings, sketches and moments are
kept in the store, so a second run opens no picture and loads no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.images import ImageFile, Skip
from imgrank.images.reading import DECODE_VERSION
from imgrank.models.registry import DEFAULT_BACKBONE
from imgrank.pipeline import Progress, features_of
from imgrank.rankers.base import Features, FeatureSource
from imgrank.rankers.load import load_source
from imgrank.rankers.measured import MeasuredSource
from imgrank.results.bursts import Bursts, Near, bursts_of
from imgrank.results.ranking import Row

if TYPE_CHECKING:
    from imgrank.rankers.source import BackboneSource
    from imgrank.results.alike import Looks
    from imgrank.settings import Settings
    from imgrank.store.store import Store

__all__ = ["LOOK", "embedder", "find_bursts", "looks_of"]

LOOK_VERSION = 1  # raise it when the same bytes give another sketch or moment


def _look(data: bytes) -> Mapping[str, Any]:
    from imgrank.images.sketch import look  # loads numpy and Pillow: not for known features

    return look(data)


LOOK = MeasuredSource(
    f"look {LOOK_VERSION}.{DECODE_VERSION}", frozenset({"sketch", "moment"}), _look
)
"""`sketch` and `moment` of a picture, see `images/sketch.py`; kept in the store."""


def embedder(settings: Settings) -> BackboneSource:
    """Whose embeddings are compared."""
    return load_source(DEFAULT_BACKBONE, settings)


def find_bursts(
    files: Sequence[ImageFile],
    rows: Sequence[Row],
    near: Near,
    store: Store,
    settings: Settings,
    notify: Callable[[str], None],
    progress: Progress | None = None,
) -> Bursts:
    """Near-duplicates among the rows of a whole order, within each folder if it has folders.

    notify: hears what was found, and how many pictures could not be compared: each of these stays
    on its own.
    """
    from imgrank.results.alike import bests

    source = embedder(settings)
    ranked = {row.path for row in rows}
    wanted: list[tuple[FeatureSource, frozenset[str]]]
    wanted = [(source, frozenset({"pooled"})), (LOOK, LOOK.kept)]
    some = [file for file in files if file.path in ranked]
    found: dict[Path, Mapping[str, Features]] = {}
    skips: list[Skip] = []
    threads = settings.threads
    for outcome in features_of(some, wanted, store, threads=threads, progress=progress):
        if isinstance(outcome, Skip):
            skips.append(outcome)
        else:
            found[outcome.path] = _small(outcome.features, source)
    best = {row.path: row.path for row in rows}
    for paths in _sets(rows):
        there = [path for path in paths if path in found]
        if there:
            kept = bests(looks_of([found[path] for path in there], source), near.alike)
            best |= {path: there[k] for path, k in zip(there, kept, strict=True)}
    bursts = bursts_of(best, near)
    for line in _said(bursts, skips) if rows else ():
        notify(line)
    return bursts


def looks_of(features: Sequence[Mapping[str, Features]], source: BackboneSource) -> Looks:
    """Features by source, of each picture: `pooled` of the backbone, both of `LOOK`."""
    import numpy as np

    from imgrank.results.alike import Looks

    pooled = np.stack([each[source.identity]["pooled"] for each in features]).astype(np.float32)
    pooled /= np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-6)
    moments = np.stack([each[LOOK.identity]["moment"] for each in features])
    sketches = np.stack([each[LOOK.identity]["sketch"] for each in features])
    return Looks(pooled, sketches, moments[:, 0], moments[:, 1])


def _small(features: Mapping[str, Features], source: BackboneSource) -> dict[str, Features]:
    """Without the grid, which is 125 KB of each picture that was computed just now."""
    pooled = {"pooled": features[source.identity]["pooled"]}
    return {source.identity: pooled, LOOK.identity: features[LOOK.identity]}


def _sets(rows: Sequence[Row]) -> list[list[Path]]:
    sets: dict[Path | None, list[Path]] = {}
    for row in rows:
        sets.setdefault(row.folder, []).append(row.path)
    return list(sets.values())


def _said(bursts: Bursts, skips: Sequence[Skip]) -> Iterator[str]:
    groups, count = len(bursts.others), bursts.count
    if not groups:
        yield "near-duplicates: none"
    elif bursts.keep_best:
        better = "one better picture" if groups == 1 else f"{groups} better pictures"
        yield f"near-duplicates: {count} left out for {better} (--format json lists them)"
    else:
        noun = "group" if groups == 1 else "groups"
        yield f"near-duplicates: {groups + count} pictures in {groups} {noun}"
    if skips:
        noun = "picture" if len(skips) == 1 else "pictures"
        yield f"  {len(skips)} {noun} could not be compared: {skips[0].path}: {skips[0].reason}"
