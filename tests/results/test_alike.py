"""Grouping against a plain reference, and each rule by pictures that differ in just that."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from imgrank.results import alike
from imgrank.results.alike import Looks, bests, detail

Array = np.ndarray[Any, Any]


def sketches(n: int, seed: int = 0) -> Array:
    """Blotches, uint8 [n, 32, 32]: noise at 12 x 12, smoothed up."""
    coarse = np.random.default_rng(seed).integers(20, 236, (n, 12, 12)).astype(float)
    ends = np.linspace(0, 11, 32)
    low = np.minimum(ends.astype(int), 10)
    share = ends - low
    across = coarse[:, low] * (1 - share)[:, None] + coarse[:, low + 1] * share[:, None]
    both = across[:, :, low] * (1 - share) + across[:, :, low + 1] * share
    return both.astype(np.uint8)


def embeddings(cosines: list[float]) -> Array:
    """Unit vectors in a plane, each with this cosine to the first axis."""
    return np.array([(c, math.sqrt(1 - c * c)) for c in cosines], np.float32).reshape(-1, 2)


def looks(
    sketch: Array,
    embedding: Array | None = None,
    taken: list[float] | None = None,
    camera: list[float] | None = None,
) -> Looks:
    n = len(sketch)
    return Looks(
        embeddings([1.0] * n) if embedding is None else embedding,
        sketch,
        np.array([math.nan] * n if taken is None else taken),
        np.array([0.0] * n if camera is None else camera),
    )


def cut(sketch: Array, rows: slice, columns: slice) -> Array:
    """A part of a sketch, stretched over all of it (nearest)."""
    part = sketch[rows, columns]
    return part[np.ix_(*(np.arange(32) * side // 32 for side in part.shape))]


def test_detail_of_a_picture_with_itself_another_and_parts_of_it() -> None:
    one, other = sketches(2)
    assert detail(one, one) > 0.85
    assert detail(one, other) < 0.4
    for part in (cut(one, slice(0, 29), slice(3, 32)), cut(one, slice(2, 30), slice(2, 30))):
        assert detail(part, one) > 0.7
        assert detail(one, part) > 0.7
    left, right = cut(one, slice(0, 30), slice(0, 30)), cut(one, slice(2, 32), slice(2, 32))
    assert detail(left, right) > 0.7
    darker = (one * 0.7).astype(np.uint8)
    assert detail(one, darker) > 0.85
    assert detail(one, 255 - one) < 0.4


def test_each_picture_is_alike_one_that_was_kept_and_there_are_no_chains() -> None:
    """Three steps of a slow fade: neighbours are alike, the ends are not."""
    first, last = sketches(2)
    steps = [(first * (1 - t) + last * t).astype(np.uint8) for t in (0, 0.35, 0.65, 1)]
    level = 0.7
    apart = [[detail(a, b) >= level for b in steps] for a in steps]
    assert apart[0] == [True, True, False, False]
    assert apart[2] == [False, True, True, True]
    assert bests(looks(np.stack(steps)), level).tolist() == [0, 0, 2, 2]
    order = [1, 0, 2, 3]
    assert bests(looks(np.stack(steps)[order]), level).tolist() == [0, 0, 0, 3]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sketch = np.repeat(sketches(15), 4, axis=0)[np.random.default_rng(1).permutation(60)]
    noisy = np.clip(sketch + np.random.default_rng(2).normal(0, 4, sketch.shape), 0, 255)
    all_ = looks(noisy.astype(np.uint8))
    whole = bests(all_, 0.65)
    slow: list[int] = []
    for i in range(60):
        near = [j for j in range(i) if slow[j] == j]
        near = [j for j in near if detail(all_.sketch[i], all_.sketch[j]) >= 0.65]
        slow.append(near[0] if near else i)
    assert whole.tolist() == slow
    assert len(set(slow)) == 15
    for name, size in (("BLOCK", 7), ("STRIP", 5), ("SOME", 2)):
        monkeypatch.setattr(alike, name, size)
    assert bests(all_, 0.65).tolist() == slow


def test_detail_needs_embeddings_that_agree_a_little() -> None:
    sketch = np.repeat(sketches(1), 3, axis=0)
    sketch[1, 0, 0] ^= 1  # no copies
    sketch[2, 0, 0] ^= 2
    found = bests(looks(sketch, embeddings([1.0, 0.54, 0.56])), 0.65)
    assert found.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("cosine", "seconds", "camera", "joined"),
    [
        (0.85, 2.9, 7.0, True),
        (0.75, 2.9, 7.0, False),
        (0.85, 3.1, 7.0, False),
        (0.85, -2.9, 7.0, True),
        (0.85, 2.9, 8.0, False),
        (0.85, 2.9, 0.0, False),
        (0.85, math.nan, 7.0, False),
    ],
)
def test_a_burst_by_its_time_camera_and_embedding(
    cosine: float, seconds: float, camera: float, joined: bool
) -> None:
    taken = [1e9, 1e9 + seconds]
    given = looks(sketches(2), embeddings([1.0, cosine]), taken, [7.0, camera])
    assert bests(given, 0.65).tolist() == [0, 0 if joined else 1]
    assert bests(given, 0.75).tolist() == [0, 1]  # a higher level asks for more of both


def test_times_without_a_camera_are_taken_for_one_camera() -> None:
    assert bests(looks(sketches(2), taken=[5.0, 6.5]), 0.65).tolist() == [0, 0]


def test_the_best_of_several_stands_for_a_picture() -> None:
    """By detail picture 1, by time picture 0: the better one."""
    sketch = sketches(2)[[0, 1, 1]]
    taken = [10.0, 100.0, 11.0]
    assert bests(looks(sketch, embeddings([1.0, 0.7, 0.97]), taken), 0.65).tolist() == [0, 1, 0]
    taken = [100.0, 10.0, 200.0]
    assert bests(looks(sketch, embeddings([1.0, 0.7, 0.97]), taken), 0.65).tolist() == [0, 1, 1]


def test_flat_pictures_are_joined_only_as_copies() -> None:
    black, grey = np.zeros((2, 32, 32), np.uint8), np.full((1, 32, 32), 90, np.uint8)
    assert bests(looks(np.concatenate([black, grey])), 0.65).tolist() == [0, 0, 2]


def test_one_picture_and_none() -> None:
    assert bests(looks(sketches(1)), 0.65).tolist() == [0]
    assert bests(looks(sketches(1)[:0]), 0.65).tolist() == []
