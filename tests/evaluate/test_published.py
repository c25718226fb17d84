"""Figures that papers print: which are kept, and which stand beside ours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from imgrank.data.catalogue import CATALOGUE, RETRIEVAL, about
from imgrank.evaluate import report
from imgrank.evaluate.evaluation import Request, evaluate
from imgrank.evaluate.measure import FIGURES
from imgrank.evaluate.published import another_split, figures_of, published
from imgrank.settings import load_settings

ROWS = [(name, row) for name, table in published().items() for row in table["figures"]]
FIELDS = {"paper", "table", "method", "own", "of", "setting"}


def test_rows_name_papers_and_hold_figures_within_their_ranges() -> None:
    known = {*FIGURES, *(f"{name}_sd" for name in FIGURES), "tau_2", "tau_4", "tau_8"}
    of_search = {"accuracy", "aesthetics", "recall@1", "top-1"}
    assert len(ROWS) > 150
    for name, row in ROWS:
        assert name in {**CATALOGUE, **RETRIEVAL}
        papers = ("003",) if name in RETRIEVAL else ("000", "001", "002")
        assert row.get("paper", "001") in papers
        figures = row.keys() - FIELDS
        assert figures
        assert figures <= (of_search if name in RETRIEVAL else known)
        assert name not in RETRIEVAL or all(0 < row[figure] < 1 for figure in figures)
        for figure in ("accuracy", "srcc", "plcc"):
            assert -1 < row.get(figure, 0) < 1
    assert {name for name, row in ROWS if row.get("paper") == "000"} == {
        *("adience", "hci", "morph", "clap2015", "crowdbeauty", "crowdbeauty-nature"),
        *("crowdbeauty-animals", "crowdbeauty-people", "crowdbeauty-urban"),
    }


def own(name: str, key: str) -> list[dict[str, float]]:
    """The paper's own model, trained on all there is; without what says where it stands."""
    rows = [row for row in figures_of(name, [key], own=True) if row["paper"] == "000"]
    return [
        {
            figure: value
            for figure, value in row.items()
            if figure not in FIELDS or figure == "table"
        }
        for row in rows
        if "setting" not in row
    ]


def test_the_figures_that_the_specification_repeats() -> None:
    assert own("morph", "age") == [
        {"table": 1, "mae": 2.13},
        {"table": 5, "mae": 2.13, "os": 71.87},
    ]
    assert own("clap2015", "age")[0] == {"table": 1, "mae": 2.62}
    two, seven = own("adience", "age")
    assert (two["table"], two["accuracy"], two["accuracy_sd"], two["mae"]) == (
        2,
        0.662,
        0.044,
        0.36,
    )
    assert (seven["table"], seven["accuracy"], seven["accuracy_sd"]) == (7, 0.682, 0.072)
    (hci,) = own("hci", "decade")
    assert (hci["mae"], hci["accuracy"]) == (0.43, 0.6722)
    (beauty,) = own("crowdbeauty", "level")
    assert (beauty["accuracy"], beauty["mae"]) == (0.7607, 0.245)
    urban = own("crowdbeauty-urban", "level")
    assert urban == [{"table": 8, "accuracy": 0.7776, "mae": 0.216}]


def test_the_figures_of_search_that_the_specification_repeats() -> None:
    rows = [row for row in figures_of("hpir", ["the better group"]) if row["table"] == 1]
    figures = {row["method"]: (row["accuracy"], row["aesthetics"]) for row in rows}
    assert figures["CLIP ViT-L/14"] == (0.681, 0.621)
    assert figures["CLIP, aligned"] == (0.731, 0.717)
    assert figures["DataComp ViT-L/14"] == (0.718, 0.627)
    assert figures["DataComp, aligned"] == (0.744, 0.719)


def test_few_pictures_and_shifted_ones_are_settings() -> None:
    rows = [row for row in figures_of("morph", ["age"]) if "setting" in row]
    ours = {row["setting"]: row["mae"] for row in rows if row.get("own")}
    assert len(rows) == 3 * (7 + 8)
    assert (ours["1 of each rank"], ours["64 of each rank"]) == (4.54, 2.38)
    assert ours["of 40 ranks 90 % dropped"] == 2.79
    # The paper's mean gain over OrdinalCLIP in Table 3 is 0.24.
    others = {row["setting"]: row["mae"] for row in rows if row["method"] == "OrdinalCLIP"}
    gains = [others[name] - ours[name] for name in ours if "each" in name]
    assert np.mean(gains) == pytest.approx(0.24, abs=0.01)


def test_lists_that_do_not_say_which_of_several_splits(tmp_path: Path) -> None:
    (tmp_path / "morph").mkdir()
    assert another_split("morph", tmp_path, "test", 9, False) == "another split than the paper's"
    (tmp_path / "morph" / "morph_C_00.txt").touch()
    assert "does not say which of the settings" in another_split(
        "morph", tmp_path, "test", 9, False
    )
    assert another_split("clap2015", tmp_path, "test", 1079, False) == ""
    assert about("clap2015").split.startswith("the authors'")


def test_they_stand_beside_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    for n in range(4):
        Image.new("RGB", (32, 32), (60 * n,) * 3).save(tmp_path / f"image_{n}.jpg")
    lines = [f"image_{n}.jpg,{20 + n},3.0,test" for n in range(4)]
    (tmp_path / "total_2015.csv").write_text("\n".join(["filename,age,stdv,database", *lines]))
    table = evaluate(Request("clap2015", tmp_path, rounds=5), load_settings()).table
    papers = [row for row in report.rows(table) if row["kind"] == "paper"]
    assert [row["model"] for row in papers] == [
        "paper 000, table 1: L2RCLIP, ViT-B/16",
        "paper 000, table 5: L2RCLIP, ViT-B/16",
    ]
    assert [row["mae"] for row in papers] == [2.62, 2.62]
    assert len(json.loads(json.dumps(table))["paper"]) == 9
    assert "another split: 4 pictures here, 1079 in the paper" in " ".join(report.notes(table))
