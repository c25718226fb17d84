"""Figures of several tasks in one card."""

from imgrank.models.card import BEGIN, END, metadata, with_measured

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
