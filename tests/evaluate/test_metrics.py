"""Metrics against numbers worked by hand, slow loops, and the authors' own program."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from imgrank.evaluate import metrics

PARITY = Path(__file__).resolve().parents[3] / "shared" / "parity" / "metrics.json"


def test_correlations_by_hand() -> None:
    truth, score = [1.0, 2.0, 3.0], [1.0, 4.0, 9.0]
    # Deviations (-1, 0, 1) and (-11, -2, 13)/3: covariance 8, norms sqrt(2) and sqrt(294)/3.
    assert metrics.plcc(truth, score) == pytest.approx(8 / math.sqrt(2 * 294 / 9))
    assert metrics.srcc(truth, score) == pytest.approx(1.0)
    # Ranks (1, 2.5, 2.5, 4) and (2, 1, 3, 4).
    a, b = np.array([1, 2.5, 2.5, 4]), np.array([2, 1, 3, 4])
    expected = np.corrcoef(a, b)[0, 1]
    assert metrics.srcc([0, 7, 7, 9], [5, 1, 6, 8]) == pytest.approx(expected)


def test_errors_by_hand() -> None:
    assert metrics.mae([1, 2, 4], [1.5, 2, 3]) == pytest.approx(0.5)
    assert metrics.accuracy([1, 2, 4, 2], [1.4, 2.6, 4.0, 2.5]) == pytest.approx(0.75)  # 2.5 -> 2


def test_pair_accuracy_by_hand() -> None:
    truth, score = [3, 2, 1, 1], [0.9, 0.9, 0.1, 0.5]
    # Pairs: (0,1) tied -> half; (0,2), (0,3), (1,2), (1,3) right; (2,3) has one truth.
    assert metrics.pair_accuracy(truth, score) == pytest.approx(4.5 / 5)
    assert metrics.pair_accuracy(truth, score, ["a", "a", "b", "b"]) == pytest.approx(0.5)
    assert math.isnan(metrics.pair_accuracy([1, 1], [0, 2]))


def test_undefined_is_nan_without_a_warning() -> None:
    for metric in (metrics.plcc, metrics.srcc):
        assert math.isnan(metric([1, 2, 3], [5, 5, 5]))
        assert math.isnan(metric([1], [2]))
    assert math.isnan(metrics.mae([], []))


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="one length"):
        metrics.mae([1, 2], [1])


def test_bootstrap_covers_and_narrows() -> None:
    draw = np.random.default_rng(0)
    truth = draw.normal(size=400)
    score = truth + draw.normal(size=400)
    point = metrics.plcc(truth, score)
    low, high = metrics.bootstrap(metrics.plcc, truth, score, rounds=300)
    assert low < point < high
    # Fisher: the standard error of atanh(r) is 1/sqrt(n - 3); r is about .7, so about +-0.05.
    assert (high - low) / 2 == pytest.approx(1.96 * (1 - point**2) / math.sqrt(400), rel=0.25)
    assert (low, high) == metrics.bootstrap(metrics.plcc, truth, score, rounds=300)
    few = metrics.bootstrap(metrics.plcc, truth[:50], score[:50], rounds=300)
    assert few[1] - few[0] > 2 * (high - low)


def test_bootstrap_by_groups_is_wider_if_rows_of_a_group_are_copies() -> None:
    draw = np.random.default_rng(1)
    truth, score = draw.normal(size=40), draw.normal(size=40)
    many = np.repeat(truth, 10), np.repeat(score, 10)
    groups = np.repeat(np.arange(40), 10)
    by_row = metrics.bootstrap(metrics.srcc, *many, rounds=200)
    by_group = metrics.bootstrap(metrics.srcc, *many, groups, rounds=200)
    assert by_group[1] - by_group[0] > 2 * (by_row[1] - by_row[0])


def test_bootstrap_hands_groups_to_the_metric() -> None:
    truth, score = [1, 2, 3, 1, 2, 3], [1, 2, 3, 11, 12, 13]
    interval = metrics.bootstrap(
        metrics.pair_accuracy, truth, score, list("aaabbb"), by_group=True, rounds=20
    )
    assert interval == (1.0, 1.0)  # right within each photograph, whatever is drawn


@pytest.mark.skipif(
    not PARITY.is_file(), reason="the parity data (shared/parity) is not beside the repository"
)
def test_parity_of_the_metrics() -> None:
    ours = {
        "PLCC": metrics.plcc,
        "SRCC": metrics.srcc,
        "MAE": metrics.mae,
        "accuracy": metrics.official_accuracy,
    }
    checked = 0
    for case in json.loads(PARITY.read_text()):
        rounded = np.rint(case["y_pred"])
        for key, scores in (
            ("metrics", case["y_pred"]),
            ("metrics_after_rounding_predictions", rounded),
        ):
            for name, expected in case[key].items():
                value = ours[name](case["y_true"], scores)
                if expected is None:
                    assert math.isnan(value)
                else:
                    assert value == pytest.approx(expected, abs=1e-12)
                checked += 1
    assert checked == 24
