"""`imgrank eval --sizes` as a user meets it: a tiny Qwen2.5-VL of the real classes, scripted
answers, and models that give scores."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from command_line import Run, command_line
from model_folders import put
from scripted_windows import answer, asked_by, greys, right
from tiny_vlm import rated

from imgrank.models.checkpoint import CARD, CONFIG, WEIGHTS
from imgrank.rankers.rarl import RARLRanker

AGES = [5, 12, 20, 33, 41, 58, 66, 79]
RATINGS = Path(__file__).parents[1] / "examples" / "ratings.csv"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return command_line(monkeypatch, "eval")


@pytest.fixture
def model(tiny_vlm_folder: Path) -> str:
    return f"rarl:{tiny_vlm_folder}"


def found(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    table: dict[str, Any] = json.loads(result.stdout)
    return table


# ---- the real classes ----------------------------------------------------------------------------


def test_a_real_tiny_model_is_asked_and_its_answers_are_kept(
    run: Run, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights write nothing that can be read: every figure says so, and nothing fails."""
    monkeypatch.setattr("imgrank.rankers.rarl.NEW_TOKENS", 8)
    table = rated(tmp_path / "set", 20)
    line = ("--data", "csv", "--root", table, "--model", model, "--groups", 3, "--rounds", 5)
    first = run(*line, "--sizes", "1,2", "-f", "json", "--yes")
    assert "transformers" in found(first)["versions"]
    (result,) = found(first)["models"]
    (query,) = result["queries"]
    assert (query["method"], query["n"], query["srcc"]) == ("vision-language", 0, None)
    one, two = result["orders"]
    assert (one["images"], one["n"], one["well_formed"], one["complete"]) == (1, 2, 0, 0)
    assert (two["images"], two["tau"], two["complete"]) == (2, 0, 0)
    monkeypatch.setattr(RARLRanker, "_load", None)  # nothing is asked again: no model is loaded
    again = run(*line, "--sizes", "1,2", "-f", "json", "--yes")
    assert found(again) == found(first)
    assert "2 computed, 0 known" in first.stderr
    assert "0 computed, 2 known" in again.stderr


# ---- formats -------------------------------------------------------------------------------------


