"""Models as a search uses them: what their two towers say of pictures and of queries.

Everything goes through the store of features, so that nothing is computed twice: not by a second
measure, not by `imgrank search` later. A query goes to the text tower as it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgrank.errors import NothingReadable
from imgrank.evaluate.searched import Asked
from imgrank.images import ImageFile, Skip
from imgrank.opening import open_store
from imgrank.pipeline import features_of, score_files
from imgrank.rankers.base import FeatureSource, Job
from imgrank.rankers.source import BackboneSource
from imgrank.rankers.words import load_words
from imgrank.settings import Settings

if TYPE_CHECKING:
    from imgrank.store.store import Store

__all__ = ["Searcher", "Seen", "searchers", "see"]

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Wanted = list[tuple[FeatureSource, frozenset[str]]]
POOLED = frozenset({"pooled"})


@dataclass(frozen=True, eq=False, slots=True)
class Searcher:
    """A model with words. name: tells it from the others.   revision: of its weights."""

    name: str
    source: BackboneSource
    revision: str

    def plain(self) -> dict[str, str]:
        return {"model": self.name, "revision": self.revision}


@dataclass(frozen=True, eq=False, slots=True)
class Seen:
    """What is seen of those pictures that every model could read.

    rows: [N], places in the list that was asked for.   pictures: of each model [N, E], unit length.
    texts: of each model [Q, E].   scores: [N] of the job, if there is one.
    """

    rows: npt.NDArray[np.intp]
    pictures: Sequence[Matrix]
    texts: Sequence[Matrix]
    scores: Floats | None
    skips: list[Skip]
    computed: int
    known: int


def searchers(models: Sequence[str | None], settings: Settings) -> list[Searcher]:
    """Those that are named; None: whom a search takes. Raises as `load_words` does."""
    rankers = [load_words(model, settings) for model in models]
    names = [ranker.name for ranker in rankers]
    return [
        Searcher(
            f"{ranker.name} ({model})" if names.count(ranker.name) > 1 else ranker.name,
            ranker.source,
            ranker.revision,
        )
        for ranker, model in zip(rankers, models, strict=True)
    ]


def see(
    paths: Sequence[Path],
    texts: Sequence[str],
    models: Sequence[Searcher],
    asked: Asked,
    settings: Settings,
    by: Job | None = None,
) -> Seen:
    """What the models see of these pictures and texts, and how the job `by` scores the pictures.

    A picture that cannot be read is left out for all. Raises NothingReadable if none is left.
    """
    files = [_file(path) for path in dict.fromkeys(paths)]
    needs: Wanted = [(model.source, POOLED) for model in models]
    needs += [(by.ranker.source, by.ranker.needs)] if by else []
    reading = _Reading(_merged(needs))
    with open_store(settings, [source for source, _ in reading.wanted], asked.notify) as store:
        reading.take(files, models, store, asked, settings)
        if by:
            reading.score([f for f in files if f.path in reading.pooled], by, store, settings)
        said = [model.source.text_embeddings(texts) for model in models] if texts else []
    there = [n for n, path in enumerate(paths) if path in reading.pooled]
    if by:
        there = [n for n in there if paths[n] in reading.scores]
    if not there:
        reasons = "".join(f"\n  {skip.path}: {skip.reason}" for skip in reading.skips[:10])
        raise NothingReadable(f"not one picture of {asked.data} could be read.{reasons}")
    return Seen(
        np.array(there, np.intp),
        [np.stack([reading.pooled[paths[n]][m] for n in there]) for m in range(len(models))],
        said,
        np.array([reading.scores[paths[n]] for n in there], np.float64) if by else None,
        reading.skips,
        reading.computed,
        len(files) - len(reading.skips) - reading.computed,
    )


@dataclass(slots=True)
class _Reading:
    """Pictures on their way through all models at once, so that each is decoded once."""

    wanted: Wanted
    pooled: dict[Path, list[Matrix]] = field(default_factory=dict)  # of each model [E]
    scores: dict[Path, float] = field(default_factory=dict)
    skips: list[Skip] = field(default_factory=list)
    computed: int = 0

    def take(
        self,
        files: Sequence[ImageFile],
        models: Sequence[Searcher],
        store: Store,
        asked: Asked,
        settings: Settings,
    ) -> None:
        heard: dict[str, Any] = {"threads": settings.threads, "progress": asked.progress}
        for outcome in features_of(files, self.wanted, store, **heard):
            if isinstance(outcome, Skip):
                self.skips.append(outcome)
                continue
            self.computed += outcome.computed
            self.pooled[outcome.path] = [
                outcome.features[model.source.identity]["pooled"].astype(np.float32)
                for model in models
            ]

    def score(self, files: Sequence[ImageFile], by: Job, store: Store, settings: Settings) -> None:
        """From the features that were kept just now."""
        table = score_files(files, [by], store, threads=settings.threads)
        self.skips += table.skips
        for path, (score,) in zip(table.paths, table.scores, strict=True):
            if score is None:
                self.skips.append(Skip(path, f"{by.ranker.name} gives it no score"))
            else:
                self.scores[path] = score.value


def _merged(needs: Sequence[tuple[FeatureSource, frozenset[str]]]) -> Wanted:
    """Each source once, with all that is needed of it."""
    sources: dict[str, FeatureSource] = {}
    names: dict[str, frozenset[str]] = {}
    for source, wanted in needs:
        sources.setdefault(source.identity, source)
        names[source.identity] = names.get(source.identity, frozenset()) | wanted
    return [(source, names[identity]) for identity, source in sources.items()]


def _file(path: Path) -> ImageFile:
    try:
        return ImageFile.of(path)
    except OSError:  # gone since the set was read: reading it says so
        return ImageFile(path, 0, 0)
