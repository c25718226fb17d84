"""Aligned retrieval on random towers: it learns, resumes bit for bit, fails loudly, and writes a
model that OpenCLIP loads."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from toy_retrieval import (
    CONFIG,
    delta,
    interrupted,
    make_data,
    model_folder,
    preferences,
    rows_of,
    trained,
)

from imgrank.errors import CheckpointError
from imgrank.models.backbone import Backbone
from imgrank.models.checkpoint import load_overrides, read_config
from imgrank.rankers.source import BackboneSource
from imgrank.train import retrieval as recipe
from imgrank.train.retrieval_keeping import failure
from imgrank.train.retrieval_recipe import Config

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "root").parent


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("vit") / "random")


@pytest.fixture(scope="module")
def done(root: Path, vit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("done")
    assert trained(root, vit, out) == out / "toy"
    return out


def test_it_learns(done: Path) -> None:
    rows = rows_of(done)
    assert [row["step"] for row in rows] == list(range(1, 13))
    names = {"step", "total", "dpo", "pt", "gradient_dpo", "gradient_pt"}
    assert all(row.keys() == names | {"clamped", "margin", "accuracy"} for row in rows)
    assert rows[0]["dpo"] == pytest.approx(math.log(2), abs=1e-3)
    assert np.mean([row["dpo"] for row in rows[-3:]]) < 0.6
    assert np.mean([row["margin"] for row in rows[-3:]]) > 0.2
    assert rows[0]["total"] == pytest.approx(rows[0]["dpo"] + 0.1 * rows[0]["pt"], abs=1e-5)
    assert min(row["gradient_pt"] for row in rows) > 0 == rows[-1]["clamped"]
    lines = [json.loads(line) for line in (done / "metrics.jsonl").read_text().splitlines()]
    watched = [line for line in lines if "held-out margin" in line]
    assert [line["step"] for line in watched] == [6, 12]
    assert (done / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_openclip_loads_what_imgrank_uses(done: Path, root: Path, vit: Path) -> None:
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{done / 'toy'}")
    tokens = open_clip.get_tokenizer(f"local-dir:{done / 'toy'}")(["a dog"])
    file = root / "own" / "05.png"
    with torch.no_grad():
        v = model.encode_image(transform(Image.open(file))[None], normalize=True)[0]
        t = model.encode_text(tokens, normalize=True)[0]
    tuned = load_overrides(done / "toy-delta")
    found = []
    for backbone in (Backbone(done / "toy"), Backbone(vit, overrides=tuned)):
        source = BackboneSource(backbone.spec)  # as a search prepares a picture
        pooled = backbone.encode_images([source.prepare(file.read_bytes())])[0]["pooled"]
        found.append((pooled, backbone.encode_text(["a dog"])[0]))
    for pooled, text in found:
        torch.testing.assert_close(torch.from_numpy(pooled).float(), v, atol=1e-3, rtol=0)
        torch.testing.assert_close(text, t, atol=1e-6, rtol=0)
    assert np.array_equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_what_is_recorded(done: Path) -> None:
    config = read_config(done / "toy-delta", "retrieval")
    assert config["backbone"]["replaced"] == ["image", "text"]
    assert config["backbone"]["name"] == "random"
    training = config["training"]
    assert training["preferences"]["queries"] == 12
    assert training["captioned"] == {"captions": 20}  # the training part
    assert (training["loss"], training["steps"], training["seed"]) == ("dpo", 12, 0)
    assert training["data"] == ["captions", "own"]
    assert (config["made_by"], config["licence"]) == ("the command", Config.licence)
    for card in (done / "toy" / "README.md", done / "toy-delta" / "README.md"):
        text = card.read_text()
        assert "ranked DPO" in text
        assert "contrastive term: 20 pictures of captions, 5 a step" in text
        assert "10 queries to train on, 2 to watch" in text
        assert "looked up by tiny; rows sorted by by-hand; pool: all of own" in text
        assert "captions: your own pictures, with captions in a CSV file" in text  # and its terms


def test_only_what_is_trained_differs(done: Path, vit: Path) -> None:
    before = load_file(vit / "open_clip_model.safetensors")
    after = load_file(done / "toy" / "open_clip_model.safetensors")
    changed = {n for n in before if not torch.equal(before[n], after[n].to(before[n].dtype))}
    assert {f"tower.{name}" for name in changed} == set(delta(done))
    assert all(tensor.dtype == torch.float16 for tensor in delta(done).values())
    parts = {".".join(name.split(".")[:4]) for name in changed}
    assert parts >= {"visual.transformer.resblocks.1", "transformer.resblocks.1.ln_1"}
    assert changed >= {"visual.proj", "text_projection", "logit_scale"}
    assert not any("resblocks.0." in name or "embedding" in name for name in changed)


def test_a_finished_run_is_left_as_it_is(done: Path, root: Path, vit: Path) -> None:
    said: list[str] = []
    before = (done / "toy" / "open_clip_model.safetensors").stat().st_mtime_ns
    assert trained(root, vit, done, report=said.append) == done / "toy"
    assert said[-1].endswith("was finished before and is left as it is")
    assert (done / "toy" / "open_clip_model.safetensors").stat().st_mtime_ns == before


def test_resume_is_bit_exact_without_the_starting_model(
    done: Path, root: Path, vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = interrupted(root, vit, tmp_path, 6, monkeypatch)
    assert said[-1] == "stopped after step 7; run the same line to go on"
    assert not (tmp_path / "toy").exists()
    monkeypatch.setattr(recipe, "reference_of", None)  # its cosines are kept
    said = []
    trained(root, vit, tmp_path, report=said.append)
    assert "resumed at step 7 of 12" in said
    ours, whole = delta(tmp_path), delta(done)
    assert ours.keys() == whole.keys()
    assert all(torch.equal(ours[name], whole[name]) for name in whole)
    assert rows_of(tmp_path) == rows_of(done)


def test_other_settings_and_other_preferences(done: Path, root: Path, vit: Path) -> None:
    with pytest.raises(CheckpointError, match="other settings"):
        trained(root, vit, done, replace(CONFIG, beta=0.5))
    text = (root / "preferences.jsonl").read_text()
    try:
        (root / "preferences.jsonl").write_text(text.replace('"a dog 0"', '"a hound 0"'))
        with pytest.raises(CheckpointError, match="other settings"):
            trained(root, vit, done)
    finally:
        preferences(root)


@pytest.mark.parametrize(("anchor", "what"), [("kl", "own cosines (kl)"), ("none", "may forget")])
def test_without_captions(anchor: Any, what: str, root: Path, vit: Path, tmp_path: Path) -> None:
    said: list[str] = []
    config = replace(CONFIG, anchor=anchor, steps=4, warmup=1, image="head", text="projection")
    trained(root, vit, tmp_path, config, (), said.append)
    assert any("no captions" in line and what in line for line in said)
    rows = rows_of(tmp_path)
    assert all(("kl" in row) == (anchor == "kl") and "pt" not in row for row in rows)
    if anchor == "kl":
        assert rows[0]["kl"] == pytest.approx(0, abs=1e-5) and rows[-1]["kl"] > 1e-3
        assert rows[-1]["gradient_kl"] > 0
    assert "tower.logit_scale" not in delta(tmp_path)  # nothing asks for it
    config_of = read_config(tmp_path / "toy-delta")
    assert config_of["training"]["captioned"] == {}


def test_a_model_that_learns_nothing_is_a_failure(root: Path, vit: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, lr=1e-9, steps=2, warmup=0, image="head", text="frozen")
    for _ in range(2):  # the same line ends the same
        with pytest.raises(CheckpointError, match=r"DPO loss is 0\.69\d\d at the end.*--set lr"):
            trained(root, vit, tmp_path, config)
    assert (tmp_path / "state.pt").is_file()
    assert not (tmp_path / "toy").exists()
    assert not (tmp_path / "toy-delta").exists()


def test_too_many_clamped_cosines_are_a_failure(root: Path, vit: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, policy="cosine_clamped", floor=0.9, image="head", text="frozen")
    with pytest.raises(CheckpointError, match=r"Before the training \d+% of .* policy=logit"):
        trained(root, vit, tmp_path, config)
    assert not (tmp_path / "toy").exists()
    rows = [{"total": 1, "step": n + 1, "clamped": 0.06, "dpo": 0.5} for n in range(10)]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert failure(config, log).startswith("At the end of the training 6% of the cosines")
    assert failure(replace(config, most_clamped=0.06), log) == ""


def test_a_device_that_is_too_small(
    root: Path, vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def update(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(recipe, "update", update)
    config = replace(CONFIG, at_once=256, captions=1024, image="head", text="projection")
    with pytest.raises(CheckpointError, match=r"at_once=64 .*captions=256\."):
        trained(root, vit, tmp_path, config)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision(precision: Any, root: Path, vit: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, precision=precision, text="full", captions=20)
    trained(root, vit, tmp_path, config)
    rows = rows_of(tmp_path)
    assert rows[-1]["dpo"] < 0.66 < rows[0]["dpo"]
    assert all(0 < row.get("gradient_dpo", 1) < 100 for row in rows)
    assert "gradient_dpo" in rows[-1]  # at first float16 looks for a scale


def test_the_logit_scale_stays_below_a_hundred(
    root: Path, vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = recipe.update

    def update(config: Config, problem: Any, learner: Any, model: Any, *rest: Any) -> Any:
        row = before(config, problem, learner, model, *rest)
        model.logit_scale.data += 1.0
        return row

    monkeypatch.setattr(recipe, "update", update)
    trained(root, vit, tmp_path)
    assert delta(tmp_path)["tower.logit_scale"].item() == pytest.approx(math.log(100), abs=2e-3)


@pytest.mark.parametrize("loss", ["ipo", "rrhf"])
def test_other_losses_fall(loss: Any, root: Path, vit: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, loss=loss, weight=0.0, image="head", text="projection", steps=8)
    trained(root, vit, tmp_path, config)
    rows = rows_of(tmp_path)
    assert np.mean([r[loss] for r in rows[-3:]]) < np.mean([r[loss] for r in rows[:3]])
    assert rows[-1]["total"] == rows[-1][loss]


@pytest.mark.parametrize(
    ("vision", "image", "text"),
    [
        ("convnext", "last", "frozen"),
        ("efficientnet", "full", "projection"),
        ("vit", "frozen", "full"),
    ],
)
def test_gradient_only_where_it_should_be(
    vision: str, image: Any, text: Any, root: Path, tmp_path: Path
) -> None:
    backbone = model_folder(tmp_path / "model", vision)
    config = replace(CONFIG, image=image, text=text, steps=3, warmup=0, at_once=2, lr=1e-2)
    trained(root, backbone, tmp_path / "out", config)
    names = {name.removeprefix("tower.") for name in delta(tmp_path / "out")} - {"logit_scale"}
    starts = {
        "last": ("visual.trunk.stages.3", "visual.trunk.head", "visual.head"),
        "full": ("visual.",),
        "projection": ("text_projection", "ln_final"),
        "frozen": (),
    }
    texts = ("transformer.", "positional_embedding", "text_projection", "ln_final")
    allowed = (*starts[image], *(texts if text == "full" else starts[text]))
    assert names
    assert all(name.startswith(allowed) for name in names)
    assert not any("running" in name or "num_batches" in name for name in names)
    for start in allowed:
        assert any(name.startswith(start) for name in names) or start == "visual.trunk.head"
    assert all(math.isfinite(row["dpo"]) for row in rows_of(tmp_path / "out"))


def test_a_batch_in_pieces_is_the_same_batch(root: Path, vit: Path, tmp_path: Path) -> None:
    for name, at_once in (("whole", 0), ("pieces", 3)):
        config = replace(CONFIG, at_once=at_once, steps=2, warmup=0, image="full")
        trained(root, vit, tmp_path / name, config)
    for one, two in zip(rows_of(tmp_path / "whole"), rows_of(tmp_path / "pieces"), strict=True):
        assert two == pytest.approx(one, abs=2e-4)
