"""The AGIQA-3k reader on a made-up folder of the published layout."""

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shared_data import unpack

from imgrank.data import catalogue
from imgrank.data.agiqa3k import VIEWS, another_view, read_agiqa3k
from imgrank.data.labelled import ReadOptions
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
        (
            HEADER + "three.jpg,a dog,,,,1,1,1,1\n",
            r"none of its 1 pictures is there, not even .*three\.jpg",
        ),
        (HEADER + "one.jpg,a dog,,,,high,1,1,1\n", "row 2: could not convert"),
    ],
)
def test_what_is_wrong_is_named(root: Path, table: str, message: str) -> None:
    (root / "data.csv").write_text(table)
    with pytest.raises(DataError, match=message):
        read_agiqa3k(root)


def test_without_some_pictures_the_others_stay_in_their_parts(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    lines = [f"{n}.jpg,thing {n},,,,{n / 10},1,1,1\n" for n in range(40)]
    (tmp_path / "data.csv").write_text(HEADER + "".join(lines))
    for n in range(40):
        (tmp_path / "images" / f"{n}.jpg").write_bytes(b"")
    whole = catalogue.read("agiqa3k", tmp_path)
    parts = dict(zip(whole.keys, whole.parts, strict=True))
    assert sorted(whole.parts.count(part) for part in ("train", "validation", "test")) == [4, 4, 32]
    for n in range(0, 40, 3):
        (tmp_path / "images" / f"{n}.jpg").unlink()
    with pytest.raises(DataError, match="14 of 40 pictures are missing"):
        catalogue.read("agiqa3k", tmp_path)
    said: list[str] = []
    found = catalogue.read("agiqa3k", tmp_path, ReadOptions(partial=True, report=said.append))
    assert said == ["agiqa3k: 14 of 40 pictures are missing and left out"]
    assert list(found.parts) == [parts[key] for key in found.keys]
    assert found.labels[0].values[:3].tolist() == pytest.approx([0.1, 0.2, 0.4])


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.csv is missing"):
        read_agiqa3k(tmp_path)


@pytest.fixture
def twenty(tmp_path: Path) -> Path:
    """Twenty generated pictures of ten prompts."""
    draw, lines = np.random.default_rng(0), [HEADER.strip()]
    folder = tmp_path / "agiqa3k" / "images"
    folder.mkdir(parents=True)
    for n in range(20):
        pixels = draw.integers(0, 255, (300, 320, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.png")
        lines.append(f"{n}.png,thing {n // 2},,,,{n / 5},0,0,0")
    (tmp_path / "agiqa3k" / "data.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_as_a_data_set(twenty: Path) -> None:
    data = catalogue.read("agiqa3k", twenty)
    assert data.labels[0].values.tolist() == pytest.approx([n / 5 for n in range(20)])
    assert [data.parts.count(part) for part in ("train", "validation", "test")] == [16, 2, 2]
    assert data.groups[0] == data.groups[1] == "thing 0"
    assert data.keys[3] == "agiqa3k/3.png"


def test_views_are_of_training_pictures_only(twenty: Path) -> None:
    whole, views = catalogue.read("agiqa3k", twenty), catalogue.read("agiqa3k-views", twenty)
    assert len(views) == 16 * VIEWS
    assert set(views.parts) == {"train"}
    trained = {g for g, part in zip(whole.groups, whole.parts, strict=True) if part == "train"}
    assert set(views.groups) == trained
    assert views.pixels(0, 8).tolist() == views.pixels(0, 8).tolist()
    assert views.pixels(0, 8).tolist() != views.pixels(1, 8).tolist()


def test_another_view_keeps_most_of_the_picture() -> None:
    image = Image.new("RGB", (512, 400))
    sizes = {another_view(image, random.Random(n)).size for n in range(40)}
    assert len(sizes) > 20
    assert all(min(size) >= 223 and size[0] <= 512 and size[1] <= 400 for size in sizes)


def test_the_set_itself(tmp_path: Path) -> None:
    unpack("agiqa3k", tmp_path, contents=False)
    data = catalogue.read("agiqa3k", tmp_path)
    values = data.labels[0].values
    assert [len(data.rows(part)) for part in ("train", "validation", "test")] == [1552, 198, 183]
    assert (values.min(), values.max()) == (0, pytest.approx(4.488741))
    assert len(set(data.groups)) == len(set(zip(data.groups, data.parts, strict=True))) == 248
