"""Splitting a data set so that relatives (one prompt, one photograph, one person) stay together."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Literal

__all__ = ["Part", "fold_by_name", "split_by_group", "split_by_name"]

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


def split_by_name(
    groups: Sequence[str], salt: str, validation: float = 0.1, test: float = 0.1
) -> list[Part]:
    """The part of each row by its group's name alone, whatever other groups there are.

    So somebody with the whole of a set, or with another part of it, has the same group in the same
    part, and never measures a model on what it was trained on. The shares of the groups are met
    about, not exactly.   salt: the name of the data set, and a seed.
    """

    def part(group: str) -> Part:
        place = _place(group, salt) / 2**64  # uniform in [0, 1)
        return "test" if place < test else "validation" if place < test + validation else "train"

    return [part(group) for group in groups]


def fold_by_name(group: str, salt: str, folds: int) -> int:
    """The fold of a group, 0 to `folds` - 1, by its name alone, as for `split_by_name`."""
    return _place(group, salt) * folds // 2**64


def _place(group: str, salt: str) -> int:
    """0 to 2^64 - 1, uniform."""
    return int.from_bytes(hashlib.sha256(f"{salt}|{group}".encode()).digest()[:8], "big")
