"""The AVA reader on a made-up folder of the published layout."""

from pathlib import Path

import pytest

from imgrank.data import catalogue
from imgrank.data.ava import read
from imgrank.data.labelled import ReadOptions
from imgrank.errors import DataError

LINES = (
    "1 953619 0 1 5 17 38 36 15 6 5 1 1 22 1396\n"
    "2 953958 10 0 0 0 0 0 0 0 0 10 15 21 1395\n"
    "3 954184 0 0 0 0 0 0 0 0 0 4 0 0 1396\n"
)
MEANS = [
    (1 * 2 + 5 * 3 + 17 * 4 + 38 * 5 + 36 * 6 + 15 * 7 + 6 * 8 + 5 * 9 + 1 * 10) / 124,
    5.5,
    10.0,
]
WHOLE, CUT_OFF = b"\xff\xd8 pixels \xff\xd9", b"\xff\xd8 pix"
LIST = "aesthetics_image_lists/generic_test.jpgl"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    for name in ("images", "aesthetics_image_lists"):
        (folder / name).mkdir(parents=True)
    for name in ("953619", "953958", "954184"):
        (folder / "images" / f"{name}.jpg").write_bytes(WHOLE)
    (folder / "AVA.txt").write_text(LINES)
    (folder / LIST).write_text("954184\n")
    return folder


def test_means_of_the_votes_and_the_official_test_list(root: Path) -> None:
    lines: list[str] = []
    data = catalogue.read("ava", root, ReadOptions(report=lines.append))
    assert data.paths[1] == root / "images" / "953958.jpg"
    assert data.keys == ("ava/953619.jpg", "ava/953958.jpg", "ava/954184.jpg")
    assert data.parts == ("train", "train", "test")
    (labels,) = data.labels
    assert labels.values.tolist() == pytest.approx(MEANS, rel=1e-7)
    assert (labels.task, labels.unit, labels.range) == ("aesthetics", "MOS", (1, 10))
    assert labels.prompt == "sort images by the image quality of MOS"
    assert lines == ["ava: 1 test photographs, where 19930 are published"]


def test_a_hundredth_of_the_others_is_for_validation_whatever_is_missing(root: Path) -> None:
    ids = [str(n) for n in range(2000)]
    votes = " ".join(["1"] * 10)
    (root / "AVA.txt").write_text("".join(f"{n} {n} {votes} 0 0 1\n" for n in ids))
    (root / LIST).write_text("\n".join(ids[:100]))
    for n in ids:
        (root / "images" / f"{n}.jpg").write_bytes(WHOLE)
    data = read(root, ReadOptions())
    assert set(data.parts[:100]) == {"test"} and "test" not in data.parts[100:]
    assert 5 <= len(data.rows("validation")) <= 40  # about 19 of 1,900
    (root / "images" / "150.jpg").unlink()
    fewer = read(root, ReadOptions(partial=True))
    before = dict(zip(data.keys, data.parts, strict=True))
    assert {key: before[key] for key in fewer.keys} == dict(
        zip(fewer.keys, fewer.parts, strict=True)
    )


@pytest.mark.parametrize("place", ["image", "images/images"])
def test_where_the_mirrors_put_the_pictures(root: Path, place: str) -> None:
    (root / "images").rename(root / "aside")
    (root / place).parent.mkdir(exist_ok=True)
    (root / "aside").rename(root / place)
    assert read(root, ReadOptions()).paths[0] == root / place / "953619.jpg"


def test_the_folder_of_the_torrent(root: Path) -> None:
    inner = root / "AVA_dataset"
    inner.mkdir()
    for name in ("AVA.txt", "aesthetics_image_lists"):
        (root / name).rename(inner / name)
    assert read(root, ReadOptions()).paths[0] == root / "images" / "953619.jpg"
    (root / "images").rename(inner / "images")
    assert read(root, ReadOptions()).paths[0] == inner / "images" / "953619.jpg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no photographs"),
        ("1 953619 1 2 3\n", "line 1: 5 numbers, where AVA has 15"),
        (LINES.replace("38", "many"), "line 1: 'many' is no number of votes"),
        (LINES.replace("38", "-38"), "line 1: '-38' is no number of votes"),
        (LINES + LINES[:44].replace("1 ", "4 ", 1), "line 4: 953619 is listed twice.*--partial"),
        (LINES + "4 5 0 0 0 0 0 0 0 0 0 0 0 0 1\n", "line 4: 5 has no vote"),
        (LINES.replace("954184", "954185"), "names 954184, which is not in .*AVA.txt"),
    ],
)
def test_what_is_wrong_with_the_table_is_named(root: Path, text: str, message: str) -> None:
    (root / "AVA.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        read(root, ReadOptions())


def test_lines_twice_or_without_votes_can_be_left_out(root: Path) -> None:
    again = "4 953958 0 0 0 0 0 0 0 0 0 1 0 0 1\n5 6 0 0 0 0 0 0 0 0 0 0 0 0 1\n"
    (root / "AVA.txt").write_text(LINES + again)
    lines: list[str] = []
    data = read(root, ReadOptions(partial=True, report=lines.append))
    assert data.labels[0].values.tolist() == pytest.approx(MEANS, rel=1e-7)
    assert lines[0] == "ava: left out 1 lines of photographs listed before, 1 unvoted"


def test_no_test_list(root: Path) -> None:
    (root / LIST).unlink()
    with pytest.raises(DataError, match=r"generic_test\.jpgl is missing"):
        read(root, ReadOptions())


def test_missing_and_cut_off_pictures_need_partial(root: Path) -> None:
    (root / "images" / "953619.jpg").unlink()
    (root / "images" / "953958.jpg").write_bytes(CUT_OFF)
    with pytest.raises(DataError, match=r"1 of 3 pictures are missing:\n.*953619\.jpg"):
        read(root, ReadOptions())
    lines: list[str] = []
    data = read(root, ReadOptions(partial=True, report=lines.append))
    assert (data.keys, data.parts) == (("ava/954184.jpg",), ("test",))
    assert lines[1] == "ava: 1 of 3 pictures are missing and left out"
    assert lines[2].startswith("ava: 1 files are cut off and left out, the first ")
    assert lines[2].endswith("953958.jpg")


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (WHOLE + b"\0" * 100, True),  # something behind the end
        (b"GIF89a, and no mark of a JPEG", True),
        (b"", False),
        (WHOLE + b"x" * 5000, False),  # a mark far inside is of an embedded preview
    ],
)
def test_what_counts_as_whole(root: Path, content: bytes, kept: bool) -> None:
    (root / "images" / "953619.jpg").write_bytes(content)
    data = read(root, ReadOptions(partial=True))
    assert ("ava/953619.jpg" in data.keys) == kept


def test_all_cut_off(root: Path) -> None:
    for path in (root / "images").iterdir():
        path.write_bytes(CUT_OFF)
    with pytest.raises(DataError, match="all of its 3 pictures are cut off"):
        read(root, ReadOptions(partial=True))


def test_a_folder_too_high_or_too_deep(root: Path) -> None:
    with pytest.raises(DataError, match=rf"It is in {root}: name that folder"):
        read(root.parent, ReadOptions())
    with pytest.raises(DataError, match=rf"It is one folder above: name {root}\."):
        read(root / "images", ReadOptions())
