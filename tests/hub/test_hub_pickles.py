"""Pickles: only when allowed, read without running anything, kept as safetensors."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from server import StandIn, sha256
from small_models import SAFE, backbone, weights

from imgrank.errors import ModelUnavailable
from imgrank.models.origin import read_origin
from imgrank.models.pull import plan, pull
from imgrank.settings import Settings, load_settings


@pytest.fixture
def settings() -> Settings:
    return load_settings()


class Malice:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("owned"),))


def pickled(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_a_pickle_only_when_allowed_and_then_as_safetensors(
    hub: StandIn, settings: Settings
) -> None:
    files = backbone()
    state = {f"module.{name}": tensor for name, tensor in weights().items()}
    del files[SAFE]
    files["open_clip_pytorch_model.bin"] = pickled({"state_dict": state, "epoch": 3})
    hub.add("owner/old", files)
    with pytest.raises(ModelUnavailable, match="--allow-pickle"):
        plan("hf:owner/old", settings)
    found = plan("hf:owner/old", settings, allow_pickle=True)
    assert "a pickle" in " ".join(found.warnings)
    folder = pull(found, settings)
    assert sorted(p.name for p in folder.iterdir()) == [
        "imgrank.json", "open_clip_config.json", SAFE, "origin.json"]  # fmt: skip
    origin = read_origin(folder)
    assert origin is not None
    assert origin.source == {
        "open_clip_pytorch_model.bin": {
            "sha256": sha256(files["open_clip_pytorch_model.bin"]),
            "bytes": len(files["open_clip_pytorch_model.bin"]),
        }
    }
    assert origin.files[SAFE]["sha256"] == sha256((folder / SAFE).read_bytes())
    got, wanted = load_file(folder / SAFE), weights()
    assert got.keys() == wanted.keys()
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("content", [{"a": Malice()}, Malice(), {"a": "text"}, [1, 2]])
def test_a_pickle_that_is_more_than_tensors_is_refused_and_not_run(
    hub: StandIn,
    settings: Settings,
    content: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    files = backbone()
    del files[SAFE]
    hub.add("owner/bad", {**files, "open_clip_pytorch_model.bin": pickled(content)})
    found = plan("hf:owner/bad", settings, allow_pickle=True)
    with pytest.raises(ModelUnavailable, match="was refused"):
        pull(found, settings)
    assert not Path("owned").exists()
    assert not (settings.models_dir / "bad").exists()
