"""The OASIS reader on made-up folders of both layouts, its split by theme, and the real table."""

from pathlib import Path

import pytest
from shared_data import unpack

from imgrank.data import catalogue
from imgrank.data.labelled import ReadOptions
from imgrank.data.oasis import parts_of, read, theme
from imgrank.data.split import split_by_name
from imgrank.errors import DataError

TABLE = "filepath,beauty_mean,beauty_sd,votes,category\n"


def pictures(root: Path, folder: str, *names: str) -> Path:
    (root / folder).mkdir()
    for name in names:
        (root / folder / name).write_bytes(b"")
    return root


def test_our_layout(tmp_path: Path) -> None:
    pictures(tmp_path, "images", "Alcohol_1.jpg", "Alcohol_2.jpg", "Angry_face_1.jpg")
    rows = "images/Angry_face_1.jpg,2.5,1,9,Person\nimages/Alcohol_2.jpg,4.25,1,9,Object\n"
    (tmp_path / "labels.csv").write_text(TABLE + rows)
    data = read(tmp_path, ReadOptions())
    assert [path.name for path in data.paths] == ["Angry_face_1.jpg", "Alcohol_2.jpg"]
    assert data.labels[0].values.tolist() == [2.5, 4.25]
    assert data.groups == ("angryface", "alcohol")


def test_as_published(tmp_path: Path) -> None:
    """The pictures' names have blanks and their folder a capital; the raters' table has neither."""
    pictures(tmp_path, "Images", "Angry face 1.jpg", "Alcohol 12.jpg")
    table = "item,beauty_mean,Theme,Category,N,,\n1,3.48,Alcohol12,Object,9,,\n"
    (tmp_path / "means_per_image.csv").write_text(table + "2,2.01,Angryface1 ,Person,9,,\n")
    data = read(tmp_path, ReadOptions())
    assert [path.name for path in data.paths] == ["Alcohol 12.jpg", "Angry face 1.jpg"]
    assert data.labels[0].values.tolist() == pytest.approx([3.48, 2.01])
    assert data.groups == ("alcohol", "angryface")


def test_the_split_is_by_theme_and_its_name_alone() -> None:
    both = [Path("Alcohol_1.jpg"), Path("Alcohol 2.jpg"), Path("Yarn_1.jpg")]
    assert parts_of(both)[0] == parts_of(both)[1] == parts_of(both[:1])[0]
    assert [theme(path.stem) for path in both] == ["alcohol", "alcohol", "yarn"]


def test_split_by_name_meets_the_shares_and_no_more_than_about() -> None:
    parts = split_by_name([str(n) for n in range(2000)], "a set|0", validation=0.2, test=0.1)
    assert parts == split_by_name([str(n) for n in range(2000)], "a set|0", 0.2, 0.1)
    assert [parts.count(part) for part in ("validation", "test")] == [
        pytest.approx(400, abs=60),  # three standard deviations
        pytest.approx(200, abs=45),
    ]
    assert parts != split_by_name([str(n) for n in range(2000)], "another|0", 0.2, 0.1)
    assert split_by_name(["a", "b"], "s", validation=0, test=1) == ["test", "test"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("filepath,beauty_sd\n", "no column beauty_mean"),
        (TABLE + "images/Alcohol_1.jpg,fair,1,9,Object\n", "row 2: could not convert"),
        (
            TABLE + "images/Alcohol_1.jpg,4,1,9,Object\nimages/Bee_1.jpg,4,1,9,Animal\n",
            r"1 of 2 pictures are missing:\n.*Bee_1\.jpg",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, table: str, message: str) -> None:
    pictures(tmp_path, "images", "Alcohol_1.jpg")
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(DataError, match=message):
        read(tmp_path, ReadOptions())


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither labels\.csv nor means_per_image\.csv"):
        read(tmp_path, ReadOptions())


def test_the_real_pictures(tmp_path: Path) -> None:
    data = catalogue.read("oasis", unpack("oasis", tmp_path, contents=False))
    assert len(data) == 684
    assert len(set(data.groups)) == 200
    assert [len(data.rows(part)) for part in ("train", "validation", "test")] == [526, 54, 104]
    assert data.parts == tuple(parts_of(data.paths))
