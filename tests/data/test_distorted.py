"""Photographs made worse, as data sets: parts by photograph, grades as targets."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgrank.data import catalogue
from imgrank.data.distorted import ORIGINAL, STEP
from imgrank.data.labelled import ReadOptions
from imgrank.data.oasis import parts_of
from imgrank.data.split import split_by_group
from imgrank.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twenty photographs, and two of COCO."""
    draw = np.random.default_rng(0)
    for name, count in (("oasis", 10), ("flickr8k", 10), ("coco", 2)):
        folder = tmp_path / name / "images"
        folder.mkdir(parents=True)
        for n in range(count):
            pixels = draw.integers(0, 255, (24, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}{n}.png")
    return tmp_path


def test_distortions(root: Path) -> None:
    data = catalogue.read("distortions", root)
    values = data.labels[0].values
    assert len(data) == 16 * 7 + 4 * 13  # six kinds once or twice, and the photograph
    photographs = sorted(set(data.groups))
    assert photographs[0] == "flickr8k/images/flickr8k0.png"
    by_photograph = dict(zip(photographs, split_by_group(photographs), strict=True))
    assert all(by_photograph[g] == p for g, p in zip(data.groups, data.parts, strict=True))
    assert np.nanmax(values) == pytest.approx(ORIGINAL)
    assert np.nanmin(values) >= ORIGINAL - 5 * STEP - 1e-6
    assert not data.mirrored


def test_held_themes_of_oasis_are_not_trained_on(root: Path) -> None:
    """OASIS is split by theme for whatever is learnt of it, also from its pixels alone."""
    images = root / "oasis" / "images"
    for n, path in enumerate(sorted(images.iterdir())):
        path.rename(images / f"{'cat' if n % 2 else 'dog'}_{n}.png")
    assert parts_of([Path("cat_1.png"), Path("dog_1.png")]) == ["train", "test"]
    data = catalogue.read("distortions", root)
    unlabelled = {n for n, value in enumerate(data.labels[0].values) if np.isnan(value)}
    training = {n for n, part in enumerate(data.parts) if part == "train"}
    held = {n for n, path in enumerate(data.paths) if path.name.startswith("dog")}
    assert unlabelled == training & held
    assert unlabelled
    assert not unlabelled & set(data.rows("train", data.labels[0]).tolist())


def test_pictures_are_rendered_at_the_asked_size(root: Path) -> None:
    data = catalogue.read("coco-distorted", root)
    original = int(np.argmax(data.labels[0].values))
    with Image.open(data.paths[original]) as image:
        small = np.asarray(image.resize((8, 8), Image.Resampling.BICUBIC))
    assert data.pixels(original, 8).tolist() == small.tolist()
    worse = [n for n, group in enumerate(data.groups) if group == data.groups[original]]
    assert any(data.pixels(n, 8).tolist() != small.tolist() for n in worse)


def test_held_out_photographs_are_never_trained_on(root: Path) -> None:
    data = catalogue.read("coco-distorted", root)
    assert (len(data), set(data.parts)) == (14, {"test"})


def test_your_own_photographs_may_be_broken(root: Path) -> None:
    (root / "coco" / "images" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    said: list[str] = []
    data = catalogue.read("photographs", root / "coco", ReadOptions(report=said.append))
    assert len(data) == 2 * (1 + 3 * 6)
    assert [line for line in said if line.startswith("left out:") and "broken.jpg" in line]


def test_an_unreadable_picture_of_a_published_set_is_named(root: Path) -> None:
    (root / "oasis" / "images" / "oasis4.png").write_bytes(b"")
    data = catalogue.read("distortions", root)  # opens none of them
    row = next(n for n, path in enumerate(data.paths) if path.name == "oasis4.png")
    with pytest.raises(DataError, match=r"oasis4\.png"):
        data.pixels(row, 8)
