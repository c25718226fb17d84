"""The embedded quality checkpoint: fits its backbone, keeps its promises, orders plain cases."""

from pathlib import Path

import pytest
import torch

import imgrank
from imgrank.images.decode import decode, to_square
from imgrank.models.adapter import load_adapter
from imgrank.models.backbone import Backbone
from imgrank.models.checkpoint import CARD, WEIGHTS, read_config
from imgrank.models.spec import read_spec

EMBEDDED = Path(imgrank.__file__).parent / "weights"
FOLDER = EMBEDDED / "tiny-quality"
PHOTOS = Path(__file__).resolve().parents[2] / "examples" / "photos"


def test_belongs_to_the_embedded_backbone() -> None:
    config = read_config(FOLDER, "adapter")
    spec = read_spec(EMBEDDED / "tiny")
    assert config["backbone"]["digest"] == f"sha256:{spec.identity}"
    assert config["model"]["image_widths"] == {"statistics": spec.widths["statistics"]}
    assert config["model"]["text_width"] == spec.widths["text"]


def test_small_and_measured() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 5_000_000
    assert (FOLDER / WEIGHTS).stat().st_size > 100_000
    rows = read_config(FOLDER)["tasks"]["quality"]["measured"]
    card = (FOLDER / CARD).read_text(encoding="utf-8")
    assert len(rows) == 3
    for row in rows:
        assert row["srcc"] > row["ridge_srcc"]
        assert row["srcc_interval"][0] < row["srcc"] < row["srcc_interval"][1]
        assert f"{row['srcc']:.3f}" in card  # the card shows the figures of the config


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the example photographs are not here")
def test_degraded_versions_come_after_their_originals() -> None:
    adapter, tower = load_adapter(FOLDER), Backbone(EMBEDDED / "tiny")
    pairs = (
        ("astronaut", "astronaut-noisy"),
        ("cat", "cat-blurred"),
        ("cat-blurred", "cat-very-blurred"),
        ("coffee", "coffee-compressed"),
        ("coffee", "coffee-underexposed"),
        ("rocket", "rocket-low-resolution"),
    )
    names = sorted({name for pair in pairs for name in pair})
    size = tower.image_size
    pixels = [to_square(decode((PHOTOS / f"{n}.jpg").read_bytes(), size), size) for n in names]
    features = tower.encode_images(pixels)
    tokens = torch.stack([torch.from_numpy(f["statistics"]).float()[None] for f in features])
    prompt = read_config(FOLDER)["tasks"]["quality"]["prompt"]
    with torch.inference_mode():
        z = adapter.encode({"statistics": tokens}, tower.text_tokens([prompt])[0])
        scores = dict(zip(names, adapter.scores(z).tolist(), strict=True))
    wrong = [pair for pair in pairs if not scores[pair[0]] > scores[pair[1]]]
    assert wrong == []
