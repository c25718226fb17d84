"""What a step of RARL is about: which pictures are drawn together, of which query and range."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgrank.data.labelled import Labelled, Labels, ReadOptions
from imgrank.errors import DataError
from imgrank.listwise.prompt import Rule, messages
from imgrank.train import rarl_data
from imgrank.train.rarl_data import Problem, Prompt, draw, opened, problem_of


def labels(key: str, values: list[float], **more: object) -> Labels:
    own = {"task": key, "prompt": f"by {key}", **more}
    return Labels(key, values=np.array(values, dtype=np.float32), **own)


def problem(
    *queries: Labels, monkeypatch: pytest.MonkeyPatch, told: list[str] | None = None
) -> Problem:
    """Of pictures that are all training ones."""
    N = len(queries[0].values)
    names = tuple(f"{n}.png" for n in range(N))
    data = Labelled("toy", tuple(map(Path, names)), names, ("train",) * N, names, queries)
    monkeypatch.setattr(rarl_data, "read", lambda name, root, options: data)
    report = (lambda line: None) if told is None else told.append
    return problem_of("toy", Path(), ReadOptions(report=report))


def drawn(problem: Problem, n: int, steps: int = 50) -> list[Prompt]:
    return [prompt for step in range(steps) for prompt in draw(problem, (n,), 8, 0, 2, step)]


def test_a_step_draws_the_same_again_and_another_step_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = problem(labels("age", list(range(50))), monkeypatch=monkeypatch)
    one = draw(found, (1, 2, 4, 8), 8, 5, 2, 17)
    assert draw(found, (1, 2, 4, 8), 8, 5, 2, 17) == one
    for other in ((6, 2, 17), (5, 1, 17), (5, 2, 18)):
        assert draw(found, (1, 2, 4, 8), 8, *other) != one
    for prompt in one:
        assert prompt.values == tuple(float(row) for row in prompt.rows)
        assert len(set(prompt.rows)) == len(prompt.rows)


def test_sizes_are_equally_likely_and_no_larger_than_there_are_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = problem(labels("age", [3, 60, 41, 25, 9]), monkeypatch=monkeypatch)
    sizes = Counter(
        len(prompt.rows)
        for step in range(100)
        for prompt in draw(found, (1, 2, 4, 8), 8, 0, 2, step)
    )
    assert sizes.keys() == {1, 2, 4, 5}
    assert all(160 < number < 240 for number in sizes.values())


def test_a_window_of_a_common_value_still_has_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [1.0] * 95 + [2.0, 2.0, 3.0, 7.0, 12.0]
    found = problem(labels("count", values, subject="dogs"), monkeypatch=monkeypatch)
    for n in (2, 4, 8):
        windows = drawn(found, n)
        assert all(len(set(window.values)) > 1 for window in windows)
        assert all(len(set(window.rows)) == n for window in windows)
    # In windows a value of m pictures weighs sqrt(m): 9.7 of 14.2; alone as often as it is.
    alone = np.mean([prompt.values[0] == 1 for prompt in drawn(found, 1, 200)])
    first = np.mean([prompt.values[0] == 1 for prompt in drawn(found, 8, 200)])
    assert 0.93 < alone < 0.97 and 0.5 < first < 0.75


def test_the_odd_one_out_may_stand_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    found = problem(labels("age", [30.0] * 99 + [50.0]), monkeypatch=monkeypatch)
    places = Counter(window.values.index(50.0) for window in drawn(found, 4, 100))
    assert places.keys() == {0, 1, 2, 3} and min(places.values()) > 150


def test_few_pictures_of_a_count_show_none(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [0.0] * 90 + [1.0] * 8 + [2.0, 3.0]
    found = problem(labels("count", values, subject="dogs"), monkeypatch=monkeypatch)
    none = np.mean([prompt.values[0] == 0 for prompt in drawn(found, 1, 200)])
    assert 0.07 < none < 0.13
    ages = problem(labels("age", values), monkeypatch=monkeypatch)  # a value as any other
    assert np.mean([prompt.values[0] == 0 for prompt in drawn(ages, 1, 200)]) > 0.85


def test_queries_are_drawn_by_their_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a count, by those that show one; a picture without a value is not of the query."""
    dogs = labels("count", [1.0, 2.0] * 15 + [0.0] * 70, subject="dogs")
    cats = labels("count", [0.0] * 90 + [1.0, 2.0] * 5, subject="cats")
    age = labels("age", [np.nan] * 40 + [float(n) for n in range(60)])
    found = problem(dogs, cats, age, monkeypatch=monkeypatch)
    assert [asked.weight for asked in found.asked] == [30, 10, 60]
    asked = Counter(prompt.rule.text for prompt in drawn(found, 2, 100))
    assert asked["the number of dogs"] == pytest.approx(240, abs=45)
    assert asked["the number of cats"] == pytest.approx(80, abs=30)
    assert asked["the person's age"] == pytest.approx(480, abs=45)
    old = [p for p in drawn(found, 2) if p.rule.text == "the person's age"]
    assert all(row >= 40 for prompt in old for row in prompt.rows)


