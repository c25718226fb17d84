"""What a vision-language model is asked, and the answer that is held to be right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgrank.listwise.parsing import Item, parse, well_formed
from imgrank.listwise.prompt import INSTRUCT, SYSTEM, Rule, instruct, messages, number, truth_answer
from imgrank.train.rarl_rewards import Weights, rewards

AGE = Rule("the person's age", 0, 100)
PAPER = Path(__file__).resolve().parents[3] / "shared" / "papers" / "002_f0138380eb4706a4.txt"


def test_the_paper_s_words_with_the_rule_in_its_three_places() -> None:
    assert instruct(AGE) == (
        "Analyze each image to determine the person's age, and if there are multiple images, sort "
        "them in ascending order of person's age. Output the results as a JSON list of "
        "dictionaries in this format: [{'image_id': number, 'value': value}, ...], where value is "
        "the person's age (0 to 100). Ensure the list is sorted correctly with strictly followed "
        "syntax."
    )
    assert instruct(Rule("aesthetic quality", 1.5, 10)).count("aesthetic quality") == 3
    assert "(1.5 to 10)" in instruct(Rule("aesthetic quality", 1.5, 10))


def test_the_words_are_those_of_the_published_table() -> None:
    if not PAPER.is_file():
        pytest.skip("no shared/papers beside the repository")

    def words(text: str) -> str:  # without the marks, some of which the published text lost
        return " ".join(re.findall(r"\w+", text))

    table = words(PAPER.read_text(encoding="utf-8"))
    assert words(SYSTEM) in table
    assert words(INSTRUCT) in table


def test_pictures_are_numbered_and_come_before_the_question() -> None:
    system, user = messages(AGE, 2)
    assert system == {"role": "system", "content": [{"type": "text", "text": SYSTEM}]}
    assert user["role"] == "user"
    assert user["content"] == [
        {"type": "text", "text": "Image 1: "},
        {"type": "image"},
        {"type": "text", "text": "Image 2: "},
        {"type": "image"},
        {"type": "text", "text": instruct(AGE)},
    ]


def test_the_truth_is_listed_in_rising_order() -> None:
    assert truth_answer([41, 7.0, 7]) == (
        '<think>I looked.</think><answer>[{"image_id": 2, "value": 7}, '
        '{"image_id": 3, "value": 7}, {"image_id": 1, "value": 41}]</answer>'
    )


@pytest.mark.parametrize(
    ("values", "printed"),
    [
        ([5.278301, 6], [5.28, 6]),
        ([5.278301, 5.278302], [5.278301, 5.278302]),  # apart, so they must stay apart
        ([0.00123], [0.00123]),  # two decimals would be off by more than 1 %
        ([0.1 + 0.2], [0.3]),
        ([1e300, -2.5], [-2.5, 1e300]),
        ([-0.0], [0]),
    ],
)
def test_values_are_short_and_yet_different(values: list[float], printed: list[float]) -> None:
    assert [item.value for item in parse(truth_answer(values))] == printed


def test_whole_numbers_have_no_point() -> None:
    assert [repr(number(value)) for value in (3.0, 3, 2.5)] == ["3", "3", "2.5"]


VALUES = st.floats(-1e9, 1e9) | st.integers(0, 100) | st.floats(1, 10)


@given(st.lists(VALUES, min_size=1, max_size=8))
def test_the_right_answer_earns_all_there_is(values: list[float]) -> None:
    text = truth_answer(values)
    assert well_formed(text)
    assert {item.image_id for item in parse(text)} == set(range(1, len(values) + 1))
    weights = Weights(1, 1, 0.5)
    # Values within 1 %, or half a hundredth; delta is that of values ten times as far apart.
    found = rewards(text, values, max(1.0, *(abs(value) for value in values)), weights)
    ranked = len(values) > 1
    assert (found.fmt, found.length) == (1, 1)
    assert (found.con, found.acc) == ((1, 1) if ranked else (0, 0))
    assert 0.9998 <= found.reg <= 1
    assert found.total == found.reg + 0.5 + 3 * ranked


def test_items_are_as_written() -> None:
    assert parse(truth_answer([2.5])) == (Item(1, 2.5),)
