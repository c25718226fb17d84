"""COCO, COCO-ReM and the part of COCO in a table, on made-up folders and on the real part."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared_data import unpack

from imgrank.data import catalogue, coco, coco_rem
from imgrank.data.coco_categories import CATEGORIES, plural
from imgrank.data.labelled import Labelled, ReadOptions
from imgrank.errors import DataError
from imgrank.instruction import parse

IDS = {"person": 1, "cat": 17, "skis": 35, "wine glass": 46, "knife": 49, "toothbrush": 90}
OUTLINE = [[0.5, 1.5, 7.25, 1.5, 7.25, 9.0]]
Marked = tuple[int, str, int]  # picture, category, crowd


def instances(pictures: Sequence[int], marked: Sequence[Marked]) -> dict[str, Any]:
    """An annotation file as COCO publishes it, with what the reader has no use for."""
    return {
        "info": {"description": "made up", "year": 2017},
        "licenses": [{"url": "http://127.0.0.1/", "id": 1, "name": "none"}],
        "images": [
            {"license": 1, "file_name": f"{n:012d}.jpg", "height": 4, "width": 6, "id": n}
            for n in pictures
        ],
        "annotations": [
            {
                "segmentation": {"counts": [3, 5], "size": [4, 6]} if crowd else OUTLINE,
                "area": 5.0,
                "iscrowd": crowd,
                "image_id": picture,
                "bbox": [0.5, 1.5, 6.75, 7.5],
                "category_id": IDS[category],
                "id": n,
            }
            for n, (picture, category, crowd) in enumerate(marked)
        ],
        "categories": [
            {"supercategory": "thing", "id": number, "name": name} for name, number in IDS.items()
        ],
    }


def write(path: Path, what: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(what if isinstance(what, str) else json.dumps(what))


def touch(folder: Path, pictures: Sequence[int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for n in pictures:
        (folder / f"{n:012d}.jpg").write_bytes(b"")


TRAIN: tuple[Marked, ...] = (
    *((9, "cat", 0), (9, "cat", 0), (9, "person", 0)),
    *((7, "person", 1), (7, "person", 0), (7, "wine glass", 0)),
)
VAL: tuple[Marked, ...] = ((5, "cat", 0), (5, "skis", 0), (5, "skis", 0), (5, "skis", 0))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three training pictures (8 shows nothing) and two of val2017 (6 shows nothing)."""
    folder = tmp_path / "coco"
    write(folder / "annotations" / "instances_train2017.json", instances([9, 8, 7], TRAIN))
    write(folder / "annotations" / "instances_val2017.json", instances([5, 6], VAL))
    touch(folder / "train2017", [7, 8, 9])
    touch(folder / "val2017", [5, 6])
    return folder


def values(data: Labelled) -> dict[str, list[float]]:
    return {labels.key: labels.values.tolist() for labels in data.labels}


# ---- the whole set -------------------------------------------------------------------------------


def test_counts_with_the_zeros(root: Path) -> None:
    said: list[str] = []
    data = coco.read(root, ReadOptions(report=said.append))
    assert [path.name for path in data.paths] == [f"{n:012d}.jpg" for n in (9, 8, 7, 5, 6)]
    assert data.paths[3].parent.name == "val2017"
    assert data.keys[0] == "coco/000000000009.jpg"
    assert values(data) == {  # in the order of COCO; nothing shows a knife, so nobody is asked
        "person": [1, 0, 2, 0, 0],  # the crowd counts as one
        "cat": [2, 0, 0, 1, 0],
        "skis": [0, 0, 0, 3, 0],
        "wine glass": [0, 0, 1, 0, 0],
    }
    assert all(labels.values.dtype == np.float32 for labels in data.labels)
    assert said == ["coco: regions marked as crowds, each counted as one object: 1"]


def test_what_the_queries_say(root: Path) -> None:
    data = coco.read(root, ReadOptions())
    told = [(each.task, each.subject, each.prompt, each.unit, each.range) for each in data.labels]
    assert told[0] == ("count", "people", "sort images by the number of people.", "", None)
    assert told[3][1:3] == ("wine glasses", "sort images by the number of wine glasses.")


