"""Before and after: does a search bring up more beautiful pictures, and does it still find them?

    imgrank eval --data beauty-search --root DATA --model tiny --model OUT/NAME

For every model, one-stage search by cosine, and for the first also the two-stage baseline (its
first K pictures ordered anew by z(cosine) + 1.25 z(predicted beauty)):

    recall@1, 5, 10   of captions, whose own picture is to be found among all of the pool;
    predicted         beauty of the first k by the re-ranker, the model that an alignment learns
                      from: that this rises is no more than that the training did what it was told;
    human             beauty of the first k as people rated them, on OASIS alone: this is what
                      counts, and neither a model nor a re-ranker has seen these themes;
    theme             share of a theme's pictures that its name brings up among the first k.

The first model is what the others are compared with, on the same queries: differences have paired
intervals over queries (clusters of them, see `beauty_pool.py`), and wide ones over queries and
pictures. In a wide round the two-stage order stays that over the whole pool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgrank.evaluate.beauty_pool import HUMAN, SETS, Collection, Queries, collect, splits
from imgrank.evaluate.recall import (
    Brought,
    Nearest,
    Round,
    looked_at,
    nearest,
    over_clusters,
    re_ranked,
)
from imgrank.evaluate.resampling import Drawn
from imgrank.evaluate.searched import (
    Asked,
    Figure,
    Found,
    Kind,
    Line,
    Sheet,
    differences,
    plain_table,
)
from imgrank.evaluate.searchers import Searcher, Seen, searchers, see
from imgrank.reranking import reranker
from imgrank.settings import Settings

__all__ = ["evaluate"]

RECALLS = (1, 5, 10)
CAPTIONS = "captions"
TINY, FLICKR8K = "tiny", "flickr8k"  # the embedded backbone, and what it was trained on
Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class _Measure:
    """One figure. each: of every query [Q]; round: of one draw; any: of a random order."""

    each: Callable[[Brought], Floats]
    round: Callable[[Round], float]
    any: float


def evaluate(asked: Asked, settings: Settings) -> Found:
    """Measures all models of the request.

    Raises DataError if a set is not here, UsageError for a model that cannot search; as
    `load_words` and `route` do for models that are not here.
    """
    whole = collect(asked)
    models = searchers(asked.models, settings)
    by = reranker(asked.rerank, settings)
    texts = list(dict.fromkeys(text for queries in whole.queries for text in queries.texts))
    asked.notify(_said(asked, whole))
    seen = see(whole.paths, texts, models, asked, settings, by)
    pool = whole.only(seen.rows)
    rows = {text: n for n, text in enumerate(texts)}
    bench = _Bench(asked, pool, models, seen, rows, pool.draw(asked.rounds, asked.seed))
    sheets = [bench.sheet(queries, some, where) for queries, some, where in _questions(pool)]
    second = {"model": by.answer.model, "revision": by.answer.revision}
    table = plain_table(
        asked,
        [model.plain() for model in models],
        sheets,
        split=splits(list(asked.pool or SETS)),
        notes=list(_notes(asked, pool, models, by.answer.model)),
        skips=seen.skips,
        top=asked.top,
        pool={name: len(pool.rows(name)) for name in dict.fromkeys(pool.of)},
        rerank={**second, "first": asked.first, "weight": asked.weight},
    )
    return Found(table, seen.skips, seen.computed, seen.known)


@dataclass(frozen=True, eq=False, slots=True)
class _Bench:
    """All that the sheets share. rows: the row of each text in `seen.texts`."""

    asked: Asked
    pool: Collection
    models: Sequence[Searcher]
    seen: Seen
    rows: Mapping[str, int]
    drawn: Drawn

    def sheet(self, queries: Queries, some: Places, where: str) -> Sheet:
        """queries: of which all are asked of the pictures `some`."""
        lines = []
        for number, model in enumerate(self.models):
            one = self._nearest(queries, some, number)
            lines.append(self._line("model", model.name, one, queries, some))
            if not number:
                again = self._second(one, queries, some)
                second = self._line("two stages", f"{model.name}, two stages", again, queries, some)
        lines.append(second)
        measures = self._measures(queries, some)
        chance = {name: Figure(measure.any) for name, measure in measures.items()}
        lines += [*differences(lines), Line("chance", "any order", chance)]
        return Sheet(queries.name, where, len(queries), len(some), lines)

    def _nearest(self, queries: Queries, some: Places, number: int) -> Nearest:
        texts = self.seen.texts[number][[self.rows[text] for text in queries.texts]]
        m = max(looked_at(self.asked.top, len(some)), self.asked.first)
        pictures = self.seen.pictures[number][some]
        return nearest(texts, pictures, m, self._own(queries, some))

    def _second(self, one: Nearest, queries: Queries, some: Places) -> Nearest:
        assert self.seen.scores is not None
        scores, own = self.seen.scores[some], self._own(queries, some)
        return re_ranked(one, scores, own, self.asked.first, self.asked.weight)

    def _own(self, queries: Queries, some: Places) -> Places | None:
        """The own pictures, if all of the pool is searched, so that they are in it."""
        return queries.own if len(some) == len(self.pool) else None

    def _line(self, kind: Kind, name: str, one: Nearest, queries: Queries, some: Places) -> Line:
        clusters = self.pool.clusters[some]
        order = one.order[:, : looked_at(self.asked.top, len(some))]
        size = np.bincount(clusters, minlength=len(self.pool.sets))[queries.clusters]
        mine = clusters[order] == queries.clusters[:, None]
        brought = Brought(order, one.own, mine, size, clusters)
        measures = self._measures(queries, some)
        wide: dict[str, list[float]] = {key: [] for key in measures}
        for each in brought.drawn(self.asked.top, self.drawn, queries.clusters):
            for key, measure in measures.items():
                wide[key].append(measure.round(each))
        figures = {}
        for key, measure in measures.items():
            values = measure.each(brought)
            narrow = over_clusters(values, queries.clusters, self.drawn)
            figures[key] = Figure(float(values.mean()), narrow, np.array(wide[key]))
        return Line(kind, name, figures)

    def _measures(self, queries: Queries, some: Places) -> dict[str, _Measure]:
        k, n = self.asked.top, len(some)
        found: dict[str, _Measure] = {}
        if self._own(queries, some) is not None:
            for at in RECALLS:
                found[f"recall@{at}"] = _recall(at, n)
        if queries.own is None:
            found[f"theme@{k}"] = _Measure(
                lambda brought: brought.share(k), lambda drawn: drawn.share(), min(1.0, k / n)
            )
        assert self.seen.scores is not None
        found[f"predicted@{k}"] = _beauty(self.seen.scores[some], k)
        if not np.isnan(self.pool.human[some]).any():
            found[f"human@{k}"] = _beauty(self.pool.human[some], k)
        return found


def _recall(at: int, n: int) -> _Measure:
    chance = min(1.0, at / n)
    return _Measure(lambda brought: brought.found(at), lambda drawn: drawn.found(at), chance)


def _beauty(values: Floats, k: int) -> _Measure:
    return _Measure(
        lambda brought: brought.mean_of(values, k),
        lambda drawn: drawn.mean_of(values),
        float(values.mean()),
    )


def _questions(pool: Collection) -> Iterator[tuple[Queries, Places, str]]:
    """What is asked, of which pictures, and their name: all captions together, then by set."""
    whole, rated = np.arange(len(pool)), pool.rows(HUMAN)
    names = ", ".join(dict.fromkeys(pool.of))
    captions = [queries for queries in pool.queries if queries.own is not None]
    themes = [queries for queries in pool.queries if queries.own is None]
    joined = [_joined(captions)] if len(captions) > 1 else captions
    for queries in [*joined, *(captions if len(captions) > 1 else [])]:
        yield queries, whole, names
    if len(rated):
        for queries in [*joined, *themes] if len(rated) < len(pool) else themes:
            yield queries, rated, HUMAN
    if len(rated) < len(pool):
        for queries in themes:
            yield queries, whole, names


def _joined(captions: Sequence[Queries]) -> Queries:
    owns = [queries.own for queries in captions if queries.own is not None]
    return Queries(
        CAPTIONS,
        tuple(text for queries in captions for text in queries.texts),
        np.concatenate([queries.clusters for queries in captions]),
        np.concatenate(owns),
    )


def _said(asked: Asked, pool: Collection) -> str:
    counts = ", ".join(f"{name} {len(pool.rows(name))}" for name in dict.fromkeys(pool.of))
    queries = ", ".join(f"{len(each)} {each.name}" for each in pool.queries)
    return f"{asked.data}, {asked.part} part: {len(pool)} pictures ({counts}); {queries}"


def _notes(
    asked: Asked, pool: Collection, models: Sequence[Searcher], second: str
) -> Iterator[str]:
    """What the figures do not say, a line each."""
    k = asked.top
    yield (
        f"predicted: beauty of the first {k} by {second}, which an alignment learns from; "
        f"human: as people rated it ({HUMAN}, 1 to 7)."
    )
    rated = pool.rows(HUMAN)
    if len(rated):
        best = np.sort(pool.human[rated])[::-1][:k]
        yield (
            f"human, of {len(rated)} pictures: {pool.human[rated].mean():.3f} on average, "
            f"{best.mean():.3f} the {len(best)} most beautiful."
        )
    if FLICKR8K in pool.of and any(model.source.spec.name == TINY for model in models):
        yield (
            f"{TINY}, and what is tuned on it, learnt from captions of 1,164 pictures of Flickr8k, "
            "some of them test pictures here, so that its recall on flickr8k is too good; of COCO "
            "it has seen nothing."
        )
    nearly = f"; of {len(rated)} pictures of {HUMAN} that is nearly all"
    yield (
        f"two stages: the first {asked.first} by cosine, ordered by z(cosine) + {asked.weight:g} "
        f"z(predicted beauty){nearly if 0 < len(rated) < 2 * asked.first else ''}."
    )
    yield (
        "wide: intervals over queries and pictures. Different queries bring up the same few "
        "pictures, so that intervals over queries alone are narrow."
    )
