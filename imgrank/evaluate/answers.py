"""Scores of a model for a data set: what `imgrank sort` would give a user, store and all.

Pictures that are files go through the pipeline, so scores and features are kept, an interrupted
evaluation goes on where it stopped, and one after a sort of the same folder computes nothing. Of a
model with ranks the probabilities are wanted too: they come from features.
Pictures that a data set makes ("graded distortions") are no files: they go through the model's
features at its own size, and nothing of them is kept.
A model that looks at several pictures at once has been asked about each alone: `windows.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from imgrank.data.labelled import Labelled, Labels
from imgrank.data.split import Part
from imgrank.errors import ModelUnavailable, UsageError
from imgrank.evaluate.grouped import narrowed
from imgrank.evaluate.levels import levels_of
from imgrank.evaluate.measure import Answered, Rows
from imgrank.evaluate.windows import Told, by_windows
from imgrank.images import ImageFile, Skip
from imgrank.instruction import Query, parse, tasks
from imgrank.opening import open_store
from imgrank.pipeline import Progress, default_threads, features_of, score_files
from imgrank.rankers.base import Features, FeatureSource, Job, Score
from imgrank.rankers.l2rclip import L2RCLIPRanker
from imgrank.rankers.load import load_ranker, route, sharing
from imgrank.rankers.source import BackboneSource
from imgrank.settings import Settings
from imgrank.store.store import Store

__all__ = ["Answers", "Asked", "answers_of", "jobs_for", "query_of", "trained_fold"]

NOTHING = Told()
AT_ONCE = 64  # pictures that go from features to scores at a time
Cell = tuple[Score | None, npt.NDArray[np.float64] | None]  # score, probabilities of ranks
Cells = list[dict[Any, Cell]]  # of each job, by picture


@dataclass(frozen=True, slots=True)
class Asked:
    """Who answers which queries. refused: (key, why) of those that nobody here answers."""

    labels: tuple[Labels, ...]
    jobs: tuple[Job, ...]
    refused: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Of the model, or of the several that the router chose."""
        return "+".join(dict.fromkeys(job.answer.label for job in self.jobs))

    def about(self, rows: Mapping[str, Rows] | None, data: Labelled, part: Part) -> Asked:
        """The same about these rows alone, by query; None: about all of the part."""
        if rows is None:
            return self
        some = (narrowed(data, each, part, rows[each.key]) for each in self.labels)
        return replace(self, labels=tuple(some))

    def scored(self) -> Asked:
        """Those that are answered picture by picture, with a score."""
        own = [n for n, job in enumerate(self.jobs) if not by_windows(job)]
        labels, jobs = tuple(self.labels[n] for n in own), tuple(self.jobs[n] for n in own)
        return replace(self, labels=labels, jobs=jobs)


@dataclass(frozen=True, eq=False, slots=True)
class Answers:
    """queries: with the pictures that have a score.   skips: pictures that could not be read."""

    queries: list[Answered]
    skips: list[Skip] = field(default_factory=list)
    computed: int = 0
    known: int = 0


def query_of(labels: Labels, trained: Container[str] = ()) -> Query:
    """The query that a data set's labels are the truth of.

    trained: tasks of the model that will answer. One that neither it nor tasks.toml knows is free
    text, and read as a user's would be.
    """
    if labels.task in tasks() or labels.task in trained:
        return Query(labels.prompt, labels.task, labels.prompt, subject=labels.subject)
    return parse(labels.prompt)


def jobs_for(labels: Sequence[Labels], model: str | None, settings: Settings) -> Asked:
    """Each query and who answers it: `model`, or whoever the router chooses.

    Raises ModelUnavailable if there is no such model, UsageError if it answers none of them.
    """
    trained = () if model is None else getattr(load_ranker(model, settings), "tasks", ())
    jobs, answered, refused = [], [], []
    for each in labels:
        query = query_of(each, trained)
        try:
            jobs.append(route(query, settings, model))
        except (UsageError, ModelUnavailable) as error:
            refused.append((each.key, str(error)))
            continue
        answered.append(each)
    if not jobs:
        raise UsageError(f"{model or 'no model here'} answers none of the queries: {refused[0][1]}")
    return Asked(tuple(answered), tuple(sharing(jobs)), tuple(refused))


def trained_fold(jobs: Sequence[Job], data: str, folds: int) -> int | None:
    """The fold that was the test part when the model was trained; None if it does not say.

    folds: how many there are; a config that names another says nothing.
    """
    for job in jobs:
        found: Any = getattr(job.ranker, "config", {})
        for key in ("training", "data", data, "fold"):
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, int) and 0 <= found < folds:
            return found
    return None


def answers_of(
    data: Labelled,
    part: Part,
    asked: Asked,
    settings: Settings,
    notify: Callable[[str], None],
    progress: Progress | None = None,
    told: Told = NOTHING,
) -> Answers:
    """The scores of all pictures of `part` that one of the queries has a value for.

    told: by the jobs that look at windows, of which each picture was one.
    Raises UsageError for made pictures and a model that reads files.
    """
    cells: Cells = [_told(told, n, job) for n, job in enumerate(asked.jobs)]
    wanted = [data.rows(part, labels) for labels in asked.scored().labels]
    rows = np.unique(np.concatenate(wanted)) if wanted else np.empty(0, np.intp)
    if data.render is not None:
        for row, own in _made(data, rows, asked):
            for column, cell in zip(cells, own, strict=True):
                column[row] = cell
            if progress:
                progress(len(cells[0]), len(rows))
        return Answers(_by_query(data, part, asked, cells, int), computed=len(rows))
    files = [ImageFile.of(path) for path in dict.fromkeys(data.paths[n] for n in rows)]
    sources = list({id(job.ranker.source): job.ranker.source for job in asked.jobs}.values())
    with open_store(settings, sources, notify) as store:
        passes = [
            each(files, asked, cells, store, settings.threads, progress)
            for each in (_scored, _with_ranks)
        ]
    skips = {skip.path: skip for found, _ in passes for skip in found}
    computed = max(count for _, count in passes)
    known = len(files) - len(skips) - computed
    queries = _by_query(data, part, asked, cells, lambda row: data.paths[row])
    skips |= {skip.path: skip for skip in told.skips}
    return Answers(queries, list(skips.values()), computed + told.computed, known + told.known)