def test_val2017_is_the_test_part_and_a_fiftieth_of_train2017_validates(root: Path) -> None:
    many = list(range(1000, 1600))
    write(root / "annotations" / "instances_train2017.json", instances(many, [(1000, "cat", 0)]))
    touch(root / "train2017", many)
    data = coco.read(root, ReadOptions())
    validation = {data.keys[n] for n in data.rows("validation")}
    assert 4 <= len(validation) <= 25
    assert [data.paths[n].parent.name for n in data.rows("test")] == ["val2017"] * 2
    assert len(data.rows("train")) == 600 - len(validation)
    # The part of a picture does not depend on which others there are.
    half = many[::2]
    write(root / "annotations" / "instances_train2017.json", instances(half, [(1000, "cat", 0)]))
    some = coco.read(root, ReadOptions())
    names = {f"coco/{n:012d}.jpg" for n in half}
    assert {some.keys[n] for n in some.rows("validation")} == validation & names


def test_an_annotation_without_a_crowd_flag(root: Path) -> None:
    """As those are that COCO-ReM took from LVIS."""
    file = root / "annotations" / "instances_val2017.json"
    whole = json.loads(file.read_text())
    for each in whole["annotations"]:
        del each["iscrowd"]
    write(file, whole)
    assert values(coco.read(root, ReadOptions()))["skis"] == [0, 0, 0, 3, 0]


# ---- what can be wrong ---------------------------------------------------------------------------


def changed(**keys: Any) -> dict[str, Any]:
    return {**instances([9, 8, 7], TRAIN), **keys}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (json.dumps(changed())[:-40], r"instances_train2017\.json is damaged or cut off: .*Fetch"),
        ("", "is damaged or cut off"),
        ([], "is no file of COCO's object instances"),
        ({"images": []}, "is no file of COCO's object instances: KeyError.'categories'"),
        (changed(annotations=[{"image_id": 3, "category_id": 17}]), r"KeyError\(3\)"),
        (changed(annotations=[{"image_id": 9, "category_id": 12}]), r"KeyError\(12\)"),
        (changed(annotations=[{"category_id": 17}]), "KeyError.'image_id'"),
        (changed(categories=[{"id": 1, "name": "dragon"}]), "dragon"),
        (changed(images=[{"id": 9}]), "is no file of COCO's object instances"),
    ],
)
def test_a_wrong_annotation_file(root: Path, what: object, message: str) -> None:
    write(root / "annotations" / "instances_train2017.json", what)
    with pytest.raises(DataError, match=message):
        coco.read(root, ReadOptions())


def test_neither_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither annotations/ nor labels\.csv"):
        coco.read(tmp_path, ReadOptions())


def test_only_what_is_needed_to_measure(root: Path) -> None:
    (root / "annotations" / "instances_train2017.json").unlink()
    with pytest.raises(DataError, match=r"instances_train2017\.json is missing \(--partial"):
        coco.read(root, ReadOptions())
    said: list[str] = []
    data = coco.read(root, ReadOptions(partial=True, report=said.append))
    assert values(data) == {"cat": [1, 0], "skis": [3, 0]}
    assert set(data.parts) == {"test"}
    assert said[0].endswith("instances_train2017.json is missing; its pictures are left out")


def test_no_annotation_file_at_all(root: Path) -> None:
    for file in (root / "annotations").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"train2017\.json, .*val2017\.json is missing\.$"):
        coco.read(root, ReadOptions(partial=True))


def test_missing_pictures(root: Path) -> None:
    (root / "train2017" / "000000000009.jpg").unlink()
    with pytest.raises(DataError, match=r"coco: 1 of 5 pictures are missing:\n.*0009\.jpg"):
        coco.read(root, ReadOptions())
    data = coco.read(root, ReadOptions(partial=True))
    assert values(data)["cat"] == [0, 0, 1, 0]
    assert values(data)["person"] == [0, 2, 0, 0]
    assert data.parts == ("train", "train", "test", "test")


def test_nothing_is_marked(root: Path) -> None:
    for part, pictures in (("train", [7, 8, 9]), ("val", [5, 6])):
        write(root / "annotations" / f"instances_{part}2017.json", instances(pictures, []))
    with pytest.raises(DataError, match="not one object is marked in its 5 pictures"):
        coco.read(root, ReadOptions())


# ---- COCO-ReM ------------------------------------------------------------------------------------


