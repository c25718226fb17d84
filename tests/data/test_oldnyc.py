"""The OldNYC reader on a made-up folder, and on the real table."""

from pathlib import Path

import pytest
from shared_data import unpack

from imgrank.data import catalogue
from imgrank.data.labelled import ReadOptions
from imgrank.data.oldnyc import read, sheets
from imgrank.errors import DataError

ROWS = (
    ("700440f-a.90.jpg", 1923),
    ("700440f-c.90.jpg", 1923),
    ("700447f-b.270.jpg", 1925),
    ("701351f.90.jpg", 1938),
    ("720000f-a.90.jpg", 1899),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    lines = ["filepath,year,decade"]
    for name, year in ROWS:
        (tmp_path / "images" / name).write_bytes(b"")
        lines.append(f"images/{name},{year},{year // 10 * 10}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_years_and_sheets(root: Path) -> None:
    data = read(root, ReadOptions())
    assert [path.name for path in data.paths] == [name for name, _ in ROWS[:4]]  # none of 1899
    assert data.labels[0].values.tolist() == [1923, 1923, 1925, 1938]
    assert data.groups == ("70044", "70044", "70044", "70135")
    assert len(set(data.parts[:3])) == 1


def test_a_name_without_a_sheet_is_its_own_relative() -> None:
    assert sheets("street.jpg") == "street.jpg"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("filepath,decade\n", "no column year"),
        ("filepath,year\nimages/700440f-a.90.jpg,192x\n", "row 2: invalid literal"),
        ("filepath,year\nimages/gone.jpg,1920\n", "none of its 1 pictures is there"),
    ],
)
def test_what_is_wrong_is_named(root: Path, table: str, message: str) -> None:
    (root / "labels.csv").write_text(table)
    with pytest.raises(DataError, match=message):
        read(root, ReadOptions())


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.csv is missing"):
        read(tmp_path, ReadOptions())


def test_the_real_pictures(tmp_path: Path) -> None:
    data = catalogue.read("oldnyc", unpack("oldnyc", tmp_path, contents=False))
    assert len(data) == 943  # 955 less 12 from before 1900
    assert [len(data.rows(part)) for part in ("train", "validation", "test")] == [752, 100, 91]
