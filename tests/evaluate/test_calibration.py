"""Calibration of probabilities of ranks, against numbers by hand, slow loops and fresh pictures."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from imgrank.evaluate.calibration import (
    coverage,
    ece,
    fit_calibration,
    mean_set_size,
    ordinality_score,
    set_coverage,
)
from imgrank.models.ranks import Ranks
from imgrank.rankers.levels import chosen, interval, softmax

THREE = Ranks("a {} one", ("a", "b", "c"), (0.0, 1.0, 2.0), (-1.0, 0.5, 1.5), ("a", "b", "c"))
YEARS = tuple(range(0, 100))
AGES = Ranks(
    "{} years",
    tuple(map(str, YEARS)),
    tuple(map(float, YEARS)),
    tuple(year - 0.5 for year in YEARS),
    tuple(map(str, YEARS)),
)
Matrix = npt.NDArray[np.float64]


def faces(n: int, seed: int, sure: float = 1.0) -> tuple[Matrix, Matrix]:
    """Logits and ages of a model that is off by about 6 years; `sure` times as sure as it may."""
    draw = np.random.default_rng(seed)
    guess = draw.uniform(20, 70, n)
    ages = np.rint(guess + draw.normal(0, 6, n))
    return -sure * (guess[:, None] - np.array(AGES.values)) ** 2 / (2 * 36), ages


def test_the_temperature_undoes_an_overconfident_model() -> None:
    honest, labels = faces(1500, seed=0)
    fitted = fit_calibration(honest, labels, AGES, "made up")
    assert fitted.temperature == pytest.approx(1, abs=0.06)
    again = fit_calibration(7 * honest, labels, AGES, "made up")
    assert again.temperature == pytest.approx(7 * fitted.temperature, rel=1e-4)
    assert again.tail == pytest.approx(fitted.tail, abs=1e-3)
    assert (fitted.on, fitted.level) == ("made up", 0.8)


@pytest.mark.parametrize("sure", [0.2, 1.0, 30.0])
@pytest.mark.parametrize("level", [0.8, 0.5])
def test_interval_and_set_hold_the_truth_of_fresh_pictures(sure: float, level: float) -> None:
    logits, labels = faces(700, seed=1, sure=sure)
    found = fit_calibration(logits, labels, AGES, "", level)
    fresh, truth = faces(3000, seed=2, sure=sure)
    p = softmax(fresh / found.temperature)
    assert coverage(p, truth, AGES, found.tail) == pytest.approx(level, abs=0.04)
    held = set_coverage(p, AGES.of(truth), found.mass)
    assert level - 0.04 < held < level + 0.06  # a set is of whole ranks, so it may hold more
    assert 1 < mean_set_size(p, found.mass) < 40


def test_the_correction_for_few_pictures_counts_one_more() -> None:
    """Of 9 pictures at 0.8: ceil(10 x 0.8) = 8 labels must be held, not 7.2; and no more."""
    logits, labels = faces(9, seed=6)
    found = fit_calibration(logits, labels, AGES, "")
    p = softmax(logits / found.temperature)
    assert round(9 * coverage(p, labels, AGES, found.tail)) == 8
    assert round(9 * coverage(p, labels, AGES, found.tail + 1e-4)) == 7
    assert found.mass == 1  # of 9 pictures even all of them prove no 80 %: .8^9 = .134 > .1


def test_too_few_pictures_for_the_level_give_the_widest_interval_and_all_ranks() -> None:
    logits, labels = faces(3, seed=4)  # ceil(4 x 0.8) = 4 of 3
    found = fit_calibration(logits, labels, AGES, "")
    assert found.mass == 1
    low, high = interval(softmax(logits / found.temperature), AGES, found.tail)
    assert (high - low > 30).all()  # more than +-2.5 deviations


def test_sets_hold_the_level_for_nine_of_ten_choices_of_the_pictures() -> None:
    """Of 20 pictures the likeliest rank is right for 18: T = 1 / log 18, so that p = (0.9, 0.05,
    0.05). Of a model that is right in 80 of 100 cases 18 or fewer of 20 have a probability of .931,
    17 or fewer of .794: so 19 must be held, and two ranks are told. Of 200 pictures 168 do (.9 lies
    between those of 166 and 167): one rank, at a mass that is never below the level itself."""
    labels = np.array([0.0] * 18 + [1.0, 2.0])
    logits = np.tile([1.0, 0.0, 0.0], (20, 1))
    found = fit_calibration(logits, labels, THREE, "")
    p = softmax(logits / found.temperature)
    assert found.temperature == pytest.approx(1 / np.log(18), rel=1e-4)
    assert found.mass == pytest.approx(0.9)
    assert mean_set_size(p, found.mass) == 2
    many = np.array([0.0] * 168 + [1.0, 2.0] * 16)
    found = fit_calibration(np.tile([1.0, 0.0, 0.0], (200, 1)), many, THREE, "")
    assert found.mass == 0.8
    one_less = np.array([0.0] * 167 + [1.0, 2.0] * 16 + [2.0])
    found = fit_calibration(np.tile([1.0, 0.0, 0.0], (200, 1)), one_less, THREE, "")
    assert found.mass == pytest.approx(167 / 200, abs=1e-4)


def test_a_model_that_is_always_right_needs_one_rank() -> None:
    labels = np.array([0.0, 1.0, 2.0] * 10)
    logits = 8 * np.eye(3)[THREE.of(labels)]
    found = fit_calibration(logits, labels, THREE, "")
    p = softmax(logits / found.temperature)
    assert mean_set_size(p, found.mass) == 1
    assert set_coverage(p, THREE.of(labels), found.mass) == 1
    assert coverage(p, labels, THREE, found.tail) == 1


def test_what_cannot_be_calibrated() -> None:
    with pytest.raises(ValueError, match=r"logits \(0, 3\) and labels \(0,\)"):
        fit_calibration(np.zeros((0, 3)), [], THREE, "")
    with pytest.raises(ValueError, match=r"logits \(2, 2\)"):
        fit_calibration(np.zeros((2, 2)), [0, 1], THREE, "")
    with pytest.raises(ValueError, match="do not fit"):
        fit_calibration(np.zeros((2, 3)), [0, math.nan], THREE, "")
    with pytest.raises(ValueError, match="between 0 and 1"):
        fit_calibration(np.zeros((2, 3)), [0, 1], THREE, "", level=80)


P = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.3, 0.3, 0.4], [0.05, 0.05, 0.9]])


def test_sets_and_intervals_by_hand() -> None:
    true = np.array([0, 2, 0, 2])
    # Sets at 0.65: {a}, {b, c}, {c, a}, {c}.
    assert chosen(P, 0.65).tolist() == [
        [True, False, False],
        [False, True, True],
        [True, False, True],
        [False, False, True],
    ]
    assert set_coverage(P, true, 0.65) == 1
    assert set_coverage(P, np.array([1, 2, 1, 2]), 0.65) == 0.5
    assert mean_set_size(P, 0.65) == 1.5
    # Each rank covers one unit from -0.5 on. The first row at a tail of 0.2: from -0.5 + 0.2 / 0.7,
    # which is before the value of the first rank, so 0, to 0.5 + (0.8 - 0.7) / 0.2 = 1.
    assert coverage(P[:1], [0.0], THREE, 0.2) == 1
    assert coverage(P[:1], [0.99], THREE, 0.2) == 1
    assert coverage(P[:1], [1.01], THREE, 0.2) == 0
    assert coverage(P[:1], [-0.1], THREE, 0.2) == 1  # open at the first rank's value
    assert coverage(P[3:], [2.7], THREE, 0.2) == 1  # and at the last one's: from 1.6 on
    assert coverage(P[3:], [-0.1], THREE, 0.2) == 0


def test_expected_calibration_error_by_hand() -> None:
    # Top probabilities 0.7, 0.5, 0.4, 0.9; right, wrong, wrong, right. Two bins: (0, 0.5] holds
    # 0.5 and 0.4, accuracy 0, mean 0.45; (0.5, 1] holds 0.7 and 0.9, accuracy 1, mean 0.8.
    true = np.array([0, 2, 0, 2])
    assert ece(P, true, bins=2) == pytest.approx(0.5 * 0.45 + 0.5 * 0.2)
    # Fifteen bins: one picture each.
    assert ece(P, true) == pytest.approx((0.3 + 0.5 + 0.4 + 0.1) / 4)
    assert ece(np.array([[1.0, 0.0, 0.0]] * 2), np.array([0, 1])) == 0.5


def test_ordinality_of_an_order_its_reverse_and_a_random_matrix() -> None:
    angles = np.linspace(0, 1.5, 6)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert ordinality_score(circle) == 100
    assert ordinality_score(7 * circle) == 100  # not normalised: the cosine counts
    # i to M = 3: s = [[1, .6, .8], [.6, 1, .96], ...]: 1 > .6 yes, .6 > .8 no, 1 > .96 yes.
    three = np.array([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]])
    assert ordinality_score(three) == pytest.approx(200 / 3)
    r = np.random.default_rng(0).normal(size=(9, 4))
    r /= np.linalg.norm(r, axis=1, keepdims=True)
    kept = 0
    for i in range(1, 10):
        for j in range(i, 9):
            kept += float(r[i - 1] @ r[j - 1]) > float(r[i - 1] @ r[j])
    assert ordinality_score(r) == pytest.approx(100 * kept / (9 * 8 / 2))
