"""Embeddings of files, and their cosines to a vector: those that are kept, then the others.

    contents of files ─► kept embedding? ─► product (`vectors/`), no file is opened
                               └ no ─► read, embed, keep (`pipeline.py`) ─► the same product

What was embedded just now is asked again of what is kept, so that a second run has the very same
cosines; only where nothing can be kept do the fresh ones stand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.images import ImageFile, Skip
from imgrank.pipeline import Progress, features_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgrank.rankers.source import BackboneSource
    from imgrank.results.ranking import Top
    from imgrank.settings import Settings
    from imgrank.store.store import Store

__all__ = ["Cosines", "cosines_of", "embeddings"]

Notify = Callable[[str], None]
POOLED = frozenset({"pooled"})


@dataclass(frozen=True, slots=True)
class Cosines:
    """paths: in scan order, those with an embedding; cosines: theirs, [n].

    of: how many have one, if these are only the nearest of them; else None.
    computed, known: how many were embedded just now, and how many before.
    """

    paths: list[Path]
    cosines: NDArray[Any]
    skips: list[Skip]
    computed: int
    known: int
    of: int | None = None


def embeddings(
    files: Sequence[ImageFile], source: BackboneSource, store: Store
) -> tuple[dict[Path, NDArray[Any]], list[Skip]]:
    """[E] of every file that can be read, and the others; for few files."""
    seen: dict[Path, NDArray[Any]] = {}
    skips: list[Skip] = []
    for outcome in features_of(files, [(source, POOLED)], store):
        if isinstance(outcome, Skip):
            skips.append(outcome)
        else:
            seen[outcome.path] = outcome.features[source.identity]["pooled"]
    return seen, skips


def cosines_of(
    files: Sequence[ImageFile],
    vector: NDArray[Any],
    source: BackboneSource,
    store: Store,
    settings: Settings,
    *,
    notify: Notify,
    progress: Progress | None = None,
    most: Top | None = None,
    approximate: bool = False,
) -> Cosines:
    """Of every picture that can be read; of the nearest only if `approximate`.

    vector: [E].   notify: hears what slows an answer down.   most: how many are wanted, which only
    an approximate answer makes use of.
    """
    import numpy as np

    kept = _Kept(files, vector, source, store, settings, notify)
    there = kept.known() if approximate else {}
    values = np.full(len(files), np.nan) if approximate else kept.cosines()
    lacking = np.isnan(values)
    lacking[list(there)] = False
    missing = [files[i] for i in np.flatnonzero(lacking).tolist()]
    new = _embed(missing, len(files), vector, source, store, settings, progress)
    count = len(files) - len(new.skips)
    if approximate:
        there = kept.known() if missing else there
        if len(there) == count:
            return kept.nearest(there, most, new)
    if approximate or new.cosines:
        values = kept.cosines()  # an approximate answer comes here where nothing can be kept
    for i in np.flatnonzero(np.isnan(values)).tolist():
        values[i] = new.cosines.get(files[i].path, np.nan)
    places = np.flatnonzero(~np.isnan(values)).tolist()
    paths = [files[i].path for i in places]
    return Cosines(paths, values[places], new.skips, new.computed, count - new.computed)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the store has of these files at the time of asking."""

    files: Sequence[ImageFile]
    vector: NDArray[Any]
    source: BackboneSource
    store: Store
    settings: Settings
    notify: Notify

    def cosines(self) -> NDArray[Any]:
        """[n], NaN for a file whose embedding is not kept."""
        import numpy as np

        from imgrank.vectors.cosines import cosines

        places, digests = self._contents()
        values = np.full(len(self.files), np.nan)
        values[places] = cosines(self.vector, digests, *self._where())
        return values

    def known(self) -> dict[int, bytes]:
        """The places of the files whose embedding is kept, ascending, and the digest of each."""
        from imgrank.vectors.cosines import known

        places, digests = self._contents()
        kept = known(digests, *self._where()).tolist()
        return {i: digest for i, digest, has in zip(places, digests, kept, strict=True) if has}

    def nearest(self, there: Mapping[int, bytes], most: Top | None, new: _New) -> Cosines:
        """By the index. there: as `known` gives it."""
        from imgrank.vectors.cosines import nearest

        n, some = len(there), list(there)
        k = n if most is None else most.of(n)
        digests = list(there.values())
        found, values = nearest(self.vector, digests, k, *self._where(), approximate=True)
        paths = [self.files[some[place]].path for place in found.tolist()]
        return Cosines(paths, values, new.skips, new.computed, n - new.computed, of=n)

    def _contents(self) -> tuple[list[int], list[bytes]]:
        """Which of the files have a known content, and that."""
        found = self.store.contents(self.files)
        places = [i for i, digest in enumerate(found) if digest is not None]
        return places, [digest for digest in found if digest is not None]

    def _where(self) -> tuple[Any, ...]:
        return self.source.identity, self.store, self.settings.vectors_dir, self.notify


@dataclass(slots=True)
class _New:
    """Pictures that were read; computed: how many of them were also embedded."""

    cosines: dict[Path, float] = field(default_factory=dict)
    skips: list[Skip] = field(default_factory=list)
    computed: int = 0


def _embed(
    missing: Sequence[ImageFile],
    total: int,
    vector: NDArray[Any],
    source: BackboneSource,
    store: Store,
    settings: Settings,
    progress: Progress | None,
) -> _New:
    """Reads pictures, embeds and keeps what is new. total: of all, of which the others are done."""
    import numpy as np

    new, before = _New(), total - len(missing)
    if progress:
        progress(before, total)
    for outcome in features_of(
        missing,
        [(source, POOLED)],
        store,
        threads=settings.threads,
        progress=progress and (lambda done, _: progress(before + done, total)),
    ):
        if isinstance(outcome, Skip):
            new.skips.append(outcome)
            continue
        new.computed += outcome.computed
        pooled = outcome.features[source.identity]["pooled"].astype(np.float64)
        new.cosines[outcome.path] = float(pooled @ vector / np.linalg.norm(pooled))
    return new
