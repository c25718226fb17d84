"""Which pictures a model sees together, and how its answers become one scale of many (numpy).

    first = first_round(count, seed=0)                  # ask the model about each window
    values = fit(answers, count)                        # a mapping {picture: value} for each call
    second = second_round(order_of(values))             # again, those that lie close together
    values = fit([*answers, *more], count)

A model that looks at several pictures orders them better than it values each one, but gives all of
a window a bit too much or too little: a call has an offset that its pictures share. Round 1 is a
random partition; round 2 shifts windows by half of one over the order that came of it, so that the
neighbours are compared with each other; `fit` finds value = picture + call by least squares. Both
rounds can be asked in batches: 16 + 17 calls for 128 pictures, where a merge sort needs many more,
most of them one after the other (`tests/bench/listwise.py`).

Pictures are numbers 0..count - 1. Everything is pure; a seed gives the same windows everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["SIZE", "Window", "first_round", "fit", "order_of", "second_round"]

SIZE = 8  # pictures a window: as many as the model is trained on
ROUNDS = 10_000  # of alternating means at most; about a hundred do for the windows made here
TOLERANCE = 1e-12  # of the largest value: a step below it is rounding

Window = tuple[int, ...]
Vector = NDArray[np.float64]


def first_round(count: int, size: int = SIZE, seed: int = 0) -> list[Window]:
    """A random partition into ceil(count / size) windows whose lengths differ by at most one.

    So nine pictures are five and four, and none is alone unless it is the only one.
    """
    _whole(size)
    shuffled = np.random.default_rng(seed).permutation(count)
    parts = np.array_split(shuffled, -(-count // size)) if count else []
    return [tuple(part.tolist()) for part in parts]


def second_round(order: Sequence[int], size: int = SIZE) -> list[Window]:
    """Windows of `size` over `order`, shifted by half: count / size + 1 calls.

    order: the pictures by their value so far. The windows at both ends are whole: they overlap
    their neighbour instead of being half empty, which costs no call, leaves no picture alone, and
    ties the calls together. Empty where one window holds all, since round 1 has asked that.
    """
    _whole(size)
    pictures, last = tuple(int(picture) for picture in order), len(order) - size
    if last <= 0:
        return []
    starts = range(-(size // 2), len(order), size)
    whole = dict.fromkeys(min(max(start, 0), last) for start in starts)
    return [pictures[start : start + size] for start in whole]


def fit(calls: Sequence[Mapping[int, float]], count: int) -> Vector:
    """[count]: the value of each picture, in the calls' unit; NaN for one that was never valued.

    calls: {picture: value} of each call; values that are not finite are passed over. Minimises the
    sum over calls c and their pictures i of (value_ic - picture_i - offset_c)^2 by alternating
    means (a picture is the mean of its values less the offsets, an offset that of what is left).

    Offsets are 0 in the mean over all values of a part, so values keep their level: a part is what
    calls with common pictures tie together. Parts that nothing ties have only the level that the
    model gave them; a call about one picture says nothing beyond another call about it.
    Raises IndexError for a picture outside 0..count - 1.
    """
    cells = [
        (picture, call, value)
        for call, answer in enumerate(calls)
        for picture, value in answer.items()
        if np.isfinite(value)
    ]
    if any(not 0 <= picture < count for picture, _, _ in cells):
        raise IndexError(f"a call names a picture that is not one of 0..{count - 1}")
    fitted = np.full(count, np.nan)
    if not cells:
        return fitted
    image, call, value = (np.asarray(column) for column in zip(*cells, strict=True))
    known, row = np.unique(image, return_inverse=True)
    fitted[known] = _alternating_means(row, call, value.astype(np.float64))
    return fitted


def order_of(values: Vector) -> list[int]:
    """Pictures by rising value; equals by number; those without a value last."""
    return [int(picture) for picture in np.argsort(values, kind="stable")]


def _alternating_means(row: NDArray[np.intp], call: NDArray[np.intp], value: Vector) -> Vector:
    """The picture terms [max(row) + 1] of every (row, call, value).

    From offsets of 0 each step keeps their sum over a part's values at 0, so no constant drifts.
    """
    seen, asked = np.bincount(row), np.maximum(np.bincount(call), 1)
    offsets = np.zeros(len(asked))
    small = TOLERANCE * np.abs(value).max()
    pictures = np.bincount(row, value) / seen
    for _ in range(ROUNDS):
        offsets = np.bincount(call, value - pictures[row], len(asked)) / asked
        before, pictures = pictures, np.bincount(row, value - offsets[call]) / seen
        if np.abs(pictures - before).max() <= small:
            break
    return pictures


def _whole(size: int) -> None:
    if size < 2:
        raise ValueError(f"a window of {size} compares nothing")
