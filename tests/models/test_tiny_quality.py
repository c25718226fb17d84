"""The embedded quality checkpoint fits its backbone and keeps its promises (`test_embedded.py` has
the order of the example photographs)."""

from pathlib import Path

import imgrank
from imgrank.models.checkpoint import CARD, WEIGHTS, read_config
from imgrank.models.spec import read_spec

EMBEDDED = Path(imgrank.__file__).parent / "weights"
FOLDER = EMBEDDED / "tiny-quality"


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
