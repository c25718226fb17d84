"""From models and a data set to all that `imgrank eval` says, as plain values.

    {"data": "koniq", "part": "test", "split": ..., "seed": 0, "rounds": 1000, "versions": {...},
     "models": [{"model": ..., "fold": ..., "queries": [...], "means": [...], "refused": [...]}],
     "over_models": [...], "differences": [...], "paper": [...], "paper_note": ...}

Every query has its figures with 95 % intervals, n, prompt, unit, model, revision and baselines;
ages have their errors by age (`bands`), a model with ranks has their names and its calibration
(`levels`).
Several models: each on its own fold; then mean and standard deviation over them, as the paper's
Table 1 has it over folds, and for the first against each other one on the same pictures the
differences with paired intervals.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from imgrank.data.catalogue import about, read
from imgrank.data.labelled import Labelled, Labels, ReadOptions
from imgrank.data.split import Part
from imgrank.errors import NothingReadable, UsageError
from imgrank.evaluate.answers import Answers, Asked, answers_of, jobs_for, trained_fold
from imgrank.evaluate.bands import by_age
from imgrank.evaluate.levels import facts_of
from imgrank.evaluate.measure import (
    Answered,
    Measured,
    Rounds,
    baseline,
    difference,
    in_unit,
    means,
    measure_query,
    over_models,
    plain,
)
from imgrank.evaluate.metrics import require_scipy
from imgrank.evaluate.published import another_split, figures_of
from imgrank.images import Skip
from imgrank.pipeline import Progress
from imgrank.settings import Settings

__all__ = ["Evaluated", "Request", "Run", "evaluate", "mean_row", "query_row"]

FORMAT = 1
SHOWN = 5  # notices of one kind
TRAINED = ("adapter", "linear", "l2rclip")
LIBRARIES = ("imgrank", "torch", "open_clip_torch", "timm", "numpy", "scipy", "pillow")


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure.

    models: names or folders; None: whoever the router chooses.   root: see `catalogue.place`.
    fold: of models that do not say which one they were trained to be tested on.
    queries: keys of the data set's labels; empty: all.   rounds, seed: of the bootstrap.
    attributes: also contrast, colorfulness and brightness, measured from the pixels.
    """

    data: str
    root: Path
    models: Sequence[str | None] = (None,)
    fold: int | None = None
    part: Part = "test"
    queries: Sequence[str] = ()
    rounds: int = 1000
    seed: int = 0
    partial: bool = False
    attributes: bool = False
    notify: Callable[[str], None] = lambda line: None
    progress: Progress | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Run:
    """One model on its part of the data. name: tells it from the other models."""

    name: str
    asked: Asked
    fold: int | None
    data: Labelled
    answers: Answers
    rounds: Rounds
    queries: dict[str, Measured]
    means: dict[str, Measured]


@dataclass(frozen=True, eq=False, slots=True)
class Evaluated:
    """table: plain values, see the top of this module.   skips: pictures that cannot be read."""

    table: dict[str, Any]
    runs: list[Run]
    skips: list[Skip] = field(default_factory=list)


def evaluate(request: Request, settings: Settings) -> Evaluated:
    """Measures every model of the request.

    Raises DataError if the folder is wrong, UsageError if there is no such query or fold, nothing
    in that part, or a model answers nothing; NothingReadable if not one picture could be read;
    ModelUnavailable, CheckpointError as `load_ranker` does.
    """
    require_scipy("measuring a model")
    sets: dict[int | None, Labelled] = {}
    runs = _told_apart([_run(request, m, settings, sets) for m in request.models], request.models)
    skips = {skip.path: skip for run in runs for skip in run.answers.skips}
    return Evaluated(_table(request, runs), runs, list(skips.values()))


