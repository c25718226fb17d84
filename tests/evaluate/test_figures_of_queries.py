"""Figures, means, baselines and differences, from numbers worked by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgrank.data.catalogue import CATALOGUE, RETRIEVAL, about
from imgrank.data.labelled import Labelled, Labels
from imgrank.data.split import Part
from imgrank.evaluate import metrics, published
from imgrank.evaluate.measure import (
    Answered,
    Measured,
    Rounds,
    baseline,
    difference,
    mean_of,
    means,
    measure_query,
    over_models,
)
from imgrank.rankers.base import Answer

nan = math.nan


def data(
    *columns: Labels, parts: Sequence[Part] | None = None, groups: Sequence[str] | None = None
) -> Labelled:
    n = len(columns[0].values)
    names = tuple(str(i) for i in range(n))
    return Labelled(
        "made-up",
        tuple(Path(name) for name in names),
        names,
        tuple(parts or ["test"] * n),
        tuple(groups or names),
        columns,
    )


def labels(values: Sequence[float], key: str = "age", **facts: Any) -> Labels:
    return Labels(key, "age", "sort by age", np.array(values, np.float32), **facts)


def answered(column: Labels, scores: Sequence[float], unit: str = "") -> Answered:
    answer = Answer("adapter", "toy", "r1", column.prompt, unit)
    return Answered(column, answer, np.arange(len(scores)), np.array(scores, np.float64))


def measured(column: Labels, scores: Sequence[float], unit: str = "", rounds: int = 50) -> Measured:
    made = data(column)
    return measure_query(
        answered(column, scores, unit), Rounds.of(made, np.arange(len(made)), rounds, 0)
    )


def test_all_figures_of_class_indices() -> None:
    column = labels([0, 1, 2, 2], unit="decade", classes=("30s", "40s", "50s"))
    found = measured(column, [-0.4, 0.75, 2.9, 1.0], "decade")
    assert found.n == 4
    # |errors| .4, .25, .9, 1; rounded and clipped to 0, 1, 2, 1: one of four is wrong, by one.
    assert found.values["mae"] == pytest.approx(2.55 / 4)
    assert found.values["class_mae"] == 0.25
    assert found.values["accuracy"] == 0.75
    assert found.values["pair_accuracy"] == 1.0
    assert list(found.values) == [
        *("srcc", "plcc", "mae", "class_mae", "accuracy", "pair_accuracy")
    ]
    table = found.table()
    assert table["mae"] == 0.6375
    low, high = table["mae_interval"]
    assert 0.25 <= low < 0.6375 < high <= 1


def test_no_error_without_a_common_unit() -> None:
    assert set(measured(labels([1, 2, 3], unit="years"), [3, 2, 1], "cosine").values) == {
        *("srcc", "plcc", "pair_accuracy")
    }
    assert "accuracy" not in measured(labels([1, 2, 3], unit="years"), [3, 2, 1], "years").values


@pytest.mark.parametrize(
    ("unit", "own", "true", "same"),
    [
        ("MOS", (0, 5), (0.0, 5.0), True),
        ("MOS", (0, 5), (1, 100), False),
        ("MOS", (0, 5), None, True),
        ("years", (0, 116), (0, 100), True),
    ],
)
def test_opinions_on_another_scale_have_no_error(
    unit: str, own: tuple[float, float], true: tuple[float, float] | None, same: bool
) -> None:
    column = labels([1, 2, 3], unit=unit, range=true)
    given = answered(column, [1, 2, 4], unit)
    given = replace(given, answer=replace(given.answer, range=own))
    found = measure_query(given, Rounds.of(data(column), np.arange(3), 5, 0))
    assert ("mae" in found.values) is same


def test_undefined_figures_are_null_and_stay_out_of_means() -> None:
    constant = measured(labels([2, 2, 2], "zebras"), [1, 2, 3])
    assert math.isnan(constant.values["srcc"])
    assert constant.table()["srcc"] is None
    assert constant.table()["srcc_interval"] == [None, None]
    right = measured(labels([1, 2, 3], "cats"), [1, 2, 3])
    wrong = measured(labels([1, 2, 3], "dogs"), [3, 2, 1])
    found = mean_of({"cats": right, "zebras": constant, "dogs": wrong})
    assert found.values["srcc"] == 0
    assert found.left_out == ("zebras",)
    assert mean_of({"zebras": constant}).values == {}


def test_a_query_without_any_score_has_no_figures() -> None:
    column = labels([1, 2, 3])
    rounds = Rounds.of(data(column), np.arange(3), 10, 0)
    answer = answered(column, [])
    table = measure_query(answer, rounds).table()
    assert table == {
        key: value
        for name in ("srcc", "plcc", "pair_accuracy")
        for key, value in ((name, None), (f"{name}_interval", [None, None]))
    }


def test_errors_in_two_units_have_no_mean() -> None:
    years = measured(labels([1, 2, 3], unit="years"), [1, 2, 4], "years")
    stars = measured(labels([1, 2, 3], "beauty", unit="stars"), [1, 2, 5], "stars")
    assert "mae" not in mean_of({"age": years, "beauty": stars}).values
    again = measured(labels([1, 2, 3], "age2", unit="years"), [1, 2, 5], "years")
    assert mean_of({"age": years, "age2": again}).values["mae"] == pytest.approx(0.5)


def test_means_by_the_first_word_of_the_keys() -> None:
    def query(key: str, srcc: float) -> tuple[str, Measured]:
        return key, Measured(3, {"srcc": srcc}, {"srcc": np.array([srcc, srcc / 2])})

    found = means(dict([query("color/red", 0.2), query("color/blue", 0.4), query("shape/cube", 1)]))
    assert {key: each.values["srcc"] for key, each in found.items()} == pytest.approx(
        {"mean color": 0.3, "mean shape": 1, "mean": 1.6 / 3}
    )
    assert found["mean color"].samples["srcc"] == pytest.approx([0.3, 0.15])
    assert means(dict([query("age", 0.5)])) == {}


def test_the_interval_of_a_mean_leaves_out_queries_undefined_in_a_round() -> None:
    one = Measured(3, {"srcc": 0.5}, {"srcc": np.array([0.5, nan, nan])})
    two = Measured(3, {"srcc": 0.7}, {"srcc": np.array([0.7, 0.3, nan])})
    samples = mean_of({"a": one, "b": two}).samples["srcc"]
    assert samples[:2] == pytest.approx([0.6, 0.3])
    assert math.isnan(samples[2])


def test_the_rounds_are_those_of_the_slow_bootstrap_over_relatives() -> None:
    draw = np.random.default_rng(0)
    truth = draw.normal(size=60)
    scores = truth + draw.normal(size=60)
    groups = [f"prompt {n % 13}" for n in range(60)]
    column = labels(truth.tolist())
    rounds = Rounds.of(data(column, groups=groups), np.arange(60), 80, 3)
    table = measure_query(answered(column, scores.tolist()), rounds).table()
    truth = column.values.astype(np.float64)
    slow = metrics.bootstrap(metrics.srcc, truth, scores, groups, rounds=80, seed=3)
    assert table["srcc_interval"] == pytest.approx(slow, abs=1e-6)
    assert rounds.over == "13 groups of relatives"


def test_a_query_with_some_of_the_pictures_takes_its_share_of_the_rounds() -> None:
    column = labels([5, nan, 3, 1])
    rounds = Rounds.of(data(column), np.array([0, 2, 3]), 40, 0)
    assert rounds.at(np.array([2, 3])).tolist() == rounds.drawn[:, 1:].tolist()
    assert rounds.over == "pictures"


def test_paired_difference_of_two_models() -> None:
    column = labels([1, 2, 3, 4, 5, 6], unit="years")
    good = measured(column, [1, 2, 3, 4, 5, 6], "years")
    off = measured(column, [2, 3, 4, 5, 6, 7], "years")
    found = difference(good, off)
    # Off by one everywhere, in whatever round: no width, though each model alone has one.
    assert (found["mae"], found["mae_interval"]) == (-1, [-1, -1])
    assert (found["srcc"], found["srcc_interval"]) == (0, [0, 0])


def test_mean_and_deviation_over_folds() -> None:
    folds = [Measured(9, {"mae": value}, {}) for value in (0.3, 0.4, 0.5)]
    assert over_models(folds) == {"mae": 0.4, "mae_sd": 0.1}
    assert over_models(folds[:1]) == {}
    assert over_models([*folds, Measured(9, {"mae": nan}, {})]) == {}


def test_baselines_come_from_the_training_part() -> None:
    parts: list[Part] = ["train", "train", "train", "test", "test"]
    column = labels([0, 2, 2, 2, 1], classes=("30s", "40s", "50s"))
    assert baseline(data(column, parts=parts), column, "test") == {
        **{"from": "train", "median": 2.0, "mae": 0.5, "pair_accuracy": 0.5},
        **{"majority": "50s", "accuracy": 0.5},
    }
    alone = labels([1, 3, 9])
    found = baseline(data(alone), alone, "test")
    assert (found["from"], found["median"], found["mae"]) == ("test", 3, pytest.approx(8 / 3))
    assert "accuracy" not in found


def test_published_figures_are_of_known_sets_and_queries() -> None:
    spec = {  # the figures that the specification repeats
        ("koniq", "quality"): (0.919, 0.911),
        ("ava", "aesthetics"): (0.760, 0.747),
        ("coco-rem", "mean"): (0.624, 0.557),
        ("clevr", "mean color"): (0.992, 0.836),
    }
    for (name, key), (plcc, srcc) in spec.items():
        row = published.figures_of(name, [key], own=True)[0]
        assert (row["plcc"], row["srcc"]) == (plcc, srcc)
    ages = published.figures_of("utkface", ["age"], own=True)
    assert [row["mae"] for row in ages if row["paper"] == "001"] == [3.83]
    assert set(published.published()) <= {*CATALOGUE, *RETRIEVAL}
    assert published.figures_of("agiqa3k", ["quality"]) == []


def test_another_split_is_said(tmp_path: Path) -> None:
    def say(name: str, part: Part = "test", n: int = 0, partial: bool = False) -> str:
        return published.another_split(name, tmp_path, part, n, partial)

    assert say("koniq", n=2015) == ""
    assert say("koniq", n=2014) == "another split: 2014 pictures here, 2015 in the paper"
    assert say("clevr", n=15000) == ""
    assert say("clevr", n=9) == "another split: 9 pictures here, 15000 in the published split"
    assert say("koniq", n=2015, partial=True) == "some pictures are missing here"
    assert say("koniq", "train", 2015).startswith("these are train pictures")
    assert about("utkface").split.startswith("ours")
    assert say("utkface") == "another split than the paper's"
    for name in ("utk_train.csv", "utk_test.csv"):
        (tmp_path / name).touch()
    assert say("utkface") == ""
