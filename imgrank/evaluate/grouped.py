"""What a model is asked beyond single pictures: which of them, in which groups, and its orders.

Every model of a request is asked about the same sample, so that models stand side by side. One that
looks at several pictures at once (scope "set") is shown each group and orders it itself, and each
single picture alone; of any other one the groups are ordered by its scores.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from imgrank.data.labelled import Labelled, Labels
from imgrank.data.split import Part
from imgrank.evaluate.groups import Group, Ordered, draw, tau
from imgrank.evaluate.measure import Answered
from imgrank.listwise.asking import values_in
from imgrank.listwise.parsing import well_formed

__all__ = ["NONE_SHOWN", "Read", "Sample", "by_answers", "by_scores", "narrowed", "read", "sample"]

NONE_SHOWN = 0.1
"""Share of the single pictures, where a count is sampled, that show none: most pictures of COCO
show none of a category, and would say nothing of how well a model counts."""

Rows = npt.NDArray[np.intp]
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """alone: rows by query, pictures that are asked about one by one; None: all there are.
    groups: by size, 2 or more."""

    alone: Mapping[str, Rows] | None
    groups: Mapping[int, tuple[Group, ...]]


@dataclass(frozen=True, eq=False, slots=True)
class Read:
    """An answer about n pictures. places, values: [n]; of a picture that is missing in it inf."""

    places: Vector
    values: Vector
    well_formed: bool

    @property
    def complete(self) -> bool:
        """Whether every picture is in it."""
        return bool(np.isfinite(self.places).all())


def sample(
    data: Labelled,
    labels: Sequence[Labels],
    part: Part,
    sizes: Sequence[int],
    groups: int,
    alone: int | None,
    seed: int,
) -> Sample:
    """groups: of each size above 1.   alone: single pictures over all queries; None: all."""
    rows = {each.key: data.rows(part, each) for each in labels}
    values = {each.key: each.values.astype(np.float64) for each in labels}
    drawn = {n: draw(values, rows, n, groups, seed) for n in sizes if n > 1}
    if alone is None or sum(map(len, rows.values())) <= alone:
        return Sample(None, drawn)
    quota, rest = divmod(alone, len(labels))
    chosen = {}
    for number, each in enumerate(labels):
        generator = np.random.default_rng([seed, 1, zlib.crc32(each.key.encode())])
        count = quota + (number < rest)
        chosen[each.key] = _some(each, rows[each.key], count, generator)
    return Sample(chosen, drawn)


def _some(labels: Labels, rows: Rows, count: int, generator: np.random.Generator) -> Rows:
    """At most `count` of the rows, rising; of a count few that show none, see `NONE_SHOWN`."""
    none = labels.values[rows] == 0
    if labels.task != "count" or none.all():
        return np.sort(generator.permutation(rows)[:count])
    shown = generator.permutation(rows[~none])[: math.ceil(count * (1 - NONE_SHOWN))]
    few = max(1, round(len(shown) * NONE_SHOWN / (1 - NONE_SHOWN)))
    return np.sort(np.concatenate([shown, generator.permutation(rows[none])[:few]]))


def narrowed(data: Labelled, labels: Labels, part: Part, rows: Rows) -> Labels:
    """The labels without those of the part's other pictures."""
    others = np.setdiff1d(data.rows(part, labels), rows)
    values = labels.values.copy()
    values[others] = np.nan
    return replace(labels, values=values)


def read(text: str, count: int) -> Read:
    """Of each picture what is said first; ids of no picture are passed over."""
    places, values = np.full(count, math.inf), np.full(count, math.inf)
    for place, (at, value) in enumerate(values_in(text, range(count)).items()):
        places[at], values[at] = place, value
    return Read(places, values, well_formed(text))


def by_answers(
    groups: Sequence[Group], answers: Sequence[Read | None], truths: Mapping[str, Vector]
) -> Ordered:
    """answers: one a group; None: it could not be shown.   truths: of every query, by row.

    The listed order counts; pictures that are missing share the last place.
    """
    table = np.full((4, len(groups)), math.nan)
    for number, (group, found) in enumerate(zip(groups, answers, strict=True)):
        if found is not None:
            truth = truths[group.query][list(group.rows)]
            figures = tau(truth, found.places), tau(truth, found.values)
            table[:, number] = (*figures, found.well_formed, found.complete)
    return Ordered(tuple(groups), *table)


def by_scores(groups: Sequence[Group], answered: Sequence[Answered]) -> Ordered:
    """answered: with the scores of all pictures of the groups; without one a group has no order."""
    scores: dict[str, dict[int, float]] = {
        each.labels.key: dict(zip(each.rows.tolist(), each.scores.tolist(), strict=True))
        for each in answered
    }
    truths = {each.labels.key: each.labels.values.astype(np.float64) for each in answered}
    found = np.full(len(groups), math.nan)
    for number, group in enumerate(groups):
        own = scores.get(group.query, {})
        if all(row in own for row in group.rows):
            truth = truths[group.query][list(group.rows)]
            found[number] = tau(truth, [own[row] for row in group.rows])
    return Ordered(tuple(groups), found)
