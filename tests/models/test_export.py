"""A tuned tower as a whole OpenCLIP folder: OpenCLIP itself gives the embeddings that we use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from model_folders import PHOTOS, Run, runner
from multi_task import multi_task
from PIL import Image
from rank_checkpoints import rank_checkpoint
from safetensors.torch import load_file, safe_open

from imgrank.models.backbone import Backbone
from imgrank.models.registry import EMBEDDED
from imgrank.rankers.l2rclip import L2RCLIPRanker
from imgrank.rankers.load import load_ranker
from imgrank.settings import load_settings

WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(monkeypatch)


def delta() -> dict[str, torch.Tensor]:
    """Other numbers in the last stage of `tiny`: matrices in float16, gains in float32."""
    own = load_file(EMBEDDED / "tiny" / WEIGHTS)
    names = ["visual.head.proj.weight", "visual.trunk.blocks.6.0.conv_dw.weight"]
    torch.manual_seed(0)
    tensors = {name: own[name] + 0.02 * torch.randn(own[name].shape).half() for name in names}
    norm = "visual.trunk.bn2.weight"
    tensors[norm] = own[norm].float() * (1 + 0.1 * torch.rand(own[norm].shape))
    return {f"tower.{name}": value for name, value in tensors.items()}


def test_openclip_gives_the_embeddings_of_the_checkpoint(tmp_path: Path, run: Run) -> None:
    checkpoint = rank_checkpoint(tmp_path / "tuned", "age", statistics=True, tensors=delta())
    folder = tmp_path / "there" / "whole"
    done = run("models", "export", str(checkpoint), str(folder))
    assert (done.exit_code, done.stdout) == (0, f"{folder}\n")
    ranker = load_ranker(str(checkpoint))
    assert isinstance(ranker, L2RCLIPRanker)
    pixels = [
        ranker.source.prepare((PHOTOS / name).read_bytes()) for name in ("cat.jpg", "coffee.jpg")
    ]
    ours = np.stack([f["pooled"] for f in ranker.source.compute(pixels)]).astype(np.float32)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    x = torch.stack([preprocess(Image.fromarray(each)) for each in pixels])
    with torch.no_grad():
        whole = model.eval().encode_image(x, normalize=True).numpy()
        plain = open_clip.create_model(f"local-dir:{EMBEDDED / 'tiny'}").eval()
        before = plain.encode_image(x, normalize=True).numpy()
    np.testing.assert_allclose(whole, ours, atol=1e-3)
    assert np.abs(before - ours).max() > 0.02
    assert "before it adds its map of statistics" in (folder / "README.md").read_text()


def test_the_folder_is_a_backbone_for_imgrank_too(tmp_path: Path, run: Run) -> None:
    checkpoint = rank_checkpoint(tmp_path / "tuned", "age", tensors=delta())
    folder = tmp_path / "whole"
    run("models", "export", str(checkpoint), str(folder))
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "imgrank.json", "merges.txt.gz", "open_clip_config.json", WEIGHTS
    ]  # fmt: skip
    tuned, own = load_file(folder / WEIGHTS), delta()
    assert {n: t.dtype for n, t in tuned.items() if f"tower.{n}" in own} == {
        name.removeprefix("tower."): tensor.dtype for name, tensor in own.items()
    }
    before = load_file(EMBEDDED / "tiny" / WEIGHTS)
    changed = {n for n in before if not torch.equal(before[n], tuned[n].to(before[n].dtype))}
    assert changed == {name.removeprefix("tower.") for name in own}
    backbone, plain = Backbone(folder), Backbone(EMBEDDED / "tiny")
    assert backbone.spec.name == "whole"
    assert backbone.spec.widths == plain.spec.widths
    assert torch.equal(backbone.encode_text(["a cat"]), plain.encode_text(["a cat"]))
    assert load_ranker(str(folder)).name == "whole"
    assert run("models", "verify", str(folder)).exit_code == 0
    text = (folder / "README.md").read_text()
    assert text.startswith("---\nlicense: mit\nlibrary_name: open_clip\n")
    assert (
        "with the image tower of `tuned`, which was trained for age (imgrank, kind l2rclip)" in text
    )
    assert "statistics" not in text


def test_a_tuned_text_tower_too(tmp_path: Path, run: Run) -> None:
    name = "text.ln_final.weight"
    own = load_file(EMBEDDED / "tiny" / WEIGHTS)[name].float()
    checkpoint = multi_task(tmp_path / "words", tower={name: own * 2})
    assert run("models", "export", str(checkpoint), str(tmp_path / "whole")).exit_code == 0
    with safe_open(tmp_path / "whole" / WEIGHTS, "pt") as file:
        assert torch.equal(file.get_tensor(name), own * 2)


def test_what_cannot_be_exported_is_told(tmp_path: Path, run: Run) -> None:
    def says(*words: str) -> str:
        done = run("models", "export", *words)
        assert done.exit_code in (2, 3)
        assert done.stdout == ""
        return done.stderr

    target = str(tmp_path / "whole")
    assert "tiny is a backbone: nothing was tuned" in says("tiny", target)
    assert "tiny-age has no tower of its own" in says("tiny-age", target)
    assert "no model 'nowhere'" in says("nowhere", target)
    checkpoint = rank_checkpoint(tmp_path / "tuned", "age", tensors=delta())
    (tmp_path / "taken").mkdir()
    assert "overwrites nothing" in says(str(checkpoint), str(tmp_path / "taken"))
    assert "cannot be called" in says(str(checkpoint), str(tmp_path / "a name"))
    config = json.loads((checkpoint / "config.json").read_text())
    config["backbone"]["digest"] = f"sha256:{'0' * 64}"
    (checkpoint / "config.json").write_text(json.dumps(config))
    assert "its backbone 'tiny' is not here. Get it: imgrank models" in says(
        str(checkpoint), target
    )
    odd = rank_checkpoint(tmp_path / "odd", "age", tensors={"tower.visual.other": torch.ones(2)})
    assert "cannot be exported" in says(str(odd), target)
    assert not (tmp_path / "whole").exists()


def test_a_damaged_backbone_is_not_passed_on(tmp_path: Path, run: Run) -> None:
    home = load_settings().models_dir
    shutil.copytree(EMBEDDED / "tiny", home / "copy")
    config = json.loads((home / "copy" / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0.4] * 3  # another identity than the package's
    (home / "copy" / "open_clip_config.json").write_text(json.dumps(config))
    checkpoint = rank_checkpoint(tmp_path / "tuned", "age", tensors=delta())
    facts = json.loads((checkpoint / "config.json").read_text())
    facts["backbone"]["digest"] = f"sha256:{Backbone(home / 'copy').identity}"
    (checkpoint / "config.json").write_text(json.dumps(facts))
    weights = home / "copy" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    done = run("models", "export", str(checkpoint), str(tmp_path / "whole"))
    assert done.exit_code == 3
    assert "is not the file that its folder records" in done.stderr
