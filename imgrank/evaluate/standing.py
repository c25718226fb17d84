"""How each model orders the groups of a sample, and what a table says of it.

    {"query": "age", "images": 4, "n": 200, "tau": 0.71, "tau_interval": [...], "tau_values": ...,
     "well_formed": 0.99, "complete": 1.0}

A row for each query and size, and over several queries one more, "mean": over all their groups,
each of which weighs the same (paper 002 does not say whether its means over COCO's categories do).
Intervals are of bootstrap rounds over groups. What is said of answers is there only for a model
that gives some; of size 1 it is all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgrank.data.labelled import Labelled
from imgrank.evaluate.answers import Answers, Asked, answers_of
from imgrank.evaluate.grouped import Sample, by_answers, by_scores
from imgrank.evaluate.groups import FIGURES, Group, Ordered, measured
from imgrank.evaluate.measure import difference
from imgrank.evaluate.runs import Request, Run
from imgrank.evaluate.windows import Told, Window, by_windows
from imgrank.rankers.base import Job

if TYPE_CHECKING:
    from imgrank.settings import Settings

__all__ = ["order_differences", "order_rows", "orders_of", "windows_of"]

OVERALL = "mean"
Wanted = dict[int, tuple[Job, list[Window]]]


def windows_of(
    asked: Asked, alone: Sequence[npt.NDArray[np.intp]], drawn: Sample, data: Labelled
) -> Wanted:
    """What the jobs that look at windows are to be asked, by number of the job.

    alone: of each job, rows that are asked about one by one.
    """
    wanted: Wanted = {}
    for number, (labels, job) in enumerate(zip(asked.labels, asked.jobs, strict=True)):
        if by_windows(job):
            windows: list[Window] = [(data.paths[row],) for row in alone[number].tolist()]
            for groups in drawn.groups.values():
                windows += [_window(data, group) for group in groups if group.query == labels.key]
            wanted[number] = job, windows
    return wanted


def orders_of(
    asked: Asked,
    alone: Sequence[npt.NDArray[np.intp]],
    drawn: Sample,
    told: Told,
    request: Request,
    data: Labelled,
    settings: Settings,
) -> tuple[dict[int, Ordered], Answers]:
    """The orders by size, and what had to be computed for those that are by scores."""
    truths = {each.key: each.values.astype(np.float64) for each in asked.labels}
    numbers = {labels.key: n for n, labels in enumerate(asked.labels)}
    answers = _scores(asked, drawn, request, data, settings)
    groups = dict(drawn.groups)
    if told.answers and 1 in request.sizes:
        rows = ((asked.labels[n].key, row) for n in told.answers for row in alone[n].tolist())
        groups = {1: tuple(Group(key, (row,)) for key, row in rows), **groups}
    found = {}
    for size, some in groups.items():
        columns = [told.answers.get(numbers.get(group.query, -1), {}) for group in some]
        windows = [_window(data, group) for group in some]
        reads = [column.get(window) for column, window in zip(columns, windows, strict=True)]
        written = by_answers(some, reads, truths)
        found[size] = written.joined(by_scores(some, answers.queries)) if size > 1 else written
    return found, answers


def _scores(
    asked: Asked, drawn: Sample, request: Request, data: Labelled, settings: Settings
) -> Answers:
    """Of all pictures of groups, by the jobs that give scores."""
    scored = asked.scored()
    rows: dict[str, set[int]] = {each.key: set() for each in scored.labels}
    for groups in drawn.groups.values():
        for group in groups:
            rows.get(group.query, set()).update(group.rows)
    if not any(rows.values()):
        return Answers([])
    some = {key: np.array(sorted(own), dtype=np.intp) for key, own in rows.items()}
    about = scored.about(some, data, request.part)
    return answers_of(data, request.part, about, settings, request.notify, request.progress)


def _window(data: Labelled, group: Group) -> Window:
    return tuple(data.paths[row] for row in group.rows)


# ---- plain values --------------------------------------------------------------------------------


def order_rows(run: Run, request: Request) -> list[dict[str, Any]]:
    """See the top of this module."""
    return [
        {"query": key, **more, "images": size, "n": found.n, **_table(found.table(), size)}
        for size, ordered in run.orders.items()
        for key, more, mask in _masks(run, ordered)
        for found in [measured(ordered, request.rounds, request.seed, mask)]
    ]


def order_differences(runs: Sequence[Run], request: Request) -> list[dict[str, Any]]:
    """First less other model, of groups that both have ordered, with paired intervals."""
    out = []
    for other in runs[1:]:
        names = {"first": runs[0].name, "second": other.name}
        for size in [size for size in runs[0].orders if size > 1 and size in other.orders]:
            one, two = runs[0].orders[size], other.orders[size]
            if one.groups != two.groups:  # another fold
                continue
            both = ~np.isnan(one.tau) & ~np.isnan(two.tau)
            for key, _, mask in _masks(runs[0], one):
                first, second = (
                    measured(each, request.rounds, request.seed, mask & both) for each in (one, two)
                )
                found = difference(first, second, FIGURES[:1])
                out.append({"query": key, **names, "images": size, "n": first.n, **found})
    return out


def _masks(
    run: Run, ordered: Ordered
) -> Iterator[tuple[str, dict[str, Any], npt.NDArray[np.bool_]]]:
    """Each query that has groups, and over several all of them, with how many queries these are."""
    keys = np.array([group.query for group in ordered.groups], dtype=object)
    own = [labels.key for labels in run.asked.labels if (keys == labels.key).any()]
    for key in own:
        yield key, {}, keys == key
    if own and len(run.asked.labels) > 1:
        yield OVERALL, {"queries": len(own)}, np.isin(keys, own)


def _table(figures: Mapping[str, Any], size: int) -> dict[str, Any]:
    """One picture has no order."""
    if size > 1:
        return dict(figures)
    return {name: value for name, value in figures.items() if not name.startswith("tau")}
