"""`imgrank train l2rclip` from pictures to a checkpoint that sorts, on the embedded backbone."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from imgrank.cli import cli
from imgrank.cli.train import train
from imgrank.data import catalogue
from imgrank.errors import DataError, UsageError
from imgrank.models.backbone import Backbone
from imgrank.models.checkpoint import load_overrides, load_tensors, read_config
from imgrank.models.registry import EMBEDDED
from imgrank.rankers.l2rclip import L2RCLIPRanker
from imgrank.rankers.levels import Calibration
from imgrank.rankers.source import BackboneSource
from imgrank.train.l2rclip_recipe import Config, load_recipe

N = 16


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file of grainy squares, the brighter the older."""
    folder = tmp_path_factory.mktemp("own")
    draw = np.random.default_rng(0)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "instruction", "value", "split"])
        for n in range(N):
            pixels = draw.integers(0, 20, (64, 64, 3)) + 50 * (n % 5)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{n}.png")
            part = "train" if n < 8 else ("validation" if n < 12 else "test")
            writer.writerow([f"{n}.png", "by age", 30 + n % 5, part])
    return folder / "labels.csv"


def trains(*words: str) -> Result:
    more = ["--threads", "1", "--device", "cpu", "--set", "batch=10"]
    return CliRunner().invoke(train, ["l2rclip", *words, *more])


@pytest.fixture(scope="module")
def done(table: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    out = tmp_path_factory.mktemp("out")
    words = ["--data", "csv", "--root", str(table), "--out", str(out), "--name", "mine"]
    words += ["--epochs1", "1", "--epochs2", "3", "--set", "image.tower=head", "--seed", "3"]
    return trains(*words, "--set", "stage2.lr=1e-3"), out


def test_a_csv_file_becomes_a_model(done: tuple[Result, Path]) -> None:
    result, out = done
    assert result.exit_code == 0, result.output
    config = read_config(out / "mine", "l2rclip")
    age = config["tasks"]["age"]
    assert age["ranks"]["names"] == ["30", "31", "32", "33", "34"]
    assert (age["prompt"], age["unit"]) == ("A photo of {} years old face.", "years")
    assert config["model"]["features"] == ["pooled", "statistics"]
    assert config["backbone"]["replaced"] == ["image"]
    assert config["training"]["seed"] == 3
    assert config["training"]["steps"] == 4
    assert "--epochs1 1" in config["made_by"]
    assert set(load_tensors(out / "mine")) >= {"ranks", "statistics.weight", "statistics.mean"}
    assert "visual.head.proj.weight" in load_overrides(out / "mine")
    for name in ("curves-1.png", "curves-2.png", "scatter-1.png", "scatter-2.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG"), name
    lines = result.output.splitlines()
    said = next(n for n, line in enumerate(lines) if "MB of tokens to compute" in line)
    assert said < next(n for n, line in enumerate(lines) if line.startswith("stage 1, epoch 1:"))


def test_the_model_gives_what_the_training_measured(done: tuple[Result, Path], table: Path) -> None:
    """By another road: tower with the tuned tensors, features in float16, the ranker."""
    _, out = done
    data = catalogue.read("csv", table)
    rows = data.rows("validation")
    tower = Backbone(EMBEDDED / "tiny", overrides=load_overrides(out / "mine"))
    features = tower.encode_images([data.pixels(int(row), tower.image_size) for row in rows])
    ranker = L2RCLIPRanker(out / "mine", BackboneSource(tower.spec))
    ranker.calibration = Calibration()  # figures are those of the model as it was trained
    p = ranker.distribution(features)
    means = p @ np.array([30.0, 31, 32, 33, 34])
    truth = data.labels[0].values[rows]
    measured = json.loads((out / "figures.json").read_text())
    found = measured["rankformer"]
    assert np.abs(means - truth).mean() == pytest.approx(found["csv mae"], abs=0.01)
    assert ((p.argmax(axis=1) + 30) == truth).mean() == found["csv accuracy"]
    start = Backbone(EMBEDDED / "tiny").encode_images([data.pixels(0, tower.image_size)])
    assert not np.allclose(start[0]["pooled"], features[0]["pooled"], atol=1e-3)


def test_it_sorts(done: tuple[Result, Path], table: Path) -> None:
    _, out = done
    words = ["sort", str(table.parent), "by age", "--model", str(out / "mine"), "--format", "csv"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    scores = [float(row["score"]) for row in csv.DictReader(result.stdout.splitlines())]
    assert len(scores) == N
    assert scores == sorted(scores, reverse=True)
    assert 30 <= scores[-1] < scores[0] <= 34


def test_what_cannot_be_done_is_said(table: Path, tmp_path: Path) -> None:
    own = ["--data", "csv", "--root", str(table), "--out", str(tmp_path / "out")]
    for words, kind, message in (
        ([], UsageError, "which data"),
        (["--data", "nothing"], UsageError, "no data set nothing"),
        (["--recipe", "nowhere.toml"], UsageError, "no recipe nowhere"),
        ([*own, "--set", "stage1.cop=much"], UsageError, "stage1.cop = 'much'"),
        ([*own, "--set", "ranks.by=classes"], UsageError, "its labels are no classes"),
        (["--data", "utkface", "--root", str(tmp_path), *own[-2:]], DataError, "data list"),
    ):
        result = trains(*words)
        assert isinstance(result.exception, kind), words
        assert re.search(message, str(result.exception)), result.exception
        assert not (tmp_path / "out").exists()
    long = "a photo of " + 40 * "very " + "{} years"
    result = trains(*own, "--set", f"ranks.template={long}")
    assert isinstance(result.exception, UsageError)
    assert "context length" in str(result.exception)


def test_options_reach_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Config] = []

    def run(config: Config, *arguments: object, **more: object) -> None:
        seen.append(config)

    monkeypatch.setattr("imgrank.train.l2rclip.run", run)
    words = ["--data", "adience", "--fold", "3", "--few-shot", "4", "--baseline", "context"]
    result = trains(*words, "--epochs1", "2", "--set", "stage1.cop=0", "--epochs2", "0")
    assert result.exit_code == 0, result.output
    config = seen[0]
    assert (config.name, config.fold, config.few_shot, config.batch) == ("adience", 3, 4, 10)
    assert config.baselines == ("context",)
    own = load_recipe("l2rclip-adience.toml", "tiny")
    assert config.stage1 == replace(own.stage1, epochs=2, cop=0)
    assert config.stage2 == replace(own.stage2, epochs=0)
    trains("--data", "koniq", "--out", str(tmp_path / "mine"))
    assert (seen[1].data, seen[1].name, seen[1].notes) == ("koniq", "mine", "")


def test_the_list_names_recipes_and_data_sets() -> None:
    found = CliRunner().invoke(train, ["l2rclip", "--list"])
    assert found.exit_code == 0
    assert "  hci: 20 and 40 epochs for the backbone vit-b-16" in found.output
    assert "  utkface: UTKFace: aligned crops of faces with their age" in found.output
