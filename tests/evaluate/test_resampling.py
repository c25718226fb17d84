"""All rounds at once against one round after another."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from imgrank.evaluate import metrics
from imgrank.evaluate.resampling import (
    Drawn,
    Samples,
    draws,
    interval,
    mean_samples,
    pair_samples,
    plcc_samples,
    srcc_samples,
)

Fast = Callable[..., Samples]
PAIRS: list[tuple[Fast, Callable[..., float]]] = [
    (srcc_samples, metrics.srcc),
    (plcc_samples, metrics.plcc),
    (pair_samples, metrics.pair_accuracy),
    (lambda y, s, w: mean_samples(np.abs(y - s), w), metrics.mae),
]


def vectors(n: int, levels: int | None) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    draw = np.random.default_rng(n)
    truth = draw.normal(size=n)
    score = truth + draw.normal(size=n)
    if levels:  # ties in both
        truth, score = np.rint(levels * truth), np.rint(levels * score)
    return truth, score


@pytest.mark.parametrize("levels", [None, 1])
@pytest.mark.parametrize(("fast", "slow"), PAIRS, ids=["srcc", "plcc", "pairs", "mae"])
def test_the_intervals_are_those_of_the_slow_bootstrap(
    fast: Fast, slow: Callable[..., float], levels: int | None
) -> None:
    truth, score = vectors(300, levels)
    groups = [f"prompt {n // 4}" for n in range(300)]
    for relatives in (groups, None):
        drawn = draws(groups if relatives else range(300), rounds=60, seed=7)
        found = interval(fast(truth, score, drawn))
        expected = metrics.bootstrap(slow, truth, score, relatives, rounds=60, seed=7)
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("fast", "slow"), PAIRS, ids=["srcc", "plcc", "pairs", "mae"])
def test_a_row_drawn_twice_counts_as_two(fast: Fast, slow: Callable[..., float]) -> None:
    truth, score = np.array([0.0, 1, 1, 4]), np.array([0.5, 0, 2, 2])
    drawn = np.array([[1, 1, 1, 1], [2, 0, 1, 3]], dtype=np.float32)
    again = [0, 0, 2, 3, 3, 3]
    assert fast(truth, score, drawn) == pytest.approx(
        [slow(truth, score), slow(truth[again], score[again])]
    )


def test_rounds_without_a_figure_are_left_out() -> None:
    truth, score = np.array([0.0, 0, 1]), np.array([1.0, 2, 3])
    drawn = np.array([[1, 2, 0], [0, 0, 3], [1, 1, 1], [0, 0, 0]], dtype=np.float32)
    for fast, slow in PAIRS[:3]:
        samples = fast(truth, score, drawn)
        assert np.isnan(samples).tolist() == [True, True, False, True]
        assert interval(samples) == (pytest.approx(slow(truth, score)),) * 2
    assert all(math.isnan(end) for end in interval(np.array([np.nan])))


def test_draws_keep_relatives_together() -> None:
    drawn: Drawn = draws(["b", "a", "b", "c"], rounds=50, seed=1)
    assert drawn.shape == (50, 4)
    assert (drawn[:, 0] == drawn[:, 2]).all()
    one_each = drawn[:, [0, 1, 3]]
    assert (one_each.sum(axis=1) == 3).all()
    assert len(np.unique(one_each, axis=0)) > 5


def test_a_thousand_rounds_over_thousands_of_rows_are_the_same_in_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    truth, score = vectors(700, 2)
    drawn = draws(range(700), rounds=20)
    whole = [fast(truth, score, drawn) for fast, _ in PAIRS]
    monkeypatch.setattr("imgrank.evaluate.resampling.AT_ONCE", 1500)
    monkeypatch.setattr("imgrank.evaluate.resampling.STRIP", 50)
    for (fast, _), expected in zip(PAIRS, whole, strict=True):
        assert fast(truth, score, drawn) == pytest.approx(expected, abs=1e-12)
