"""Tasks whose head was trained on another scale than their unit's."""

from pathlib import Path

import numpy as np
import pytest

from imgrank.errors import CheckpointError
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


@pytest.mark.parametrize("facts", [{"offset": 10}, {"scale": 4}])
def test_half_a_scale_is_one_too(tmp_path: Path, facts: dict[str, float]) -> None:
    config = read_config(OWN)
    config["tasks"]["quality"] |= facts
    save_checkpoint(tmp_path, config, load_tensors(OWN, as_stored=True), "# half\n")
    assert identity(tmp_path) != identity(OWN)


def test_what_is_no_number_is_an_error_and_not_a_missing_property() -> None:
    source = sources.backbone_source(EMBEDDED / "tiny", "cpu")
    good = source.compute([source.prepare(PHOTO.read_bytes())])[0]
    bad = {name: np.full_like(array, np.nan) for name, array in good.items()}
    ranker = AdapterRanker(OWN, source)
    for ask in (
        lambda: ranker.score([good, bad], [QUALITY]),
        lambda: ranker.compare(good, bad, QUALITY),
        lambda: ranker.strengths([[good], [bad]], QUALITY),
    ):
        with pytest.raises(CheckpointError, match="scores that are no numbers"):
            ask()


def test_a_distance_to_a_number_has_no_offset() -> None:
    facts = {"offset": 10, "scale": 4, "closeness": "sort images by closeness to {n} {}."}
    assert in_unit(facts, parse("by the number of dogs")) == (10, 4)
    assert in_unit(facts, parse("closest to 3 dogs")) == (0, 4)
    assert in_unit({}, QUALITY) == (0, 1)
