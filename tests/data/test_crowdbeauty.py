"""The CrowdBeauty reader: the published table, L2RCLIP's lists, pictures by their ids."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from imgrank.data import catalogue
from imgrank.data.crowdbeauty import CATEGORIES, LEVELS, read
from imgrank.data.labelled import Labelled, ReadOptions
from imgrank.errors import DataError, UsageError

HEADER = "#flickr_photo_id\tcategory\tbeauty_scores\n"
ROWS = {
    "11": ("nature", "3,4,4,2,5"),  # median 4
    "12": ("animals", "3,4,3,4"),  # median 3.5, rounded down
    "13": ("people", "1,1,1,1,5"),
    "14": ("urban", "5,5,4,5,5"),
}


def table(root: Path, rows: dict[str, tuple[str, str]]) -> None:
    lines = [f"{own}\t{category}\t{scores}\n" for own, (category, scores) in rows.items()]
    (root / "beauty-icwsm15-dataset.tsv").write_text(HEADER + "".join(lines))


def pictures(root: Path, names: list[str], suffix: str = ".jpg", folder: str = "images") -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / folder / f"{name}{suffix}").touch()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    table(folder, ROWS)
    pictures(folder, list(ROWS))
    return folder


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """L2RCLIP's lists: ten pictures of each category for training, two for test."""
    folder = tmp_path / "lists"
    folder.mkdir()
    for n, category in enumerate(CATEGORIES):
        for part, count in (("train", 10), ("test", 2)):
            ids = [f"{n}{'ab'[part == 'test']}{k}" for k in range(count)]
            lines = [f"{own}.png\t{1 + k % 5}.0\n" for k, own in enumerate(ids)]
            (folder / f"{category}_{part}.txt").write_text("".join(lines))
            pictures(folder, ids, ".png", f"images/{category}")
    return folder


def levels(data: Labelled) -> dict[str, str]:
    values = data.labels[0].values
    return {key: LEVELS[int(value)] for key, value in zip(data.keys, values, strict=True)}


def test_the_median_of_the_scores(root: Path) -> None:
    data = catalogue.read("crowdbeauty", root)
    assert levels(data) == {
        "crowdbeauty/11": "professional",
        "crowdbeauty/12": "ordinary",
        "crowdbeauty/13": "unacceptable",
        "crowdbeauty/14": "exceptional",
    }
    (labels,) = data.labels
    assert (labels.task, labels.unit, labels.range) == ("aesthetics", "level", (0, 4))
    assert labels.classes == LEVELS
    assert data.paths[0] == root / "images" / "11.jpg"


def test_one_category(root: Path) -> None:
    table(root, {**ROWS, "15": ("animal", "2,2")})
    pictures(root, ["15"], ".PNG", "img_files")
    data = catalogue.read("crowdbeauty-animals", root)
    assert data.name == "crowdbeauty-animals"
    assert levels(data) == {"crowdbeauty/12": "ordinary", "crowdbeauty/15": "flawed"}
    assert data.paths[1] == root / "img_files" / "15.PNG"
    for name in ("nature", "people", "urban"):
        assert len(catalogue.read(f"crowdbeauty-{name}", root)) == 1


def test_each_picture_is_tested_in_one_of_five_folds(root: Path) -> None:
    ids = [str(own) for own in range(100, 300)]
    table(root, dict.fromkeys(ids, ("urban", "3")))
    pictures(root, ids)
    tested: Counter[str] = Counter()
    for fold in range(5):
        data = read(root, ReadOptions(fold=fold))
        tested.update(data.keys[n] for n in data.rows("test"))
        assert 0 < len(data.rows("validation")) < 40
        alone = catalogue.read("crowdbeauty-urban", root, ReadOptions(fold=fold))
        assert alone.parts == data.parts
    assert tested == dict.fromkeys((f"crowdbeauty/{own}" for own in ids), 1)


def test_the_lists_are_one_split(listed: Path) -> None:
    data = read(listed, ReadOptions())
    assert len(data) == 48
    assert {data.keys[n] for n in data.rows("test")} == {
        f"crowdbeauty/{n}b{k}" for n in range(4) for k in range(2)
    }
    assert 0 < len(data.rows("validation")) < 16
    assert levels(data)["crowdbeauty/2a4"] == "exceptional"
    assert data.paths[0] == listed / "images" / "animals" / "0a0.png"
    with pytest.raises(UsageError, match="one split, fold 0, so fold 2 names nothing"):
        read(listed, ReadOptions(fold=2))
    (listed / "urban_test.txt").unlink()
    with pytest.raises(DataError, match=r"lacks the lists urban_test\.txt"):
        read(listed, ReadOptions())


def test_pictures_that_flickr_lost(root: Path) -> None:
    (root / "images" / "12.jpg").unlink()
    with pytest.raises(DataError, match="1 of 4 pictures are missing"):
        read(root, ReadOptions())
    notes: list[str] = []
    assert len(read(root, ReadOptions(partial=True, report=notes.append))) == 3
    assert notes == ["crowdbeauty: 1 of 4 pictures are missing and left out"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("cars", "3,3"), "line 2: category is 'cars', not animals, nature, people, urban"),
        (("urban", "3,good"), "line 2: beauty_scores is 'good', which is no number"),
        (("urban", "6,6"), "line 2: 6 is no level of 1 to 5"),
    ],
)
def test_wrong_rows(root: Path, row: tuple[str, str], said: str) -> None:
    table(root, {"11": row})
    with pytest.raises(DataError, match=said):
        read(root, ReadOptions())


def test_wrong_lists_and_folders(listed: Path, tmp_path: Path) -> None:
    (listed / "nature_train.txt").write_text("1a1.png 3.0\n")
    with pytest.raises(DataError, match=r"nature_train\.txt, line 1: not a picture, a tab"):
        read(listed, ReadOptions())
    (listed / "nature_train.txt").write_text("0a1.png\t3.0\n")
    with pytest.raises(DataError, match=r"nature_train\.txt, line 1: 0a1 is listed before"):
        read(listed, ReadOptions())
    with pytest.raises(UsageError, match="folds 0 to 4, not 7"):
        read(listed, ReadOptions(fold=7))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"beauty-icwsm15-dataset\.tsv"):
        read(tmp_path / "empty", ReadOptions())
