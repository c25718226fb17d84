"""The AGIQA-3k reader on a made-up folder of the published layout."""

from pathlib import Path

import pytest

from imgrank.data.agiqa3k import read_agiqa3k
from imgrank.errors import DataError

HEADER = "name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align\n"
ROWS = (
    'one.jpg,"A cat, sharp detail, anime style",sharp detail,,anime style,3.5,0.2,2.25,0.1\n'
    "two.jpg,a cat,,,,1.25,0.2,0.5,0.1\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("one.jpg", "two.jpg"):
        (tmp_path / "images" / name).write_bytes(b"")
    (tmp_path / "data.csv").write_text(HEADER + ROWS)
    return tmp_path


def test_rows_as_published(root: Path) -> None:
    first, second = read_agiqa3k(root)
    assert first.path == root / "images" / "one.jpg"
    assert (first.quality, first.alignment) == (3.5, 2.25)
    assert first.prompt == "A cat, sharp detail, anime style"
    assert first.subject == second.subject == "a cat"  # relatives: one part of a split


def test_pictures_beside_the_table(root: Path) -> None:
    for path in (root / "images").iterdir():
        path.rename(root / path.name)
    (root / "images").rmdir()
    assert [row.path.parent for row in read_agiqa3k(root)] == [root, root]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,prompt\n", "no column mos_quality, mos_align"),
        (HEADER + "three.jpg,a dog,,,,1,1,1,1\n", "row 2: the picture .*three.jpg is missing"),
        (HEADER + "one.jpg,a dog,,,,high,1,1,1\n", "row 2: could not convert"),
    ],
)
def test_what_is_wrong_is_named(root: Path, table: str, message: str) -> None:
    (root / "data.csv").write_text(table)
    with pytest.raises(DataError, match=message):
        read_agiqa3k(root)


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.csv is missing"):
        read_agiqa3k(tmp_path)
