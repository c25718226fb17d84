"""Recall of face detectors: the boxes drawn by hand, pairs of boxes, counts, the command."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from imgrank.errors import DataError
from imgrank.evaluate.faces import BOXES, Box, Counts, iou, main, match, measure, read_boxes
from imgrank.images.faces import Face


def face(x: float, y: float, width: float, height: float) -> Face:
    return Face(x, y, width, height, 1.0)


def box(x: float, y: float, width: float, height: float, hard: bool = False) -> Box:
    return Box(x, y, width, height, hard)


def test_intersection_over_union() -> None:
    assert iou(face(0, 0, 10, 10), box(5, 5, 10, 10)) == pytest.approx(25 / 175)
    assert iou(face(0, 0, 10, 10), box(0, 0, 10, 10)) == 1
    assert iou(face(0, 0, 10, 10), box(10, 0, 10, 10)) == 0


def test_each_face_and_each_box_is_used_once_and_the_closest_pair_first() -> None:
    boxes = [box(0, 0, 10, 10), box(100, 0, 10, 10), box(4, 0, 10, 10)]
    # The first face lies on the first box, the second on both it (0.67) and the third (0.67).
    found = match([face(0, 0, 10, 10), face(2, 0, 10, 10), face(50, 50, 9, 9)], boxes)
    assert found.found == (True, False, True)
    assert found.wrong == 1


def test_two_faces_on_one_box_are_one_too_many() -> None:
    assert match([face(0, 0, 10, 10), face(1, 0, 10, 10)], [box(0, 0, 10, 10)]).wrong == 1


def test_a_box_of_half_the_side_is_not_the_same_but_near_a_hard_one_is_forgiven() -> None:
    quarter = [face(0, 0, 5, 5)]  # intersection over union: 0.25
    easy, hard = match(quarter, [box(0, 0, 10, 10)]), match(quarter, [box(0, 0, 10, 10, True)])
    assert (easy.found, easy.wrong) == ((False,), 1)
    assert (hard.found, hard.wrong) == ((True,), 0)


class Fixed:
    """Finds what it was told, by the picture's width."""

    name = identity = "fixed"

    def __init__(self, faces: dict[int, list[Face]]) -> None:
        self._faces = faces

    def detect(self, image: Image.Image) -> list[Face]:
        return self._faces[image.width]


def test_counts_by_data_set_and_size_leave_hard_faces_out(tmp_path: Path) -> None:
    for name, width in (("a/1.png", 101), ("a/2.png", 102), ("b/3.png", 103)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (width, 90)).save(tmp_path / name)
    boxes = {
        "a/1.png": [box(0, 0, 20, 20), box(30, 0, 40, 40), box(80, 0, 9, 9, True)],
        "a/2.png": [],
        "b/3.png": [box(0, 0, 64, 64)],
    }
    used = Fixed(
        {
            101: [face(0, 0, 20, 20), face(80, 0, 9, 9)],
            102: [face(5, 5, 30, 30)],
            103: [face(0, 0, 64, 64)],
        }
    )
    counts, seconds = measure(used, tmp_path, boxes)  # type: ignore[arg-type]
    assert counts == {
        "all": Counts(3, 2, 1),
        "a": Counts(2, 1, 1),
        "b": Counts(1, 1, 0),
        "16-32 px": Counts(1, 1, 0),
        "32-64 px": Counts(1, 0, 0),
        "over 64 px": Counts(1, 1, 0),
    }
    assert counts["all"].recall == counts["all"].precision == pytest.approx(2 / 3)
    assert seconds >= 0
    with pytest.raises(DataError, match=r"c/4\.png is missing"):
        measure(used, tmp_path, {"c/4.png": []})  # type: ignore[arg-type]


def test_the_boxes_drawn_by_hand_are_those_that_were_promised() -> None:
    boxes = read_boxes()
    counted = [each for drawn in boxes.values() for each in drawn if not each.hard]
    assert len(boxes) >= 110
    assert sum(not drawn for drawn in boxes.values()) >= 15
    assert len(counted) >= 130
    assert min(each.size for each in counted) >= 16
    assert {path.partition("/")[0] for path in boxes} == {
        *("coco", "flickr8k", "oasis", "oldnyc", "utkface")
    }
    for path, drawn in boxes.items():
        assert not path.startswith("/")
        for each in drawn:
            assert min(each.x, each.y) >= 0 < min(each.width, each.height)


def test_a_table_of_other_columns_or_without_numbers_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text("path,left\na,1\n")
    with pytest.raises(DataError, match="other columns than path, x, y"):
        read_boxes(table)
    table.write_text("path,x,y,width,height,hard\na,1,2,3,4,0\nb,,,,,\na,1,2,three,4,0\n")
    with pytest.raises(DataError, match=r"boxes\.csv, line 4: no box"):
        read_boxes(table)


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    pytest.importorskip("dlib", reason="needs the extra faces")
    with pytest.raises(SystemExit, match=r"is missing\. Unpack the data sets below --root"):
        main(["--root", str(tmp_path), "--detector", "hog"])
    with pytest.raises(SystemExit, match="yunet needs the file"):
        main(["--root", str(tmp_path), "--detector", "yunet", "--models", str(tmp_path)])
    assert BOXES.is_file()
