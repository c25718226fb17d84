"""Zero-shot orders by words: the readers on made-up folders, the table on real numbers."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgrank.data.distortions import Version
from imgrank.errors import DataError
from imgrank.evaluate import poles
from imgrank.evaluate.poles import LabelledSet, embed, measure, read_ages, read_beauty
from imgrank.evaluate.zeroshot import templates_by_half
from imgrank.instruction import parse
from imgrank.rankers.load import load_source
from imgrank.rankers.prompts import PromptRanker
from imgrank.settings import load_settings

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


@pytest.fixture
def ranker() -> PromptRanker:
    return PromptRanker(load_source(None, load_settings()))


def faces(root: Path, ages: list[int]) -> None:
    """UTKFace's layout, with grey squares for faces."""
    folder = root / "utkface" / "UTKFace"
    folder.mkdir(parents=True)
    for n, age in enumerate(ages):
        shade = (17 * n % 256, 40, 255 - 17 * n % 256)
        Image.new("RGB", (8, 8), shade).save(folder / f"{age}_0_1_2017{n:02}.jpg.chip.jpg")


def test_ages_are_in_the_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no UTKFace crops"):
        read_ages(tmp_path)
    (tmp_path / "UTKFace").mkdir()
    for name in ("31_0_1_2017.jpg.chip.jpg", "7_1_2017.jpg.chip.jpg", "notes.jpg"):
        Image.new("RGB", (4, 4)).save(tmp_path / "UTKFace" / name)
    assert sorted(age for _, age in read_ages(tmp_path)) == [7.0, 31.0]


def test_more_faces_leave_the_first_ones_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces(tmp_path, list(range(1, 31)))
    drawn = read_ages(tmp_path / "utkface")
    assert len(drawn) == 30
    monkeypatch.setattr(poles, "FACES", 20)
    assert read_ages(tmp_path / "utkface") == drawn[:20]  # what was chosen on stays apart


def test_beauty_is_in_the_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.csv is missing"):
        read_beauty(tmp_path)
    (tmp_path / "labels.csv").write_text("filepath,beauty_mean\nimages/a.jpg,3.48\n")
    assert read_beauty(tmp_path) == [(tmp_path / "images" / "a.jpg", 3.48)]


def test_years_before_1900_are_dropped(tmp_path: Path) -> None:
    rows = "a.jpg,1931,1930\nb.jpg,1899,1890\nc.jpg,1900,1900\n"
    (tmp_path / "labels.csv").write_text(f"filepath,year,decade\n{rows}")
    assert sorted(year for _, year in poles.read_decades(tmp_path)) == [1900.0, 1931.0]


def test_noise_comes_in_six_grades_of_a_photograph(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("filepath,beauty_mean\na.jpg,1\nb.jpg,2\n")
    data = poles.read_noise(tmp_path)
    assert [grade for _, grade in data] == [0, 1, 2, 3, 4, 5] * 2
    first = [picture for picture, _ in data[:6] if isinstance(picture, Version)]
    assert len({(version.photograph, version.kind) for version in first}) == 1


def test_a_perfect_order_measures_one(ranker: PromptRanker) -> None:
    asked = LabelledSet("by beauty", "", read_beauty)
    paths = sorted(PHOTOS.glob("*.jpg"))[:10]
    own = embed(ranker.source, [(path, 0.0) for path in paths])
    cells = ranker.score([{"pooled": row} for row in own.pooled], [parse("by beauty")])
    truth = np.array([cell.value for (cell,) in cells if cell is not None])
    lines = measure(ranker, asked, poles.Embedded(own.pooled, truth))
    assert lines[0] == "by beauty: choosing on 5"
    assert lines[5] == "by beauty: reporting on 5"
    assert [line.split()[0] for line in lines[6:]] == ["poles", "bare"]
    assert "poles, all" in lines[4] and "SRCC  1.000" in lines[4]
    assert "SRCC  1.000 [" in lines[6]
    backwards = measure(ranker, asked, poles.Embedded(own.pooled, -truth))
    assert "SRCC -1.000 [" in backwards[6]


def test_the_constant_is_the_median_of_the_choosing_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ages = [2, 5, 11, 19, 23, 30, 41, 55, 70, 88, 90, 99]
    faces(tmp_path, ages)
    poles.main(["--root", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "by age: choosing on 8"
    assert "by age: reporting on 4" in lines
    drawn = [age for _, age in read_ages(tmp_path / "utkface")]
    assert sorted(drawn) == sorted(random.Random(0).sample(ages, 12))
    always = np.mean(np.abs(np.array(drawn[8:]) - np.median(drawn[:8])))
    (constant,) = [line for line in lines if "constant" in line]
    assert float(constant.split()[-1]) == pytest.approx(always, abs=0.005)
    names = [line[2:66].strip() for line in lines]
    assert "ranks '{}'" in names
    assert "ranks as numbers 'a person aged {}.'" in names
    assert names[-6:] == [
        *("ranks", "poles less ranks", "ranks, closest to", "ranks", "constant"),
        "bare instruction",
    ]


def test_no_set_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds none of agiqa3k, oasis, oldnyc, utkface"):
        poles.main(["--root", str(tmp_path)])


def test_templates_are_chosen_on_one_half_and_reported_on_the_other() -> None:
    labels = [frozenset({"cat"} if n % 2 else {"dog"}) for n in range(40)]
    pictures = np.array([[1.0, 0.0] if n % 2 else [0.0, 1.0] for n in range(40)], np.float32)

    def embed_words(texts: list[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """Right for bare names, the other way round in every template."""
        right = {"cat": [1.0, 0.0], "dog": [0.0, 1.0]}
        rows = [right.get(text, [float("dog" in text), float("cat" in text)]) for text in texts]
        return np.array(rows, np.float32)

    lines = templates_by_half(pictures, labels, embed_words)
    by_name = {(line.split()[0], line[11:19].strip()): line for line in lines}
    assert by_name["choosing", "bare"].endswith("macro mAP 1.0000")
    assert float(by_name["choosing", "a photo"].split()[-1]) < 0.6
    assert by_name["reporting", "bare"].endswith("macro mAP 1.0000")
    assert "less bare -0." in by_name["reporting", "in use"]
    assert [part for part, _ in by_name].count("reporting") == 2  # bare was the best
