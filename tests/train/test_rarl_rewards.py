"""The ranking-aware reward against numbers worked by hand, and tau against scipy's."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from imgrank.listwise.parsing import Item
from imgrank.listwise.prompt import Rule, truth_answer
from imgrank.train import rarl_rewards as rarl
from imgrank.train.rarl_rewards import Rewards, Weights, rewards

BOTH = Weights(alpha=1, beta=1, gamma=0.5)
TRUTH = (30.0, 10.0, 50.0, 20.0)  # in order: 2, 4, 1, 3


def items(*pairs: tuple[int, float]) -> list[Item]:
    return [Item(image, float(value)) for image, value in pairs]


def answer(*pairs: tuple[int, float]) -> str:
    written = [{"image_id": image, "value": value} for image, value in pairs]
    return f"<think>So.</think><answer>{json.dumps(written)}</answer>"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (items((1, 30), (2, 10), (3, 50), (4, 20)), 1.0),
        (items((1, 35), (2, 10), (3, 50), (4, 20)), (0.75 + 3) / 4),  # 1 - (5/10)^2
        (items((1, 20), (2, 10), (3, 50), (4, 20)), 3 / 4),  # off by delta
        (items((1, 1e308), (2, -1e308), (3, 50), (4, 20)), 2 / 4),
        (items((2, 10), (3, 50)), 2 / 4),  # missing ones
        (items((2, 10), (2, 99)), 1 / 4),  # the first counts
        (items((3, 99), (3, 50)), 0.0),
        (items((0, 30), (5, 10), (-1, 50), (4, 20)), 1 / 4),  # ids of no image
        ([], 0.0),
    ],
)
def test_regression(said: list[Item], expected: float) -> None:
    assert rarl.regression(said, TRUTH, 10.0) == pytest.approx(expected, rel=1e-12)


def test_the_tolerance_is_a_tenth_of_the_range() -> None:
    for low, high, delta in ((0, 100, 10), (1, 10, 0.9), (0, 20, 2)):
        assert rarl.tolerance(Rule("the size", low, high)) == pytest.approx(delta)


def test_values_that_no_float_can_square_are_worth_nothing() -> None:
    assert rarl.regression(items((1, 1e308)), [-1e308], 1e-308) == 0
    assert rarl.regression(items((1, -1e308)), [-1e308], 1e-308) == 1


def test_length_counts_items() -> None:
    assert rarl.length(items((1, 1), (9, 1)), [1, 2]) == 1
    assert rarl.length(items((1, 1)), [1, 2]) == rarl.length([], [1]) == 0


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([1, 2, 3], 1.0),
        ([3, 2, 1], -1.0),
        ([1, 3, 2], 1 / 3),
        ([2, 1, 4, 3], 1 / 3),  # 2 of 6 pairs fall
        ([1, 1, 2], 1.0),  # the tie is not counted
        ([2, 1, 1], -1.0),
        ([1, 2, 2, 1], 0.0),  # of 4 pairs that differ 2 fall
        ([5, 5], 1.0),
        ([5], 1.0),
        ([], 1.0),
    ],
)
def test_tau(keys: list[float], expected: float) -> None:
    assert rarl.tau(keys) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=9, unique=True))
def test_tau_is_kendall_s_where_nothing_is_tied(keys: list[float]) -> None:
    expected = kendalltau(range(len(keys)), keys).statistic
    assert rarl.tau(keys) == pytest.approx(expected, abs=1e-12)


def test_consistency_looks_at_the_list_s_own_values() -> None:
    assert rarl.consistency(items((1, 1), (2, 2), (3, 3), (4, 4)), TRUTH) == 1
    assert rarl.consistency(items((1, 4), (2, 3), (3, 2), (4, 1)), TRUTH) == -1
    assert rarl.consistency(items((1, 1), (2, 3), (3, 2), (4, 4)), TRUTH) == pytest.approx(2 / 3)


def test_one_value_for_all_is_no_free_reward() -> None:
    same = items((1, 7), (2, 7), (3, 7), (4, 7))
    assert rarl.consistency(same, TRUTH) == -1
    assert rarl.consistency(same, [5, 5, 5, 5]) == 1  # it is right there
    # Truths 5, 5, 9, 1: the pair of equals is neutral, 5 others are not concordant.
    assert rarl.consistency(same, [5, 5, 9, 1]) == -1
    # One tie of three pairs, whose truths differ: 2 rise, 1 is held for falling.
    assert rarl.consistency(items((1, 7), (2, 7), (3, 8)), [1, 2, 3]) == pytest.approx(1 / 3)
    # The same with equal truths: it does not count at all.
    assert rarl.consistency(items((1, 7), (2, 7), (3, 8)), [1, 1, 3]) == 1
    # Two values for two equal truths are an ordinary pair.
    assert rarl.consistency(items((1, 8), (2, 7)), [1, 1]) == -1


def test_accuracy_looks_at_the_truth() -> None:
    assert rarl.accuracy(items((2, 0), (4, 0), (1, 0), (3, 0)), TRUTH) == 1
    assert rarl.accuracy(items((3, 0), (1, 0), (4, 0), (2, 0)), TRUTH) == -1
    assert rarl.accuracy(items((2, 0), (1, 0), (4, 0), (3, 0)), TRUTH) == pytest.approx(2 / 3)
    assert rarl.accuracy(items((2, 0), (1, 0)), [4, 4]) == 1


@pytest.mark.parametrize(
    "said",
    [
        [],
        items((1, 1), (2, 2), (3, 3)),
        items((1, 1), (2, 2), (3, 3), (3, 3)),
        items((1, 1), (2, 2), (3, 3), (4, 4), (4, 4)),
        items((0, 1), (1, 2), (2, 3), (3, 4)),
        items((1, 1), (2, 2), (3, 3), (4, 4), (5, 5)),
    ],
)
def test_ids_that_are_not_exactly_the_images_are_as_bad_as_the_worst_order(
    said: list[Item],
) -> None:
    assert rarl.consistency(said, TRUTH) == rarl.accuracy(said, TRUTH) == -1
    assert rarl.ranking(said, TRUTH) == (len(said) == 4) - 2


@pytest.mark.parametrize("said", [[], items((1, 3)), items((2, 3)), items((1, 3), (1, 4))])
def test_one_image_has_no_order(said: list[Item]) -> None:
    assert rarl.consistency(said, [3]) == rarl.accuracy(said, [3]) == rarl.ranking(said, [3]) == 0


def test_the_whole_reward_by_hand() -> None:
    # Values 10, 25, 15, 50 for images 2, 1, 4, 3: listed truths 10, 30, 20, 50.
    found = rewards(answer((2, 10), (1, 25), (4, 15), (3, 50)), TRUTH, 10.0, BOTH)
    reg = (1 + 0.75 + 0.75 + 1) / 4
    assert found == Rewards(
        fmt=1,
        reg=pytest.approx(reg),
        length=1,
        con=pytest.approx(2 / 3),
        acc=pytest.approx(2 / 3),
        total=pytest.approx(reg + 1 + 2 / 3 + 2 / 3 + 0.5),
        task=pytest.approx(reg + 2 / 3),
    )
    weighted = rewards(answer((2, 10)), TRUTH, Rule("the age", 0, 100), Weights(2, 3, 5))
    assert weighted == Rewards(1, 0.25, 0, -1, -1, total=2 * 0.25 - 6 + 5, task=2 * 0.25 - 3)


def test_the_first_stage_looks_at_the_value_and_the_form() -> None:
    first = Weights(alpha=1, beta=0, gamma=0.5)
    assert rewards(answer((1, 25)), [30], 10.0, first).total == pytest.approx(0.75 + 0.5)
    assert rewards('[{"image_id": 1, "value": 25}]', [30], 10.0, first).total == 0.75
    assert rewards("about 25", [30], 10.0, first) == Rewards(0, 0, 0, 0, 0, 0, 0)


def test_a_broken_answer_is_worse_than_a_wrong_order() -> None:
    broken = rewards("no idea", TRUTH, 10.0, BOTH)
    wrong = rewards(answer((3, 91), (1, 92), (4, 93), (2, 94)), TRUTH, 10.0, BOTH)
    assert broken.total == -2 and wrong.total == 1 + 1 - 1 + 0.5
    assert broken.task == wrong.task == -1


@pytest.mark.parametrize(("n", "expected"), [(1, 1.0), (2, 2.0), (8, 2.0)])
def test_the_truth_s_own_task_reward(n: int, expected: float) -> None:
    truth = [7.0 * i % 5 for i in range(n)]
    assert rarl.truth_task(n, BOTH) == expected
    assert rewards(truth_answer(truth), truth, 10.0, BOTH).task == expected
    assert rarl.truth_task(n, Weights(1, 0, 0.5)) == 1


IDS = st.integers(-1, 9) | st.integers()
PAIRS = st.lists(st.tuples(IDS, st.floats(allow_nan=False, allow_infinity=False)), max_size=9)


@given(PAIRS | st.permutations(range(1, 5)).map(lambda p: [(i, float(i)) for i in p]),
       st.lists(st.floats(-1e308, 1e308), min_size=1, max_size=8))  # fmt: skip
def test_rewards_stay_within_their_ends(
    pairs: Sequence[tuple[int, float]], truth: list[float]
) -> None:
    found = rewards(answer(*pairs), truth, 10.0, BOTH)
    assert 0 <= found.reg <= 1 and -1 <= found.con <= 1 and -1 <= found.acc <= 1
    ranked = found.length + found.con + found.acc if len(truth) > 1 else 0
    assert found.total == pytest.approx(found.reg + ranked + 0.5 * found.fmt)
    assert found.task == found.reg + found.acc
