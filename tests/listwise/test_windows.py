"""Windows of a long list, and the fit of picture and call."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgrank.listwise.windows import SIZE, Window, first_round, fit, order_of, second_round

counts, sizes = st.integers(0, 300), st.integers(2, 9)
seeds = st.integers(0, 2**32 - 1)


def parts(windows: list[Window], count: int) -> int:
    """How many groups of pictures no window ties together."""
    label = list(range(count))
    for window in windows:
        joined = {label[one] for one in window}
        label = [min(joined) if each in joined else each for each in label]
    return len(set(label))


@settings(deadline=None)
@given(counts, sizes, seeds)
def test_first_round_asks_about_each_once(count: int, size: int, seed: int) -> None:
    windows = first_round(count, size, seed)
    assert sorted(one for window in windows for one in window) == list(range(count))
    assert len(windows) == -(-count // size)
    lengths = {len(window) for window in windows}
    assert not lengths or max(lengths) - min(lengths) <= 1
    assert max(lengths, default=0) <= size
    assert first_round(count, size, seed) == windows


def test_first_round_leaves_none_alone() -> None:
    assert [len(window) for window in first_round(9)] == [5, 4]
    assert [len(window) for window in first_round(17)] == [6, 6, 5]
    assert [len(window) for window in first_round(1)] == [1]
    assert first_round(0) == []


def test_first_round_is_drawn() -> None:
    assert first_round(16, seed=1) != first_round(16, seed=2)
    assert sorted(first_round(16, seed=1)[0]) != list(range(8))


@settings(deadline=None)
@given(counts, sizes, seeds)
def test_second_round_covers_the_order_in_whole_windows(count: int, size: int, seed: int) -> None:
    order = np.random.default_rng([seed, 1]).permutation(count).tolist()
    windows = second_round(order, size)
    if count <= size:
        assert windows == []  # round 1 was about all of them together
        return
    place = {picture: at for at, picture in enumerate(order)}
    for window in windows:
        assert [place[one] for one in window] == list(
            range(place[window[0]], place[window[0]] + size)
        )
    met = Counter(one for window in windows for one in window)
    assert set(met) == set(range(count))
    middle = order[size : count - size]
    assert all(met[one] == 1 for one in middle)  # with round 1: twice in all


@pytest.mark.parametrize(
    ("count", "starts"),
    [
        (9, [0, 1]),
        (12, [0, 4]),
        (13, [0, 4, 5]),
        (16, [0, 4, 8]),
        (20, [0, 4, 12]),
        (24, [0, 4, 12, 16]),
    ],
)
def test_second_round_by_hand(count: int, starts: list[int]) -> None:
    windows = second_round(range(count))
    assert windows == [tuple(range(start, start + SIZE)) for start in starts]


def test_calls_of_the_specification() -> None:
    assert len(first_round(128)) + len(second_round(range(128))) == 16 + 17


@settings(deadline=None)
@given(st.integers(1, 300), seeds)
def test_both_rounds_tie_all_pictures_together(count: int, seed: int) -> None:
    rng = np.random.default_rng([seed, 1])
    windows = first_round(count, seed=seed) + second_round(rng.permutation(count).tolist())
    assert parts(windows, count) == 1


@pytest.mark.parametrize("count", range(9, 25))
def test_the_worst_order_cannot_part_a_short_list(count: int) -> None:
    """An order that keeps the windows of round 1 together, in every turn of it."""
    first = first_round(count)
    flat = [one for window in first for one in window]
    for turn in range(count):
        assert parts(first + second_round(flat[turn:] + flat[:turn]), count) == 1


def test_a_window_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="compares nothing"):
        first_round(4, 1)
    with pytest.raises(ValueError, match="compares nothing"):
        second_round([0, 1], 1)


@settings(deadline=None)
@given(st.integers(1, 120), seeds)
def test_fit_recovers_values_and_offsets(count: int, seed: int) -> None:
    rng = np.random.default_rng([seed, 1])
    truth = rng.uniform(0, 100, count)
    windows = first_round(count, seed=seed) + second_round(rng.permutation(count).tolist())
    offsets = rng.normal(0, 20, len(windows))
    calls = [
        {one: truth[one] + offset for one in window}
        for window, offset in zip(windows, offsets, strict=True)
    ]
    values = fit(calls, count)
    drift = values - truth
    np.testing.assert_allclose(drift, drift[0], atol=1e-6)
    # The level is that of the answers: offsets are 0 in the mean over all values.
    given_mean = np.mean([value for call in calls for value in call.values()])
    fitted_mean = np.mean([values[one] for call in calls for one in call])
    assert fitted_mean == pytest.approx(given_mean)


@settings(deadline=None)
@given(st.integers(1, 60), seeds)
def test_fit_does_not_mind_names_or_the_order_of_calls(count: int, seed: int) -> None:
    rng = np.random.default_rng([seed, 1])
    windows = first_round(count, seed=seed) + second_round(rng.permutation(count).tolist())
    calls = [{one: float(rng.normal()) for one in window} for window in windows]
    name = rng.permutation(count)
    renamed = [{int(name[one]): value for one, value in call.items()} for call in calls]
    shuffled = [renamed[at] for at in rng.permutation(len(renamed))]
    np.testing.assert_allclose(fit(shuffled, count)[name], fit(calls, count), atol=1e-9)


@settings(deadline=None)
@given(st.integers(2, 40), seeds)
def test_fit_is_the_least_squares_solution(count: int, seed: int) -> None:
    """Against numpy's, which takes the smallest offsets in the same sense where parts are loose."""
    rng = np.random.default_rng([seed, 1])
    calls = []
    for _ in range(int(rng.integers(1, 8))):
        members = rng.choice(count, int(rng.integers(1, min(count, 8) + 1)), replace=False)
        calls.append({int(one): float(rng.normal(50, 20)) for one in members})
    cells = [(one, call, value) for call, a in enumerate(calls) for one, value in a.items()]
    design = np.zeros((len(cells), count + len(calls)))
    for at, (one, call, _) in enumerate(cells):
        design[at, one] = design[at, count + call] = 1
    wanted = np.asarray([value for *_, value in cells])
    best = design @ np.linalg.lstsq(design, wanted, rcond=None)[0]
    values = fit(calls, count)
    image, call = (np.asarray(column) for column in list(zip(*cells, strict=True))[:2])
    left = wanted - values[image]
    offsets = np.bincount(call, left) / np.bincount(call)
    np.testing.assert_allclose(values[image] + offsets[call], best, atol=1e-5)


