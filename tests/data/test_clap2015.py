"""The CLAP2015 reader on a made-up folder of its layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgrank.data import catalogue
from imgrank.data.clap2015 import read
from imgrank.data.labelled import ReadOptions
from imgrank.errors import DataError

ROWS = ["image_1.jpg,21,4.0,train", "image_2.jpg,48,4.4,train", "image_3.jpg,17,3.4,val"]
ROWS += ["image_4.jpg,63,2.2,test"]


def table(root: Path, rows: list[str]) -> None:
    lines = ["filename,age,stdv,database", *rows]
    (root / "total_2015.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    for number in range(1, 5):
        (folder / "images" / f"image_{number}.jpg").touch()
    table(folder, ROWS)
    return folder


def test_ages_and_the_published_parts(root: Path) -> None:
    notes: list[str] = []
    data = catalogue.read("clap2015", root, ReadOptions(report=notes.append))
    assert data.parts == ("train", "train", "validation", "test")
    (labels,) = data.labels
    assert labels.values.tolist() == [21, 48, 17, 63]
    assert (labels.task, labels.unit, labels.range) == ("age", "years", (0, 100))
    assert data.paths[3] == root / "images" / "image_4.jpg"
    assert data.keys[3] == "clap2015/image_4.jpg"
    assert data.published == 4691
    assert notes == [
        "clap2015: 2 train pictures, where 2,476 are published",
        "clap2015: 1 validation pictures, where 1,136 are published",
        "clap2015: 1 test pictures, where 1,079 are published",
    ]


def test_pictures_in_a_folder_a_part(root: Path) -> None:
    for number, folder in ((3, "val"), (4, "test")):
        (root / folder).mkdir()
        (root / "images" / f"image_{number}.jpg").rename(root / folder / f"image_{number}.jpg")
    places = [path.parent.name for path in read(root, ReadOptions()).paths]
    assert places == ["images", "images", "val", "test"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("image_1.jpg,old,4.0,train", "line 6: age is 'old', which is no number"),
        ("image_5.jpg,20,4.0,dev", "line 6: database is 'dev', not train, val or test"),
        ("image_1.jpg,21,4.0,train", "lists 1 pictures twice"),
        ("image_9.jpg,21,4.0,train", "1 of 5 pictures are missing"),
    ],
)
def test_wrong_rows(root: Path, row: str, said: str) -> None:
    table(root, [*ROWS, row])
    with pytest.raises(DataError, match=said):
        read(root, ReadOptions())


def test_a_folder_without_the_table(root: Path) -> None:
    (root / "total_2015.csv").unlink()
    with pytest.raises(DataError, match=r"holds no total_2015.csv.*L2RCLIP \(total_2015.csv\)"):
        try:
            catalogue.read("clap2015", root)
        except DataError as error:
            raise DataError(" ".join(str(error).split())) from error
