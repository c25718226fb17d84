"""How the pictures found for a query become a matrix in two orders (paper 003, section 2.3).

Of the best K pictures every stride-th is taken until there are u x v; they are laid row by row into
a matrix, most relevant first, and each row is sorted by a re-ranker. Then along a row the order is
that of beauty, down a column that of relevance, and every row and column gives all its pairs. All
of it is done for all queries at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from imgrank.errors import DataError, UsageError

__all__ = ["Grid", "Matrix", "Numbers", "arrange", "best", "ensemble", "order_pairs"]

Matrix = npt.NDArray[np.intp]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grid:
    """What a query gets: of its best `top` pictures every `stride`-th, rows x columns of them.

    One row has the order of beauty alone, one column that of relevance alone (the paper's table 7).
    Raises UsageError for a single picture, which is preferred to nothing.
    """

    top: int = 400
    stride: int = 10
    rows: int = 5
    columns: int = 5

    def __post_init__(self) -> None:
        if self.cells < 2:
            raise UsageError("a matrix of one picture holds no preference: more rows or columns.")

    @property
    def cells(self) -> int:
        """Pictures a query."""
        return self.rows * self.columns

    @property
    def pairs(self) -> int:
        """Pairs a query: u C(v, 2) + v C(u, 2)."""
        u, v = self.rows, self.columns
        return u * math.comb(v, 2) + v * math.comb(u, 2)

    def fitted(self, pictures: int) -> Grid:
        """The grid for a pool of so many pictures: first the stride shrinks, then the matrix.

        The longer side shrinks first; of two equal ones the rows, so that more of beauty is left.
        A side of 1 stays as it is. Raises DataError for fewer than 4 pictures, which have no rows
        and columns; of a side of 1 for fewer than 2.
        """
        top = min(self.top, pictures)
        u, v = self.rows, self.columns
        while u * v > top and max(u, v) > 2:
            u, v = (u - 1, v) if u >= v else (u, v - 1)
        if u * v > top:
            raise DataError(
                f"a pool of {pictures} pictures is too small: {u * v} are needed at least."
            )
        return Grid(top, max(1, min(self.stride, top // (u * v))), u, v)


def order_pairs(u: int, v: int) -> Matrix:
    """int [P, 2]: (preferred, other), flat indices of a u x v matrix; first rows, then columns.

    P = u C(v, 2) + v C(u, 2): all pairs of every row from left to right, of every column from top
    to bottom.
    """
    cell = np.arange(u * v).reshape(u, v)
    sequences = [*cell, *cell.T]
    pairs = [pair for sequence in sequences for pair in combinations(sequence.tolist(), 2)]
    return np.array(pairs, dtype=np.intp).reshape(-1, 2)


def best(cosines: npt.NDArray[np.floating[Any]], top: int) -> Matrix:
    """int [Q, top]: the columns of the highest cosines [Q, N] of each row, best first.

    Cosines count to 6 decimals, as the file has them; equal ones are in the order of the columns.
    """
    number = cosines.shape[1]
    places = np.rint(np.asarray(cosines, np.float64) * 1e6).astype(np.int64)
    # All keys of a row differ, so that a partition, which is not stable, has but one answer.
    keys = -places * number + np.arange(number)
    found = np.argpartition(keys, top - 1, axis=1)[:, :top] if top < number else None
    if found is None:
        return np.argsort(keys, axis=1)
    order = np.argsort(np.take_along_axis(keys, found, axis=1), axis=1)
    return np.take_along_axis(found, order, axis=1)


def ensemble(cosines: Numbers, scores: Numbers, weight: float) -> Numbers:
    """z(cosine) + weight z(score), each standardised over the K pictures of a query: [Q, K]."""
    return np.round(_standardised(cosines) + weight * _standardised(scores), 6)


def arrange(order: Matrix, values: Numbers, grid: Grid) -> tuple[Matrix, Matrix]:
    """The matrices [Q, u, v] of pictures, and of their places in `order`.

    order: int [Q, K], pictures of each query, most relevant first.   values: [Q, K], what rows are
    sorted by, highest first; equal ones stay in order of relevance.
    """
    u, v = grid.rows, grid.columns
    places = np.arange(u * v).reshape(u, v) * grid.stride  # row-major
    taken = values[:, places]  # [Q, u, v]
    inner = np.argsort(-taken, axis=2, kind="stable")
    chosen = np.take_along_axis(np.broadcast_to(places, taken.shape), inner, axis=2)
    flat = chosen.reshape(len(order), -1)
    return np.take_along_axis(order, flat, axis=1).reshape(taken.shape), chosen


def _standardised(values: Numbers) -> Numbers:
    """Mean 0, population deviation 1 along the last axis; a constant row is 0."""
    varied = values.max(axis=-1, keepdims=True) > values.min(axis=-1, keepdims=True)
    centred = values - values.mean(axis=-1, keepdims=True)
    spread = values.std(axis=-1, keepdims=True)  # of equal values it need not be exactly 0
    out: Numbers = np.divide(centred, spread, out=np.zeros_like(centred), where=varied)
    return out
