"""What two rounds of windows gain over single values, on answers that are simulated."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_windows import (
    SPEC,
    Model,
    Noise,
    Vector,
    merge_sort,
    one_round,
    single,
    taus,
    two_rounds,
    two_rounds_last,
    two_rounds_mean,
)

SEEDS = 100


def interval(values: Vector) -> tuple[float, float]:
    """95 % of the mean over seeds."""
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


@pytest.fixture(scope="module")
def simulated() -> dict[str, Vector]:
    orders = (single, one_round, two_rounds, two_rounds_mean, two_rounds_last, merge_sort)
    return {order.__name__: taus(order, 128, SPEC, SEEDS) for order in orders}


@pytest.mark.parametrize(
    ("order", "tau"), [("single", 0.85), ("two_rounds", 0.90), ("merge_sort", 0.90)]
)
def test_figures_of_the_specification(simulated: dict[str, Vector], order: str, tau: float) -> None:
    low, high = interval(simulated[order])
    assert tau - 0.006 < low < high < tau + 0.006


def test_calls_of_128_pictures() -> None:
    counted = {}
    for order in (single, two_rounds, merge_sort):
        model = Model(128, SPEC, seed=0)
        order(model)
        counted[order.__name__] = (model.calls, model.steps)
    assert counted["single"] == (128, 1)
    assert counted["two_rounds"] == (33, 2)
    calls, steps = counted["merge_sort"]
    assert 130 < calls < 160 and steps > 70  # the specification has 143


@pytest.mark.parametrize(
    ("worse", "least"),
    [("single", 0.045), ("one_round", 0.04), ("two_rounds_last", 0.04), ("two_rounds_mean", 0.01)],
)
def test_two_rounds_and_the_fit_gain(
    simulated: dict[str, Vector], worse: str, least: float
) -> None:
    """Paired: the same pictures, seed by seed."""
    assert interval(simulated["two_rounds"] - simulated[worse])[0] > least


@pytest.mark.parametrize("count", [16, 32, 64])
def test_shorter_lists_gain_too(count: int) -> None:
    gain = taus(two_rounds, count, SPEC, SEEDS) - taus(single, count, SPEC, SEEDS)
    assert interval(gain)[0] > 0.03


def test_without_offsets_the_fit_costs_a_little() -> None:
    """The honest other side: where calls share no error, plain means are as good or better."""
    calm = Noise(own=0.10, offset=0.0, within=0.21)
    loss = taus(two_rounds_mean, 128, calm, SEEDS) - taus(two_rounds, 128, calm, SEEDS)
    low, high = interval(loss)
    assert 0 < low < high < 0.01
