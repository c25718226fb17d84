"""Bootstrap intervals of a ranking's figures, all rounds at once.

A round draws groups of rows (relatives: one prompt, one photograph) with replacement. It is kept as
how often each row was drawn, so that every figure is a weighted one, and a thousand rounds are a
few operations on a matrix [R, n]. The same rounds serve several queries and several models, which
gives intervals of their means and of the difference of two models on the same pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "Drawn",
    "Samples",
    "draws",
    "interval",
    "mean_samples",
    "pair_samples",
    "plcc_samples",
    "srcc_samples",
]

Vector = npt.NDArray[np.float64]
Samples = npt.NDArray[np.float64]  # [R]: a figure in every round; NaN where it is undefined
Drawn = npt.NDArray[np.float32]  # [R, n]: how often each row was drawn
AT_ONCE = 2_000_000  # numbers of a matrix that is worked on at a time
STRIP = 256  # rows that `pair_samples` compares with all others at a time
FLAT = 1e-12  # a variance below this share of the largest square is rounding


def draws(groups: Sequence[Any], rounds: int = 1000, seed: int = 0) -> Drawn:
    """[R, n]: the rows that each round drew, the very ones of `metrics.bootstrap`.

    groups: of each row; as many groups are drawn as there are.
    """
    names, labels = np.unique(np.asarray(groups), return_inverse=True)
    total = len(names)
    counts = np.zeros((rounds, total), dtype=np.float32)
    draw = np.random.default_rng(seed)
    for row in counts:
        row += np.bincount(draw.integers(total, size=total), minlength=total)
    return counts[:, labels]


def interval(samples: Samples) -> tuple[float, float]:
    """The 2.5 and 97.5 percentiles of the rounds in which the figure is defined, or NaN."""
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def mean_samples(values: Vector, drawn: Drawn) -> Samples:
    """Of the mean of one value a row: absolute errors give the MAE, hits the accuracy."""
    total = drawn.sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(drawn @ values / total, np.float64)


def plcc_samples(truth: Vector, score: Vector, drawn: Drawn) -> Samples:
    """Of Pearson's correlation."""
    y, s = truth - truth.mean(), score - score.mean()
    moments = np.stack([y, s, y * y, s * s, y * s], axis=1)  # [n, 5]

    def some(block: Vector) -> Samples:
        with np.errstate(invalid="ignore"):
            my, ms, yy, ss, ys = (block @ moments / block.sum(axis=1, keepdims=True)).T
        var_y = _no_rounding(yy - my * my, y)
        var_s = _no_rounding(ss - ms * ms, s)
        return _ratio(ys - my * ms, var_y, var_s)

    return _by_blocks(some, drawn)


def srcc_samples(truth: Vector, score: Vector, drawn: Drawn) -> Samples:
    """Of Spearman's correlation; ranks are taken anew in every round, average ones for ties."""
    ties_y, ties_s = _Ties(truth), _Ties(score)

    def some(block: Vector) -> Samples:
        # The mean of average ranks is (N + 1) / 2, whatever the ties.
        middle = (block.sum(axis=1, keepdims=True) + 1) / 2
        y, s = ties_y.ranks(block) - middle, ties_s.ranks(block) - middle
        weighted = block * y
        covariance = (weighted * s).sum(axis=1)
        weighted *= y
        return _ratio(covariance, weighted.sum(axis=1), (block * s * s).sum(axis=1))

    return _by_blocks(some, drawn)


def pair_samples(truth: Vector, score: Vector, drawn: Drawn) -> Samples:
    """Of the pair accuracy: pairs with different truths, tied scores counting half.

    With w the weights of a round and A_ij = [y_i > y_j] ([s_i > s_j] + [s_i = s_j] / 2) it is
    w'A w / w'B w, B_ij = [y_i > y_j]. A is made in strips, and only of rows below another.
    """
    order = np.argsort(-truth, kind="stable")  # the highest truth first
    y, s, w = truth[order], score[order], np.ascontiguousarray(drawn[:, order])
    right = np.zeros(len(w))
    for start in range(0, len(y), STRIP):
        stop = min(start + STRIP, len(y))
        first = int(np.searchsorted(-y, -y[start], side="right"))  # the first below y[start]
        gap = s[start:stop, None] - s[None, first:]
        above = (gap > 0) + np.float32(0.5) * (gap == 0)
        above *= y[start:stop, None] > y[None, first:]
        right += ((w[:, start:stop] @ above) * w[:, first:]).sum(axis=1, dtype=np.float64)
    starts = np.flatnonzero(np.append(True, np.diff(y) != 0))  # of each run of one truth
    here = np.add.reduceat(w, starts, axis=1, dtype=np.float64)
    pairs = (here * (np.cumsum(here, axis=1) - here)).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(right / pairs, np.float64)


class _Ties:
    """Average ranks of fixed values under changing weights."""

    def __init__(self, values: Vector) -> None:
        self._order = np.argsort(values, kind="stable")
        new = np.append(True, np.diff(values[self._order]) != 0)
        self._starts = np.flatnonzero(new)
        self._code = np.empty(len(values), dtype=np.intp)
        self._code[self._order] = np.cumsum(new) - 1

    def ranks(self, weights: Vector) -> Vector:
        """[R, n] -> [R, n]: mean rank of the copies of a value: upto - (copies - 1) / 2."""
        copies = weights[:, self._order]
        if len(self._starts) < copies.shape[1]:
            copies = np.add.reduceat(copies, self._starts, axis=1)  # [R, values]
        ranks = np.cumsum(copies, axis=1)
        ranks -= (copies - 1) / 2
        return np.asarray(ranks[:, self._code], np.float64)


def _by_blocks(figure: Callable[[Vector], Samples], drawn: Drawn) -> Samples:
    return np.concatenate([figure(block) for block in _blocks(drawn)])


def _blocks(drawn: Drawn) -> Iterator[Vector]:
    rounds = max(1, AT_ONCE // max(1, drawn.shape[1]))
    for start in range(0, len(drawn), rounds):
        yield drawn[start : start + rounds].astype(np.float64)


def _no_rounding(variance: Vector, centred: Vector) -> Vector:
    largest = float(np.square(centred).max(initial=0))
    return np.where(variance > FLAT * largest, variance, 0)


def _ratio(covariance: Vector, var_y: Vector, var_s: Vector) -> Samples:
    with np.errstate(invalid="ignore", divide="ignore"):
        product = np.sqrt(var_y) * np.sqrt(var_s)
        return np.where(product > 0, covariance / product, np.nan)
