"""`imgrank eval` as a user meets it, on made-up data sets and the embedded models."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from command_line import Run, command_line
from model_folders import put
from PIL import Image

from imgrank import score
from imgrank.data import catalogue
from imgrank.data.labelled import About, Labelled, Labels, ReadOptions
from imgrank.evaluate.metrics import srcc
from imgrank.models.checkpoint import CARD, CONFIG, WEIGHTS

RATINGS = Path(__file__).parents[1] / "examples" / "ratings.csv"
GREYS = [200, 30, 120, 60, 250, 90]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return command_line(monkeypatch, "eval")


def table(folder: Path, values: Sequence[float], instruction: str = "brightness") -> Path:
    """A CSV file that rates the grey pictures, and the pictures."""
    folder.mkdir(exist_ok=True)
    lines = ["path,instruction,value,split"]
    for n, (grey, value) in enumerate(zip(GREYS, values, strict=True)):
        Image.new("RGB", (40, 40), (grey,) * 3).save(folder / f"{n}.png")
        lines.append(f"{n}.png,{instruction},{value},test")
    file = folder / "ratings.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def found(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


# ---- figures and formats -------------------------------------------------------------------------


def test_json_has_all_of_a_measured_property(run: Run, tmp_path: Path) -> None:
    values = [6, 1, 4, 2, 3, 5]  # brightness has the ranks 5 1 4 2 6 3
    file = table(tmp_path / "set", values)
    answer = found(run("--data", "csv", "--root", file, "--format", "json", "--rounds", "50"))
    assert set(answer) == {
        *("format", "data", "part", "split", "partial", "intervals", "rounds", "seed"),
        *("versions", "models", "over_models", "differences", "paper", "paper_note"),
    }
    assert (answer["data"], answer["part"], answer["rounds"]) == ("csv", "test", 50)
    (model,) = answer["models"]
    assert (model["model"], model["pictures"], model["fold"]) == ("measured", 6, None)
    (query,) = model["queries"]
    # Differences of the ranks: 1, 0, 0, 0, -3, 2.
    assert query["srcc"] == pytest.approx(1 - 6 * 14 / (6 * 35))
    assert query["pair_accuracy"] == pytest.approx(11 / 15)
    assert (query["query"], query["n"], query["prompt"]) == ("brightness", 6, "brightness")
    low, high = query["srcc_interval"]
    assert low <= query["srcc"] <= high
    assert query["baseline"]["from"] == "test"
    assert model["means"] == []


def test_nothing_is_computed_twice(run: Run, tmp_path: Path) -> None:
    file = table(tmp_path / "set", GREYS)
    first = run("--data", "csv", "--root", file)
    assert "6 computed, 0 known" in first.stderr
    again = run("--data", "csv", "--root", file)
    assert "0 computed, 6 known" in again.stderr
    assert again.stdout == first.stdout


def test_an_interrupted_evaluation_keeps_its_scores(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = table(tmp_path / "set", GREYS)

    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("imgrank.evaluate.evaluation.measure_query", interrupt)
        result = run("--data", "csv", "--root", file, "-o", tmp_path / "out.tsv")
    assert result.exit_code == 130
    assert not (tmp_path / "out.tsv").exists()
    assert "0 computed, 6 known" in run("--data", "csv", "--root", file).stderr


def test_a_pipe_gets_tsv(run: Run, tmp_path: Path) -> None:
    file = table(tmp_path / "set", GREYS)
    result = run("--data", "csv", "--root", file)
    (row,) = csv.DictReader(io.StringIO(result.stdout), delimiter="\t")
    assert (row["kind"], row["model"], row["query"]) == ("query", "measured", "brightness")
    assert (row["n"], row["srcc"], row["srcc_low"], row["srcc_high"]) == ("6", "1", "1", "1")
    assert row["accuracy"] == ""
    assert "csv, test part: brightness by measured" in result.stderr


def test_the_example_is_measured_by_whom_the_router_chooses(run: Run) -> None:
    result = run("--data", "csv", "--root", RATINGS, "--format", "table", "--rounds", "100")
    assert result.exit_code == 0
    first, *rest = result.stdout.splitlines()
    assert first == "csv, test part, by adapter tiny-quality+zero-shot tiny"
    words = [line.split() for line in rest]
    assert [line[0] for line in words if "13" in line[1:2]] == [
        *("quality", "number-of-cats", "number-of-people", "mean")
    ]
    assert "over 7 groups of relatives" in result.stdout
    assert "tiny was not trained for count; similarity to 'cats'" in result.stderr


def test_scores_are_those_of_a_sort(run: Run) -> None:
    answer = found(run("--data", "csv", "--root", RATINGS, "--query", "quality", "-f", "json"))
    lines = csv.DictReader(RATINGS.read_text().splitlines())
    rows = [row for row in lines if "quality" in row["instruction"]]
    scored = score(RATINGS.parent / "photos", "by image quality")
    cells = [cell for (cell,) in scored.scores if cell is not None]
    scores = {path.name: cell.value for path, cell in zip(scored.paths, cells, strict=True)}
    ours = [scores[Path(row["path"]).name] for row in rows]
    truth = [float(row["value"]) for row in rows]
    query = answer["models"][0]["queries"][0]
    assert query["srcc"] == pytest.approx(srcc(truth, ours), abs=1e-6)
    assert query["mae"] == pytest.approx(np.abs(np.array(truth) - ours).mean(), abs=1e-6)
    assert scored.computed == 0  # what eval computed is what a sort knows


def test_a_picture_that_cannot_be_read_is_left_out_and_said(run: Run, tmp_path: Path) -> None:
    file = table(tmp_path / "set", GREYS)
    (tmp_path / "set" / "4.png").write_bytes(b"no picture")
    result = run("--data", "csv", "--root", file, "--format", "json")
    answer = found(result)
    assert "skipped" in result.stderr
    assert [s["path"] for s in answer["models"][0]["skipped"]] == [str(tmp_path / "set" / "4.png")]
    assert answer["models"][0]["queries"][0]["n"] == 5


def test_attributes_are_measured_from_the_pixels(run: Run, tmp_path: Path) -> None:
    file = table(tmp_path / "set", GREYS, "how cosy it looks")
    line = ("--data", "csv", "--root", file, "--attributes", "--query", "brightness", "-f", "json")
    (query,) = found(run(*line))["models"][0]["queries"]
    assert (query["query"], query["srcc"], query["method"]) == ("brightness", 1.0, "measured")


def test_scatter(run: Run, tmp_path: Path) -> None:
    file = table(tmp_path / "set", GREYS)
    target = tmp_path / "plot.png"
    line = ("--data", "csv", "--root", file, "--scatter", target)
    assert run(*line).exit_code == 0
    with Image.open(target) as drawn:
        assert drawn.size == (400, 400)
    before = target.read_bytes()
    again = run(*line)
    assert (again.exit_code, target.read_bytes()) == (2, before)


def test_output_is_a_new_file(run: Run, tmp_path: Path) -> None:
    file = table(tmp_path / "set", GREYS)
    target = tmp_path / "figures.json"
    line = ("--data", "csv", "--root", file, "-f", "json", "-o", target)
    assert run(*line).stdout == ""
    assert json.loads(target.read_text())["data"] == "csv"
    assert run(*line).exit_code == 2


# ---- what goes wrong -----------------------------------------------------------------------------


def test_what_cannot_be(run: Run, tmp_path: Path) -> None:
    file = table(tmp_path / "set", GREYS)
    csv_set = ("--data", "csv", "--root", file)
    for line, status, said in (
        (("--data", "nonsense"), 2, "nonsense"),
        (("--data", "koniq", "--root", tmp_path / "nowhere"), 3, "nowhere"),
        (("--data", "agiqa3k", "--root", tmp_path), 3, "data.csv is missing"),
        ((*csv_set, "--part", "train"), 2, "nothing in its train part. Pictures by part: test 6"),
        ((*csv_set, "--fold", "1"), 2, "csv has one split and no folds"),
        (("--data", "adience", "--fold", "5"), 2, "adience has folds 0 to 4"),
        ((*csv_set, "--query", "age"), 2, "csv has no query age; it has brightness"),
        ((*csv_set, "--model", "no-such-model"), 3, "no-such-model"),
        ((*csv_set, "--model", "tiny-quality"), 2, "answers none of the queries"),
        ((*csv_set, "--write"), 2, "name it with --model"),
        ((*csv_set, "--write", "--model", "tiny"), 2, "no tasks"),
        ((*csv_set, "--scatter", tmp_path / "plot.gif"), 2, "another suffix"),
    ):
        result = run(*line)
        assert result.exit_code == status, line
        assert said in result.stderr.replace("\n", " ")
        assert result.stdout == ""


def test_queries_that_a_model_cannot_answer_are_listed(run: Run) -> None:
    line = ("--data", "csv", "--root", RATINGS, "--model", "tiny-quality", "-f", "json")
    result = run(*line, "--rounds", "20")
    (model,) = found(result)["models"]
    assert [query["query"] for query in model["queries"]] == ["quality"]
    assert [each["query"] for each in model["refused"]] == ["number-of-cats", "number-of-people"]
    assert "was not trained for" in model["refused"][0]["why"]
    assert "not answered: number-of-cats" in result.stderr


# ---- folds, several models, writing --------------------------------------------------------------


@pytest.fixture
def folded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """A data set "folded" of three folds, of two grey pictures each; returns the folds read."""
    file = table(tmp_path / "set", GREYS)
    asked: list[int] = []

    def read(root: Path, options: ReadOptions) -> Labelled:
        asked.append(options.fold)
        paths = tuple(file.parent / f"{n}.png" for n in range(6))
        values = np.array([3, 0, 2, 1, 4, 2], np.float32)
        names = tuple(path.name for path in paths)
        parts = tuple("test" if n // 2 == options.fold else "train" for n in range(6))
        quality = Labels("quality", "quality", "sort", values, unit="MOS")
        return Labelled("folded", paths, names, parts, names, (quality,))  # type: ignore[arg-type]

    about = About("Folded", "", "", "", "", "three folds", "quality", folds=3)
    monkeypatch.setattr("imgrank.data.agiqa3k.read", read)
    monkeypatch.setattr("imgrank.data.agiqa3k.ABOUT", about)
    known = {**catalogue.CATALOGUE, "folded": catalogue.CATALOGUE["agiqa3k"]}
    monkeypatch.setattr(catalogue, "CATALOGUE", known)
    return asked


def trained(name: str, fold: int) -> Path:
    folder = put(name)
    config = json.loads((folder / CONFIG).read_text())
    config["name"] = name
    config["training"] = {"data": {"folded": {"fold": fold}}}
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


def test_each_model_is_measured_on_its_own_fold(
    run: Run, folded: list[int], tmp_path: Path
) -> None:
    trained("first", 0), trained("second", 2)
    line = ("--data", "folded", "--root", tmp_path, "--model", "first", "--model", "second")
    answer = found(run(*line, "--rounds", "20", "-f", "json"))
    assert set(folded) == {0, 2}
    assert [model["fold"] for model in answer["models"]] == [0, 2]
    maes = [model["queries"][0]["mae"] for model in answer["models"]]
    (over,) = answer["over_models"]
    assert over["mae"] == pytest.approx(np.mean(maes), abs=1e-6)
    assert over["mae_sd"] == pytest.approx(np.std(maes, ddof=1), abs=1e-6)
    assert answer["differences"] == []  # no common pictures

    rows = list(csv.DictReader(io.StringIO(run(*line).stdout), delimiter="\t"))
    assert [row["kind"] for row in rows] == ["query", "query", "models"]
    assert rows[1]["model"] == "adapter second, fold 2"


def test_the_fold_of_the_checkpoint_goes_first(run: Run, folded: list[int], tmp_path: Path) -> None:
    trained("first", 2)
    line = ("--data", "folded", "--root", tmp_path, "--fold", "1", "-f", "json")
    result = run(*line, "--model", "first")
    assert found(result)["models"][0]["fold"] == 2
    assert "trained with fold 2 as its test part" in result.stderr
    assert found(run(*line, "--model", "tiny-quality"))["models"][0]["fold"] == 1


def test_two_models_on_the_same_pictures_have_a_paired_difference(run: Run) -> None:
    line = ("--data", "csv", "--root", RATINGS, "--query", "quality", "--rounds", "50")
    answer = found(run(*line, "--model", "tiny-quality", "--model", "tiny", "-f", "json"))
    (one, other) = (model["queries"][0] for model in answer["models"])
    (found_difference,) = answer["differences"]
    assert found_difference["srcc"] == pytest.approx(one["srcc"] - other["srcc"], abs=2e-6)
    assert found_difference["first"] == "adapter tiny-quality"
    low, high = found_difference["srcc_interval"]
    assert low <= found_difference["srcc"] <= high
    assert "mae" not in found_difference  # similarity to words has no unit
    assert answer["over_models"] == []  # nor has a mean of the two a meaning


def test_write_records_figures_and_leaves_the_weights_alone(run: Run) -> None:
    folder = put("mine")
    weights = (folder / WEIGHTS).read_bytes()
    line = ("--data", "csv", "--root", RATINGS, "--model", folder, "--query", "quality")
    assert run(*line, "--rounds", "20", "--write").exit_code == 0
    result = run(*line, "--rounds", "30", "--write", "-f", "json")
    query = found(result)["models"][0]["queries"][0]
    assert (folder / WEIGHTS).read_bytes() == weights
    measured = json.loads((folder / CONFIG).read_text())["tasks"]["quality"]["measured"]
    old, row = measured[:-1], measured[-1]
    assert [each["n"] for each in old] == [183, 2405, 2226]
    assert row["data"] == "csv, test part (its column split (train, validation, test), else ours)"
    assert (row["n"], row["rounds"], row["srcc"]) == (13, 30, round(query["srcc"], 4))
    assert row["median_mae"] == round(query["baseline"]["mae"], 4)
    card = (folder / CARD).read_text()
    command = "imgrank eval --data csv --root DATA --model mine --query quality --rounds 30"
    assert f"By `{command}`; 95 % bootstrap intervals" in card
    assert card.count(f"| quality | {row['data']} | 13 | {row['srcc']:.3f} [") == 1
    assert "By `python -m imgrank.evaluate.embedded`" in card
    assert "| AGIQA-3k, test split by prompt | 183 | 0.753 [0.666, 0.825] |" in card
    assert str(folder) not in card


def test_a_pulled_model_is_not_written_to(run: Run) -> None:
    put("pulled", repository="somebody/pulled")
    line = ("--data", "csv", "--root", RATINGS, "--model", "pulled", "--write")
    result = run(*line)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "stays as it was published" in result.stderr


# ---- the paper, made pictures --------------------------------------------------------------------


def test_the_papers_figures_stand_beside_as_the_papers(
    run: Run, monkeypatch: pytest.MonkeyPatch, folded: list[int], tmp_path: Path
) -> None:
    paper = {"own": True, "table": 3, "method": "adapter, X", "of": "quality", "srcc": 0.5}
    other = {"table": 3, "method": "another", "of": "quality", "srcc": 0.25}
    facts = {"folded": {"test": 99, "figures": [paper, other]}}
    monkeypatch.setattr("imgrank.evaluate.published.published", lambda: facts)
    line = ("--data", "folded", "--root", tmp_path, "--model", "tiny-quality")
    result = run(*line)
    rows = list(csv.DictReader(io.StringIO(result.stdout), delimiter="\t"))
    assert [row["kind"] for row in rows] == ["query", "paper"]
    assert (rows[1]["model"], rows[1]["srcc"]) == ("paper 001, table 3: adapter, X", "0.5")
    answer = found(run(*line, "-f", "json"))
    assert len(answer["paper"]) == 2
    assert answer["paper_note"] == "another split: 2 pictures here, 99 in the paper"
    shown = " ".join(run(*line, "-f", "table").stdout.split())
    assert "are the paper's own; another split: 2 pictures here, 99 in the paper" in shown


def test_made_pictures_go_through_the_models_features(
    run: Run, monkeypatch: pytest.MonkeyPatch, folded: list[int], tmp_path: Path
) -> None:
    files = found(
        run("--data", "folded", "--root", tmp_path, "--model", "tiny-quality", "-f", "json")
    )
    whole = catalogue.read("folded", tmp_path)

    def read(root: Path, options: ReadOptions) -> Labelled:
        def picture(index: int, size: int) -> Any:
            return np.full((size, size, 3), GREYS[index], np.uint8)

        return Labelled(
            *(whole.name, whole.paths, whole.keys, whole.parts, whole.groups, whole.labels),
            render=picture,
        )

    monkeypatch.setattr("imgrank.data.agiqa3k.read", read)
    line = ("--data", "folded", "--root", tmp_path, "-f", "json", "--model")
    result = run(*line, "tiny-quality")
    assert "2 computed, 0 known" in result.stderr
    made = found(result)
    assert made["models"][0]["queries"] == files["models"][0]["queries"]  # flat grey at any size


# ---- walls ---------------------------------------------------------------------------------------


def test_known_scores_and_measured_ones_load_no_torch(run: Run, tmp_path: Path) -> None:
    file = table(tmp_path / "set", GREYS)
    code = (
        "import sys; from imgrank.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print('torch' in sys.modules)"
    )
    line = [sys.executable, "-c", code, "eval", "--data", "csv", "--root", str(file), "-q"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
