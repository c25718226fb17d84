"""`imgrank train adapter`: recipes by data, what is told before any work, what checkpoints say."""

import json
import shlex
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from test_live import CONVNEXT, VIT, clip

from imgrank.cli.train import train
from imgrank.data import tokens
from imgrank.errors import DataError, MissingExtra, UsageError
from imgrank.models.adapter import Adapter, load_adapter
from imgrank.models.checkpoint import CARD, read_config
from imgrank.models.checkpoint import CONFIG as CONFIG_FILE
from imgrank.train import adapter_recipe
from imgrank.train.live import start_projection


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    folder = tmp_path / "mine"
    folder.mkdir()
    for n in range(10):
        pixels = draw.integers(0, 255, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.png")
    return folder


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """UTKFace of forty grey squares, the brighter the older."""
    folder = tmp_path / "data" / "utkface" / "UTKFace"
    folder.mkdir(parents=True)
    for n in range(40):
        picture = Image.new("L", (32, 32), 40 + 2 * n)
        picture.save(folder / f"{n + 10}_0_0_2017010{n % 10}{n:02d}0000000.jpg.chip.jpg", "JPEG")
    return tmp_path / "data"


SMALL = ["--threads", "1", "--device", "cpu", "--steps", "2", "--set", "batch=8"]
OWN = ["--data", "photographs", *SMALL]


def trains(folder: Path, out: Path, *more: str) -> Result:
    line = ["adapter", "--root", str(folder), "--out", str(out), *more]
    return CliRunner().invoke(train, line)


def test_a_checkpoint_tells_how_it_was_made_and_is_made_once(
    photographs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "demo"
    (photographs / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    first = trains(photographs, out, *OWN)
    assert first.exit_code == 0, first.output
    assert f"left out: {photographs / 'broken.jpg'}" in first.output
    lines = first.output.splitlines()
    told = next(n for n, line in enumerate(lines) if "MB of tokens to compute, kept in" in line)
    done = next(n for n, line in enumerate(lines) if line.startswith("photographs: 32 of 190"))
    assert told < done
    config = read_config(out / "demo", "adapter")
    assert (config["name"], config["licence"][:8]) == ("demo", "unknown:")
    words = ["--data", "photographs", "--root", str(photographs), "--out", str(out)]
    words += ["--steps", "2", "--set", "batch=8", "--device", "cpu", "--threads", "1"]
    command = "imgrank train adapter " + shlex.join(words)
    assert config["made_by"] == command
    assert config["training"] == {
        "data": {"photographs": {"fold": 0}},
        "seed": 0,
        "steps": 2,
        "command": command,
    }
    card = (out / "demo" / CARD).read_text()
    assert card.startswith("---\nlicense: other\n")
    assert f"command: `{config['made_by']}`" in card
    assert "AGIQA" not in card
    assert "- photographs: your own" in card
    for name in ("curves.png", "scatter-photographs.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG"), name

    (out / "demo" / CARD).write_text(card + "measured since")
    again = trains(photographs, out, *OWN)
    assert "left as it is" in again.output
    assert (out / "demo" / CARD).read_text() == card + "measured since"
    (out / "demo" / CONFIG_FILE).unlink()
    assert "wrote" in trains(photographs, out, *OWN).output
    assert (out / "demo" / CARD).read_text() == card  # the minutes too: the state knows them


def test_the_recipe_of_a_data_set_is_taken(faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = trains(faces, out, "--data", "utkface", *SMALL, "--set", "model.width=32")
    assert found.exit_code == 0, found.output
    config = read_config(out / "utkface", "adapter")
    age = config["tasks"]["age"]
    assert (age["unit"], age["range"], age["prompt"]) == (
        "years",
        [0, 116],
        "sort images by the person's age group.",
    )
    recipe = adapter_recipe.load_recipe("adapter-utkface.toml", "tiny")
    own = recipe.tasks["age"]
    assert own.offset == 33
    assert (age["offset"], age["scale"]) == (own.offset, own.scale)
    assert config["licence"] == recipe.licence
    assert config["model"]["width"] == 32
    assert config["backbone"]["name"] == "tiny"
    card = (out / "utkface" / CARD).read_text()
    assert "for non-commercial research" in card
    log = (out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2, 2]


def test_tokens_need_not_be_kept_nor_the_text_tower_frozen(faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = ["features=pictures", "warm_start=false", "train_text=true", "model.width=32"]
    more = [word for each in settings for word in ("--set", each)]
    found = trains(faces, out, "--data", "utkface", *SMALL, *more)
    assert found.exit_code == 0, found.output
    assert not (out / "tokens").exists()
    config = read_config(out / "utkface", "adapter")
    assert config["backbone"]["replaced"] == ["text"]
    from safetensors import safe_open

    with safe_open(out / "utkface" / "model.safetensors", "pt") as file:
        own = [name for name in file.keys() if name.startswith("tower.")]  # noqa: SIM118
    assert any(name.endswith("token_embedding.weight") for name in own)


def test_the_papers_values_apply_to_a_backbone_of_its_kind(faces: Path, tmp_path: Path) -> None:
    tower = clip(tmp_path / "convnext", CONVNEXT)
    words = ["--data", "utkface", "--backbone", str(tower.spec.folder), *SMALL]
    found = trains(faces, tmp_path / "out", *words, "--set", "model.width=32")
    assert found.exit_code == 0, found.output
    model = load_adapter(tmp_path / "out" / "utkface")
    assert model.config.grid_projection == "norm+linear"
    assert (model.config.layers, model.config.relational_tokens) == (2, 16)
    start = Adapter(model.config)
    start_projection(start, tower, seed=0)
    assert model.grid_projection is not None
    assert start.grid_projection is not None
    for name, value in start.grid_projection.state_dict().items():  # frozen; matrices in float16
        kept = value.half().float() if value.ndim > 1 else value
        assert torch.equal(model.grid_projection.state_dict()[name], kept), name
    assert "offset" not in read_config(tmp_path / "out" / "utkface")["tasks"]["age"]


def test_a_vit_brings_its_own_projection_or_is_refused_before_any_work(
    faces: Path, tmp_path: Path
) -> None:
    tower = clip(tmp_path / "vit", VIT)
    words = ["--data", "utkface", "--backbone", str(tower.spec.folder), *SMALL]
    words += ["--set", "model.grid_projection=linear"]
    refused = trains(faces, tmp_path / "out", *words)
    assert isinstance(refused.exception, UsageError)
    assert "projection of the grid" in str(refused.exception)
    assert not (tmp_path / "out").exists()
    found = trains(faces, tmp_path / "out", *words, "--set", "model.width=16")
    assert found.exit_code == 0, found.output
    model = load_adapter(tmp_path / "out" / "utkface")
    assert model.grid_projection is not None
    projection: Any = tower.visual
    assert torch.equal(model.grid_projection.linear.weight, projection.proj.T.half().float())


def test_bad_settings_end_before_any_work(photographs: Path, tmp_path: Path) -> None:
    for text in ("lr=abc", "reg_loss=abc", "model=3", "model.width=7", "tokens=['abc']", "a b=1"):
        result = trains(photographs, tmp_path / "out", *OWN, "--set", text)
        assert isinstance(result.exception, UsageError), text
        assert not (tmp_path / "out").exists()
    for words in (["--data", "nothing"], ["--device", "abacus"]):
        result = trains(photographs, tmp_path / "out", *OWN, *words)
        assert isinstance(result.exception, UsageError), words
        assert not (tmp_path / "out").exists()


def test_wrong_folders_end_before_any_work(faces: Path, tmp_path: Path) -> None:
    result = trains(tmp_path / "nowhere", tmp_path / "out", "--data", "utkface", *SMALL)
    assert isinstance(result.exception, DataError)
    assert "imgrank data list" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_too_small_is_told_before_any_work(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(tokens.shutil, "disk_usage", lambda path: usage(10**6))
    result = trains(photographs, tmp_path / "out", *OWN)
    assert isinstance(result.exception, DataError)
    assert "features=pictures" in str(result.exception)
    assert not (tmp_path / "out" / "tokens").exists()


@pytest.mark.parametrize("module", ["scipy", "matplotlib"])
def test_without_the_extra_nothing_is_begun(
    module: str, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = trains(photographs, tmp_path / "out", *OWN)
    assert isinstance(result.exception, MissingExtra)
    assert "imgrank[train]" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_folds_go_to_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[adapter_recipe.Config] = []

    def run(config: adapter_recipe.Config, *arguments: object, **more: object) -> None:
        seen.append(config)

    monkeypatch.setattr("imgrank.train.adapter.run", run)
    result = trains(tmp_path, tmp_path / "out", "--data", "adience", "--fold", "3", "--seed", "5")
    assert result.exit_code == 0
    assert [source.fold for source in seen[0].sources] == [3]
    assert seen[0].seed == 5
    trains(tmp_path, tmp_path / "out", "--data", "oasis", "--data", "agiqa3k", "--name", "both")
    assert [source.data for source in seen[1].sources] == ["oasis", "agiqa3k"]
    assert seen[1].sources[1].share == 0.14  # as the default recipe draws from it
    assert seen[1].name == "both"


def test_the_list_names_recipes_and_data_sets() -> None:
    found = CliRunner().invoke(train, ["adapter", "--list"])
    assert found.exit_code == 0
    assert "  koniq: 144000 steps for the backbone convnext-large-320, on koniq" in found.output
    assert "  utkface: UTKFace: aligned crops of faces with their age" in found.output
