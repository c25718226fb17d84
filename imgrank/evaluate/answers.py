"""Scores of a model for a data set: what `imgrank sort` would give a user, store and all.

Pictures that are files go through the pipeline, so scores and features are kept, an interrupted
evaluation goes on where it stopped, and one after a sort of the same folder computes nothing.
Pictures that a data set makes ("graded distortions") are no files: they go through the model's
features at its own size, and nothing of them is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgrank.data.labelled import Labelled, Labels
from imgrank.data.split import Part
from imgrank.errors import ModelUnavailable, UsageError
from imgrank.evaluate.measure import Answered
from imgrank.images import ImageFile, Skip
from imgrank.instruction import Query, parse, tasks
from imgrank.opening import open_store
from imgrank.pipeline import Progress, default_threads, score_files
from imgrank.rankers.base import Job, Score
from imgrank.rankers.load import load_ranker, route, sharing
from imgrank.rankers.source import BackboneSource
from imgrank.settings import Settings

__all__ = ["Answers", "Asked", "answers_of", "jobs_for", "query_of", "trained_fold"]

MADE_AT_ONCE = 64  # made pictures that are scored at a time


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
) -> Answers:
    """The scores of all pictures of `part` that one of the queries has a value for.

    Raises UsageError for made pictures and a model that reads files.
    """
    rows = np.unique(np.concatenate([data.rows(part, labels) for labels in asked.labels]))
    if data.render is not None:
        made: dict[Any, list[Score | None]] = {}
        for row, scores in zip(rows, _made(data, rows, asked), strict=True):
            made[row] = scores
            if progress:
                progress(len(made), len(rows))
        return replace(_by_query(data, part, asked, made), computed=len(made))
    files = [_file(path) for path in dict.fromkeys(data.paths[n] for n in rows)]
    sources = list({id(job.ranker.source): job.ranker.source for job in asked.jobs}.values())
    with open_store(settings, sources, notify) as store:
        table = score_files(files, asked.jobs, store, threads=settings.threads, progress=progress)
    found = dict(zip(table.paths, table.scores, strict=True))
    cells = {n: found[data.paths[n]] for n in rows if data.paths[n] in found}
    answers = _by_query(data, part, asked, cells)
    return replace(answers, skips=table.skips, computed=table.computed, known=table.known)


def _made(data: Labelled, rows: npt.NDArray[np.intp], asked: Asked) -> Iterator[list[Score | None]]:
    """Scores of made pictures, row after row."""
    sources = {job.ranker.source.identity: job.ranker.source for job in asked.jobs}
    if len(sources) > 1 or not isinstance(source := next(iter(sources.values())), BackboneSource):
        raise UsageError(
            f"the pictures of {data.name} are made, not files, so that only models on one backbone "
            "can be measured on them; name one with --model."
        )
    size = source.spec.image_size
    with ThreadPoolExecutor(default_threads()) as pool:
        for start in range(0, len(rows), MADE_AT_ONCE):
            some = rows[start : start + MADE_AT_ONCE]
            pixels = list(pool.map(lambda n: data.pixels(int(n), size), some))
            features = source.compute(pixels)
            columns: list[list[Score | None]] = [[] for _ in some]
            for job in asked.jobs:
                for column, (score,) in zip(
                    columns, job.ranker.score(features, [job.query]), strict=True
                ):
                    column.append(score)
            yield from columns


def _by_query(
    data: Labelled, part: Part, asked: Asked, cells: Mapping[Any, Sequence[Score | None]]
) -> Answers:
    """cells: picture -> its scores, one a job."""
    queries = []
    for n, (labels, job) in enumerate(zip(asked.labels, asked.jobs, strict=True)):
        found = [(row, cells[row][n]) for row in data.rows(part, labels) if row in cells]
        kept = [(row, score.value) for row, score in found if score is not None]
        rows = np.array([row for row, _ in kept], dtype=np.intp)
        scores = np.array([value for _, value in kept], dtype=np.float64)
        queries.append(Answered(labels, job.answer, rows, scores))
    return Answers(queries)


def _file(path: Path) -> ImageFile:
    found = path.stat()
    return ImageFile(path, found.st_size, found.st_mtime_ns)
