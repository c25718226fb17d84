"""The embedded checkpoints fit their backbone and keep their promises (`test_embedded.py` has the
order of the example photographs)."""

from pathlib import Path

import pytest
from safetensors import safe_open

import imgrank
from imgrank.instruction import tasks
from imgrank.models.checkpoint import (
    CARD,
    CONFIG,
    WEIGHTS,
    load_arrays,
    load_overrides,
    read_config,
)
from imgrank.models.ranks import Ranks
from imgrank.models.spec import read_spec
from imgrank.rankers.levels import Calibration

EMBEDDED = Path(imgrank.__file__).parent / "weights"
ALL = sorted(path.parent for path in EMBEDDED.glob(f"*/{CONFIG}"))
ADAPTERS = [folder for folder in ALL if read_config(folder)["kind"] == "adapter"]
LEVELS = [folder for folder in ALL if read_config(folder)["kind"] == "l2rclip"]


@pytest.mark.parametrize("kind", [ADAPTERS, LEVELS], ids=["adapter", "l2rclip"])
def test_of_a_kind_there_is_one_for_each_trained_task(kind: list[Path]) -> None:
    listed = [task for folder in kind for task in read_config(folder)["tasks"]]
    assert sorted(listed) == sorted(set(listed))
    assert set(listed) <= set(tasks())
    if kind is ADAPTERS:
        assert {"age", "decade", "quality"} <= set(listed)


@pytest.mark.parametrize("folder", ALL, ids=lambda folder: folder.name)
def test_belongs_to_the_embedded_backbone(folder: Path) -> None:
    config = read_config(folder)
    spec = read_spec(EMBEDDED / "tiny")
    assert config["name"] == folder.name
    assert config["backbone"]["digest"] == f"sha256:{spec.identity}"
    if config["kind"] == "adapter":
        sources = config["model"]["image_widths"]
        assert sources == {name: spec.widths[name] for name in sources}
        assert config["model"]["text_width"] == spec.widths["text"]
    elif config["kind"] == "retrieval":
        own = {name: list(tensor.shape) for name, tensor in load_overrides(folder).items()}
        with safe_open(spec.weights, "pt") as file:
            assert own == {name: file.get_slice(name).get_shape() for name in own}
        assert (folder / WEIGHTS).stat().st_size <= 6_000_000
    else:
        assert set(config["model"]["features"]) <= {"pooled", "statistics"}
        for facts in config["tasks"].values():
            shape = (len(Ranks.from_dict(facts["ranks"])), spec.widths["embed"])
            assert load_arrays(folder)["ranks"].shape == shape


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


@pytest.mark.parametrize("folder", LEVELS, ids=lambda folder: folder.name)
def test_levels_are_calibrated_and_measured(folder: Path) -> None:
    config = read_config(folder)
    card = (folder / CARD).read_text(encoding="utf-8")
    assert "ridge" in card
    for facts in config["tasks"].values():
        assert Calibration.from_dict(facts["calibration"]).on
        assert facts["measured"]
        for row in facts["measured"]:
            assert f"{row['srcc']:.3f}"[1:] in card
    changed = load_overrides(folder)
    assert bool(changed) == bool(config["backbone"].get("replaced"))


def test_all_are_small() -> None:
    def size(folders: list[Path]) -> int:
        return sum(path.stat().st_size for folder in folders for path in folder.iterdir())

    assert size(ADAPTERS) < 5_000_000
    assert size(LEVELS) < 7_000_000
    assert sum(path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file()) < 40_000_000
