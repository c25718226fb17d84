"""Agreement of scores with the truth: pure functions of two vectors, higher is better except MAE.

PLCC, SRCC (average ranks for ties) and MAE are computed per query; over several queries take the
unweighted mean. What is undefined (a constant vector, fewer than two rows, no pair) is NaN, not a
warning. Needs scipy, which the extra `train` brings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from imgrank.errors import MissingExtra

__all__ = [
    "accuracy",
    "bootstrap",
    "mae",
    "nearest_class",
    "official_accuracy",
    "pair_accuracy",
    "plcc",
    "require_scipy",
    "srcc",
]

Vector = npt.ArrayLike
Metric = Callable[..., float]
STRIP = 512  # rows whose pairs with all others are counted at a time


def plcc(truth: Vector, score: Vector) -> float:
    """Pearson's linear correlation coefficient, -1 to 1."""
    return _correlation("pearsonr", truth, score)


def srcc(truth: Vector, score: Vector) -> float:
    """Spearman's rank correlation coefficient, -1 to 1; tied values share their average rank."""
    return _correlation("spearmanr", truth, score)


def mae(truth: Vector, score: Vector) -> float:
    """Mean absolute error, in the unit of the truth."""
    y, s = _vectors(truth, score)
    return float(np.abs(y - s).mean()) if len(y) else float("nan")


def accuracy(truth: Vector, score: Vector, classes: int | None = None) -> float:
    """Share of rows whose score is the true class index, see `nearest_class`."""
    y, s = _vectors(truth, score)
    return float((nearest_class(s, classes) == y).mean()) if len(y) else float("nan")


def nearest_class(score: Vector, classes: int | None = None) -> npt.NDArray[np.float64]:
    """Scores rounded half to even; with `classes`, clipped to 0 .. classes - 1."""
    nearest = np.rint(np.asarray(score, dtype=np.float64))
    return nearest if classes is None else np.clip(nearest, 0, classes - 1)


def pair_accuracy(truth: Vector, score: Vector, groups: Sequence[Any] | None = None) -> float:
    """Share of pairs with different truths that the scores order rightly; tied scores count half.

    groups: count pairs within a group only (say, versions of one photograph). All pairs weigh the
    same.
    """
    y, s = _vectors(truth, score)
    labels = np.zeros(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]
    right = total = 0.0
    for rows in _rows_by_group(labels):
        for start in range(0, len(rows), STRIP):  # all pairs of 20,000 rows would be gigabytes
            some = rows[start : start + STRIP]
            above = y[some][:, None] > y[rows][None]
            gap = s[some][:, None] - s[rows][None]
            right += float((above * ((gap > 0) + 0.5 * (gap == 0))).sum())
            total += float(above.sum())
    return right / total if total else float("nan")


def official_accuracy(truth: Vector, score: Vector) -> float:
    """The pairwise "accuracy" of the authors of the ranking adapter, for comparing with theirs.

    Over index pairs (r, c) with c <= r + 1, so with the diagonal, which is always right, and with
    each neighbouring pair twice; right: [y_c - y_r >= 0] is the same for truth and score.
    """
    y, s = _vectors(truth, score)
    counted = np.tri(len(y), k=1, dtype=bool)
    if not counted.any():
        return float("nan")
    same = (y[None] - y[:, None] >= 0) == (s[None] - s[:, None] >= 0)
    return float(same[counted].mean())


def bootstrap(
    metric: Metric,
    truth: Vector,
    score: Vector,
    groups: Sequence[Any] | None = None,
    *,
    by_group: bool = False,
    rounds: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of metric(truth, score) by resampling: the 2.5 and 97.5 percentiles.

    Groups (photographs, prompts) are drawn with replacement where given, since rows of a group
    are not independent; else rows. by_group: the metric takes the groups as its third argument;
    a group that was drawn twice then counts as two.
    """
    y, s = _vectors(truth, score)
    draw = np.random.default_rng(seed)
    labels = np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]
    members = _rows_by_group(labels)
    values = []
    for _ in range(rounds):
        chosen = [members[n] for n in draw.integers(len(members), size=len(members))]
        rows = np.concatenate(chosen)
        if by_group:
            again = np.repeat(np.arange(len(chosen)), [len(part) for part in chosen])
            values.append(metric(y[rows], s[rows], again))
        else:
            values.append(metric(y[rows], s[rows]))
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def require_scipy(what: str) -> ModuleType:
    """`scipy.stats`. what: what is being done; long work asks before it begins.

    Raises MissingExtra if scipy is not installed.
    """
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingExtra(what, "train") from error
    return cast(ModuleType, stats)


def _vectors(
    truth: Vector, score: Vector
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    y, s = np.asarray(truth, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if y.ndim != 1 or y.shape != s.shape:
        raise ValueError(f"truth and score must be vectors of one length: {y.shape}, {s.shape}")
    return y, s


def _correlation(name: str, truth: Vector, score: Vector) -> float:
    y, s = _vectors(truth, score)
    if len(y) < 2 or np.ptp(y) == 0 or np.ptp(s) == 0:
        return float("nan")
    stats = require_scipy("measuring a ranking")
    return float(getattr(stats, name)(y, s).statistic)


def _rows_by_group(labels: npt.NDArray[Any]) -> list[npt.NDArray[np.intp]]:
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    return np.split(order, starts) if len(order) else []