@pytest.fixture
def rem(root: Path) -> Path:
    """Its files in a folder beside COCO's, as its authors lay them out."""
    folder = root.parent / "coco-rem"
    write(folder / "instances_trainrem.json", instances([9, 8, 7], [*TRAIN, (8, "knife", 0)]))
    write(folder / "instances_valrem.json", instances([5, 6], VAL))
    return folder


def test_rem_takes_the_pictures_from_coco(rem: Path) -> None:
    data = catalogue.read("coco-rem", rem.parent)
    assert data.name == "coco-rem"
    assert values(data)["knife"] == [0, 1, 0, 0, 0]
    assert data.paths[0] == rem.parent / "coco" / "train2017" / "000000000009.jpg"
    plain = catalogue.read("coco", rem.parent)
    assert (data.keys, data.parts) == (plain.keys, plain.parts)  # one cache of tokens serves both


def test_rem_with_all_in_its_own_folder(rem: Path) -> None:
    (rem / "annotations").mkdir()
    for file in rem.glob("*.json"):
        file.rename(rem / "annotations" / file.name)
    for part in ("train2017", "val2017"):
        (rem.parent / "coco" / part).rename(rem / part)
    data = coco_rem.read(rem, ReadOptions())
    assert data.paths[0] == rem / "train2017" / "000000000009.jpg"


def test_rem_without_pictures(rem: Path) -> None:
    for part in ("train2017", "val2017"):
        for file in (rem.parent / "coco" / part).iterdir():
            file.unlink()
    with pytest.raises(DataError, match="coco-rem: none of its 5 pictures is there, not even"):
        coco_rem.read(rem, ReadOptions())


# ---- a part of it in a table ---------------------------------------------------------------------

TABLE = "filepath,category,count\nimages/1.jpg,cat,2\nimages/1.jpg,skis,1\nimages/2.jpg,cat,3\n"


@pytest.fixture
def part(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("1.jpg", "2.jpg", "not in the table.jpg"):
        (tmp_path / "images" / name).write_bytes(b"")
    (tmp_path / "labels.csv").write_text(TABLE)
    return tmp_path


def test_a_table_of_counts(part: Path) -> None:
    data = coco.read(part, ReadOptions())
    assert values(data) == {"cat": [2, 3], "skis": [1, 0]}
    assert data.keys == ("coco/1.jpg", "coco/2.jpg")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("filepath,count\n", "has no column category"),
        (TABLE + "images/2.jpg,dragon,1\n", "row 5: COCO has no 'dragon'"),
        (TABLE + "images/2.jpg,dog,some\n", "row 5: no count: 'some'"),
        (TABLE + "images/2.jpg,dog\n", "row 5: no count: None"),
        ("filepath,category,count\n", "is empty"),
        (TABLE + "images/3.jpg,dog,1\n", "1 of 3 pictures are missing"),
    ],
)
def test_a_wrong_table(part: Path, table: str, message: str) -> None:
    (part / "labels.csv").write_text(table)
    with pytest.raises(DataError, match=message):
        coco.read(part, ReadOptions())


def test_the_real_part(tmp_path: Path) -> None:
    data = catalogue.read("coco", unpack("coco", tmp_path, contents=False))
    assert len(data) == 318
    assert [each.key for each in data.labels] == list(CATEGORIES)
    people, dogs = data.labels[0].values, data.labels[16].values
    assert (people.sum(), people.max()) == (665, 14)
    assert (data.labels[16].subject, dogs.max(), int((dogs > 0).sum())) == ("dogs", 1, 13)
    assert [len(data.rows(each)) for each in ("train", "validation", "test")] == [258, 31, 29]


# ---- words ---------------------------------------------------------------------------------------


def test_all_categories_by_the_words_of_people() -> None:
    assert (len(CATEGORIES), CATEGORIES[0], CATEGORIES[-1]) == (80, "person", "toothbrush")
    irregular = {name: plural(name) for name in CATEGORIES if plural(name) != f"{name}s"}
    assert irregular["wine glass"] == "wine glasses"
    assert irregular["mouse"] == "mice"
    assert len(irregular) == 13
    for name in CATEGORIES:  # what is trained is what a user's words become
        query = parse(f"by the number of {plural(name)}")
        assert (query.task, query.subject) == ("count", plural(name))
        assert query.prompt == f"sort images by the number of {plural(name)}."
