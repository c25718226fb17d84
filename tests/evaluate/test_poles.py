"""Zero-shot orders by poles: the readers on made-up folders, the table on real numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from imgrank.errors import DataError
from imgrank.evaluate.poles import measure, read_ages, read_beauty
from imgrank.rankers.load import load_source
from imgrank.rankers.prompts import PromptRanker
from imgrank.settings import load_settings

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


def test_ages_are_in_the_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no UTKFace crops"):
        read_ages(tmp_path)
    (tmp_path / "UTKFace").mkdir()
    for name in ("31_0_1_2017.jpg.chip.jpg", "7_1_2017.jpg.chip.jpg", "notes.jpg"):
        Image.new("RGB", (4, 4)).save(tmp_path / "UTKFace" / name)
    assert sorted(age for _, age in read_ages(tmp_path)) == [7.0, 31.0]


def test_beauty_is_in_the_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.csv is missing"):
        read_beauty(tmp_path)
    (tmp_path / "labels.csv").write_text("filepath,beauty_mean\nimages/a.jpg,3.48\n")
    assert read_beauty(tmp_path) == [(tmp_path / "images" / "a.jpg", 3.48)]


def test_a_perfect_order_measures_one() -> None:
    ranker = PromptRanker(load_source(None, load_settings()))
    paths = sorted(PHOTOS.glob("*.jpg"))[:5]
    first, _ = measure(ranker, "by beauty", [(path, float(n)) for n, path in enumerate(paths)])
    srcc = float(first.split("SRCC ")[1].split()[0])
    order = sorted(paths, key=lambda p: _score(ranker, p))
    sorted_by_it, bare = measure(ranker, "by beauty", [(p, float(n)) for n, p in enumerate(order)])
    assert "SRCC 1.000" in sorted_by_it
    assert srcc < 1
    assert "bare instruction" in bare


def _score(ranker: PromptRanker, path: Path) -> float:
    from imgrank.instruction import parse

    features = ranker.source.compute([ranker.source.prepare(path.read_bytes())])
    ((cell,),) = ranker.score(features, [parse("by beauty")])
    assert cell is not None
    return cell.value
