"""HPIR: of two groups of pictures, does a model choose the one that people prefer?

    imgrank eval --data hpir --root DATA --model MODEL

Zhang et al. 2024, section 3.1, equation 12. A model chooses the group with the higher mean cosine
to the query, a model of beauty that with the higher mean score. For accuracy, aesthetics and
diversity, with w the confidence of people's golden label (see `data/hpir.py`),

    M = sum_q w_q [choice_q = golden_q] / sum_q w_q.

Equal means are half a right choice; the paper does not say what it did. A picture that cannot be
read is left out of its group's mean. Choosing at random gives .5. The bootstrap draws queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgrank.data.catalogue import about, read_groups
from imgrank.data.hpir import ASPECTS, Golden, Groups
from imgrank.data.labelled import ReadOptions
from imgrank.errors import NothingReadable, UsageError
from imgrank.evaluate.published import figures_of
from imgrank.evaluate.resampling import Drawn, draws
from imgrank.evaluate.searched import Asked, Figure, Found, Line, Sheet, differences, plain_table
from imgrank.evaluate.searchers import Searcher, Seen, searchers, see
from imgrank.images import Skip
from imgrank.models.registry import find
from imgrank.rankers.base import Job
from imgrank.reranking import reranker
from imgrank.settings import Settings

__all__ = ["alignment", "evaluate", "right"]

QUERY = "the better group"
PUBLISHED = 150  # queries
Floats = npt.NDArray[np.float64]


def evaluate(asked: Asked, settings: Settings) -> Found:
    """Raises DataError if HPIR is not here, UsageError for a part that is not test; as
    `load_words` and `reranker` do for a model that is not here or answers neither."""
    if asked.part != "test":
        raise UsageError("hpir has no parts, all of it is test: leave --part out.")
    options = ReadOptions(partial=asked.partial, report=asked.notify)
    data: list[Groups] = read_groups("hpir", asked.root, options)
    paths = list(dict.fromkeys(path for each in data for group in each.pictures for path in group))
    asked.notify(f"hpir: {len(data)} queries, {len(paths)} pictures")
    runs = [_run(model, data, paths, asked, settings) for model in asked.models]
    left = [n for n in range(len(data)) if not any(np.isnan(run.means[n]).any() for run in runs)]
    if not left:
        raise NothingReadable("of no query of hpir could both groups be read.")
    if len(left) < len(data):
        asked.notify(f"{len(data) - len(left)} queries are left out: a group cannot be read")
    data = [data[n] for n in left]
    drawn = draws([f"{n:09d}" for n in range(len(data))], asked.rounds, asked.seed)
    lines = [
        Line("model", run.name, _figures([g.golden for g in data], run.means[left], drawn))
        for run in runs
    ]
    chance = {name: Figure(0.5) for name in lines[0].figures}
    pictures = len({path for each in data for group in each.pictures for path in group})
    sheet = [*lines, *differences(lines), Line("chance", "at random", chance)]
    skips = list({skip.path: skip for run in runs for skip in run.skips}.values())
    table = plain_table(
        asked,
        [{**run.facts, "ties": run.ties(left)} for run in runs],
        [Sheet(QUERY, "", len(data), pictures, sheet)],
        split=about("hpir").split,
        paper=figures_of("hpir", [QUERY]),
        paper_note=_another(data),
        notes=list(_notes(runs, data, left)),
        skips=skips,
    )
    return Found(table, skips, max(run.computed for run in runs), min(run.known for run in runs))


def right(means: Floats, golden: Sequence[Golden]) -> Floats:
    """means [Q, 2] of group A and B, golden of each query -> [Q]: 1 chosen rightly, 1/2 a tie."""
    gap = means[:, 0] - means[:, 1]
    sign = np.array([1.0 if each.label == "A" else -1.0 for each in golden])
    return np.asarray((1 + np.sign(gap) * sign) / 2, np.float64)


def alignment(hits: Floats, weights: Floats, drawn: Drawn | None = None) -> Floats:
    """M of equation 12; drawn [R, Q]: in every round. NaN where no weight is left."""
    counts = np.ones((1, len(hits))) if drawn is None else drawn
    with np.errstate(invalid="ignore"):
        return np.asarray((counts @ (weights * hits)) / (counts @ weights), np.float64)


class _Run:
    """One model: means [Q, 2] over the pictures of group A and of B, NaN where none is readable."""

    def __init__(self, name: str, facts: dict[str, Any], means: Floats, seen: Seen) -> None:
        self.name, self.facts, self.means = name, facts, np.round(means, 6)
        self.skips: list[Skip] = seen.skips
        self.computed, self.known = seen.computed, seen.known

    def ties(self, rows: Sequence[int]) -> int:
        return int((self.means[rows, 0] == self.means[rows, 1]).sum())


def _run(
    name: str | None,
    data: Sequence[Groups],
    paths: Sequence[Path],
    asked: Asked,
    settings: Settings,
) -> _Run:
    """By cosine, if the model has words; else by its score."""
    if name is None or find(name, settings.models_dir).by_words:
        (model,) = searchers([name], settings)
        return _by_cosine(model, data, paths, asked, settings)
    return _by_score(reranker(name, settings), name, data, paths, asked, settings)


def _by_cosine(
    model: Searcher, data: Sequence[Groups], paths: Sequence[Path], asked: Asked, settings: Settings
) -> _Run:
    texts = list(dict.fromkeys(each.query for each in data))
    seen = see(paths, texts, [model], asked, settings)
    place = {paths[n]: row for row, n in enumerate(seen.rows)}
    said = {text: seen.texts[0][n] for n, text in enumerate(texts)}

    def cosines(query: str, rows: Sequence[int]) -> Floats:
        return np.asarray(seen.pictures[0][list(rows)] @ said[query], np.float64)

    means = [
        [
            _mean(cosines(each.query, [place[path] for path in group if path in place]))
            for group in each.pictures
        ]
        for each in data
    ]
    return _Run(model.name, {**model.plain(), "by": "cosine"}, np.array(means), seen)


def _by_score(
    job: Job,
    name: str,
    data: Sequence[Groups],
    paths: Sequence[Path],
    asked: Asked,
    settings: Settings,
) -> _Run:
    seen = see(paths, [], [], asked, settings, job)
    assert seen.scores is not None
    sign = 1.0 if job.query.descending else -1.0
    score = {paths[n]: sign * value for n, value in zip(seen.rows, seen.scores, strict=True)}
    means = [
        [_mean(np.array([score[p] for p in group if p in score])) for group in each.pictures]
        for each in data
    ]
    facts = {"model": job.answer.model, "revision": job.answer.revision, "by": job.answer.prompt}
    return _Run(job.ranker.name, facts, np.array(means), seen)


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _figures(
    golden: Sequence[Mapping[str, Golden]], means: Floats, drawn: Drawn
) -> dict[str, Figure]:
    found = {}
    for aspect in ASPECTS:
        rows = [n for n, each in enumerate(golden) if aspect in each and each[aspect].weight]
        if not rows:
            continue
        labels = [golden[n][aspect] for n in rows]
        hits, weights = right(means[rows], labels), np.array([each.weight for each in labels])
        value = float(alignment(hits, weights)[0])
        found[aspect] = Figure(value, alignment(hits, weights, drawn[:, rows]))
    return found


def _another(data: Sequence[Groups]) -> str:
    """Why these are not the paper's queries; "" if nothing shows that."""
    here = f"{len(data)} {'query' if len(data) == 1 else 'queries'} here"
    return f"{here}, {PUBLISHED} in the paper" if len(data) != PUBLISHED else ""


def _notes(runs: Sequence[_Run], data: Sequence[Groups], rows: Sequence[int]) -> list[str]:
    tied = [(run.name, run.ties(rows)) for run in runs]
    return [
        "The choice is weighted by how far people agree. A model of beauty sees no query: its "
        "accuracy says nothing.",
        *(f"{name}: {n} of {len(data)} queries are tied, half right." for name, n in tied if n),
    ]
