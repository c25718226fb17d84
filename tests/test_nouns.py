"""Plurals, and which phrases name the same things."""

from __future__ import annotations

import pytest

from imgrank.nouns import plural, same_things


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("cat", "cats"),
        ("cats", "cats"),
        ("berry", "berries"),
        ("toy", "toys"),
        ("bench", "benches"),
        ("child", "children"),
        ("red box", "red boxes"),
        ("sheep", "sheep"),
    ],
)
def test_plural(one: str, many: str) -> None:
    assert plural(one) == many


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat", "Cats"),
        ("the cats", "a cat"),
        ("all visible dogs", "dogs"),
        ("red objects", "objects in red"),
        ("objects that are red", "an object in red"),
        ("grey-blue things", "things in grey-blue"),
        ("coloured balls", "colored ball"),
        ("people", "person"),
        ("buses", "bus"),
        ("wine glass", "wine glasses"),
        ("knives", "knife"),
        ("wolves", "wolf"),
        ("cherries", "cherry"),
        ("ties", "tie"),
        ("horses", "horse"),
        ("sheep", "sheep"),
        ("the all", "all the"),
        ("red things", "objects in red"),
        ("cubes", "objects in cube"),
        ("things", "the things"),
    ],
)
def test_the_same_things(one: str, other: str) -> None:
    assert same_things(one, other)
    assert same_things(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cats", "dogs"),
        ("dogs", "hot dogs"),
        ("objects", "red objects"),
        ("objects", "things"),
        ("red cubes", "objects in red"),
        ("cubs", "cubes"),
        ("cones", "cons"),
        ("glass", "glare"),
        ("red red", "red blue"),
        ("", ""),
        ("?", "!"),
    ],
)
def test_other_things(one: str, other: str) -> None:
    assert not same_things(one, other)
    assert not same_things(other, one)