def test_fit_by_hand() -> None:
    # The second call gives 10 more; half of that is laid on each of two equal calls.
    assert fit([{0: 20, 1: 30}, {0: 30, 1: 40}], 2).tolist() == pytest.approx([25, 35])


def test_values_of_one_round_stay_as_they_were_given() -> None:
    assert fit([{2: 7.5, 0: 3.0}, {1: 61.0}], 3).tolist() == [3.0, 61.0, 7.5]


def test_an_answer_about_one_picture_moves_no_other() -> None:
    calls = [{0: 10.0, 1: 20.0, 2: 30.0}, {1: 90.0}]
    values = fit(calls, 3)
    assert order_of(values) == [0, 1, 2]
    assert np.diff(values).tolist() == pytest.approx([10, 10])


def test_missing_and_odd_values_are_passed_over() -> None:
    calls = [{0: 1.0, 1: float("nan"), 2: float("inf")}, {}, {3: 2.0}]
    values = fit(calls, 5)
    np.testing.assert_array_equal(values, [1.0, np.nan, np.nan, 2.0, np.nan])
    assert order_of(values) == [0, 3, 1, 2, 4]
    assert np.isnan(fit([], 2)).all()
    assert fit([], 0).shape == (0,)


def test_a_picture_that_does_not_exist_is_an_error() -> None:
    for wrong in (-1, 3):
        with pytest.raises(IndexError, match=r"0\.\.2"):
            fit([{wrong: 1.0}], 3)


def test_equals_stand_by_number() -> None:
    values = np.asarray([5.0, 1.0] * 40)
    assert order_of(values) == [*range(1, 80, 2), *range(0, 80, 2)]
