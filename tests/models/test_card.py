"""Figures of several tasks in one card."""

import pytest
from rank_checkpoints import AGES, DECADES

from imgrank.models.card import BEGIN, END, levels_of, metadata, model_card, with_measured

CARD = f"# toy\n\n{BEGIN}\nNot measured yet.\n{END}\n\nNotes.\n"
AGE = {
    **{"task": "age", "data": "faces, test part", "n": 100, "by": "imgrank eval --data faces"},
    **{"mae": 5.25, "mae_interval": [5.0, 5.5], "median_mae": 14.5},
}
COUNT = {
    **{"task": "count", "data": "things, test part", "n": 50, "queries": 80},
    **{"srcc": 0.5, "srcc_interval": [0.25, 0.75]},
}
QUALITY = {
    **{"data": "prompts", "n": 183, "srcc": 0.75, "ridge_srcc": 0.5},
    **{"gain_interval": [0.125, 0.375]},
}


def test_several_tasks_share_a_table_of_the_columns_that_they_have() -> None:
    card = with_measured(CARD, [AGE, COUNT], "the command")
    before, _, rest = card.partition(BEGIN)
    table, _, after = rest.partition(END)
    assert (before, after) == ("# toy\n\n", "\n\nNotes.\n")
    assert table.splitlines()[1:] == [
        "By `imgrank eval --data faces`, `the command`; 95 % bootstrap intervals in brackets.",
        "",
        "| task | data | n | SRCC | MAE | MAE of the median |",
        "| --- | --- | ---: | --- | --- | --- |",
        "| age | faces, test part | 100 | - | 5.250 [5.000, 5.500] | 14.500 |",
        "| count | things, test part | 50 (80 queries) | 0.500 [0.250, 0.750] | - | - |",
    ]


def test_figures_beside_ridge_have_their_own_table() -> None:
    card = with_measured(CARD, [AGE, QUALITY], "the command")
    assert card.count("\n| --- |") == 2
    assert "By `the command`; 95 % bootstrap intervals in brackets, over relatives" in card
    assert "| prompts | 183 | 0.750 | 0.500 | [+0.125, +0.375] |\n" in card
    assert with_measured(card, [AGE, QUALITY], "the command") == card  # replaced, not added


def test_the_hub_is_told_the_figures() -> None:
    config = {"kind": "adapter", "name": "toy", "tasks": {"age": {"measured": [AGE]}}}
    (result,) = metadata(config).eval_results or ()
    assert (result.metric_type, result.metric_value) == ("mae", 5.25)
    assert result.dataset_name == "faces, test part"


CALIBRATED = {"temperature": 1.25, "tail": 0.0625, "mass": 0.75, "level": 0.8, "on": "some faces"}


def l2rclip(features: list[str], *replaced: str) -> str:
    """The card of an L2RCLIP model for age, without its front matter."""
    task = {"unit": "years", "range": [0, 90], "ranks": AGES.to_dict(), "calibration": CALIBRATED}
    config = {
        "kind": "l2rclip", "name": "toy", "tasks": {"age": task}, "model": {"features": features},
        "backbone": {"name": "tiny", "replaced": list(replaced)},
    }  # fmt: skip
    return model_card(config, "Notes.", ["one hour"]).partition("---\n\n")[2]


def test_an_l2rclip_model_tells_its_ranks_and_calibration() -> None:
    plain, tuned = l2rclip(["pooled"]), l2rclip(["pooled", "statistics"], "image")
    lines = plain.splitlines()
    assert lines[2] == (
        'An L2RCLIP model on the backbone `tiny` for "age": scores in years (0 to 90), the highest '
        "first."
    )
    assert '- 10 ranks, told as "A photo of {} years old face.": 0, 10, ..., 90' in lines
    assert (
        "- calibrated on some faces: temperature 1.25, interval from the 6.2% to the 93.8% "
        "quantile, set of a mass of 75.0%; each to hold the truth of 80%"
    ) in lines
    assert "- the image tower is the backbone's own" in lines
    assert "imgrank models export" in tuned
    assert "- a linear map of the backbone's statistics is added to its embedding" in tuned
    assert "adapter" not in plain


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        ({}, 0),
        ({"ranks": [1, 2]}, 0),
        ({"ranks": DECADES.to_dict()}, 1),
        ({"ranks": DECADES.to_dict(), "calibration": {**CALIBRATED, "tail": None}}, 1),
        ({"ranks": DECADES.to_dict(), "calibration": {**CALIBRATED, "on": ""}}, 1),
        ({"ranks": DECADES.to_dict(), "calibration": CALIBRATED}, 2),
    ],
)
def test_only_what_is_there_is_told_of_levels(facts: dict[str, object], wanted: int) -> None:
    lines = levels_of(facts)
    assert len(lines) == wanted
    if wanted:
        assert lines[0].endswith(": 1920s, 1930s, 1940s, 1950s, 1960s")


def test_figures_of_levels_have_columns() -> None:
    row = AGE | {"accuracy": 0.5, "coverage": 0.8, "set_coverage": 0.875, "set_size": 3.5}
    card = with_measured(CARD, [row | {"ece": 0.0625, "os": 99.5, "level_mae": 6}], "x")
    head, _, cells = [line for line in card.splitlines() if line.startswith("|")]
    found = dict(zip(head.split(" | "), cells.split(" | "), strict=True))
    assert {name: found[name] for name in ("accuracy", "ranks in the set", "interval holds")} == {
        **{"accuracy": "0.500", "ranks in the set": "3.500", "interval holds": "0.800"}
    }
    assert "| 0.875 |" in card and "| 0.062 |" in card and "| 99.500 |" in card


def test_a_row_beside_ridge_may_lack_the_gain() -> None:
    row = {"data": "prompts", "n": 3, "srcc": 0.75, "ridge_srcc": 0.5}
    assert "| prompts | 3 | 0.750 | 0.500 | - |\n" in with_measured(CARD, [row], "x")
