"""What is known of a backbone without loading it."""

from __future__ import annotations

import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image
from random_towers import VIT, config, make, pixels, plain
from safetensors.torch import save_file

from imgrank.errors import CheckpointError
from imgrank.models import digests
from imgrank.models.backbone import Backbone
from imgrank.models.spec import read_spec
from imgrank.rankers.source import BackboneSource, View


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("models") / "vit", config(VIT))


def test_the_digest_of_the_weights_is_checked_once_and_remembered(
    vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    real = digests.file_sha256
    monkeypatch.setattr(digests, "file_sha256", lambda path: hashed.append(path) or real(path))
    monkeypatch.setattr(digests, "SETTLED", -1.0)
    for _ in range(2):  # a folder without a record: its identity needs the digest too
        backbone = Backbone(vit)
        backbone.encode_images(pixels(64, 1))
        backbone.encode_text(["a cat"])
    assert hashed == [vit / "open_clip_model.safetensors"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_logit_scale_is_read_without_the_model(
    vit: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(vit, folder)
    state = plain(vit).state_dict() | {"logit_scale": torch.tensor([4.75], dtype=dtype)}
    save_file(state, folder / "open_clip_model.safetensors")
    assert read_spec(folder).logit_scale() == pytest.approx(math.exp(4.75))


def test_a_missing_logit_scale_is_an_error(vit: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(vit, folder)
    for content in ({"x": torch.zeros(1)}, {"logit_scale": torch.zeros(1, dtype=torch.int32)}):
        save_file(content, folder / "open_clip_model.safetensors")
        with pytest.raises(CheckpointError, match="logit_scale"):
            read_spec(folder).logit_scale()
    (folder / "open_clip_model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read_spec(folder).logit_scale()


def test_preprocessing_as_openclip_reads_it(vit: Path, tmp_path: Path) -> None:
    """Null is the default, one number is for all channels, and the size is the tower's."""
    folder = tmp_path / "copy"
    shutil.copytree(vit, folder)
    content = json.loads((vit / "open_clip_config.json").read_text())
    content["preprocess_cfg"] = {"mean": None, "std": 0.5, "interpolation": "random", "size": 999,
                                 "resize_mode": "longest", "fill_color": 7}  # fmt: skip
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    spec, theirs = read_spec(folder), plain(folder).visual.preprocess_cfg
    assert (spec.mean, spec.std, spec.image_size) == (tuple(theirs["mean"]), (0.5,) * 3, 64)
    assert (spec.interpolation, spec.resize_mode, spec.fill_color) == ("bicubic", "longest", 7)
    content["preprocess_cfg"]["resize_mode"] = "stretch"
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="stretch"):
        read_spec(folder)


def _merges_elsewhere(folder: Path, name: str) -> None:
    (folder.parent / "elsewhere.gz").write_bytes(b"x")
    (folder / "imgrank.json").write_text(json.dumps({"format": 1, "merges": name}))


def _config(folder: Path, vision_cfg: Any = None, preprocess_cfg: Any = None) -> None:
    vision = {} if vision_cfg is None else vision_cfg
    config = {"model_cfg": {"vision_cfg": vision}, "preprocess_cfg": preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(config))


def test_no_preprocessing_is_openclips_own(tmp_path: Path) -> None:
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"x")
    _config(tmp_path)
    assert read_spec(tmp_path).mean == (0.48145466, 0.4578275, 0.40821073)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "open_clip_config.json").unlink(), "cannot be read"),
        (lambda f: (f / "open_clip_config.json").write_text("{"), "is not JSON"),
        (lambda f: (f / "open_clip_config.json").write_text("{}"), "model_cfg"),
        (lambda f: (f / "open_clip_model.safetensors").unlink(), "no weights"),
        (lambda f: (f / "imgrank.json").write_text('{"format": 99}'), "format 99"),
        (
            lambda f: (f / "imgrank.json").write_text('{"format": 1, "merges": "merges.txt.gz"}'),
            "missing",
        ),
        (lambda f: (f / "imgrank.json").write_text('{"format": 1, "merges": 7}'), "merges 7"),
        (lambda f: _merges_elsewhere(f, "../elsewhere.gz"), r"merges '\.\./elsewhere.gz'"),
        (lambda f: _merges_elsewhere(f, str(f.parent / "elsewhere.gz")), "is called merges.txt.gz"),
        (lambda f: (f / "open_clip_config.json").write_text("[" * 100_000), "is not JSON"),
        (lambda f: _config(f, vision_cfg=[]), "not a backbone that can be read"),
        (lambda f: _config(f, vision_cfg={"image_size": 1e999}), "not a backbone"),
        (lambda f: _config(f, vision_cfg={"image_size": 0}), "image_size 0"),
        (lambda f: _config(f, preprocess_cfg=[]), "not a backbone"),
    ],
)
def test_a_folder_that_is_no_backbone_says_why(spoil, message: str, tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"vision_cfg": {}}}')
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"x")
    read_spec(tmp_path)
    spoil(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        read_spec(tmp_path)


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "pytorch_model.pth"])
def test_a_folder_with_only_a_pickle_says_how_to_import_it(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path / "pickled", config(VIT))
    (folder / "open_clip_model.safetensors").rename(folder / name)
    with pytest.raises(CheckpointError) as caught:
        Backbone(folder)
    assert name in str(caught.value)
    assert f"imgrank models import backbone {folder} --allow-pickle" in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "interpolation"),
    [("shortest", "bicubic"), ("longest", "bilinear"), ("squash", "bilinear"), (None, None)],
)
@pytest.mark.parametrize("view", ["own", "squash"])
def test_a_picture_reaches_the_model_as_openclip_would_give_it(
    vit: Path, tmp_path: Path, mode: str | None, interpolation: str | None, view: View
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(vit, folder)
    content = json.loads((vit / "open_clip_config.json").read_text())
    content["preprocess_cfg"] |= {"resize_mode": mode, "interpolation": interpolation}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    picture, file = Image.fromarray(pixels(91, 1)[0][:, :57]), io.BytesIO()
    picture.save(file, "PNG")
    forced = {"image_resize_mode": "squash"} if view == "squash" else {}
    _, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}", **forced)
    source = BackboneSource(read_spec(folder), "cpu", view)
    found = source.backbone.normalise(source.prepare(file.getvalue())[None])[0]
    torch.testing.assert_close(found, transform(picture), atol=1e-6, rtol=0)
