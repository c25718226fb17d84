"""The KonIQ-10k reader on a made-up folder of the published layout."""

from pathlib import Path

import pytest

from imgrank.data import catalogue
from imgrank.data.koniq import read
from imgrank.data.labelled import ReadOptions
from imgrank.errors import DataError

HEADER = "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,set\n"
ROWS = (
    "11.jpg,0.0,0.0,0.2,0.7,0.1,105,77.375,0.52,training\n"
    "12.jpg,0.0,0.0,0.5,0.5,0.0,96,68.5,0.58,test\n"
    "13.jpg,0.4,0.6,0.0,0.0,0.0,100,12.25,0.44,validation\n"
)
TABLE = "koniq10k_distributions_sets.csv"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    (folder / "1024x768").mkdir(parents=True)
    for name in ("11.jpg", "12.jpg", "13.jpg"):
        (folder / "1024x768" / name).write_bytes(b"")
    (folder / TABLE).write_text(HEADER + ROWS)
    return folder


def test_table_pictures_and_the_official_split(root: Path) -> None:
    lines: list[str] = []
    data = catalogue.read("koniq", root, ReadOptions(report=lines.append))
    assert data.paths == tuple(root / "1024x768" / f"{n}.jpg" for n in (11, 12, 13))
    assert data.keys == tuple(f"koniq/1024x768/{n}.jpg" for n in (11, 12, 13))
    assert data.parts == ("train", "test", "validation")
    (quality,) = data.labels
    assert quality.values.tolist() == [77.375, 68.5, 12.25]
    assert (quality.key, quality.task, quality.unit, quality.range) == (
        "quality",
        "quality",
        "MOS",
        (1, 100),
    )
    assert quality.prompt == "sort images by the image quality of MOS"
    assert lines == ["koniq: 3 rows, where the published table has 10073"]


@pytest.mark.parametrize(
    "place", ["512x384", "koniq10k_1024x768/1024x768", "koniq10k_512x384", "koniq10k_1024x768"]
)
def test_where_the_archives_put_the_pictures(root: Path, place: str) -> None:
    (root / place).parent.mkdir(exist_ok=True)
    (root / "1024x768").rename(root / place)
    assert read(root, ReadOptions()).paths[0] == root / place / "11.jpg"


def test_an_empty_folder_of_the_other_size_is_passed_over(root: Path) -> None:
    (root / "1024x768").rename(root / "512x384")
    (root / "1024x768").mkdir()
    assert read(root, ReadOptions()).paths[0] == root / "512x384" / "11.jpg"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "has no column image_name, MOS, set; it has none, it is empty"),
        (HEADER, "has no rows"),
        ("image_name,MOS\n11.jpg,3\n", "has no column set; it has image_name, MOS"),
        ("image_name;MOS;set\n", "Cells are separated by ','"),
        (HEADER + ROWS.replace("68.5", "good"), "line 3: MOS is 'good', which is no number"),
        (HEADER + ROWS.replace("68.5", "nan"), "line 3: MOS is 'nan', which is no number"),
        (HEADER + ROWS.replace("test", "held out"), "line 3: set is 'held out', neither training"),
        (HEADER + ROWS + "14.jpg,0,0\n", "line 5: the row ends before MOS, set"),
    ],
)
def test_what_is_wrong_with_the_table_is_named(root: Path, table: str, message: str) -> None:
    (root / TABLE).write_text(table)
    with pytest.raises(DataError, match=message):
        read(root, ReadOptions())


def test_a_table_that_is_no_text(root: Path) -> None:
    (root / TABLE).write_bytes(HEADER.encode() + b"1\xff.jpg,0\n")
    with pytest.raises(DataError, match="line 2: this is no UTF-8"):
        read(root, ReadOptions())


def test_missing_pictures_are_counted_and_named(root: Path) -> None:
    (root / "1024x768" / "11.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 3 pictures are missing:\n  .*11\.jpg\n.*--partial"):
        read(root, ReadOptions())
    lines: list[str] = []
    data = read(root, ReadOptions(partial=True, report=lines.append))
    assert data.labels[0].values.tolist() == [68.5, 12.25]
    assert data.parts == ("test", "validation")
    assert lines[-1] == "koniq: 1 of 3 pictures are missing and left out"


def test_no_picture_at_all(root: Path) -> None:
    for path in (root / "1024x768").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"none of its 3 pictures is there, not even .*11\.jpg"):
        read(root, ReadOptions(partial=True))


def test_a_folder_too_high_too_deep_or_another(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"It is in {root}: name that folder"):
        read(root.parent, ReadOptions())
    with pytest.raises(DataError, match=rf"It is one folder above: name {root}\."):
        read(root / "1024x768", ReadOptions())
    (tmp_path / "other" / "inner").mkdir(parents=True)
    with pytest.raises(DataError, match=f"holds no {TABLE}. `imgrank data list` says"):
        read(tmp_path / "other" / "inner", ReadOptions())


def test_the_table_that_comes_with_the_pictures_has_no_split(root: Path) -> None:
    (root / TABLE).rename(root / "koniq10k_scores_and_distributions.csv")
    with pytest.raises(DataError, match=f"has no split. Put {TABLE} beside it"):
        read(root, ReadOptions())


def test_the_whole_set_is_read_without_a_remark(tmp_path: Path) -> None:
    sets = ["training"] * 7058 + ["validation"] * 1000 + ["test"] * 2015
    (tmp_path / "512x384").mkdir()
    with (tmp_path / TABLE).open("w") as file:
        file.write("image_name,MOS,set\n")
        file.writelines(f"{n}.jpg,{1 + n % 99},{part}\n" for n, part in enumerate(sets))
    for n in range(len(sets)):
        (tmp_path / "512x384" / f"{n}.jpg").touch()
    lines: list[str] = []
    data = read(tmp_path, ReadOptions(report=lines.append))
    sizes = [len(data.rows(part)) for part in ("train", "validation", "test")]
    assert (sizes, lines) == ([7058, 1000, 2015], [])
