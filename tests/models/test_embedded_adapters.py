"""The embedded adapters fit their backbone and keep their promises (`test_embedded.py` has the
order of the example photographs)."""

from pathlib import Path

import pytest

import imgrank
from imgrank.instruction import tasks
from imgrank.models.checkpoint import CARD, CONFIG, WEIGHTS, read_config
from imgrank.models.spec import read_spec

EMBEDDED = Path(imgrank.__file__).parent / "weights"
ADAPTERS = sorted(path.parent for path in EMBEDDED.glob(f"*/{CONFIG}"))


def test_there_is_one_for_each_trained_task() -> None:
    listed = [task for folder in ADAPTERS for task in read_config(folder)["tasks"]]
    assert sorted(listed) == sorted(set(listed))
    assert {"age", "decade", "quality"} <= set(listed) <= set(tasks())


@pytest.mark.parametrize("folder", ADAPTERS, ids=lambda folder: folder.name)
def test_belongs_to_the_embedded_backbone(folder: Path) -> None:
    config = read_config(folder, "adapter")
    spec = read_spec(EMBEDDED / "tiny")
    assert config["name"] == folder.name
    assert config["backbone"]["digest"] == f"sha256:{spec.identity}"
    sources = config["model"]["image_widths"]
    assert sources == {name: spec.widths[name] for name in sources}
    assert config["model"]["text_width"] == spec.widths["text"]


@pytest.mark.parametrize("folder", ADAPTERS, ids=lambda folder: folder.name)
def test_measured_and_above_ridge(folder: Path) -> None:
    assert (folder / WEIGHTS).stat().st_size > 100_000
    card = (folder / CARD).read_text(encoding="utf-8")
    for task in read_config(folder)["tasks"].values():
        assert task["measured"]
        for row in task["measured"]:
            assert row["srcc"] > row["ridge_srcc"]
            assert row["srcc_interval"][0] < row["srcc"] < row["srcc_interval"][1]
            assert f"{row['srcc']:.3f}"[1:] in card  # the card shows the figures of the config


def test_all_are_small() -> None:
    sizes = [path.stat().st_size for folder in ADAPTERS for path in folder.iterdir()]
    assert sum(sizes) < 5_000_000
    assert sum(path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file()) < 40_000_000
