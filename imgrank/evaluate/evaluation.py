"""From models and a data set to all that `imgrank eval` says, as plain values.

    {"data": "koniq", "part": "test", "split": ..., "seed": 0, "rounds": 1000, "versions": {...},
     "models": [{"model": ..., "fold": ..., "queries": [...], "means": [...], "refused": [...]}],
     "over_models": [...], "differences": [...], "paper": [...], "paper_note": ...}

With groups (`sizes`) also "sizes", each model's "groups" and the differences of these, see
`standing.py`; single pictures are then the size 1.

Every query has its figures with 95 % intervals, n, prompt, unit, model, revision and baselines;
ages have their errors by age (`bands`), a model with ranks has their names and its calibration
(`levels`).
Several models: each on its own fold; then mean and standard deviation over them, as the paper's
Table 1 has it over folds, and for the first against each other one on the same pictures the
differences with paired intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from imgrank.data.catalogue import about, read
from imgrank.data.labelled import Labelled, Labels, ReadOptions
from imgrank.errors import NothingReadable, UsageError
from imgrank.evaluate.answers import Answers, Asked, answers_of, jobs_for, trained_fold
from imgrank.evaluate.grouped import Sample, sample
from imgrank.evaluate.measure import Rounds, means, measure_query
from imgrank.evaluate.metrics import require_scipy
from imgrank.evaluate.runs import Evaluated, Request, Run
from imgrank.evaluate.standing import orders_of, windows_of
from imgrank.evaluate.tables import table_of
from imgrank.evaluate.windows import Asking, ask, by_windows
from imgrank.settings import Settings

__all__ = ["ALONE", "SIZES", "Evaluated", "Request", "Run", "evaluate"]

SHOWN = 5  # notices of one kind
TRAINED = ("adapter", "linear", "l2rclip")
SIZES = (1, 2, 4, 8)
"""As the tables of paper 002 have them."""
ALONE = 2000
"""Single pictures that a model of windows is asked about: each is an answer of its own."""


@dataclass(frozen=True, eq=False, slots=True)
class _Who:
    """A model, which queries it answers, and on which data."""

    asked: Asked
    fold: int | None
    data: Labelled
    wanted: list[Labels]


def evaluate(request: Request, settings: Settings) -> Evaluated:
    """Measures every model of the request.

    Raises DataError if the folder is wrong, UsageError if there is no such query or fold, nothing
    in that part, or a model answers nothing; NothingReadable if not one picture could be read;
    ModelUnavailable, CheckpointError as `load_ranker` does.
    """
    require_scipy("measuring a model")
    sets: dict[int | None, Labelled] = {}
    asked = [_who(request, model, settings, sets) for model in request.models]
    request = _completed(request, asked)
    runs = _told_apart([_run(request, each, settings) for each in asked], request.models)
    skips = {skip.path: skip for run in runs for skip in run.answers.skips}
    return Evaluated(table_of(request, runs), runs, list(skips.values()))


def _who(
    request: Request, model: str | None, settings: Settings, sets: dict[int | None, Labelled]
) -> _Who:
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
        labels = _wanted(data, request)
        asked = jobs_for(labels, model, settings)
    return _Who(asked, fold, data, labels)


def _completed(request: Request, asked: Sequence[_Who]) -> Request:
    """With what is usual where a model looks at several pictures at once.

    Raises UsageError for groups of pictures that are no files, which such a model cannot be shown.
    """
    if not any(by_windows(job) for who in asked for job in who.asked.jobs):
        return request
    if asked[0].data.render is not None:
        raise UsageError(
            f"the pictures of {request.data} are made, not files, so that no model that looks at "
            "several at once can be measured on them."
        )
    alone = ALONE if request.alone is None else request.alone
    return replace(request, sizes=tuple(request.sizes) or SIZES, alone=alone)


def _run(request: Request, who: _Who, settings: Settings) -> Run:
    asked, data, part = who.asked, who.data, request.part
    _say(request, asked, who.fold)
    drawn = sample(
        *(data, who.wanted, part, request.sizes, request.groups, request.alone, request.seed)
    )
    _tell(request, drawn)
    single = asked.about(drawn.alone, data, part)
    singly = not request.sizes or 1 in request.sizes
    alone = [data.rows(part, each)[: None if singly else 0] for each in single.labels]
    asking = Asking(settings, request.notify, request.progress, request.slow)
    told = ask(windows_of(asked, alone, drawn, data), asking)
    answers = Answers([], list(told.skips))
    if singly:
        heard = settings, request.notify, request.progress, told
        answers = answers_of(data, part, single, *heard)
    orders, more = orders_of(asked, alone, drawn, told, request, data, settings)
    answers = _with(answers, more)
    ordered = any(not np.isnan(each.tau).all() for each in orders.values())
    if not ordered and not any(len(query.rows) for query in answers.queries):
        reasons = "".join(f"\n  {skip.path}: {skip.reason}" for skip in answers.skips[:10])
        raise NothingReadable(f"not one picture of {data.name} has a score.{reasons}")
    rows = np.unique(np.concatenate([data.rows(part, each) for each in single.labels]))
    rounds = Rounds.of(data, rows, request.rounds, request.seed)
    queries = {query.labels.key: measure_query(query, rounds) for query in answers.queries}
    found = queries, means(queries), orders
    return Run(asked.name, asked, who.fold, data, answers, rounds, *found)


def _with(answers: Answers, more: Answers) -> Answers:
    """answers: of single pictures.   more: of those in groups, in part the same."""
    skips = {skip.path: skip for skip in (*answers.skips, *more.skips)}
    known = answers.known or (0 if answers.queries else more.known)
    computed = answers.computed + more.computed
    return replace(answers, skips=list(skips.values()), computed=computed, known=known)


def _tell(request: Request, drawn: Sample) -> None:
    """Of sizes of which fewer groups can be drawn than were asked for."""
    for size, groups in drawn.groups.items():
        if len(groups) < request.groups:
            many = "no group" if not groups else f"only {len(groups)} different groups"
            request.notify(f"  {many} of {size} pictures with more than one value can be drawn")


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
