"""What a model's scores are worth, beside the true values: figures, intervals, baselines, means.

Per query: PLCC, SRCC, pair accuracy (of all pairs with different truths); where the scores are in
the unit of the truth also the MAE; where the truth is the index of a class, the accuracy and the
MAE of scores that are rounded and clipped to the classes; where it is a count, the accuracy of
rounded scores. A model with ranks has more, and its accuracy is that of its arg-max rank:
`levels.py`. Over queries: the unweighted mean. 95 %
bootstrap intervals over relatives (see `resampling.py`); one set of rounds serves all queries, so
that means, and differences of two models, have intervals too.

Baselines know no picture: the median of the training part has an MAE, its majority class an
accuracy; a constant orders half of the pairs rightly, and its correlations are undefined.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt

from imgrank.data.labelled import Labelled, Labels
from imgrank.data.split import Part
from imgrank.evaluate import metrics
from imgrank.evaluate.levels import FIGURES as LEVEL_FIGURES
from imgrank.evaluate.levels import Levels, level_figures
from imgrank.evaluate.resampling import (
    Drawn,
    Samples,
    draws,
    interval,
    mean_samples,
    pair_samples,
    plcc_samples,
    srcc_samples,
)
from imgrank.models.ranks import Ranks
from imgrank.rankers.base import Answer

__all__ = [
    "FIGURES",
    "Answered",
    "Measured",
    "Rounds",
    "baseline",
    "difference",
    "mean_of",
    "means",
    "measure_query",
    "over_models",
]

FIGURES = ("srcc", "plcc", "mae", "class_mae", "accuracy", "pair_accuracy", *LEVEL_FIGURES)
ERRORS = ("mae", "class_mae", "level_mae")  # in the unit of the truth
COUNT, OBJECTS = "count", "objects"  # the task whose truth is a number of things, and its unit
UNTRAINED = "vision-language"  # the method of a model that was trained to order nothing
RATINGS = ("MOS", "")  # units that say nothing without the ends of their scale
Rows = npt.NDArray[np.intp]
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Answered:
    """One query as one model answered it; scores[n] is of the picture rows[n] of the data set.

    levels: of the same pictures, if the model gives probabilities of ranks.
    """

    labels: Labels
    answer: Answer
    rows: Rows
    scores: Vector
    levels: Levels | None = None

    @property
    def truth(self) -> Vector:
        return self.labels.values[self.rows].astype(np.float64)

    @property
    def ranks(self) -> Ranks | None:
        """Of the model, where it has some and they are on the scale of the truth."""
        return self.levels.ranks if self.levels is not None and in_unit(self) else None


@dataclass(frozen=True, eq=False, slots=True)
class Rounds:
    """The bootstrap's rounds over `rows` of a data set (rising)."""

    rows: Rows
    drawn: Drawn
    relatives: int

    @classmethod
    def of(cls, data: Labelled, rows: Rows, rounds: int, seed: int) -> Rounds:
        """Relatives (`data.groups`) stay together."""
        groups = [data.groups[n] for n in rows]
        return cls(rows, draws(groups, rounds, seed), len(set(groups)))

    def at(self, rows: Rows) -> Drawn:
        """How often each of some of the rows was drawn."""
        return self.drawn[:, np.searchsorted(self.rows, rows)]

    @property
    def over(self) -> str:
        """What was drawn, for people."""
        if self.relatives == len(self.rows):
            return "pictures"
        return f"{self.relatives} groups of relatives"


@dataclass(frozen=True, eq=False, slots=True)
class Measured:
    """Figures by name, without those that make no sense for a query; NaN: undefined.

    n: pictures; of a mean, those of its largest query.   samples: of each figure, one value a
    round.   unit: of the truth, and so of errors.   left_out: of a mean, the queries whose figures
    are undefined.
    """

    n: int
    values: Mapping[str, float]
    samples: Mapping[str, Samples]
    unit: str = ""
    left_out: tuple[str, ...] = ()

    def table(self) -> dict[str, Any]:
        """Plain values for JSON: {figure: value, figure_interval: [low, high]}; None: undefined."""
        out: dict[str, Any] = {}
        for name, value in self.values.items():
            out[name] = plain(value)
            if name in self.samples:
                out[f"{name}_interval"] = [plain(end) for end in interval(self.samples[name])]
        return out


def measure_query(answered: Answered, rounds: Rounds) -> Measured:
    """The figures of one query."""
    y, s, labels = answered.truth, answered.scores, answered.labels
    drawn = rounds.at(answered.rows)
    if not len(y):  # no picture has such a property
        names = ("srcc", "plcc", "pair_accuracy")
        none = np.full(len(drawn), np.nan)
        return Measured(0, dict.fromkeys(names, math.nan), dict.fromkeys(names, none), labels.unit)
    once = np.ones((1, len(y)), dtype=np.float32)  # all pairs of 20,000 rows, but in strips
    values = {
        "srcc": metrics.srcc(y, s),
        "plcc": metrics.plcc(y, s),
        "pair_accuracy": float(pair_samples(y, s, once)[0]),
    }
    samples = {
        "srcc": srcc_samples(y, s, drawn),
        "plcc": plcc_samples(y, s, drawn),
        "pair_accuracy": pair_samples(y, s, drawn),
    }
    rows: dict[str, Vector] = {}  # figures that are the mean of one value a picture
    if in_unit(answered):
        rows["mae"] = np.abs(y - s)
        if labels.classes:
            nearest = metrics.nearest_class(s, len(labels.classes))
            rows["class_mae"] = np.abs(y - nearest)
            rows["accuracy"] = (nearest == y).astype(np.float64)
        elif labels.task == COUNT:
            rows["accuracy"] = (np.rint(s) == y).astype(np.float64)
        if answered.levels is not None:
            more, figures, rounds_of = level_figures(answered.levels, y, drawn)
            rows |= more
            values |= figures
            samples |= rounds_of
    for name, each in rows.items():
        values[name] = float(each.mean()) if len(each) else math.nan
        samples[name] = mean_samples(each, drawn)
    return Measured(len(y), _ordered(values), samples, labels.unit)


