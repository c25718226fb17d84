"""Models on groups of pictures, by a scripted one that sees them together and by others' scores."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau
from scripted_windows import answer, asked_by, greys, right

from imgrank.errors import NothingReadable, UsageError
from imgrank.evaluate.evaluation import Request, evaluate
from imgrank.settings import load_settings

AGES = [5, 12, 20, 33, 41, 58, 66, 79]


@pytest.fixture
def model(tiny_vlm_folder: Path) -> str:
    return f"rarl:{tiny_vlm_folder}"


def found(root: Path, *models: str, **more: Any) -> dict[str, Any]:
    request = Request("csv", root, models, **{"rounds": 50, "groups": 20, **more})
    table: dict[str, Any] = evaluate(request, load_settings()).table
    assert json.loads(json.dumps(table, allow_nan=False)) == table
    return table


def orders(table: dict[str, Any], number: int = 0, query: str = "age") -> dict[int, dict[str, Any]]:
    rows = table["models"][number]["orders"]
    return {row["images"]: row for row in rows if row["query"] == query}


# ---- what is asked -------------------------------------------------------------------------------


def test_the_truth_has_all_figures_at_their_best(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    shown = asked_by(monkeypatch, right)
    table = found(greys(tmp_path / "set", AGES), model)
    assert (table["sizes"], table["groups"], table["alone"]) == ([1, 2, 4, 8], 20, 2000)
    (query,) = table["models"][0]["queries"]
    assert (query["n"], query["mae"], query["srcc"], query["method"]) == (
        *(8, 0, 1),
        "vision-language",
    )
    by_size = orders(table)
    assert {size: row["n"] for size, row in by_size.items()} == {1: 8, 2: 20, 4: 20, 8: 1}
    for size in (2, 4, 8):
        row = by_size[size]
        assert (row["tau"], row["tau_interval"], row["tau_values"]) == (1, [1, 1], 1)
        assert (row["well_formed"], row["complete"]) == (1, 1)
    assert by_size[1].keys() & {"tau", "tau_values"} == set()
    assert by_size[1]["well_formed"] == 1
    # Every window once: each picture alone, 20 pairs, 20 fours, all eight.
    assert sorted(map(len, shown)) == [1] * 8 + [2] * 20 + [4] * 20 + [8]
    assert len({frozenset(window) for window in shown}) == len(shown)


def test_the_listed_order_counts_and_values_stand_beside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    def falling(values: list[int]) -> str:
        return answer(*sorted(enumerate(values, 1), key=lambda item: -item[1]))

    asked_by(monkeypatch, falling)
    table = found(greys(tmp_path / "set", AGES), model, sizes=(1, 4))
    row = orders(table)[4]
    assert (row["tau"], row["tau_values"], row["well_formed"]) == (-1, 1, 1)
    assert table["models"][0]["queries"][0]["mae"] == 0


def test_missing_pictures_share_the_last_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    def youngest(values: list[int]) -> str:  # of several alone; of one its value, and 3 years
        if len(values) == 1:
            return answer((1, values[0] + 3))
        return answer((values.index(min(values)) + 1, 99))

    asked_by(monkeypatch, youngest)
    table = found(greys(tmp_path / "set", AGES), model, sizes=(1, 2, 4))
    by_size = orders(table)
    assert (by_size[2]["tau"], by_size[2]["complete"], by_size[2]["well_formed"]) == (1, 0, 1)
    # Of 6 pairs 3 are decided, rightly: 3 / sqrt(6 * 3).
    assert by_size[4]["tau"] == pytest.approx(3 / np.sqrt(18), abs=1e-6)
    assert by_size[4]["tau"] == pytest.approx(
        kendalltau([0, 1, 2, 3], [0, 1, 1, 1]).statistic, abs=1e-6
    )
    assert table["models"][0]["queries"][0]["mae"] == 3


def test_answers_that_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str) -> None:
    asked_by(monkeypatch, lambda values: "They are all lovely.")
    table = found(greys(tmp_path / "set", AGES), model)
    (query,) = table["models"][0]["queries"]
    assert (query["n"], query["srcc"], query.get("mae")) == (0, None, None)
    for size, row in orders(table).items():
        assert (row["well_formed"], row["complete"], row.get("tau", 0)) == (0, 0, 0), size


def test_values_beyond_the_scale_are_its_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    asked_by(monkeypatch, lambda values: answer((1, 1000)))
    (query,) = found(greys(tmp_path / "set", AGES), model, sizes=(1,))["models"][0]["queries"]
    assert query["mae"] == pytest.approx(100 - np.mean(AGES))


def test_sizes_without_single_pictures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    shown = asked_by(monkeypatch, right)
    table = found(greys(tmp_path / "set", AGES), model, sizes=(2,))
    assert table["models"][0]["queries"] == []
    assert list(orders(table)) == [2]
    assert {len(window) for window in shown} == {2}


def test_few_single_pictures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str) -> None:
    shown = asked_by(monkeypatch, right)
    table = found(greys(tmp_path / "set", AGES), model, sizes=(1,), alone=3)
    (query,) = table["models"][0]["queries"]
    assert (query["n"], len(shown), orders(table)[1]["n"]) == (3, 3, 3)
    ages = sorted(value for (value,) in shown)
    assert query["baseline"]["median"] == np.median(ages)  # no training part: of what is asked


# ---- counts and several queries ------------------------------------------------------------------


def test_counts_have_the_share_of_rounded_values_that_are_right(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    def nearly(values: list[int]) -> str:
        return answer(
            *((k, value + (0.4 if value < 4 else 0.6)) for k, value in enumerate(values, 1))
        )

    asked_by(monkeypatch, nearly)
    file = greys(tmp_path / "set", [0, 0, 1, 2, 4, 5], "by the number of dogs")
    (query,) = found(file, model, sizes=(1,))["models"][0]["queries"]
    assert query["accuracy"] == pytest.approx(4 / 6, abs=1e-6)
    assert query["mae"] == pytest.approx((4 * 0.4 + 2 * 0.6) / 6, abs=1e-6)
    assert (query["baseline"]["majority"], query["baseline"]["accuracy"]) == (
        "0",
        pytest.approx(2 / 6, abs=1e-6),
    )


def test_groups_are_of_one_query_and_the_mean_is_over_groups(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    file = greys(tmp_path / "set", AGES)
    more = file.read_text().splitlines()
    dogs = [line.replace("by age", "by the number of dogs") for line in more[1:4]]
    file.write_text("\n".join([*more, *dogs]) + "\n")
    asked_by(monkeypatch, right)
    table = found(file, model, sizes=(1, 2, 4), groups=9)
    count, age, both = (orders(table, query=q) for q in ("number-of-dogs", "age", "mean"))
    # 9 by two queries is 4 and 5; three pictures have three pairs and no four.
    assert (count[2]["n"], both[2]["n"], both[2]["queries"]) == (3, 3 + age[2]["n"], 2)
    assert age[2]["n"] in (4, 5)
    assert 4 not in count
    assert (age[4]["n"], both[4]["n"], both[4]["queries"]) == (9, 9, 1)
    assert both[1]["n"] == 11


# ---- other models beside -------------------------------------------------------------------------


def test_other_models_order_the_same_groups_by_their_scores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    def swapped(values: list[int]) -> str:
        order = sorted(enumerate(values, 1), key=lambda item: item[1])
        order[:2] = order[1::-1]
        return answer(*order)

    asked_by(monkeypatch, swapped)
    file = greys(tmp_path / "set", list(range(1, 10)), "how cosy it looks")
    table = found(file, model, "tiny", sizes=(1, 2, 4))
    first, second = orders(table, 0, "cosy"), orders(table, 1, "cosy")
    assert first[2]["tau"] == -1
    assert first[4]["tau"] == pytest.approx(4 / 6, abs=1e-6)
    assert 1 not in second  # scores are no answers
    assert second[2].keys() & {"well_formed", "complete", "tau_values"} == set()
    differences = {row["images"]: row for row in table["order_differences"]}
    for size in (2, 4):
        row = differences[size]
        assert row["tau"] == pytest.approx(first[size]["tau"] - second[size]["tau"], abs=2e-6)
        low, high = row["tau_interval"]
        assert low <= row["tau"] <= high
    (difference,) = table["differences"]
    one, two = (m["queries"][0] for m in table["models"])
    assert difference["srcc"] == pytest.approx(one["srcc"] - two["srcc"], abs=2e-6)
    assert not one["in_unit"]  # nobody told it on which scale these are


def test_scores_on_groups_against_scipy(tmp_path: Path) -> None:
    """Every pair of six pictures, by the measured grey: tau is 1 - 2 x the share of wrong pairs."""
    greys_ = [30, 60, 90, 120, 150, 180]
    file = greys(tmp_path / "set", greys_, "brightness")
    truths = dict(zip(greys_, [3, 1, 2, 6, 5, 4], strict=True))
    lines = file.read_text().splitlines()
    lines[1:] = [
        line.replace(f",{grey},", f",{truths[grey]},")
        for grey, line in zip(greys_, lines[1:], strict=True)
    ]
    file.write_text("\n".join(lines) + "\n")
    request = Request("csv", file, rounds=20, sizes=(2, 5), groups=100)
    table = evaluate(request, load_settings()).table
    by_size = orders(table, query="brightness")
    assert {size: row["n"] for size, row in by_size.items()} == {2: 15, 5: 6}
    pairs = list(itertools.combinations(greys_, 2))
    wrong = sum(truths[low] > truths[high] for low, high in pairs)
    assert by_size[2]["tau"] == pytest.approx(1 - 2 * wrong / len(pairs), abs=1e-6)
    fives = list(itertools.combinations(greys_, 5))
    each = [kendalltau([truths[grey] for grey in five], five).statistic for five in fives]
    assert by_size[5]["tau"] == pytest.approx(np.mean(each), abs=1e-6)
    assert table["models"][0]["queries"] == []


def test_a_picture_that_one_model_says_nothing_of_counts_for_neither(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    asked_by(monkeypatch, lambda values: right(values) if values != [5] else "no idea")
    table = found(greys(tmp_path / "set", AGES), model, "tiny-l2r-age", sizes=(1, 2))
    one, two = (m["queries"][0] for m in table["models"])
    assert (one["n"], two["n"]) == (7, 8)
    (difference,) = table["differences"]
    alone = found(greys(tmp_path / "seven", AGES[1:]), "tiny-l2r-age", sizes=(1,))
    assert difference["mae"] == pytest.approx(-alone["models"][0]["queries"][0]["mae"], abs=2e-6)


# ---- kept answers, odd sets ----------------------------------------------------------------------


def test_an_interrupted_evaluation_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    file = greys(tmp_path / "set", AGES)
    calls = itertools.count()

    def interrupted(values: list[int]) -> str:
        if next(calls) == 12:
            raise KeyboardInterrupt
        return right(values)

    asked_by(monkeypatch, interrupted)
    with pytest.raises(KeyboardInterrupt):
        found(file, model)
    before = next(calls) - 1
    rest = asked_by(monkeypatch, right)
    table = found(file, model)
    assert len(rest) == 8 + 20 + 20 + 1 - before
    again = asked_by(monkeypatch, right)
    assert found(file, model) == table
    assert again == []


def test_a_picture_that_cannot_be_read_takes_its_groups_along(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    file = greys(tmp_path / "set", AGES)
    (tmp_path / "set" / "03.png").write_bytes(b"no picture")
    shown = asked_by(monkeypatch, right)
    table = found(file, model, "tiny-l2r-age", groups=28, sizes=(1, 2, 8))
    for number in (0, 1):
        by_size = orders(table, number)
        assert (by_size[2]["n"], by_size[8]["n"], by_size[8]["tau"]) == (21, 0, None)
        (skip,) = table["models"][number]["skipped"]
        assert skip["path"].endswith("03.png")
        assert table["models"][number]["queries"][0]["n"] == 7
    assert [row["n"] for row in table["order_differences"]] == [21, 0]
    assert all(33 not in window for window in shown)


def test_sets_without_an_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str) -> None:
    asked_by(monkeypatch, right)
    said: list[str] = []
    table = found(greys(tmp_path / "flat", [7, 7, 7]), model, notify=said.append)
    assert list(orders(table)) == [1]
    assert table["models"][0]["queries"][0]["srcc"] is None
    assert sum("no group of" in line for line in said) == 3
    with pytest.raises(NothingReadable, match="not one picture of csv"):
        found(greys(tmp_path / "flat", [7, 7, 7]), model, sizes=(2, 4))


def test_no_more_pictures_than_the_model_looks_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    asked_by(monkeypatch, right)
    with pytest.raises(UsageError, match=r"looks at 8 pictures at most; --sizes asks for 9"):
        found(greys(tmp_path / "set", [*AGES, 90]), model, sizes=(9,))


def test_copies_of_a_picture_are_two_images(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    file = greys(tmp_path / "set", [10, 10, 30])
    lines = file.read_text().splitlines()
    lines[2] = lines[2].replace(",10,", ",20,")  # of two equal pictures one is older
    file.write_text("\n".join(lines) + "\n")
    shown = asked_by(monkeypatch, lambda values: answer(*((k, v) for k, v in enumerate(values, 1))))
    table = found(file, model, sizes=(2, 3))
    assert sorted(sorted(window) for window in shown) == [[10, 10], [10, 10, 30], [10, 30]]
    assert orders(table)[3]["complete"] == 1
