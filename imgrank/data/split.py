"""Splitting a data set so that relatives (one prompt, one photograph, one person) stay together."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

__all__ = ["Part", "split_by_group"]

Part = Literal["train", "validation", "test"]


def split_by_group(
    groups: Sequence[str], seed: int = 0, validation: float = 0.1, test: float = 0.1
) -> list[Part]:
    """The part of each row, given its group; all rows of a group get the same part.

    validation, test: share of the GROUPS, rounded. Depends on the set of groups and the seed
    only, not on the order or number of rows.
    """
    names = sorted(set(groups))
    random.Random(seed).shuffle(names)
    n_test, n_validation = round(test * len(names)), round(validation * len(names))
    part: dict[str, Part] = dict.fromkeys(names, "train")
    part.update(dict.fromkeys(names[:n_test], "test"))
    part.update(dict.fromkeys(names[n_test : n_test + n_validation], "validation"))
    return [part[group] for group in groups]
