"""What each task asks of a vision-language model, and between which ends."""

from __future__ import annotations

import pytest

from imgrank.errors import DataError, UsageError
from imgrank.listwise.prompt import Rule, instruct
from imgrank.listwise.rules import FREE, kept, rule_of, template
from imgrank.tasks import tasks

MEASURED = {"file_size", "megapixels", "aspect"}


def test_every_task_that_can_be_seen_has_a_rule() -> None:
    for key, task in tasks().items():
        assert bool(task.rule) == bool(task.values) == (key not in MEASURED)
        if task.rule:
            low, high = task.values
            assert low < high
            rule = rule_of(key, task.prompt, "cats" if key == "count" else "")
            assert (rule.low, rule.high) == (low, high)
            assert task.rule.startswith("the ") and "{" not in instruct(rule).replace("[{'", "")


@pytest.mark.parametrize(
    ("task", "subject", "expected"),
    [
        ("age", "", Rule("the person's age", 0, 100)),
        ("aesthetics", "", Rule("the aesthetic quality of the image", 1, 10)),
        ("quality", "", Rule("the technical quality of the image", 1, 5)),
        ("count", "red cars", Rule("the number of red cars", 0, 20)),
        ("count", "", Rule("the number of objects", 0, 20)),
    ],
)
def test_known_tasks(task: str, subject: str, expected: Rule) -> None:
    assert rule_of(task, tasks()[task].prompt, subject) == expected


@pytest.mark.parametrize("key", sorted(MEASURED))
def test_what_is_measured_is_not_asked_of_a_model(key: str) -> None:
    with pytest.raises(UsageError, match="measured, not guessed"):
        rule_of(key, "", "")


@pytest.mark.parametrize(
    ("task", "text", "subject", "words"),
    [
        (None, "cosy", "cosy", "cosy"),
        (None, "by how cosy it looks", "", "cosy"),
        ("text-cosy", "by how cosy it looks", "", "cosy"),  # a CSV's own query has a key as task
        (None, 'the word "no"\n "way', "", "the word no way"),
        ("text-x", "a {} or 5 in {}", "a {} or \"b' in  {}", "a or 'b' in"),
        (None, "quality=0", "", "quality=0"),
        (None, "not", "", "not"),
    ],
)
def test_free_text_is_a_degree(task: str | None, text: str, subject: str, words: str) -> None:
    assert rule_of(task, text, subject) == Rule(
        f'the degree to which the image shows "{words}"', *FREE
    )


def test_ends_of_labels_win_but_not_for_ages_and_counts() -> None:
    assert rule_of("aesthetics", "", "", (0, 7)) == Rule(
        "the aesthetic quality of the image", 0.0, 7.0
    )
    assert rule_of(None, "cosy", "cosy", (1, 5)).high == 5
    assert rule_of("age", "", "", (3, 61)) == Rule("the person's age", 0, 100)
    assert rule_of("count", "", "dogs", (1, 55)) == Rule("the number of dogs", 0, 20)


def test_the_user_s_ends_win_over_all() -> None:
    assert rule_of("age", "", "", (3, 61), (18, 70)) == Rule("the person's age", 18.0, 70.0)
    assert rule_of("count", "", "dogs", None, (0, 200)).high == 200
    for ends in ((5, 5), (9, 1), (0, float("inf")), (float("nan"), 1)):
        with pytest.raises(UsageError, match="two rising numbers"):
            rule_of("age", "", "", None, ends)


def test_another_unit_is_named_and_has_its_own_ends() -> None:
    groups = rule_of("age", "", "", (0, 7), unit="age group")
    assert groups == Rule("the person's age (age group)", 0, 7)
    assert rule_of("age", "", "", (0, 116), unit="years") == Rule("the person's age", 0, 100)
    assert rule_of("brightness", "", "", (0, 100), unit="% of white").text == (
        "the brightness of the image"  # of no unit in tasks.toml
    )


def test_labels_that_are_all_the_same_cannot_be_ordered() -> None:
    with pytest.raises(DataError, match="nothing to order"):
        rule_of("quality", "", "", (3, 3))


def test_a_checkpoint_keeps_a_place_for_what_is_counted() -> None:
    assert template("count", "") == "the number of {}"
    assert kept("the number of {}", [0, 20], "cats") == rule_of("count", "", "cats")
    assert kept("the number of {}", [0, 20], "") == rule_of("count", "", "")
    assert kept(template("age", ""), [0, 100], "") == rule_of("age", "", "")
    groups = kept(template("age", "", unit="age group"), [0, 7], "")
    assert groups == rule_of("age", "", "", (0, 7), unit="age group")
    free = rule_of(None, "by how cosy it looks", "")
    assert kept(template(None, "by how cosy it looks"), FREE, "cosy") == free
