"""Data sets as values: rows, pixels, columns that must fit; pictures that must be there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgrank.data.labelled import Labelled, Labels, Pixels, ReadOptions, present
from imgrank.data.split import Part
from imgrank.errors import DataError

PARTS: tuple[Part, ...] = ("train", "test", "train", "validation")


def labels(*values: float) -> Labels:
    return Labels("mos", "quality", "sort images by quality", np.array(values, dtype=np.float32))


def labelled(*columns: Labels, paths: tuple[Path, ...] = (Path("a"),) * 4) -> Labelled:
    names = tuple(f"made/{n}" for n in range(4))
    return Labelled("made", paths, names, PARTS, names, columns)


def test_rows_of_a_part_that_have_a_value() -> None:
    full, gaps = labels(1, 2, 3, 4), labels(1, np.nan, np.nan, 4)
    data = labelled(full, gaps)
    assert len(data) == 4
    assert data.rows("train").tolist() == [0, 2]
    assert data.rows("train", full).tolist() == [0, 2]
    assert data.rows("train", gaps).tolist() == [0]
    assert data.rows("test", gaps).tolist() == []
    assert data.rows("validation", gaps).tolist() == [3]


def test_columns_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="made: columns of different lengths"):
        labelled(labels(1, 2, 3, 4), labels(1, 2, 3))
    with pytest.raises(ValueError, match="or no labels"):
        labelled()


def test_pixels_are_the_upright_picture_squashed(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 4), "red")
    image.paste((0, 0, 255), (4, 0, 8, 4))  # the right half is blue
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: blue comes to the bottom
    image.save(tmp_path / "a.png", exif=exif)
    data = labelled(labels(1, 2, 3, 4), paths=(tmp_path / "a.png",) * 4)
    pixels = data.pixels(0, 4)
    assert (pixels.shape, pixels.dtype) == ((4, 4, 3), np.uint8)
    assert pixels[0, 0].argmax() == 0
    assert pixels[3, 3].argmax() == 2
    assert (pixels[:, 0] == pixels[:, 3]).all()


def test_a_picture_that_is_made_is_not_read() -> None:
    def draw(index: int, size: int) -> Pixels:
        return np.full((size, size, 3), index, dtype=np.uint8)

    names = ("a", "b")
    data = Labelled(
        "drawn", (Path("a"), Path("b")), names, PARTS[:2], names, (labels(1, 2),), draw, False
    )
    assert data.pixels(1, 2).tolist() == [[[1, 1, 1]] * 2] * 2


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    data = labelled(labels(1, 2, 3, 4), paths=(tmp_path / "bad.png",) * 4)
    with pytest.raises(DataError, match=r"bad\.png of the data set cannot be used: not a picture"):
        data.pixels(0, 4)


# ---- present -------------------------------------------------------------------------------------


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Nine listed pictures, of which every other one is there."""
    listed = [tmp_path / f"{n}.jpg" for n in range(9)]
    for path in listed[::2]:
        path.write_bytes(b"")
    return listed


def test_all_there(paths: list[Path]) -> None:
    assert present("made", paths[::2], ReadOptions()) == [0, 1, 2, 3, 4]


def test_some_missing(paths: list[Path]) -> None:
    with pytest.raises(DataError) as caught:
        present("made", paths, ReadOptions())
    first, *named, last = str(caught.value).split("\n")
    assert first == "made: 4 of 9 pictures are missing:"
    assert named == [f"  {path}" for path in paths[1::2]]
    assert last.endswith("--partial.")


def test_of_many_missing_five_are_named(tmp_path: Path, paths: list[Path]) -> None:
    listed = [*paths, *(tmp_path / f"more {n}.jpg" for n in range(100))]
    with pytest.raises(DataError) as caught:
        present("made", listed, ReadOptions())
    lines = str(caught.value).split("\n")
    assert lines[0] == "made: 104 of 109 pictures are missing:"
    assert lines[6] == "  and 99 more"
    assert len(lines) == 8


def test_partial_leaves_them_out_and_says_so(paths: list[Path]) -> None:
    said: list[str] = []
    options = ReadOptions(partial=True, report=said.append)
    assert present("made", paths, options) == [0, 2, 4, 6, 8]
    assert said == ["made: 4 of 9 pictures are missing and left out"]


@pytest.mark.parametrize("partial", [False, True])
def test_none_there(tmp_path: Path, partial: bool) -> None:
    gone = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    with pytest.raises(DataError, match=r"none of its 2 pictures is there, not even .*a\.jpg"):
        present("made", gone, ReadOptions(partial=partial))
    with pytest.raises(DataError, match="none of its 0 pictures"):
        present("made", [], ReadOptions(partial=partial))
    (tmp_path / "a.jpg").mkdir()  # a folder is no picture
    with pytest.raises(DataError, match="none of its 2"):
        present("made", gone, ReadOptions(partial=partial))