def _told(told: Told, number: int, job: Job) -> dict[Any, Cell]:
    """The column of a job that looks at windows: what it said of each picture alone.

    Beyond the ends of its scale a value is that end, as in a sort.
    """
    low, high = job.answer.range or (-math.inf, math.inf)
    column: dict[Any, Cell] = {}
    for window, said in told.answers.get(number, {}).items():
        if len(window) == 1:
            value = float(said.values[0])
            there = math.isfinite(value)
            column[window[0]] = (Score(min(max(value, low), high)) if there else None), None
    return column


def _scored(
    files: Sequence[ImageFile],
    asked: Asked,
    cells: Cells,
    store: Store,
    threads: int | None,
    progress: Progress | None,
) -> tuple[list[Skip], int]:
    """Fills the columns of models with one score a picture -> skips, pictures computed."""
    other = [isinstance(job.ranker, L2RCLIPRanker) or by_windows(job) for job in asked.jobs]
    own = [n for n, elsewhere in enumerate(other) if not elsewhere]
    if not own:
        return [], 0
    jobs = [asked.jobs[n] for n in own]
    table = score_files(files, jobs, store, threads=threads, progress=progress)
    for path, scores in zip(table.paths, table.scores, strict=True):
        for n, score in zip(own, scores, strict=True):
            cells[n][path] = score, None
    return table.skips, table.computed


def _with_ranks(
    files: Sequence[ImageFile],
    asked: Asked,
    cells: Cells,
    store: Store,
    threads: int | None,
    progress: Progress | None,
) -> tuple[list[Skip], int]:
    """The same of models that give probabilities of ranks: from features, which the store keeps."""
    own = {n: job for n, job in enumerate(asked.jobs) if isinstance(job.ranker, L2RCLIPRanker)}
    if not own:
        return [], 0
    needs: dict[str, tuple[FeatureSource, frozenset[str]]] = {}
    for job in own.values():
        _, names = needs.get(job.ranker.source.identity, (None, frozenset[str]()))
        needs[job.ranker.source.identity] = job.ranker.source, names | job.ranker.needs
    skips: list[Skip] = []
    computed = 0
    found = features_of(files, list(needs.values()), store, threads=threads, progress=progress)
    while outcomes := list(islice(found, AT_ONCE)):
        skips += [outcome for outcome in outcomes if isinstance(outcome, Skip)]
        kept = [outcome for outcome in outcomes if not isinstance(outcome, Skip)]
        computed += sum(outcome.computed for outcome in kept)
        for n, job in own.items():
            features = [outcome.features[job.ranker.source.identity] for outcome in kept]
            for outcome, cell in zip(kept, _cells(job, features), strict=True):
                cells[n][outcome.path] = cell
    return skips, computed


def _cells(job: Job, features: Sequence[Features]) -> list[Cell]:
    """What a job says of each picture."""
    if not features:
        return []
    if isinstance(job.ranker, L2RCLIPRanker):
        p = job.ranker.distribution(features)
        return list(zip(job.ranker.scores_of(p), p, strict=True))
    return [(score, None) for (score,) in job.ranker.score(features, [job.query])]


def _made(
    data: Labelled, rows: npt.NDArray[np.intp], asked: Asked
) -> Iterator[tuple[int, list[Cell]]]:
    """Rows of made pictures and what each job says of them."""
    sources = {job.ranker.source.identity: job.ranker.source for job in asked.jobs}
    if len(sources) > 1 or not isinstance(source := next(iter(sources.values())), BackboneSource):
        raise UsageError(
            f"the pictures of {data.name} are made, not files, so that only models on one backbone "
            "can be measured on them; name one with --model."
        )
    size = source.spec.image_size
    with ThreadPoolExecutor(default_threads()) as pool:
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            pixels = list(pool.map(lambda n: data.pixels(int(n), size), some))
            features = source.compute(pixels)
            columns = [_cells(job, features) for job in asked.jobs]
            for row, own in zip(some, zip(*columns, strict=True), strict=True):
                yield int(row), list(own)


def _by_query(
    data: Labelled, part: Part, asked: Asked, cells: Cells, key: Callable[[int], Any]
) -> list[Answered]:
    """cells: of each job, by picture.   key: row -> picture."""
    queries = []
    for labels, job, column in zip(asked.labels, asked.jobs, cells, strict=True):
        there = [row for row in data.rows(part, labels).tolist() if key(row) in column]
        found = [(row, *column[key(row)]) for row in there]
        kept = [(row, score.value, p) for row, score, p in found if score is not None]
        levels = None
        if isinstance(job.ranker, L2RCLIPRanker):
            levels = levels_of(job.ranker, [p for _, _, p in kept if p is not None])
        queries.append(
            Answered(
                labels,
                job.answer,
                np.array([row for row, _, _ in kept], dtype=np.intp),
                np.array([value for _, value, _ in kept], dtype=np.float64),
                levels,
            )
        )
    return queries