def test_a_pipe_gets_a_row_for_every_size(
    run: Run, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_by(monkeypatch, right)
    file = greys(tmp_path / "set", AGES)
    line = ("--data", "csv", "--root", file, "--groups", 6, "--rounds", 20)
    result = run(*line, "--model", model, "--model", "tiny-l2r-age")
    rows = list(csv.DictReader(io.StringIO(result.stdout), delimiter="\t"))
    ours = [row for row in rows if row["model"].startswith("vision-language")]
    kinds = [(row["kind"], row["images"], row["n"], row["tau"]) for row in ours]
    assert [kind for kind in kinds if kind[0] not in ("band", "difference")] == [
        *(("query", "", "8", ""), ("groups", "1", "8", ""), ("groups", "2", "6", "1")),
        *(("groups", "4", "6", "1"), ("groups", "8", "1", "1")),
    ]
    assert [row["images"] for row in ours if row["kind"] == "difference"] == ["", "2", "4", "8"]
    pairs = next(row for row in ours if row["images"] == "2")
    assert (pairs["well_formed"], pairs["complete"], pairs["tau_values"]) == ("1", "1", "1")
    assert (pairs["tau_low"], pairs["tau_high"], pairs["srcc"]) == ("1", "1", "")
    other = [row for row in rows if row["model"] == "l2rclip tiny-l2r-age" and row["tau"]]
    assert [row["images"] for row in other] == ["2", "4", "8"]
    assert all(row["well_formed"] == "" for row in other)


def test_a_table_has_a_line_a_model_and_a_column_a_size(
    run: Run, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_by(monkeypatch, right)
    file = greys(tmp_path / "set", AGES)
    line = ("--data", "csv", "--root", file, "--rounds", 20, "-f", "table", "--groups", 6)
    result = run(*line, "--model", model, "--model", "tiny-l2r-age")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    head = next(row for row in lines if "tau of 2" in row)
    assert " ".join(head.split()) == "model n MAE SRCC tau of 2 tau of 4 tau of 8"
    words = next(row for row in lines if " 8 " in row and "0.000" in row).split()
    assert words[-6:] == ["8", "0.000", "1.000", "1.000", "1.000", "1.000"]
    said = " ".join(result.stdout.split())
    assert "A random order has 0." in said
    assert "vision-language tiny-vlm, answers well formed, by pictures: 1: 100.0 %" in said
    assert "8: 100.0 %, every picture in 100.0 %, tau of the values 1.000." in said


def test_without_sizes_other_models_are_measured_as_ever(run: Run) -> None:
    line = ("--data", "csv", "--root", RATINGS, "--query", "quality", "--rounds", "5", "-q")
    table = found(run(*line, "-f", "json"))
    assert "sizes" not in table
    assert "orders" not in table["models"][0]
    header = run(*line).stdout.splitlines()[0]
    assert "images" not in header.split("\t")


def test_models_that_give_scores_can_be_asked_for_sizes(run: Run) -> None:
    line = ("--data", "csv", "--root", RATINGS, "--query", "quality", "--rounds", "20", "-q")
    line += ("--model", "tiny-quality", "--model", "tiny", "-f", "json")
    table = found(run(*line, "--sizes", "3,1", "--groups", "30"))
    assert (table["sizes"], table["groups"]) == ([1, 3], 30)
    first, second = (model["orders"][0] for model in table["models"])
    assert (first["images"], first["n"], second["n"]) == (3, 30, 30)
    (row,) = table["order_differences"]
    assert row["tau"] == pytest.approx(first["tau"] - second["tau"], abs=2e-6)
    other = found(run(*line, "--sizes", "3", "--groups", "30", "--seed", "1"))
    assert other["models"][0]["orders"] != table["models"][0]["orders"]  # other groups


# ---- consent, extras, what cannot be -------------------------------------------------------------


def test_what_takes_long_is_said_first(
    run: Run, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = asked_by(monkeypatch, right)
    monkeypatch.setattr(RARLRanker, "seconds", lambda ranker, pictures: 30.0 * pictures)
    file = greys(tmp_path / "set", AGES)
    line = ("--data", "csv", "--root", file, "--model", model, "--groups", 10, "--rounds", 5)
    refused = run(*line, "--sizes", "1,2", "--device", "cpu")
    assert (refused.exit_code, shown) == (2, [])
    # 8 pictures of 30 s and 10 pairs of 60 s: 14 minutes.
    said = " ".join(refused.stderr.split())
    assert (
        "windows to ask about, by pictures: 8 of 1, 10 of 2; about 14 minutes on this CPU" in said
    )
    assert "--yes goes on" in said
    agreed = run(*line, "--sizes", "1,2", "--device", "cpu", "--yes")
    assert agreed.exit_code == 0
    assert len(shown) == 18
    known = run(*line, "--sizes", "1,2", "--device", "cpu")  # what is known takes no time
    assert (known.exit_code, len(shown)) == (0, 18)


def test_missing_extra(
    run: Run, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "transformers" else real(name)
    )
    file = greys(tmp_path / "set", AGES)
    result = run("--data", "csv", "--root", file, "--model", model)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "imgrank[rarl]" in result.stderr


def test_what_cannot_be(run: Run, tmp_path: Path, model: str) -> None:
    few, many = greys(tmp_path / "few", AGES), greys(tmp_path / "many", range(20))
    for more, said in (
        (("--sizes", "1,two"), "is no list of sizes"),
        (("--sizes", "2,2"), "is no list of sizes"),
        (("--sizes", "0,2"), "is no list of sizes"),
        (("--sizes", ""), "is no list of sizes"),
        (("--sizes", "2,16"), "looks at 8 pictures at most; --sizes asks for 16"),
        (("--sizes", "2,4", "--write"), "--write needs single pictures: have 1 among --sizes"),
        (("--sizes", "2", "--scatter", tmp_path / "a.png"), "--scatter needs single pictures"),
        (("--groups", "1"), "--groups"),
    ):
        file = many if "2,16" in more else few
        result = run("--data", "csv", "--root", file, "--model", model, *more)
        assert (result.exit_code, result.stdout) == (2, ""), more
        assert said in " ".join(result.stderr.split()), more
    search = run("--data", "classes", "--root", tmp_path, "--sizes", "1,2")
    assert (search.exit_code, "--sizes has no meaning" in search.stderr) == (2, True)


# ---- writing -------------------------------------------------------------------------------------


def test_write_records_the_groups_too(run: Run, tmp_path: Path) -> None:
    folder = put("mine")
    weights = (folder / WEIGHTS).read_bytes()
    line = ("--data", "csv", "--root", RATINGS, "--model", folder, "--query", "quality")
    line += ("--sizes", "1,2,4", "--groups", "30", "--rounds", "20", "-f", "json")
    table = found(run(*line, "--write"))
    two, four = table["models"][0]["orders"]
    assert (folder / WEIGHTS).read_bytes() == weights
    row = json.loads((folder / CONFIG).read_text())["tasks"]["quality"]["measured"][-1]
    assert (row["n"], row["tau_2"], row["groups_2"]) == (13, round(two["tau"], 4), 30)
    assert row["tau_4_interval"] == [round(end, 4) for end in four["tau_interval"]]
    assert row["by"].endswith("--query quality --rounds 20 --sizes 1,2,4 --groups 30")
    assert row["by"] in (folder / CARD).read_text()


def test_an_answer_by_the_truth_but_for_one(
    run: Run, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: the last of eight is left out, so it shares the last place with nobody."""

    def without_the_first(values: list[int]) -> str:
        kept = sorted(enumerate(values, 1), key=lambda item: item[1])
        return answer(*(kept[1:] if len(kept) > 1 else kept))

    asked_by(monkeypatch, without_the_first)
    file = greys(tmp_path / "set", AGES)
    line = ("--data", "csv", "--root", file, "--model", model, "--groups", "5", "-f", "json")
    (result,) = found(run(*line, "--sizes", "1,8"))["models"]
    eight = result["orders"][-1]
    # The youngest is put last: 7 of 28 pairs are wrong.
    assert (eight["n"], eight["tau"], eight["complete"], eight["well_formed"]) == (1, 0.5, 0, 1)


def test_the_pictures_of_a_folder_may_have_moved(
    run: Run, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers are kept by content."""
    shown = asked_by(monkeypatch, right)
    file = greys(tmp_path / "set", AGES)
    line = ("--data", "csv", "--model", model, "--sizes", "1,2", "--groups", "5", "-f", "json")
    first = found(run(*line, "--root", file))
    asked = len(shown)
    shutil.move(tmp_path / "set", tmp_path / "elsewhere")
    second = found(run(*line, "--root", tmp_path / "elsewhere" / "ratings.csv"))
    assert second["models"][0]["orders"] == first["models"][0]["orders"]
    assert len(shown) == asked
