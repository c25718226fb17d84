"""Fewer training pictures: so many of each rank, most of some ranks dropped."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imgrank.data.fewer import few_shot, shifted
from imgrank.data.labelled import Labelled, Labels
from imgrank.data.split import Part
from imgrank.errors import UsageError
from imgrank.models.ranks import Ranks

NAMES = ("low", "middle", "high", "top")
RANKS = Ranks("{}", NAMES, (1.0, 2.0, 3.0, 4.0), (0.5, 1.5, 2.5, 3.5), NAMES)


def labelled() -> Labelled:
    """10 training pictures of 1, 20 of 2, 3 of 3, none of 4; then 5 validation, 5 test of each."""
    values = [1.0] * 10 + [2.0] * 20 + [3.0] * 3 + [1.0, 2.0, 3.0, 4.0] * 10
    parts: list[Part] = ["train"] * 33 + ["validation"] * 20 + ["test"] * 20
    keys = tuple(f"made/{n}" for n in range(len(values)))
    labels = Labels("level", "aesthetics", "", np.array(values, dtype=np.float32))
    paths = tuple(Path(key) for key in keys)
    return Labelled("made", paths, keys, tuple(parts), keys, (labels,))


def trained(data: Labelled) -> dict[float, int]:
    return dict(Counter(data.labels[0].values[data.rows("train")].tolist()))


def test_few_of_each_rank_and_all_where_there_are_fewer() -> None:
    data = labelled()
    few = few_shot(data, RANKS, 4, seed=0)
    assert trained(few) == {1: 4, 2: 4, 3: 3}
    assert few.keys == data.keys  # rows stay, so that cached tokens serve
    for part in ("validation", "test"):
        assert few.rows(part).tolist() == data.rows(part).tolist()
    assert few.parts.count(None) == 33 - 11


def test_a_seed_draws_others_and_more_contain_fewer() -> None:
    data = labelled()
    two, eight = (set(few_shot(data, RANKS, n, seed=0).rows("train")) for n in (2, 8))
    assert two < eight
    assert two == set(few_shot(data, RANKS, 2, seed=0).rows("train"))
    assert two != set(few_shot(data, RANKS, 2, seed=1).rows("train"))


def test_what_is_kept_depends_on_names_not_on_the_order() -> None:
    data = labelled()
    turned = replace(
        data,
        paths=data.paths[::-1],
        keys=data.keys[::-1],
        parts=data.parts[::-1],
        groups=data.groups[::-1],
        labels=(replace(data.labels[0], values=data.labels[0].values[::-1]),),
    )
    one, other = few_shot(data, RANKS, 2, seed=5), few_shot(turned, RANKS, 2, seed=5)
    assert {one.keys[n] for n in one.rows("train")} == {other.keys[n] for n in other.rows("train")}


def test_most_pictures_of_some_ranks_are_dropped() -> None:
    data = labelled()
    seen = set()
    for seed in range(8):
        less = shifted(data, RANKS, 1, 0.8, seed)
        assert less.rows("test").tolist() == data.rows("test").tolist()
        seen.add(tuple(trained(less).items()))
    # 80 % of 10, of 20, of 3 (2.4, rounded) are gone; the rank without pictures is never drawn.
    assert seen == {
        ((1.0, 2), (2.0, 20), (3.0, 3)),
        ((1.0, 10), (2.0, 4), (3.0, 3)),
        ((1.0, 10), (2.0, 20), (3.0, 1)),
    }
    assert trained(shifted(data, RANKS, 3, 0.9, 0)) == {1: 1, 2: 2}  # 2.7 of 3: all


def test_a_second_query_and_pictures_without_a_value() -> None:
    data = labelled()
    other = np.full(len(data), np.nan, dtype=np.float32)
    other[:6] = 4.0
    second = Labels("other", "aesthetics", "", other)
    few = few_shot(replace(data, labels=(*data.labels, second)), RANKS, 1, 0, labels=second)
    assert len(few.rows("train", second)) == 1
    assert len(few.rows("train")) == 33 - 5  # those that have no value stay


def test_what_cannot_be_dropped() -> None:
    data = labelled()
    with pytest.raises(UsageError, match="1 picture a rank or more, not 0"):
        few_shot(data, RANKS, 0, 0)
    with pytest.raises(UsageError, match="between 0 and 1, 80 does not"):
        shifted(data, RANKS, 1, 80, 0)
    with pytest.raises(UsageError, match=r"of 4 ranks cannot be dropped.*pictures of 3 ranks"):
        shifted(data, RANKS, 4, 0.8, 0)
    none = replace(data, parts=("test",) * len(data))
    with pytest.raises(UsageError, match="made has no training pictures with a value of level"):
        few_shot(none, RANKS, 1, 0)
