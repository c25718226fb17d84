"""Fewer training pictures of a set, as papers make it harder. No picture is opened.

* `few_shot`: so many of each rank (paper 000, Table 3: 1, 2, 4, ... 64);
* `shifted`: of some ranks drawn at random most are dropped (Table 4: of 10 to 40 ranks 80 or 90 %).

Both only take pictures out of the training part: rows stay, of no part (`parts[n]` is None), so
that cached tokens of the whole set serve. Validation and test are untouched. What is kept depends
on the seed and on the names of the pictures, not on the order in which they are listed; and of one
seed the 8 pictures of a rank are among its 16.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from imgrank.data.labelled import Labelled, Labels
from imgrank.errors import UsageError
from imgrank.models.ranks import Ranks

__all__ = ["few_shot", "shifted"]


def few_shot(
    data: Labelled, ranks: Ranks, per_rank: int, seed: int, labels: Labels | None = None
) -> Labelled:
    """At most `per_rank` training pictures of each rank; where there are fewer, all of them.

    labels: the query whose values have the ranks; None: the first.   Raises UsageError.
    """
    if per_rank < 1:
        raise UsageError(f"a few-shot training needs 1 picture a rank or more, not {per_rank}.")
    dropped: list[int] = []
    for rows in _by_rank(data, ranks, seed, labels).values():
        dropped += rows[per_rank:]
    return _without(data, dropped)


def shifted(
    data: Labelled,
    ranks: Ranks,
    classes: int,
    drop: float,
    seed: int,
    labels: Labels | None = None,
) -> Labelled:
    """Without the share `drop` (0.8, 0.9; rounded) of the training pictures of `classes` ranks.

    The ranks are drawn among those that have training pictures.   labels: as in `few_shot`.
    Raises UsageError if there are not so many ranks, or `drop` is no share.
    """
    if not 0 < drop < 1:
        raise UsageError(f"the share of pictures to drop lies between 0 and 1, {drop:g} does not.")
    by_rank = _by_rank(data, ranks, seed, labels)
    if not 1 <= classes <= len(by_rank):
        raise UsageError(
            f"pictures of {classes} ranks cannot be dropped: the training part of {data.name} has "
            f"pictures of {len(by_rank)} ranks."
        )
    dropped: list[int] = []
    for rank in random.Random(seed).sample(sorted(by_rank), classes):
        rows = by_rank[rank]
        dropped += rows[len(rows) - round(drop * len(rows)) :]
    return _without(data, dropped)


def _by_rank(
    data: Labelled, ranks: Ranks, seed: int, labels: Labels | None
) -> dict[int, list[int]]:
    """Rank -> its training rows in the order of a digest of seed and name."""
    labels = labels or data.labels[0]
    rows = data.rows("train", labels)
    if not len(rows):
        raise UsageError(f"{data.name} has no training pictures with a value of {labels.key}.")
    out: dict[int, list[int]] = {}
    for row, rank in zip(rows.tolist(), ranks.of(labels.values[rows]).tolist(), strict=True):
        out.setdefault(rank, []).append(row)

    def place(row: int) -> bytes:
        return hashlib.sha256(f"{data.name}|{seed}|{data.keys[row]}".encode()).digest()

    return {rank: sorted(found, key=place) for rank, found in out.items()}


def _without(data: Labelled, rows: Iterable[int]) -> Labelled:
    gone = np.zeros(len(data), dtype=bool)
    gone[list(rows)] = True
    parts = tuple(None if out else part for out, part in zip(gone, data.parts, strict=True))
    return replace(data, parts=parts)
