"""A model tuned for search as a whole OpenCLIP folder: OpenCLIP gives the very embeddings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from model_folders import PHOTOS, Run, runner
from PIL import Image
from search_checkpoints import TEXT, TUNED_SCALE, search_checkpoint

from imgrank.models.backbone import Backbone
from imgrank.models.catalogue import describe
from imgrank.models.checkpoint import load_overrides
from imgrank.models.registry import EMBEDDED
from imgrank.rankers.load import load_ranker, load_source
from imgrank.settings import load_settings


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(monkeypatch)


def test_openclip_gives_the_same_embeddings(tmp_path: Path, run: Run) -> None:
    row = {"data": "oasis", "n": 9, "recall@10": 0.5}
    checkpoint, folder = search_checkpoint(tmp_path / "tuned", measured=[row]), tmp_path / "whole"
    done = run("models", "export", str(checkpoint), str(folder))
    assert (done.exit_code, done.stdout) == (0, f"{folder}\n")
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    source = load_source(str(checkpoint), load_settings())
    prepared = source.prepare((PHOTOS / "cat.jpg").read_bytes())
    x = preprocess(Image.fromarray(prepared))[None]
    assert torch.equal(x, source.backbone.normalise(prepared[None]))
    words = ["a cat", "a rocket in the night"]
    ids = source.backbone.tokenize(words)
    with torch.inference_mode():
        image = model.eval().encode_image(x, normalize=True).numpy()
        text = model.encode_text(ids, normalize=True).numpy()
        ours = Backbone(EMBEDDED / "tiny", None, load_overrides(checkpoint), "float32")
        pooled = ours.features_of(x)["pooled"].numpy()
    np.testing.assert_allclose(image, pooled, atol=1e-6)
    np.testing.assert_allclose(text, ours.encode_text(words).numpy(), atol=1e-6)
    assert model.logit_scale.item() == TUNED_SCALE
    plain = Backbone(EMBEDDED / "tiny")
    assert np.abs(text - plain.encode_text(words).numpy()).max() > 0.02
    card = (folder / "README.md").read_text()
    assert "with the image and text towers of `tuned`, which was trained for search (" in card
    assert "Nothing of that checkpoint is left out." in card
    assert card.endswith("| oasis | 9 | recall@10 | - | 0.500 | - |\n")
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_the_folder_answers_as_the_checkpoint_does(tmp_path: Path, run: Run) -> None:
    checkpoint, folder = search_checkpoint(tmp_path / "words", (TEXT,)), tmp_path / "whole"
    assert run("models", "export", str(checkpoint), str(folder)).exit_code == 0
    (tmp_path / "photos").mkdir()
    for name in ("cat.jpg", "rocket.jpg"):
        shutil.copy(PHOTOS / name, tmp_path / "photos")
    tables = []
    for model in (checkpoint, folder):
        done = run(
            "sort", str(tmp_path / "photos"), "a cat", "--model", str(model), "--format", "json"
        )
        tables.append({r["path"]: r["score"] for r in json.loads(done.stdout)["images"]})
    assert tables[0] == pytest.approx(tables[1], abs=1e-6)
    assert load_ranker(str(folder)).name == "whole"
    assert describe(str(folder), load_settings()).licence == "mit"
