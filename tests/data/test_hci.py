"""The HCI reader on a made-up folder of the published layout."""

import json
from collections import Counter
from pathlib import Path

import pytest

from imgrank.data import catalogue
from imgrank.data.hci import ARCHIVE, DECADES, read
from imgrank.data.labelled import Labelled, ReadOptions
from imgrank.errors import DataError, UsageError


def draw(folder: Path, pictures: int) -> Path:
    for decade in DECADES:
        (folder / decade).mkdir(parents=True)
        for n in range(pictures):
            (folder / decade / f"{decade}-{n}.jpg").touch()
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw(tmp_path / "set", 6)


def held_back(data: Labelled) -> set[str]:
    return {data.keys[n] for n in data.rows("test")}


def test_five_decades(root: Path) -> None:
    (root / "1950s" / "._1950s-0.jpg").touch()  # what macOS adds to archives
    (root / "1950s" / "Thumbs.db").touch()
    lines: list[str] = []
    data = catalogue.read("hci", root, ReadOptions(report=lines.append))
    assert Counter(path.parent.name for path in data.paths) == dict.fromkeys(DECADES, 6)
    (labels,) = data.labels
    for path, value in zip(data.paths, labels.values, strict=True):
        assert path.parent.name == DECADES[int(value)]
    assert (labels.task, labels.unit, labels.range) == ("decade", "decade", (0, 4))
    assert labels.classes == ("1930s", "1940s", "1950s", "1960s", "1970s")
    assert labels.prompt == "sort images by the taken date of the photo."
    assert data.keys[0].startswith("hci/1930s/1930s-")
    assert lines == ["hci: 30 pictures, where 1325 are published"]


def test_the_whole_set_in_ten_folds_of_the_usual_sizes(tmp_path: Path) -> None:
    draw(tmp_path / "set", 265)
    lines: list[str] = []
    times: Counter[str] = Counter()
    for fold in range(10):
        data = read(tmp_path / "set", ReadOptions(fold=fold, report=lines.append))
        for decade in range(5):
            own = [p for p, v in zip(data.parts, data.labels[0].values, strict=True) if v == decade]
            assert Counter(own) == {"train": 210, "validation": 5, "test": 50}
        times.update(held_back(data))
    assert len(times) == 1325  # each is tested
    assert set(times.values()) == {1, 2}
    assert lines == []


def test_the_split_does_not_depend_on_the_place(root: Path, tmp_path: Path) -> None:
    again = draw(tmp_path / "elsewhere", 6)
    assert held_back(read(again, ReadOptions(fold=3))) == held_back(read(root, ReadOptions(fold=3)))
    assert held_back(read(root, ReadOptions(fold=3))) != held_back(read(root, ReadOptions(fold=8)))


@pytest.mark.parametrize("pictures", [1, 2, 3, 10])
def test_however_few_there_are_some_are_held_back(tmp_path: Path, pictures: int) -> None:
    data = read(draw(tmp_path / "set", pictures), ReadOptions(fold=9))
    parts = Counter(data.parts)
    test = {1: 1, 2: 1, 3: 1, 10: 2}[pictures]
    assert parts["test"] == 5 * test
    assert parts["validation"] == (5 if pictures > 2 else 0)
    assert parts["train"] == 5 * pictures - parts["test"] - parts["validation"]


@pytest.mark.parametrize("place", ["decade_database", "data/imgs/decade_database", ARCHIVE])
def test_where_the_archive_has_them(tmp_path: Path, place: str) -> None:
    folder = draw(tmp_path / place, 3)
    assert read(tmp_path, ReadOptions()).paths[0].parent.parent == folder


@pytest.mark.parametrize("fold", [-1, 10])
def test_a_fold_that_there_is_not(root: Path, fold: int) -> None:
    with pytest.raises(UsageError, match=f"folds 0 to 9, not {fold}"):
        read(root, ReadOptions(fold=fold))


def test_a_decade_that_is_missing_or_empty(root: Path) -> None:
    for path in (root / "1940s").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="1940s holds no picture"):
        read(root, ReadOptions())
    (root / "1940s").rmdir()
    with pytest.raises(DataError, match="has no folder 1940s"):
        read(root, ReadOptions())


def test_a_folder_too_high_or_too_deep(root: Path) -> None:
    with pytest.raises(DataError, match=rf"It is in {root}: name that folder"):
        read(root.parent, ReadOptions())
    with pytest.raises(DataError, match=rf"It is one folder above: name {root}\."):
        read(root / "1930s", ReadOptions())


def publish(root: Path, fold: int) -> dict[str, list[list[str | int]]]:
    """A fold as it is published: one training, validation and test picture a decade."""
    table = {
        part: [[decade, f"{decade}-{n}.jpg", label] for label, decade in enumerate(DECADES)]
        for n, part in enumerate(("train", "val", "test"))
    }
    (root / f"fold_{fold}.txt").write_text(json.dumps(table))
    return table


def test_published_folds_go_before_ours(root: Path) -> None:
    publish(root, 7)
    data = read(root, ReadOptions(fold=7))
    assert len(data) == 15  # what is not listed is left out
    assert held_back(data) == {f"hci/{decade}/{decade}-2.jpg" for decade in DECADES}
    assert {data.paths[n].name for n in data.rows("validation")} == {
        f"{decade}-1.jpg" for decade in DECADES
    }
    assert data.labels[0].values.tolist() == [0, 1, 2, 3, 4] * 3
    with pytest.raises(DataError, match=r"fold_2\.txt is missing, though other folds"):
        read(root, ReadOptions(fold=2))


def test_pictures_of_a_published_fold_are_there(root: Path) -> None:
    publish(root, 0)
    (root / "1960s" / "1960s-2.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 15 pictures are missing:\n.*1960s-2\.jpg"):
        read(root, ReadOptions())
    assert len(read(root, ReadOptions(partial=True)).rows("test")) == 4


@pytest.mark.parametrize(
    "text",
    [
        "1930s/a.jpg 0",
        "[]",
        '{"train": []}',
        '{"train": [["1990s", "a", 6]], "val": [], "test": []}',
    ],
)
def test_a_damaged_fold(root: Path, text: str) -> None:
    (root / "fold_0.txt").write_text(text)
    with pytest.raises(DataError, match=r'fold_0\.txt is not \{"train"'):
        read(root, ReadOptions())
