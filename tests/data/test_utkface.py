"""The UTKFace reader on made-up folders of the published layout, and on the real pictures."""

from pathlib import Path

import numpy as np
import pytest
from shared_data import unpack

from imgrank.data import catalogue
from imgrank.data.labelled import ReadOptions
from imgrank.data.utkface import read
from imgrank.errors import DataError

NAMES = (
    "100_1_0_20170112213001988.jpg.chip.jpg",
    "1_0_2_20161219194811588.jpg.chip.jpg",
    "26_1_0_20170112213055123.jpg.chip.jpg",  # the minute of the first
    "55_0_0_20170116232725357jpg.chip.jpg",
    "61_1_20170109150557335.jpg.chip.jpg",  # a field is missing
)


def made(root: Path, names: tuple[str, ...] = NAMES) -> Path:
    folder = root / "UTKFace"
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"")
    return root


def many(root: Path) -> Path:
    """Two hundred pictures, one a minute."""
    times = [f"20170112{n // 60:02}{n % 60:02}" for n in range(200)]
    return made(root, tuple(f"{n % 100 + 1}_0_0_{time}01988.jpg" for n, time in enumerate(times)))


def test_ages_and_relatives(tmp_path: Path) -> None:
    data = read(made(tmp_path), ReadOptions())
    assert tuple(path.name for path in data.paths) == NAMES
    assert data.labels[0].values.tolist() == [100, 1, 26, 55, 61]
    assert data.groups[0] == data.groups[2] == "201701122130"
    assert data.groups[3:] == ("201701162327", "201701091505")
    assert data.parts[0] == data.parts[2]


def test_the_folder_of_pictures_itself_will_do(tmp_path: Path) -> None:
    made(tmp_path)
    assert read(tmp_path / "UTKFace", ReadOptions()).paths == read(tmp_path, ReadOptions()).paths


def test_what_is_left_out_and_how_much_there_is_are_reported(tmp_path: Path) -> None:
    said: list[str] = []
    made(tmp_path, (*NAMES, "holiday.jpg"))
    assert len(read(tmp_path, ReadOptions(report=said.append))) == 5
    assert "holiday.jpg: its name does not begin with an age" in said[0]
    assert said[1] == "utkface: 5 of the 23708 published pictures"


def test_a_wrong_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no picture of UTKFace"):
        read(made(tmp_path, ("holiday.jpg",)), ReadOptions())


def test_a_picture_is_in_the_same_part_whatever_else_is_there(tmp_path: Path) -> None:
    whole = read(many(tmp_path), ReadOptions())
    part = dict(zip(whole.keys, whole.parts, strict=True))
    assert set(part.values()) == {"train", "validation", "test"}
    for path in whole.paths[::2]:
        path.unlink()
    half = read(tmp_path, ReadOptions())
    assert len(half) == 100
    assert half.parts == tuple(part[key] for key in half.keys)


def test_the_lists_of_coral_are_the_split(tmp_path: Path) -> None:
    names = [path.name for path in read(many(tmp_path), ReadOptions()).paths]
    (tmp_path / "utk_train.csv").write_text(",file,age\n" + row_lines(names[:100]))
    (tmp_path / "utk_test.csv").write_text(",file,age\n" + row_lines(names[100:130]))
    data = read(tmp_path, ReadOptions())
    assert [path.name for path in data.paths] == names[:130]
    assert data.parts[100:] == ("test",) * 30
    assert set(data.parts[:100]) == {"train", "validation"}
    # The list's third column is a class; the age is that of the name.
    assert data.labels[0].values[:3].tolist() == [int(name.split("_")[0]) for name in names[:3]]


def row_lines(names: list[str]) -> str:
    return "".join(f"{n},{name},7\n" for n, name in enumerate(names))


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (",file,age\n", None, r"utk_train\.csv but not utk_test\.csv"),
        (",name\n", ",file,age\n", r"utk_train\.csv has no column file"),
        (",file,age\n0,me.jpg,3\n", ",file,age\n", r"utk_train\.csv names me\.jpg"),
        (",file,age\n", ",file,age\n0,1_0_0_gone.jpg,3\n", "none of its 1 pictures is there"),
        (
            f",file,age\n0,{NAMES[0]},3\n",
            ",file,age\n0,1_0_0_gone.jpg,3\n",
            r"1 of 2 pictures are missing:\n.*1_0_0_gone\.jpg",
        ),
    ],
)
def test_wrong_lists(tmp_path: Path, train: str, test: str | None, message: str) -> None:
    made(tmp_path)
    (tmp_path / "utk_train.csv").write_text(train)
    if test is not None:
        (tmp_path / "utk_test.csv").write_text(test)
    with pytest.raises(DataError, match=message):
        read(tmp_path, ReadOptions())


def test_listed_pictures_that_are_missing_can_be_left_out(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "utk_train.csv").write_text(",file,age\n" + row_lines(list(NAMES[:2])))
    (tmp_path / "utk_test.csv").write_text(",file,age\n0,1_0_0_gone.jpg,3\n")
    said: list[str] = []
    data = read(tmp_path, ReadOptions(partial=True, report=said.append))
    assert tuple(path.name for path in data.paths) == NAMES[:2]
    assert said == ["utkface: 1 of 3 pictures are missing and left out"]


def test_the_real_pictures(unpacked: Path) -> None:
    data = catalogue.read("utkface", unpacked)
    assert len(data) == 9046
    assert (data.labels[0].values.min(), data.labels[0].values.max()) == (1, 116)
    assert [len(data.rows(part)) for part in ("train", "validation", "test")] == [7315, 841, 890]
    assert float(np.median(data.labels[0].values[data.rows("train")])) == 30


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """A folder with empty files of the real names."""
    return unpack("utkface", tmp_path, contents=False)
