"""Answers as models write them: what is read of them, and which have exactly the asked form."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imgrank.listwise.parsing import Item, parse, well_formed


def answer(items: Any, thought: str = "Older.") -> str:
    return f"<think>{thought}</think><answer>{json.dumps(items)}</answer>"


def listed(*pairs: tuple[Any, Any]) -> list[dict[str, Any]]:
    return [{"image_id": image, "value": value} for image, value in pairs]


def read(text: str) -> list[tuple[int, float]]:
    return [(item.image_id, item.value) for item in parse(text)]


TWO = '[{"image_id": 2, "value": 7}, {"image_id": 1, "value": 41.5}]'


@pytest.mark.parametrize(
    "text",
    [
        f"<think>a</think><answer>{TWO}</answer>",
        f"\n <think>a\nb</think> \n<answer>\n{TWO}\n</answer>\n",
        f"<think></think><answer>{TWO}</answer>",
        "<think>a [1]</think><answer>[{'image_id': 2, 'value': 7},"
        " {'image_id': 1, 'value': 41.5}]</answer>".replace("'", '"'),
    ],
)
def test_the_asked_form(text: str) -> None:
    assert well_formed(text)
    assert read(text) == [(2, 7.0), (1, 41.5)]


@pytest.mark.parametrize(
    "text",
    [
        TWO,
        f"<answer>{TWO}</answer>",
        f"<think>a<answer>{TWO}</answer>",
        f"Sure! <think>a</think><answer>{TWO}</answer>",
        f"<think>a</think><answer>{TWO}</answer> Done.",
        f"<think>a</think> so <answer>{TWO}</answer>",
        f"<think>a</think><answer>{TWO}",
        f"<think>a</think><think>b</think><answer>{TWO}</answer>",
        f"<think>a<think>b</think><answer>{TWO}</answer>",
        f"<think>a <answer>[]</answer> b</think><answer>{TWO}</answer>",
        f"<think>a <answer> b</think><answer>{TWO}</answer>",
        f"<think>[]</think><answer>[]</answer><answer>{TWO}</answer>",
        f"<think>a</think><answer>```json\n{TWO}\n```</answer>",
        f"<think>a</think><answer>The list: {TWO}</answer>",
        f"<think>a</think><answer>[{TWO}]</answer>".replace("[[", "[").replace("]]", ",]"),
        f"<think>a</think><answer>{TWO.replace(chr(34), chr(39))}</answer>",
        f"<THINK>a</THINK><ANSWER>{TWO}</ANSWER>",
        f"<think>a</think><answer>{TWO} [</answer>",
    ],
)
def test_forms_that_are_wrong_and_are_read_all_the_same(text: str) -> None:
    assert not well_formed(text)
    assert read(text) == [(2, 7.0), (1, 41.5)]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        ("I cannot tell.", []),
        ("<think>a</think><answer></answer>", []),
        ("[]", []),
        ('{"image_id": 1, "value": 3}', [(1, 3.0)]),  # no list
        ('[[{"image_id": 1, "value": 3}]]', [(1, 3.0)]),  # a list too many
        ("[{image_id: 1, value: 3}]", [(1, 3.0)]),  # no quotes
        ("[{'value': .5, 'image_id': '2'}]", [(2, 0.5)]),
        ("[{old_image_id: 7, image_id: 1, value: 3, its_value: 9}]", [(1, 3.0)]),
        # What is within an item is no matter, if a whole list can be read.
        ('[{"image_id": 1, "value": 3, "more": {"a": null}}]', [(1, 3.0)]),
        ("[{'image_id': 1, 'value': 3, 'more': {'a': None}},]", [(1, 3.0)]),
        ('[{"image_id": 1, "value": 3, "why": "[old]"}, {"image_id": 2, "va', [(1, 3.0)]),  # cut
        ('<answer>[{"image_id": 1, "value": 3}, {"image_id": 2, "value": 4', [(1, 3.0)]),
        # Of several blocks the last; a draft in the thoughts is none; a last one may be cut off.
        (f'<answer>{TWO}</answer><answer>[{{"image_id": 1, "value": 3}}]</answer>', [(1, 3.0)]),
        (f'<think>{TWO}</think><answer>[{{"image_id": 1, "value": 3}}, {{"im', [(1, 3.0)]),
        (f"<think>{TWO}</think><answer></answer>", []),
        # One broken item among others does not cost these.
        ('[{"image_id": 1, "value": 3} {"image_id": 2, "value": old}, {"image_id": 3, "value": 4}]',
         [(1, 3.0), (3, 4.0)]),
        ('[{"image_id": 1, "value": 3}, {"image_id": 2}, 7, {"image_id": 3, "value": 4}]',
         [(1, 3.0), (3, 4.0)]),
        ('Image [1]: [{"image_id": 1, "value": 3}]', [(1, 3.0)]),
    ],
)  # fmt: skip
def test_what_is_taken_of_other_texts(text: str, items: list[tuple[int, float]]) -> None:
    assert read(text) == items
    assert not well_formed(text)


@pytest.mark.parametrize(
    ("image", "value", "item", "exact"),
    [
        ("1", "3", (1, 3.0), True),
        ("7", "-3.5e1", (7, -35.0), True),  # an id that is no image's is for others to judge
        ("1.0", "3", (1, 3.0), False),
        ('"1"', "3", (1, 3.0), False),
        ("1", '" 3.5 "', (1, 3.5), False),
        ("1", '"3 years"', None, False),
        ("1", '"1_0"', None, False),
        ("1", '"３"', None, False),
        ("1", '"nan"', None, False),
        ("1", '"Infinity"', None, False),
        ("1", "NaN", None, False),
        ("1", "-Infinity", None, False),
        ("1", "1e400", None, False),
        ("1", '"1e400"', None, False),
        ("1", "9" * 400, None, False),
        ("1", str(10**4000), None, False),
        ("1", "1" + "0" * 5000, None, False),  # more digits than Python turns into an int
        ("1", "0x" + "f" * 5000, None, False),
        ("1" + "0" * 5000, "3", None, False),
        ("0x" + "f" * 5000, "3", None, False),
        ("1e400", "3", None, False),
        (str(2**53), "3", None, False),  # a float, as which ids are read, cannot tell it from more
        ("1.5", "3", None, False),
        ('"one"', "3", None, False),
        ("NaN", "3", None, False),
        ("null", "3", None, False),
        ("1", "null", None, False),
        ("true", "3", None, False),
        ("1", "false", None, False),
        ("True", "3", None, False),
        ("1", "[3]", None, False),
        ("1", '3, "value": 4', (1, 4.0), False),
        ("1", '3, "why": "old"', (1, 3.0), False),
    ],
)
def test_numbers(image: str, value: str, item: tuple[int, float] | None, exact: bool) -> None:
    text = f'<think></think><answer>[{{"image_id": {image}, "value": {value}}}]</answer>'
    assert read(text) == ([item] if item else [])
    assert well_formed(text) == exact
    # The same in a list that is no JSON, so that another reader has to find it.
    if "value" not in value and "why" not in value:
        assert read(text.replace("}]", "},,]")) == ([item] if item else [])


HOSTILE = {
    "nested lists": "[" * 100_000,
    "closed lists": "[" * 50_000 + "]" * 50_000,
    "nested objects": '{"a":' * 20_000,
    "objects in lists": "[{" * 50_000,
    "signs": "[" + "-" * 100_000 + "1]",
    "fewer signs": "[" + "-" * 19_000 + "1]",
    "sums": "[" + "1+" * 9_000 + "1]",
    "attributes": "[a" + ".b" * 9_000 + "]",
    "calls": "[a" + "()" * 9_000 + "]",
    "digits": '[{"image_id": 1, "value": ' + "1" * 100_000 + "x}]",
    "decimals": '[{"image_id": 1, "value": 1.' + "1" * 100_000 + "e}]",
    "exponent": '[{"image_id": 1, "value": 1e' + "9" * 100_000 + "}]",
    "blanks": '{"image_id"' + " " * 100_000 + "}",
    "more blanks": '{"image_id":' + " " * 100_000 + "1",
    "keys": '{"image_id": ' * 8_000,
    "tags": "<answer>" * 12_500,
    "blocks": "<answer></answer>" * 6_000,
    "escapes": "['" + r"\d" * 9_000 + "']",
    "zero byte": "[\0]",
    "half a character": "[\ud800]",
    "unhashable": "[{[1]: 2}]",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_give_nothing_and_end(name: str) -> None:
    text = HOSTILE[name]
    for whole in (text, f"<think></think><answer>{text}</answer>"):
        assert parse(whole) == ()
        assert not well_formed(whole)


def test_what_is_no_code_is_not_warned_of() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert read(r"[{'image_id': 1, 'value': 3, 'why': 'a \d'}]") == [(1, 3.0)]
    assert not heard


def test_long_lists_are_read_whole() -> None:
    items = listed(*((n, n / 2) for n in range(1, 3001)))
    expected = [(n, n / 2) for n in range(1, 3001)]
    assert read(answer(items)) == expected
    assert read(str(items)) == expected  # a literal is read up to some length; then items alone


NUMBERS = (
    st.integers() | st.floats() | st.booleans() | st.none() | st.sampled_from([10**400, -(10**30)])
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "image_id": NUMBERS | st.integers(1, 8) | st.text("0123456789.eE+- nanif", max_size=6),
        "value": NUMBERS | st.text("0123456789.eE+- nanif", max_size=6),
        "why": st.text(max_size=3),
    },
)
PIECES = (
    st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", *"[]{}(),:'\"\\- \n"])
    | st.sampled_from(['"image_id"', "'value'", "image_id", "value", "1", "2.5", "e9", "0x", "NaN"])
    | st.sampled_from(['{"image_id": 1, "value": 3}', "{'image_id': '2', 'value': 1e9}", "true"])
)
TEXTS = st.text() | st.lists(PIECES, max_size=40).map("".join)


def proper(items: Sequence[Item]) -> bool:
    return all(
        type(item.image_id) is int and type(item.value) is float and math.isfinite(item.value)
        for item in items
    )


@settings(max_examples=300, deadline=None)
@given(TEXTS)
@example("[" * 5000)
def test_no_text_raises(text: str) -> None:
    assert proper(parse(text))
    if well_formed(text):
        assert parse(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(ENTRIES, max_size=9), st.sampled_from([json.dumps, str]))
def test_no_list_raises(entries: list[dict[str, Any]], spelled: Any) -> None:
    text = f"<think></think><answer>{spelled(entries)}</answer>"
    items = parse(text)
    assert proper(items) and len(items) <= len(entries)
    if well_formed(text):  # then nothing was passed over
        assert len(items) == len(entries)


@given(st.lists(st.tuples(st.integers(-9, 99), st.floats(allow_nan=False, allow_infinity=False))))
def test_items_keep_their_order_whatever_their_ids(pairs: list[tuple[int, float]]) -> None:
    text = answer(listed(*pairs))
    assert read(text) == pairs
    assert read(str(listed(*pairs))) == pairs
    assert read("".join(map(str, listed(*pairs)))) == pairs  # no list at all
    assert well_formed(text) == bool(pairs)