def in_unit(answered: Answered) -> bool:
    """Whether scores and truth are on one scale. Similarity to words is on none.

    A mean opinion of 1 to 100 is on another one than that of 0 to 5, if both are known. Who was
    trained for nothing has a scale of its own for what has no unit.
    """
    answer, labels = answered.answer, answered.labels
    units = {answer.unit, labels.unit}
    if labels.task == COUNT and units == {"", OBJECTS}:
        return True
    if len(units) > 1 or (units == {""} and answer.method == UNTRAINED):
        return False
    own = answered.levels.scale if answered.levels is not None else answer.range
    ends = (own, labels.range)
    return answer.unit not in RATINGS or None in ends or ends[0] == ends[1]


def mean_of(queries: Mapping[str, Measured]) -> Measured:
    """The unweighted mean over queries, by key; those with an undefined figure are left out.

    A figure that only some of the others have has no mean, nor has an error in several units.
    """
    left_out = tuple(k for k, m in queries.items() if any(map(math.isnan, m.values.values())))
    kept = [m for key, m in queries.items() if key not in left_out]
    n = max((m.n for m in kept), default=0)
    if not kept:
        return Measured(n, {}, {}, left_out=left_out)
    units = {m.unit for m in kept}
    names = [name for name in FIGURES if all(name in m.values for m in kept)]
    names = [name for name in names if len(units) == 1 or name not in ERRORS]
    values = {name: mean(m.values[name] for m in kept) for name in names}
    drawn = [name for name in names if all(name in m.samples for m in kept)]
    samples = {name: _mean_samples([m.samples[name] for m in kept]) for name in drawn}
    return Measured(n, values, samples, "" if len(units) > 1 else units.pop(), left_out)


def means(queries: Mapping[str, Measured]) -> dict[str, Measured]:
    """{"mean": over all queries, "mean color": over those whose key begins with "color/", ...}.

    Empty for a single query.
    """
    if len(queries) < 2:
        return {}
    prefixes = dict.fromkeys(key.partition("/")[0] for key in queries if "/" in key)
    out = {}
    for prefix in prefixes:
        own = {key: m for key, m in queries.items() if key.startswith(f"{prefix}/")}
        out[f"mean {prefix}"] = mean_of(own)
    return {**out, "mean": mean_of(queries)}


def difference(
    first: Measured, second: Measured, figures: Sequence[str] = FIGURES
) -> dict[str, Any]:
    """First less second, of two models on the same pictures, with paired intervals."""
    out: dict[str, Any] = {}
    for name in figures:
        if name in first.values and name in second.values:
            out[name] = plain(first.values[name] - second.values[name])
            if not (name in first.samples and name in second.samples):
                continue
            ends = interval(first.samples[name] - second.samples[name])
            out[f"{name}_interval"] = [plain(end) for end in ends]
    return out


def over_models(each: Sequence[Measured]) -> dict[str, Any]:
    """Mean and sample standard deviation of every figure over models (folds, seeds)."""
    out: dict[str, Any] = {}
    for name in FIGURES:
        values = [m.values[name] for m in each if name in m.values]
        if len(values) == len(each) > 1 and not any(map(math.isnan, values)):
            out[name], out[f"{name}_sd"] = plain(mean(values)), plain(stdev(values))
    return out


def baseline(
    data: Labelled, labels: Labels, part: Part, ranks: Ranks | None = None
) -> dict[str, Any]:
    """What can be said without looking at a picture, measured on `part`.

    From the training part, or, where the set has none, from `part` itself: `from` says which.
    ranks: of the model; the majority is then one of them.
    """
    truth = labels.values[data.rows(part, labels)].astype(np.float64)
    known, source = labels.values[data.rows("train", labels)].astype(np.float64), "train"
    if not len(known):
        known, source = truth, part
    median = float(np.median(known)) if len(known) else math.nan
    out: dict[str, Any] = {
        "from": source,
        "median": plain(median),
        "mae": plain(metrics.mae(truth, np.full_like(truth, median))),
        "pair_accuracy": 0.5,
    }
    names = ranks.names if ranks is not None else labels.classes
    if names and len(known):
        own, true = (each if ranks is None else ranks.of(each) for each in (known, truth))
        values, counts = np.unique(own, return_counts=True)
        majority = values[counts.argmax()]
        out["majority"] = names[int(majority)]
        out["accuracy"] = plain(float((true == majority).mean()) if len(true) else math.nan)
    elif labels.task == COUNT and len(known):
        counts_of, times = np.unique(known, return_counts=True)
        majority = counts_of[times.argmax()]
        out["majority"] = f"{majority:g}"
        out["accuracy"] = plain(float((truth == majority).mean()) if len(truth) else math.nan)
    return out


def plain(value: float) -> float | None:
    """Six decimals are more than any interval deserves; NaN becomes None, which JSON has."""
    return None if math.isnan(value) else round(value, 6)


def _ordered(values: Mapping[str, float]) -> dict[str, float]:
    return {name: values[name] for name in FIGURES if name in values}


def _mean_samples(samples: Sequence[Samples]) -> Samples:
    """The mean over queries in each round, over those that are defined in it."""
    stacked = np.stack(samples)
    defined = ~np.isnan(stacked)
    count = defined.sum(axis=0)
    total = np.where(defined, stacked, 0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
