"""Data sets of several queries: their means, what is written down of them, odd configs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from multi_task import multi_task
from PIL import Image

from imgrank.cli.eval import eval as command
from imgrank.data import catalogue
from imgrank.data.labelled import About, Labelled, Labels, ReadOptions
from imgrank.errors import UsageError
from imgrank.evaluate import published
from imgrank.evaluate.evaluation import Evaluated, Request, evaluate
from imgrank.evaluate.record import record
from imgrank.models.card import BEGIN, END
from imgrank.models.checkpoint import CARD, CONFIG
from imgrank.settings import load_settings

KEYS = ("color/red", "color/blue", "shape/cube")


@pytest.fixture
def solids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set with three counts, in the place of "oasis", which has folds here."""
    paths = tuple(tmp_path / f"{n}.png" for n in range(6))
    for n, path in enumerate(paths):
        Image.new("RGB", (40, 40), (40 * n, 255 - 40 * n, 9 * n)).save(path)
    names = tuple(path.name for path in paths)
    values = np.array([3, 0, 2, 1, 4, 2], np.float32)

    def read(root: Path, options: ReadOptions) -> Labelled:
        labels = tuple(
            Labels(key, "count", f"sort images by the number of {key}.", values, key, "objects")
            for key in KEYS
        )
        return Labelled("oasis", paths, names, ("test",) * 6, names, labels)

    monkeypatch.setattr("imgrank.data.oasis.read", read)
    monkeypatch.setattr(
        "imgrank.data.oasis.ABOUT", About("Solids", "", "", "", "", "", "count", folds=2)
    )
    assert catalogue.CATALOGUE["oasis"].module == "oasis"
    return tmp_path


def found(root: Path, model: Path, **more: Any) -> Evaluated:
    return evaluate(Request("oasis", root, (str(model),), rounds=10, **more), load_settings())


@pytest.fixture
def model() -> Path:
    folder = multi_task()
    (folder / CARD).write_text(f"# multi\n\n{BEGIN}\n{END}\n")
    return folder


def test_a_mean_and_its_baseline_are_of_its_own_queries(solids: Path, model: Path) -> None:
    table = found(solids, model, attributes=True).table
    means = {row["query"]: row for row in table["models"][0]["means"]}
    assert list(means) == ["mean color", "mean shape", "mean"]
    assert means["mean color"]["queries"] == 2  # "colorfulness" is an attribute, no color
    assert means["mean color"]["baseline"] == {"mae": 1.0, "accuracy": 0.333333}  # median, 2


def test_the_papers_means_stand_beside_means_of_all_its_queries_alone(
    solids: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"of": key, "table": 8, "method": "x", "srcc": 0.5} for key in ("mean", "mean color")]
    monkeypatch.setattr(published, "published", lambda: {"oasis": {"figures": rows}})

    def beside(**more: Any) -> list[str]:
        return [row["of"] for row in found(solids, model, **more).table["paper"]]

    assert beside() == ["mean", "mean color"]
    assert beside(attributes=True) == ["mean color"]
    assert beside(queries=KEYS[:2]) == []


def test_figures_of_one_query_are_not_those_of_all(solids: Path, model: Path) -> None:
    for queries in (KEYS[:1], KEYS[1:2], (), KEYS[:1]):
        record(model, found(solids, model, queries=queries), "the command")
    measured = json.loads((model / CONFIG).read_text())["tasks"]["count"]["measured"]
    assert [row["data"] for row in measured] == [
        "oasis, test part of fold 0, color/blue",
        "oasis, test part of fold 0, mean color",
        "oasis, test part of fold 0, mean shape",
        "oasis, test part of fold 0",
        "oasis, test part of fold 0, color/red",
    ]
    assert [row.get("queries") for row in measured] == [None, 2, 1, 3, None]


def test_plots_of_several_models_overwrite_nothing(
    solids: Path, model: Path, tmp_path: Path
) -> None:
    target, second = tmp_path / "plot.png", tmp_path / "plot-2.png"
    line = ["--data", "oasis", "--root", str(solids), "--rounds", "10", "--scatter", str(target)]
    line += ["--model", str(model), "--model", "tiny"]
    assert CliRunner().invoke(command, line).exit_code == 0
    assert {path.name for path in tmp_path.glob("plot*")} == {"plot-1.png", "plot-2.png"}
    (tmp_path / "plot-1.png").unlink()
    before = second.read_bytes()
    result = CliRunner().invoke(command, line)
    assert isinstance(result.exception, UsageError)
    assert (second.read_bytes(), len(list(tmp_path.glob("plot*")))) == (before, 1)


@pytest.mark.parametrize(
    ("training", "fold"),
    [
        ({"data": {"oasis": {"fold": 1}}}, 1),
        ({"data": {"oasis": {"fold": 7}}}, 0),
        ({"data": {"oasis": {"fold": -1}}}, 0),
        ({"data": {"oasis": 1}}, 0),
        ({"data": ["oasis"]}, 0),
        (["oasis"], 0),
    ],
)
def test_a_config_says_its_fold_or_nothing(
    solids: Path, model: Path, training: Any, fold: int
) -> None:
    config = json.loads((model / CONFIG).read_text())
    (model / CONFIG).write_text(json.dumps({**config, "training": training}))
    assert found(solids, model, queries=KEYS[:1]).table["models"][0]["fold"] == fold
