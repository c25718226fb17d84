"""Tokens made while training: those of the cache; a tuned text tower; where projections begin."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from imgrank.data.labelled import Labelled, Labels
from imgrank.data.tokens import Tokens
from imgrank.errors import DataError, UsageError
from imgrank.instruction import parse
from imgrank.models.adapter import Adapter, AdapterConfig
from imgrank.models.backbone import Backbone, describe
from imgrank.models.checkpoint import save_checkpoint
from imgrank.models.imported import backbone_facts
from imgrank.models.registry import EMBEDDED
from imgrank.rankers.load import load_ranker
from imgrank.settings import load_settings
from imgrank.train.live import LivePictures, TunedText, start_projection

TINY = EMBEDDED / "tiny"
PROMPTS = ["sort images by the number of cats.", "sort images by the image quality of MOS"]
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
VIT = {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16}
CONVNEXT = {
    "timm_model_name": "convnext_atto", "timm_model_pretrained": False, "image_size": 64,
    "timm_pool": "", "timm_proj": "mlp", "timm_drop": 0.0,
}  # fmt: skip
ENDS = ["token_embedding.weight", "positional_embedding", "ln_final.weight", "ln_final.bias"]


def clip(folder: Path, vision: dict[str, Any] = VIT, **more: Any) -> Backbone:
    """A small described backbone with random weights."""
    folder.mkdir()
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT, **more}
    torch.manual_seed(0)
    rest = {name: value for name, value in config.items() if name != "custom_text"}
    kind = open_clip.CustomTextCLIP if more.get("custom_text") else open_clip.CLIP
    state = kind(**rest).state_dict()
    generator = torch.Generator().manual_seed(1)
    for value in state.values():  # so that no norm or bias is neutral
        if value.is_floating_point():
            value += 0.05 * torch.randn(value.shape, generator=generator)
    write(folder, config, state)
    return Backbone(folder)


def write(folder: Path, config: dict[str, Any], state: dict[str, Tensor]) -> None:
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    text = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(text)
    tensors = {name: value.contiguous() for name, value in state.items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    describe(folder, folder.name)


@pytest.fixture
def pictures(tmp_path: Path) -> Labelled:
    """Five photographs of noise, the last of which is missing."""
    draw = np.random.default_rng(0)
    paths = tuple(tmp_path / f"{n}.png" for n in range(5))
    for path in paths[:4]:
        Image.fromarray(draw.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    labels = Labels("mos", "quality", PROMPTS[1], np.arange(5, dtype=np.float32))
    keys = tuple(path.name for path in paths)
    return Labelled("made-up", paths, keys, ("train",) * 5, keys, (labels,))


def first(data: Labelled, count: int) -> Labelled:
    part = Labels("mos", "quality", PROMPTS[1], data.labels[0].values[:count])
    cut = {name: getattr(data, name)[:count] for name in ("paths", "keys", "parts", "groups")}
    return replace(data, labels=(part,), **cut)


def test_live_tokens_are_those_of_the_cache(pictures: Labelled, tmp_path: Path) -> None:
    data, backbone = first(pictures, 4), Backbone(TINY)
    rows, mirror = [2, 0, 3], [False, True, True]
    kept = Tokens(tmp_path / "cache", backbone, lambda name, done, total: None).of(data)
    live = LivePictures(data, backbone, ("grid", "statistics")).batch(rows, mirror)
    assert {name: (*t.shape, t.dtype) for name, t in live.items()} == {
        "grid": (3, 49, 1280, torch.float32), "statistics": (3, 1, 992, torch.float32)
    }  # fmt: skip
    for name, array in kept.cache.batch(rows, mirror).items():
        expected = torch.from_numpy(array).float()
        torch.testing.assert_close(live[name], expected, atol=2e-3, rtol=2e-3)
    plain = LivePictures(data, backbone, ("statistics",)).batch(np.array(rows))
    assert list(plain) == ["statistics"]
    assert torch.equal(plain["statistics"][0], live["statistics"][0])
    assert not torch.allclose(plain["statistics"][1], live["statistics"][1], atol=1e-3)


def test_live_tokens_can_be_trained_on(pictures: Labelled) -> None:
    """Not tensors of inference mode, which autograd refuses."""
    live = LivePictures(first(pictures, 4), Backbone(TINY), ("statistics",))
    weight = torch.ones(992, requires_grad=True)
    (live.batch([0, 1])["statistics"] * weight).sum().backward()
    assert weight.grad is not None


def test_a_mirror_that_would_change_the_label_is_not_used(pictures: Labelled) -> None:
    data = replace(first(pictures, 4), mirrored=False)
    live = LivePictures(data, Backbone(TINY), ("statistics",))
    turned, plain = live.batch([1], [True]), live.batch([1], [False])
    assert torch.equal(turned["statistics"], plain["statistics"])


def test_a_picture_that_is_missing_is_named(pictures: Labelled) -> None:
    live = LivePictures(pictures, Backbone(TINY), ("statistics",))
    with pytest.raises(DataError, match=r"4\.png"):
        live.batch([3, 4])


def test_tokens_that_the_backbone_lacks_are_named(pictures: Labelled, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="small has no statistics tokens, only grid"):
        LivePictures(pictures, clip(tmp_path / "small"), ("grid", "statistics"))


@pytest.mark.parametrize("kind", ["tiny", "CLIP", "CustomTextCLIP"])
def test_tuned_text_before_training_is_the_backbone_s(kind: str, tmp_path: Path) -> None:
    made = {"CLIP": {}, "CustomTextCLIP": {"custom_text": True}}
    backbone = Backbone(TINY) if kind == "tiny" else clip(tmp_path / "small", **made[kind])
    before = backbone.text_tokens(PROMPTS)
    tuned = TunedText(backbone).train()
    torch.testing.assert_close(tuned(PROMPTS), before, atol=1e-5, rtol=0)
    assert sorted(name for name, p in tuned.named_parameters() if p.requires_grad) == sorted(ENDS)
    assert sorted(tuned.state_dict()) == sorted(ENDS)
    prefix = "" if kind == "CLIP" else "text."
    stored = load_file(backbone.spec.weights)
    overrides = tuned.overrides()
    assert sorted(overrides) == sorted(f"tower.{prefix}{name}" for name in ENDS)
    for name, tensor in overrides.items():
        assert torch.equal(tensor, stored[name.removeprefix("tower.")].float())


def test_only_the_two_ends_learn(tmp_path: Path) -> None:
    backbone = clip(tmp_path / "small")
    own, before = backbone.text, backbone.text_tokens(PROMPTS)
    tuned = TunedText(backbone)
    optimiser = torch.optim.SGD(tuned.parameters(), lr=0.1)
    tuned(PROMPTS).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in tuned.parameters())
    optimiser.step()
    assert not torch.allclose(tuned(PROMPTS), before, atol=1e-2)
    torch.testing.assert_close(backbone.text_tokens(PROMPTS), before, atol=0, rtol=0)
    assert not any(p.requires_grad for p in own.parameters())


def tasks(prompt: str) -> dict[str, Any]:
    return {"quality": {"prompt": prompt, "unit": "MOS", "range": [0, 5]}}


@pytest.mark.parametrize("kind", ["tiny", "CLIP"])
def test_a_tuned_text_goes_through_a_checkpoint(kind: str, tmp_path: Path) -> None:
    models = load_settings().models_dir
    models.mkdir(parents=True)
    backbone = Backbone(TINY) if kind == "tiny" else clip(models / "small")
    tuned = TunedText(backbone)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter += 0.3 * torch.randn(
                parameter.shape, generator=torch.Generator().manual_seed(2)
            )
    spec = backbone.spec
    torch.manual_seed(3)
    model = AdapterConfig({"grid": spec.widths["grid"]}, spec.widths["text"], 16, layers=1)
    adapter = Adapter(model).eval()
    config = {
        **{"kind": "adapter", "name": "mine", "licence": "", "made_by": "a test"},
        "backbone": {**backbone_facts(spec, ["squash"], ["grid"]), "replaced": ["text"]},
        **{"model": model.to_dict(), "tasks": tasks(PROMPTS[1])},
    }
    save_checkpoint(models / "mine", config, {**adapter.state_dict(), **tuned.overrides()}, "")
    S = spec.image_size
    pixels = list(np.random.default_rng(4).integers(0, 256, (2, S, S, 3), dtype=np.uint8))
    features = backbone.encode_images(pixels)
    grid = torch.from_numpy(np.stack([f["grid"] for f in features])).float()
    ranker: Any = load_ranker("mine")
    got = ranker.score(features, [parse("by image quality")])
    with torch.no_grad():
        wanted, plain = (
            adapter.scores(adapter.encode({"grid": grid}, text))
            for text in (tuned(PROMPTS[1:])[0], backbone.text_tokens(PROMPTS[1:])[0])
        )
    scores = torch.tensor([row[0].value for row in got])
    torch.testing.assert_close(scores, wanted, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(scores, plain, atol=1e-2)


def projected(backbone: Backbone, kind: str, width: int = 16) -> Adapter:
    widths = backbone.spec.widths
    sizes = {"text_width": widths["text"], "width": width, "layers": 1, "encoder_layers": 1}
    return Adapter(AdapterConfig({"grid": widths["grid"]}, grid_projection=kind, **sizes))


def test_a_convnext_s_projection_begins_with_its_norm_and_a_seed(tmp_path: Path) -> None:
    backbone = clip(tmp_path / "small", CONVNEXT)
    stored = load_file(backbone.spec.weights)
    found = []
    for seed in (5, 5, 6):
        adapter = projected(backbone, "norm+linear")
        torch.rand(seed)  # what was drawn before does not matter
        start_projection(adapter, backbone, seed)
        part: Any = adapter.grid_projection
        for name in ("weight", "bias"):
            norm = getattr(part.norm, name)
            assert torch.equal(norm, stored[f"visual.trunk.head.norm.{name}"])
        bound = part.linear.in_features**-0.5
        assert bound * 0.99 < part.linear.weight.abs().max() <= bound
        assert 0 < part.linear.bias.abs().max() <= bound
        found.append(part.linear.weight.detach().clone())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_vit_s_projection_is_its_own(tmp_path: Path) -> None:
    backbone = clip(tmp_path / "small")
    adapter = projected(backbone, "linear")
    start_projection(adapter, backbone, 0)
    proj = load_file(backbone.spec.weights)["visual.proj"]  # [Dg, D]
    grid = torch.randn(2, 4, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(adapter.join_images({"grid": grid}), grid @ proj)


def test_a_projection_that_the_tower_does_not_have(tmp_path: Path) -> None:
    vit = clip(tmp_path / "vit")
    with pytest.raises(UsageError, match=r"weight \(64,\).* vit, which has none"):
        start_projection(projected(vit, "norm+linear"), vit, 0)
    with pytest.raises(UsageError, match=r"\(32, 64\).*of shape \(16, 64\).*model.width"):
        start_projection(projected(vit, "linear", width=32), vit, 0)
    convnext = clip(tmp_path / "convnext", CONVNEXT)
    with pytest.raises(UsageError, match="has none"):
        start_projection(projected(convnext, "linear"), convnext, 0)
