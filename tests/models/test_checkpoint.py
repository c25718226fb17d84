"""Checkpoint folders: round trip, identity without torch, and what a damaged one says."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from imgrank.errors import CheckpointError
from imgrank.models import checkpoint

CONFIG: dict[str, Any] = {
    "kind": "adapter",
    "name": "toy",
    "backbone": {"name": "tiny", "digest": "sha256:00"},
    "model": {"width": 8, "image_widths": {"grid": 8}},
    "tasks": {"quality": {"prompt": "sort by quality", "unit": "MOS"}},
}
TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([0.5]).half()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    checkpoint.save_checkpoint(tmp_path / "toy", CONFIG, TENSORS, "# toy\n")
    return tmp_path / "toy"


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def test_round_trip(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    config = checkpoint.read_config(folder, "adapter")
    assert config["format"] == 1
    assert {k: config[k] for k in CONFIG} == CONFIG
    tensors = checkpoint.load_tensors(folder)
    assert tensors["a"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert tensors["b"].dtype == torch.float32
    assert tensors["b"].item() == 0.5
    assert (folder / "README.md").read_text() == "# toy\n"


def test_identity_follows_whatever_changes_scores(folder: Path) -> None:
    first = checkpoint.identity(folder)
    assert first.startswith("adapter:")
    assert first == checkpoint.identity(folder)
    seen = {first, checkpoint.identity(folder, backbone="another")}
    for changes in (
        {"weights": {"sha256": "1" * 64}},
        {"backbone": {"name": "tiny", "digest": "sha256:01"}},
        {"model": {"width": 9, "image_widths": {"grid": 9}}},
        {"tasks": {"quality": {"prompt": "other words", "unit": "MOS"}}},
    ):
        edit(folder, **changes)
        seen.add(checkpoint.identity(folder))
    assert len(seen) == 6
    last = checkpoint.identity(folder)
    edit(folder, name="renamed", licence="free")
    assert checkpoint.identity(folder) == last


def test_identity_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys, pathlib; from imgrank.models import checkpoint; "
        f"print(checkpoint.identity(pathlib.Path({str(folder)!r}))); "
        "assert 'torch' not in sys.modules"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == checkpoint.identity(folder)


def test_exchanged_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not the file"):
        checkpoint.load_tensors(folder)


def test_damaged_weights_are_named(folder: Path) -> None:
    import hashlib

    (folder / "model.safetensors").write_bytes(b"nothing")
    edit(folder, weights={"sha256": hashlib.sha256(b"nothing").hexdigest()})
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        checkpoint.load_tensors(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2.*Upgrade"),
        ({"format": None}, "no `format`"),
        ({"kind": None}, "lacks kind"),
        ({"kind": "other"}, "kind 'other', not 'adapter'"),
        ({"kind": "rarl"}, r"lacks model\.lora, model\.max_pixels, .* tasks\.quality\.range"),
        ({"kind": "retrieval"}, r"lacks backbone\.replaced\."),
        ({"kind": ["adapter"]}, "expected as kind"),
        ({"weights": "none"}, r"lacks weights\.sha256"),
        ({"weights": {}}, r"lacks weights\.sha256"),
        ({"tasks": []}, "expected as tasks"),
        ({"tasks": {"age": {"prompt": "x", "unit": "", "range": [1]}}}, r"tasks\.age\.range"),
        ({"backbone": {**CONFIG["backbone"], "views": 3}}, r"backbone\.views"),
        ({"model": {"image_widths": 8}}, r"model\.image_widths"),
    ],
)
def test_wrong_configs_say_what_to_do(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.read_config(folder, "adapter")


def test_towers_are_replaced_only_as_the_config_says(tmp_path: Path) -> None:
    """Else texts would be kept under the plain backbone's name."""
    bias = {"tower.text.ln_final.bias": torch.ones(3), "tower.visual.proj": torch.ones(2)}
    for said in ([], ["image"], ["text"]):
        config = {**CONFIG, "backbone": {**CONFIG["backbone"], "replaced": said}}
        checkpoint.save_checkpoint(tmp_path, config, {**TENSORS, **bias}, "")
        for load in (checkpoint.load_tensors, checkpoint.load_overrides, checkpoint.load_arrays):
            with pytest.raises(CheckpointError, match="tensors of the towers: image, text"):
                load(tmp_path)
    config = {**CONFIG, "backbone": {**CONFIG["backbone"], "replaced": ["text", "image"]}}
    checkpoint.save_checkpoint(tmp_path, config, {**TENSORS, **bias}, "")
    assert sorted(checkpoint.load_overrides(tmp_path)) == ["text.ln_final.bias", "visual.proj"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    tensors = {**TENSORS, "b": torch.tensor([value]).half()}
    checkpoint.save_checkpoint(tmp_path, CONFIG, tensors, "")
    for load in (checkpoint.load_tensors, checkpoint.load_arrays):
        with pytest.raises(CheckpointError, match="no finite numbers, in b:"):
            load(tmp_path)
    assert checkpoint.load_tensors(tmp_path, as_stored=True).keys() == TENSORS.keys()


def test_incomplete_folders(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        checkpoint.read_config(folder / "nowhere")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        checkpoint.read_config(folder)
    for text in ("{", "[" * 100_000):
        (folder / "config.json").write_text(text)
        with pytest.raises(CheckpointError, match="cannot be read"):
            checkpoint.read_config(folder)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write"):
        checkpoint.save_checkpoint(tmp_path / "file" / "toy", CONFIG, TENSORS, "")
