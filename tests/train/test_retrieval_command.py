"""`imgrank train retrieval` on the embedded backbone, from a file of preferences to a search."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file
from toy_retrieval import make_data

from imgrank.cli import cli
from imgrank.cli.train import train
from imgrank.errors import CheckpointError, UsageError
from imgrank.rankers.load import load_ranker


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "root").parent


def trains(root: Path, out: Path, *words: str) -> Result:
    file = str(root / "preferences.jsonl")
    given = ["retrieval", "--preferences", file, "--root", str(root), "--out", str(out)]
    given += ["--cache", str(root / "kept"), "--threads", "1", "--device", "cpu"]
    return CliRunner().invoke(train, [*given, *words])


@pytest.fixture(scope="module")
def done(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    out = tmp_path_factory.mktemp("out")
    more = ["--set", "image=last", "--set", "lr=2e-3", "--set", "batch=4", "--name", "mine"]
    more += ["--set", "weight=0.1", "--captions", "captions", "--steps", "8", "--seed", "3"]
    return trains(root, out, *more), out


def test_preferences_become_a_model(done: tuple[Result, Path], root: Path) -> None:
    result, out = done
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    said = result.stderr.splitlines()
    wanted = "12 queries to train on, 0 to watch, each with 6 pictures and 9 pairs; 44 pictures"
    assert any(line.startswith(wanted) for line in said), said  # 20 of them with a caption
    assert said[-2:] == [f"wrote {out / 'mine-delta'}", f"wrote {out / 'mine'}"]
    size = (out / "mine-delta" / "model.safetensors").stat().st_size
    assert size < 6_000_000  # with the whole last stage of the image tower
    assert not any("token_embedding" in n for n in load_file(out / "mine-delta/model.safetensors"))
    card = (out / "mine" / "README.md").read_text()
    assert "imgrank train retrieval --preferences" in card
    assert "--seed 3" in card


def test_openclip_and_both_folders_give_the_same(done: tuple[Result, Path], root: Path) -> None:
    _, out = done
    file = root / "own" / "20.png"
    merges = str(out / "mine" / "merges.txt.gz")
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{out / 'mine'}")
    model.eval()  # it has batch norm
    tokens = open_clip.get_tokenizer(f"local-dir:{out / 'mine'}", bpe_path=merges)(["a cat"])
    with torch.no_grad():
        v = model.encode_image(transform(Image.open(file))[None], normalize=True)[0].numpy()
        t = model.encode_text(tokens, normalize=True)[0]
    pooled = []
    for name in ("mine", "mine-delta"):
        source: Any = load_ranker(str(out / name)).source  # type: ignore[attr-defined]
        pooled.append(source.compute([source.prepare(file.read_bytes())])[0]["pooled"])
        assert np.allclose(pooled[-1], v, atol=1e-3)
        torch.testing.assert_close(source.backbone.encode_text(["a cat"])[0], t, atol=1e-5, rtol=0)
    assert np.array_equal(*pooled)


def test_a_search_takes_both(done: tuple[Result, Path], root: Path) -> None:
    _, out = done
    found = []
    for name in ("mine", "mine-delta"):
        words = ["search", str(root / "own"), "a cat", "--model", str(out / name)]
        result = CliRunner().invoke(cli, [*words, "--format", "json", "--quiet"])
        assert result.exit_code == 0, result.output
        found.append(result.stdout)
    assert found[0].count("own/") > 0
    assert re.findall(r"own/\d+", found[0]) == re.findall(r"own/\d+", found[1])


def test_what_learns_nothing_ends_with_status_3(root: Path, tmp_path: Path) -> None:
    result = trains(root, tmp_path, "--steps", "2", "--set", "lr=1e-9", "--set", "text=frozen")
    assert isinstance(result.exception, CheckpointError)
    assert result.exception.status == 3
    assert "no checkpoint is written" in str(result.exception)
    assert (tmp_path / "state.pt").is_file()
    assert not list(tmp_path.glob("tiny-aligned*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--preferences FILE is missing; `imgrank data preferences` makes one"),
        (["--captions", "oasis"], "oasis has no captions here; flickr8k, coco, captions have"),
        (["--set", "image=head", "--set", "statistics=true"], "no field statistics"),
        (["--backbone", "tiny-quality"], "tiny-quality: that is a checkpoint of kind adapter, no"),
        (["--set", "text_layers=3"], "text_layers is a number from 1 to 2"),
    ],
)
def test_wrong_words(words: list[str], said: str, root: Path, tmp_path: Path) -> None:
    plain = CliRunner().invoke(train, ["retrieval"])
    result = trains(root, tmp_path, *words) if words else plain
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)


def test_list_names_recipe_and_captioned_sets() -> None:
    result = CliRunner().invoke(train, ["retrieval", "--list"])
    assert result.exit_code == 0
    assert "for the backbone tiny: 150 steps of 32 queries, image=head, text=last" in result.stdout
    assert "captioned sets (--captions NAME): flickr8k, coco, captions" in result.stdout
