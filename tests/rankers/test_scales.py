"""Tasks whose head was trained on another scale than their unit's."""

from pathlib import Path

import pytest

from imgrank.instruction import parse
from imgrank.models.checkpoint import CARD, identity, load_tensors, read_config, save_checkpoint
from imgrank.models.registry import EMBEDDED
from imgrank.rankers import source as sources
from imgrank.rankers.adapter import AdapterRanker
from imgrank.rankers.trained import in_unit

PHOTO = sorted((Path(__file__).parents[2] / "examples" / "photos").glob("*.jpg"))[0]
QUALITY = parse("by image quality")
OWN = EMBEDDED / "tiny-quality"


@pytest.fixture
def scaled(tmp_path: Path) -> Path:
    """The embedded quality adapter, as if its head had been trained on (MOS - 10) / 4."""
    config = read_config(OWN)
    config["tasks"]["quality"] |= {"offset": 10, "scale": 4}
    card = (OWN / CARD).read_text(encoding="utf-8")
    save_checkpoint(tmp_path / "scaled", config, load_tensors(OWN, as_stored=True), card)
    return tmp_path / "scaled"


def test_scores_come_in_the_tasks_unit(scaled: Path) -> None:
    source = sources.backbone_source(EMBEDDED / "tiny", "cpu")
    features = source.compute([source.prepare(PHOTO.read_bytes())])
    plain = AdapterRanker(OWN, source).score(features, [QUALITY])[0][0]
    other = AdapterRanker(scaled, source).score(features, [QUALITY])[0][0]
    assert plain is not None
    assert other is not None
    assert other.value == pytest.approx(10 + 4 * plain.value, rel=1e-6)


def test_another_scale_is_another_identity(scaled: Path) -> None:
    assert read_config(scaled)["weights"] == read_config(OWN)["weights"]
    assert identity(scaled) != identity(OWN)


def test_a_distance_to_a_number_has_no_offset() -> None:
    facts = {"offset": 10, "scale": 4, "closeness": "sort images by closeness to {n} {}."}
    assert in_unit(facts, parse("by the number of dogs")) == (10, 4)
    assert in_unit(facts, parse("closest to 3 dogs")) == (0, 4)
    assert in_unit({}, QUALITY) == (0, 1)