def _run(
    request: Request, model: str | None, settings: Settings, sets: dict[int | None, Labelled]
) -> Run:
    """sets: by fold, those that were read; several models share them."""
    folds = about(request.data).folds
    if request.fold is not None and not request.fold < folds:
        there = f"folds 0 to {folds - 1}" if folds else "one split and no folds"
        raise UsageError(f"{request.data} has {there}, so --fold {request.fold} names nothing.")
    fold = (request.fold or 0) if folds else None
    data = _read(request, fold, settings, sets)
    labels = _wanted(data, request)
    asked = jobs_for(labels, model, settings)
    own = trained_fold(asked.jobs, request.data, folds)
    if own is not None and own != fold:
        if request.fold is not None:
            request.notify(f"{asked.name} was trained with fold {own} as its test part: so here")
        fold, data = own, _read(request, own, settings, sets)
        asked = jobs_for(_wanted(data, request), model, settings)
    _say(request, asked, fold)
    answers = answers_of(data, request.part, asked, settings, request.notify, request.progress)
    if not any(len(query.rows) for query in answers.queries):
        reasons = "".join(f"\n  {skip.path}: {skip.reason}" for skip in answers.skips[:10])
        raise NothingReadable(f"not one picture of {data.name} has a score.{reasons}")
    rows = np.unique(np.concatenate([data.rows(request.part, each) for each in asked.labels]))
    rounds = Rounds.of(data, rows, request.rounds, request.seed)
    queries = {query.labels.key: measure_query(query, rounds) for query in answers.queries}
    return Run(asked.name, asked, fold, data, answers, rounds, queries, means(queries))


def _told_apart(runs: Sequence[Run], models: Sequence[str | None]) -> list[Run]:
    """Three seeds of one recipe may have one name: then how they were given is added."""
    names = [run.name for run in runs]
    return [
        replace(run, name=f"{run.name} ({given})") if names.count(run.name) > 1 else run
        for run, given in zip(runs, models, strict=True)
    ]


def _read(
    request: Request, fold: int | None, settings: Settings, sets: dict[int | None, Labelled]
) -> Labelled:
    if fold not in sets:
        options = ReadOptions(fold or 0, request.partial, request.notify)
        data = read(request.data, request.root, options)
        if request.attributes:
            from imgrank.data.attributes import with_attributes

            folder = settings.cache_dir / "attributes"
            data = with_attributes(data, folder, lambda name, n, of: _count(request, n, of))
        sets[fold] = data
    return sets[fold]


def _count(request: Request, done: int, total: int) -> None:
    if request.progress:
        request.progress(done, total)


def _wanted(data: Labelled, request: Request) -> list[Labels]:
    known = {labels.key: labels for labels in data.labels}
    if unknown := [key for key in request.queries if key not in known]:
        raise UsageError(
            f"{data.name} has no query {', '.join(unknown)}; it has {', '.join(known)}."
        )
    wanted = [known[key] for key in dict.fromkeys(request.queries)] or list(data.labels)
    part = request.part
    there = [labels for labels in wanted if len(data.rows(part, labels))]
    if not there:
        counts = {each: data.parts.count(each) for each in ("train", "validation", "test")}
        shown = ", ".join(f"{name} {n}" for name, n in counts.items() if n)
        raise UsageError(f"{data.name} has nothing in its {part} part. Pictures by part: {shown}.")
    if empty := [labels.key for labels in wanted if labels not in there]:
        request.notify(f"no picture of the {part} part has a value for {', '.join(empty)}")
    return there


def _say(request: Request, asked: Asked, fold: int | None) -> None:
    where = f"{request.data}, {request.part} part" + (f", fold {fold}" if fold is not None else "")
    count = f"{len(asked.jobs)} queries" if len(asked.jobs) > 1 else asked.labels[0].key
    request.notify(f"{where}: {count} by {asked.name}")
    notes = dict.fromkeys(job.answer.note for job in asked.jobs if job.answer.note)
    _some(request, list(notes))
    _some(request, [f"not answered: {key}: {why}" for key, why in asked.refused])
    if request.part == "train" and any(job.answer.method in TRAINED for job in asked.jobs):
        request.notify("  these pictures may have been trained on: no figures to publish")


def _some(request: Request, lines: Sequence[str]) -> None:
    for line in lines[:SHOWN]:
        request.notify(f"  {line}")
    if len(lines) > SHOWN:
        request.notify(f"  and {len(lines) - SHOWN} more such lines; --format json has all")


# ---- plain values --------------------------------------------------------------------------------


def _table(request: Request, runs: Sequence[Run]) -> dict[str, Any]:
    first = runs[0]
    name = request.data
    paper = figures_of(name, _comparable(request, runs))
    note = another_split(name, request.root, request.part, len(first.rounds.rows), request.partial)
    return {
        "format": FORMAT,
        "data": name,
        "part": request.part,
        "split": about(name).split,
        "partial": request.partial,
        "intervals": "95 %, bootstrap",
        "rounds": request.rounds,
        "seed": request.seed,
        "versions": _versions(),
        "models": [_model(run, request.part) for run in runs],
        "over_models": _over(runs),
        "differences": _differences(runs),
        "paper": paper,
        "paper_note": note if paper else "",
    }


