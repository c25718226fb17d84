"""Pulls from the stand-in: what becomes of a repository, and when nothing is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save
from server import StandIn, sha256

from imgrank.models.origin import read_origin
from imgrank.models.pull import plan, pull
from imgrank.models.registry import find
from imgrank.settings import Settings, load_settings

S = 32
PARTS = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": S, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}
SAFE = "open_clip_model.safetensors"


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {k: v.contiguous() for k, v in open_clip.CLIP(**PARTS).state_dict().items()}


def backbone(seed: int = 0, name: str = SAFE) -> dict[str, bytes]:
    config = {"model_cfg": PARTS, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    return {"open_clip_config.json": json.dumps(config).encode(), name: save(weights(seed)),
            ".gitattributes": b"", "pytorch_model.bin": b"not wanted"}  # fmt: skip


@pytest.fixture
def settings() -> Settings:
    return load_settings()


def fetched(wish: str, settings: Settings, **options: object) -> Path:
    return pull(plan(wish, settings, **options), settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [SAFE, "open_clip_pytorch_model.safetensors"])
def test_a_whole_backbone(hub: StandIn, settings: Settings, name: str) -> None:
    files = backbone(name=name)
    commit = hub.add("owner/small", files)
    found = plan("hf:owner/small", settings)
    assert (found.name, found.kind, found.revision, found.licence) == (
        "small",
        "backbone",
        commit,
        "mit",
    )
    wanted = ["open_clip_config.json", name]
    assert [file.name for file in found.files] == wanted
    assert found.bytes_to_fetch == sum(len(files[n]) for n in wanted)
    calls: list[tuple[int, int]] = []
    folder = pull(found, settings, progress=lambda done, total: calls.append((done, total)))
    assert folder == settings.models_dir / "small"
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        [*wanted, "imgrank.json", "origin.json"]
    )
    assert calls[-1] == (found.bytes_to_fetch, found.bytes_to_fetch)
    assert calls == sorted(calls)
    origin = read_origin(folder)
    assert origin is not None
    assert (origin.origin, origin.revision, origin.asked) == ("hf:owner/small", commit, "main")
    assert dict(origin.files) == {
        n: {"sha256": sha256(files[n]), "bytes": len(files[n])} for n in wanted
    }
    assert find("small", settings.models_dir).kind == "backbone"
    assert [p.name for p in settings.models_dir.iterdir()] == ["small"]