def test_values_outside_a_range_that_all_share_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    count = labels("count", [0.0, 3.0, 20.0, 31.0, 21.0], subject="books")
    found = problem(count, monkeypatch=monkeypatch, told=told)
    assert found.asked[0].rule == Rule("the number of books", 0.0, 20.0)
    assert found.asked[0].rows.tolist() == [0, 1, 2]
    assert told == ["toy, count: left out, with a value outside 0 to 20: 2 pictures"]


def test_of_many_queries_only_some_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    objects = [f"thing {n}" for n in range(6)]
    counts = [labels("count", [0.0, 3.0, 21.0], subject=each) for each in objects]
    problem(*counts, monkeypatch=monkeypatch, told=told)
    assert told[:4] == ["toy, count: left out, with a value outside 0 to 20: 1 picture"] * 4
    assert told[4:] == ["toy: the same of 2 more queries"]


def test_a_range_that_nobody_gives_is_that_of_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    cosy = labels("cosy", [2.0, 63.5, 30.0], prompt="how cosy it looks")
    percent = labels("quality", [5.0, 88.25, 30.0])
    usual = labels("quality", [1.5, 4.0, 3.0])
    stars = labels("aesthetics", [1.5, 4.0, 3.0], range=(0.0, 5.0))
    found = problem(cosy, percent, usual, stars, monkeypatch=monkeypatch)
    ends = [(asked.rule.low, asked.rule.high) for asked in found.asked]
    assert ends == [(2.0, 64.0), (5.0, 89.0), (1.0, 5.0), (0.0, 5.0)]


def test_a_query_without_an_order_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    flat, age = labels("quality", [3.0, 3.0]), labels("age", [3.0, 4.0])
    found = problem(flat, age, monkeypatch=monkeypatch, told=told)
    assert [asked.labels.key for asked in found.asked] == ["age"]
    assert told == ["toy: quality is left out: its pictures have all one value"]
    with pytest.raises(DataError, match="no query has two pictures of different values"):
        problem(flat, monkeypatch=monkeypatch)


def test_many_queries_are_told_of_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [labels("count", [n, 1.0, 2.0, np.nan], subject=f"dogs {n}") for n in range(5)]
    found = problem(*counts, monkeypatch=monkeypatch)
    assert found.lines() == ["toy: 5 queries of 3 pictures to train on"]
    found = problem(*counts[:2], monkeypatch=monkeypatch)
    line = "toy: 3 pictures to train on, the number of dogs {}, 0 to 20"
    assert found.lines() == [line.format(n) for n in (0, 1)]


def test_the_digest_follows_what_could_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def digest(*values: float, key: str = "age") -> str:
        return problem(labels(key, list(values)), monkeypatch=monkeypatch).digest

    assert digest(3, 4, 5) == digest(3, 4, 5)
    assert len({digest(3, 4, 5), digest(3, 5, 4), digest(3, 4), digest(3, 4, 5, key="year")}) == 4


def test_pictures_are_opened_once_in_the_order_of_the_prompt(tmp_path: Path) -> None:
    lines = []
    for n, colour in enumerate(("red", "lime", "blue", "white")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{n}.png")
        lines.append(f"{n}.png,by age,{n},train,{n}\n")
    table = tmp_path / "t.csv"
    table.write_text("path,instruction,value,split,group\n" + "".join(lines))
    found = problem_of("csv", table)
    rule = found.asked[0].rule
    prompts = [Prompt(rule, (2, 0), (2.0, 0.0)), Prompt(rule, (0,), (0.0,))]
    (asked, images), (_, alone) = opened(found, prompts, 200704)
    assert asked == messages(rule, 2)
    assert [image.getpixel((0, 0)) for image in images] == [(0, 0, 255), (255, 0, 0)]
    assert alone[0] is images[1]
    assert found.lines() == ["csv: 4 pictures to train on, the person's age, 0 to 100"]
    (tmp_path / "0.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"0\.png of the data set cannot be used"):
        opened(found, prompts, 200704)


def test_pictures_that_are_made_and_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    found = problem(labels("age", [3.0, 4.0]), monkeypatch=monkeypatch)

    def render(row: int, size: int) -> np.ndarray:
        return np.full((size, size, 3), row, dtype=np.uint8)

    object.__setattr__(found.data, "render", render)
    ((_, images),) = opened(found, [Prompt(found.asked[0].rule, (1, 0), (4.0, 3.0))], 900)
    assert [(image.size, image.getpixel((0, 0))[0]) for image in images] == [
        ((30, 30), 1),
        ((30, 30), 0),
    ]
