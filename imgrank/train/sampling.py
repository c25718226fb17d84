"""What each step trains on: which source, which query, which rows. Pure functions of (seed, step).

A batch holds one query, so that all its pairs compare. Its source is drawn by share, its query
uniformly, and its rows with weight 1 / (number of values x rows of that value), so that values are
uniform; for counting, a share of the batch (rho) are pictures without the object. Some queries of
counts are relative: "closeness to {n}", target -|y - n| (paper, appendix B.1).

Every draw has a generator of its own, seeded with (seed, step) and a number for what is drawn, so
that nothing depends on what was drawn before: a resumed run goes on as if it had never stopped,
and all processes of a run draw the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgrank.data.labelled import Labelled, Labels

__all__ = ["Pool", "choose_query", "choose_source", "draw_rows", "make_pool", "relative_to"]

Rows = npt.NDArray[np.intp]
OF_SOURCE, OF_QUERY, OF_RELATIVE = 1, 2, 3  # rows are drawn from (seed, step) alone


@dataclass(frozen=True, eq=False, slots=True)
class Pool:
    """The training rows of one query, and how often each is drawn.

    rows: row numbers [n].   weights: of each of them, sum 1; with `zeros`, of those above 0.
    zeros: rows with value 0, where a share `negatives` of each batch is drawn from them.
    members: number of each row's group [n], where whole groups are drawn, so many a batch.
    """

    rows: Rows
    weights: npt.NDArray[np.float64]
    zeros: Rows
    negatives: float = 0.0
    groups: int = 0
    members: Rows | None = None


def make_pool(
    data: Labelled,
    labels: Labels,
    value_step: float = 0.5,
    negatives: float = 0.0,
    groups: int = 0,
) -> Pool:
    """The training rows of a query.

    value_step: values are uniform in steps of this size.   groups: draw so many whole groups
    (photographs, prompts) instead.   negatives: share of each batch that has value 0 (rho).
    """
    rows = data.rows("train", labels)
    zeros = rows[:0]
    if negatives:
        zeros = rows[labels.values[rows] == 0]
        rows = rows[labels.values[rows] != 0]
    values = np.round(labels.values[rows] / value_step)
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    weights = 1.0 / (len(counts) * counts[which])
    members = None
    if groups:
        members = np.unique(np.asarray(data.groups)[rows], return_inverse=True)[1]
    return Pool(rows, weights, zeros, negatives, groups, members)


def draw_rows(pool: Pool, batch: int, seed: int, step: int) -> Rows:
    """The rows of one step, none twice; fewer than `batch` if there are no more."""
    draw = np.random.default_rng((seed, step))
    if pool.members is not None:
        numbers = np.arange(pool.members.max() + 1)
        chosen = draw.choice(numbers, size=pool.groups, replace=False)
        return pool.rows[np.isin(pool.members, chosen)]
    without = min(round(pool.negatives * batch), len(pool.zeros))
    some = min(batch - without, len(pool.rows))
    rows = pool.rows[draw.choice(len(pool.rows), size=some, replace=False, p=pool.weights)]
    if not pool.negatives:
        return rows
    return np.concatenate((rows, draw.choice(pool.zeros, size=without, replace=False)))


def choose_source(shares: Sequence[float], seed: int, step: int) -> int:
    """Number of the source of this step, each in proportion to its share of the batches."""
    weights = np.array(shares)
    draw = np.random.default_rng((seed, step, OF_SOURCE))
    return int(draw.choice(len(weights), p=weights / weights.sum()))


def choose_query(count: int, seed: int, step: int) -> int:
    """Number of the query, 0..count-1, uniformly."""
    return int(np.random.default_rng((seed, step, OF_QUERY)).integers(count))


def relative_to(probability: float, most: int, seed: int, step: int) -> int | None:
    """With this probability a number n in 0..most, uniformly, for "closeness to n"; else None."""
    draw: Any = np.random.default_rng((seed, step, OF_RELATIVE))
    if draw.random() >= probability:
        return None
    return int(draw.integers(most + 1))