def _comparable(request: Request, runs: Sequence[Run]) -> set[str]:
    """Queries and means that the paper may have figures of: its means are over all its queries."""
    keys = {key for run in runs for key in run.queries}
    if request.queries:
        return keys
    keys |= {key for run in runs for key in run.means}
    return keys - {"mean"} if request.attributes else keys


def _model(run: Run, part: Part) -> dict[str, Any]:
    return {
        "model": run.name,
        "fold": run.fold,
        "pictures": len(run.rounds.rows) - len({skip.path for skip in run.answers.skips}),
        "intervals_over": run.rounds.over,
        "queries": [query_row(run, query, part) for query in run.answers.queries],
        "means": [mean_row(key, mean, run, part) for key, mean in run.means.items()],
        "refused": [{"query": key, "why": why} for key, why in run.asked.refused],
        "skipped": [{"path": str(s.path), "reason": s.reason} for s in run.answers.skips],
    }


def query_row(run: Run, query: Answered, part: Part) -> dict[str, Any]:
    """All that is said of one query."""
    labels, answer = query.labels, query.answer
    measured = run.queries[labels.key]
    return {
        "query": labels.key,
        "task": labels.task,
        "subject": labels.subject,
        "method": answer.method,
        "model": answer.model,
        "revision": answer.revision,
        "prompt": answer.prompt,
        "note": answer.note,
        "unit": answer.unit,
        "truth_unit": labels.unit,
        "in_unit": in_unit(query),
        "classes": list(labels.classes),
        "n": measured.n,
        **measured.table(),
        **({"levels": facts_of(query.levels)} if query.levels is not None else {}),
        **({"bands": bands} if (bands := by_age(query, run.rounds)) else {}),
        "baseline": baseline(run.data, labels, part, query.ranks),
    }


def mean_row(key: str, measured: Measured, run: Run, part: Part) -> dict[str, Any]:
    """With the means of the baselines over the same queries."""
    prefix = key.removeprefix("mean").strip()
    queries = [
        q for q in run.answers.queries if not prefix or q.labels.key.startswith(f"{prefix}/")
    ]
    own = [q for q in queries if q.labels.key not in measured.left_out]
    blind = [baseline(run.data, q.labels, part, q.ranks) for q in own]
    figures = [name for name in ("mae", "accuracy") if name in measured.values]
    return {
        "query": key,
        "queries": len(own),
        "left_out": list(measured.left_out),
        "n": measured.n,
        **measured.table(),
        "baseline": {name: plain(mean(each[name] for each in blind)) for name in figures},
    }


def _over(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Means over folds or seeds; of models of different kinds they would say nothing."""
    kinds = {tuple(dict.fromkeys(job.answer.method for job in run.asked.jobs)) for run in runs}
    if len(runs) < 2 or len(kinds) > 1:
        return []
    keys = [key for key in (*runs[0].queries, *runs[0].means) if all(_has(r, key) for r in runs)]
    return [
        {"query": key, "models": len(runs), **over_models([_of(run, key) for run in runs])}
        for key in keys
    ]


def _differences(runs: Sequence[Run]) -> list[dict[str, Any]]:
    out = []
    for other in runs[1:]:
        for key in (*runs[0].queries, *runs[0].means):
            if _has(other, key) and _same_pictures(runs[0], other):
                found = difference(_of(runs[0], key), _of(other, key))
                names = {"first": runs[0].name, "second": other.name}
                out.append({"query": key, **names, **found})
    return out


def _same_pictures(first: Run, second: Run) -> bool:
    """Whether both models answered the same queries for the same pictures."""
    if first.fold != second.fold or first.queries.keys() != second.queries.keys():
        return False
    pairs = zip(first.answers.queries, second.answers.queries, strict=True)
    return all(np.array_equal(a.rows, b.rows) for a, b in pairs)


def _has(run: Run, key: str) -> bool:
    return key in run.queries or key in run.means


def _of(run: Run, key: str) -> Measured:
    return run.queries[key] if key in run.queries else run.means[key]


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
