"""Groups of pictures: which are drawn, and how well an order of one agrees with the truth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import kendalltau

from imgrank.data.labelled import Labelled, Labels
from imgrank.evaluate.grouped import by_answers, by_scores, narrowed, read, sample
from imgrank.evaluate.groups import Group, Ordered, draw, measured, tau
from imgrank.evaluate.measure import Answered
from imgrank.rankers.base import Answer

ROWS = {"age": np.arange(100)}
AGES = {"age": np.arange(100, dtype=np.float64) // 2}  # each age twice


def data(*columns: Labels) -> Labelled:
    from pathlib import Path

    names = tuple(str(n) for n in range(len(columns[0].values)))
    paths = tuple(map(Path, names))
    return Labelled("csv", paths, names, ("test",) * len(names), names, columns)


def labels(values: list[float], key: str = "age", task: str = "age") -> Labels:
    return Labels(key, task, "sort", np.array(values, np.float32), unit="years")


# ---- drawing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 4, 8, 50])
def test_pictures_of_a_group_differ_by_their_truth(size: int) -> None:
    groups = draw(AGES, ROWS, size, 20, seed=0)
    assert len(groups) == len({frozenset(group.rows) for group in groups}) == 20
    for group in groups:
        assert len({AGES["age"][row] for row in group.rows}) == len(group.rows) == size


def test_the_seed_alone_says_which_groups() -> None:
    groups = draw(AGES, ROWS, 4, 20, seed=3)
    assert groups == draw(AGES, ROWS, 4, 20, seed=3)
    assert groups != draw(AGES, ROWS, 4, 20, seed=4)
    # Nor do other queries change them, but for how many they leave to this one.
    more = draw({**AGES, "b": AGES["age"]}, {**ROWS, "b": np.arange(100)}, 4, 40, seed=3)
    assert [group for group in more if group.query == "age"] == list(groups)


def test_order_and_pictures_are_without_favour() -> None:
    groups = draw(AGES, ROWS, 2, 400, seed=0)
    rising = [AGES["age"][group.rows[0]] < AGES["age"][group.rows[1]] for group in groups]
    assert 160 < sum(rising) < 240  # 200 of 400, sd 10
    counts = np.bincount([row for group in groups for row in group.rows], minlength=100)
    assert counts.mean() == 8
    assert counts.max() < 22


def test_groups_are_filled_up_where_too_few_values_differ() -> None:
    values = {"cats": np.array([0, 0, 0, 0, 1, 2], np.float64)}
    groups = draw(values, {"cats": np.arange(6)}, 5, 50, seed=0)
    # All 6 sets of 5 of 6 pictures have each of the three values once, but the two without 1 or 2.
    assert {frozenset(range(6)) - set(group.rows) for group in groups} == {
        frozenset({row}) for row in range(4)
    }


def test_no_group_where_nothing_can_be_ordered() -> None:
    rows = {"age": np.arange(5)}
    assert draw({"age": np.full(5, 3.0)}, rows, 2, 10, seed=0) == ()
    assert draw({"age": np.arange(5.0)}, rows, 8, 10, seed=0) == ()
    assert len(draw({"age": np.arange(5.0)}, rows, 5, 10, seed=0)) == 1
    assert len(draw({"age": np.arange(5.0)}, rows, 4, 100, seed=0)) == 5  # of 5 different ones


def test_queries_share_the_groups_evenly() -> None:
    keys = [f"q{n}" for n in range(6)]
    values = {key: np.arange(30.0) for key in keys} | {"flat": np.ones(30)}
    rows = {key: np.arange(30) for key in values}
    counts = [sum(g.query == key for g in draw(values, rows, 2, 20, seed=0)) for key in values]
    assert sorted(counts) == [0, 3, 3, 3, 3, 4, 4]
    assert len(draw(values, rows, 2, 3, seed=0)) == 3


# ---- single pictures -----------------------------------------------------------------------------


def test_few_single_pictures_are_drawn_of_all_queries() -> None:
    first, second = labels(list(range(40))), labels(list(range(40)), "other")
    found = sample(data(first, second), [first, second], "test", (1,), 10, 11, seed=0)
    assert found.alone is not None
    assert {key: len(rows) for key, rows in found.alone.items()} == {"age": 6, "other": 5}
    assert found.groups == {}
    assert sample(data(first), [first], "test", (1,), 10, 40, seed=0).alone is None
    assert sample(data(first), [first], "test", (1,), 10, None, seed=0).alone is None


def test_of_a_count_a_tenth_of_the_pictures_show_none() -> None:
    cats = labels([0] * 400 + [1, 2] * 30, "cats", "count")
    found = sample(data(cats), [cats], "test", (1,), 10, 20, seed=0).alone
    assert found is not None
    assert len(found["cats"]) == 20
    assert (cats.values[found["cats"]] == 0).sum() == 2
    few = labels([0] * 400 + [1, 2], "cats", "count")
    found = sample(data(few), [few], "test", (1,), 10, 20, seed=0).alone
    assert found is not None
    assert sorted(few.values[found["cats"]]) == [0, 1, 2]


def test_narrowed_labels_keep_other_parts() -> None:
    ages = labels([1, 2, 3, 4])
    whole = Labelled(
        "csv", data(ages).paths, ("",) * 4, ("train", *["test"] * 3), ("",) * 4, (ages,)
    )
    kept = narrowed(whole, ages, "test", np.array([2]))
    assert np.isnan(kept.values).tolist() == [False, True, False, True]


# ---- tau -----------------------------------------------------------------------------------------


def test_tau_is_scipys_tau_b() -> None:
    draws = np.random.default_rng(0)
    for _ in range(50):
        n = int(draws.integers(2, 9))
        truth, given = draws.integers(0, 4, (2, n)).astype(float)
        expected = kendalltau(truth, given).statistic if np.ptp(truth) and np.ptp(given) else 0.0
        assert tau(truth, given) == pytest.approx(expected)


def test_tau_by_hand() -> None:
    assert tau([1, 2, 3, 4], [0, 1, 2, 3]) == 1
    assert tau([1, 2, 3, 4], [3, 2, 1, 0]) == -1
    assert tau([1, 2, 3, 4], [0, 1, 3, 2]) == pytest.approx(4 / 6)
    # Two share the last place: of 6 pairs 5 are decided, all rightly: 5 / sqrt(6 * 5).
    assert tau([1, 2, 3, 4], [0, 1, np.inf, np.inf]) == pytest.approx(5 / np.sqrt(30))
    assert tau([1, 2], [7, 7]) == 0
    assert tau([5], [1]) == 0


def test_random_orders_have_tau_zero_in_the_mean() -> None:
    truth = [0, 1, 2, 3]
    each = [tau(truth, order) for order in itertools.permutations(range(4))]
    assert np.mean(each) == pytest.approx(0)


# ---- answers -------------------------------------------------------------------------------------


def answer(*items: tuple[int, float]) -> str:
    listed = ", ".join(f'{{"image_id": {k}, "value": {v}}}' for k, v in items)
    return f"<think>I looked.</think><answer>[{listed}]</answer>"


def test_what_an_answer_says_first_counts() -> None:
    found = read(answer((3, 9), (1, 4), (3, 1), (7, 2), (0, 1)), 3)
    assert found.places.tolist() == [1, np.inf, 0]
    assert found.values.tolist() == [4, np.inf, 9]
    assert (found.well_formed, found.complete) == (True, False)
    nothing = read("I cannot say.", 2)
    assert (nothing.well_formed, nothing.complete) == (False, False)
    assert np.isinf(nothing.places).all()


def test_the_listed_order_counts_and_not_the_values() -> None:
    truth = {"age": np.array([10, 20, 30, 40.0])}
    group = Group("age", (0, 2, 1, 3))  # shown as images 1 to 4: 10, 30, 20, 40
    texts = [
        answer((1, 10), (3, 20), (2, 30), (4, 40)),
        answer((4, 40), (2, 30), (3, 20), (1, 10)),  # right values, listed the other way round
        answer((1, 10), (3, 20)),  # the two highest are missing: they share the last place
        answer((4, 40), (2, 30)),  # the two lowest are
        "nothing",
    ]
    found = by_answers([group] * 6, [*(read(text, 4) for text in texts), None], truth)
    last = 1 / np.sqrt(30)
    expected = [1, -1, 5 * last, -5 * last, 0, np.nan]
    np.testing.assert_allclose(found.tau, expected)
    assert found.tau_values is not None
    np.testing.assert_allclose(found.tau_values[:3], [1, 1, 5 * last])
    np.testing.assert_array_equal(found.well_formed, [1, 1, 1, 1, 0, np.nan])
    np.testing.assert_array_equal(found.complete, [1, 1, 0, 0, 0, np.nan])
    figures = measured(found, rounds=20, seed=0)
    assert figures.n == 5
    assert figures.values["tau"] == pytest.approx(0)
    assert figures.values["well_formed"] == pytest.approx(4 / 5)
    assert figures.values["complete"] == pytest.approx(2 / 5)


def test_scores_order_a_group_unless_one_is_missing() -> None:
    ages = labels([10, 20, 30, 40])
    own = Answered(
        ages, Answer("x", "y", "", "", ""), np.array([0, 1, 3]), np.array([5.0, 1.0, 9.0])
    )
    groups = [Group("age", (0, 1, 3)), Group("age", (1, 2)), Group("other", (0, 1))]
    found = by_scores(groups, [own])
    np.testing.assert_allclose(found.tau, [1 / 3, np.nan, np.nan])
    assert (found.well_formed, found.complete, found.tau_values) == (None, None, None)
    assert set(measured(found, 10, 0).values) == {"tau"}


# ---- means and intervals -------------------------------------------------------------------------


def test_intervals_are_over_groups() -> None:
    taus = np.array([1.0, -1.0, 1.0, 1.0] * 25)
    groups = tuple(Group("age", (n, n + 1)) for n in range(100))
    found = measured(Ordered(groups, taus), rounds=2000, seed=1).table()
    assert found["tau"] == 0.5
    low, high = found["tau_interval"]
    sd = np.sqrt(0.75) / 10  # of the mean of 100 values of variance 0.75
    assert low == pytest.approx(0.5 - 1.96 * sd, abs=0.02)
    assert high == pytest.approx(0.5 + 1.96 * sd, abs=0.02)


def test_a_mean_over_no_group_is_undefined() -> None:
    groups = (Group("age", (0, 1)),)
    found = measured(Ordered(groups, np.array([np.nan])), 5, 0)
    assert (found.n, found.table()["tau"]) == (0, None)
    assert measured(Ordered((), np.empty(0)), 5, 0).n == 0


def test_orders_of_two_kinds_of_models_join() -> None:
    groups = (Group("age", (0, 1)), Group("cats", (0, 1)))
    nan = np.nan
    told = Ordered(groups, *(np.array([value, nan]) for value in (0.5, 0.25, 1.0, 0.0)))
    found = told.joined(Ordered(groups, np.array([nan, -1.0])))
    np.testing.assert_array_equal(found.tau, [0.5, -1])
    np.testing.assert_array_equal(found.well_formed, [1, nan])
    values = measured(found, 5, 0).values
    assert (values["tau"], values["well_formed"]) == (-0.25, 1)
