"""CLEVR on made-up scenes of the published form, and on the real renders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from shared_data import unpack

from imgrank.data import catalogue
from imgrank.data.clevr import read
from imgrank.data.labelled import ReadOptions
from imgrank.errors import DataError

RED_CUBE, RED_BALL = ("red", "metal", "cube"), ("red", "rubber", "sphere")
BLUE_CUBE = ("blue", "metal", "cube")
Solid = tuple[str, str, str]


def scene(name: str, solids: Sequence[Solid]) -> dict[str, Any]:
    return {
        "split": "made up",
        "image_index": 0,
        "image_filename": name,
        "directions": {"left": [-0.66, -0.75, 0.0]},
        "relations": {"left": [[] for _ in solids]},
        "objects": [
            {
                "3d_coords": [0.1, 2.5, 0.35],
                "pixel_coords": [260, 100, 11.2],
                "rotation": 80.5,
                "size": "small",
                "color": color,
                "material": material,
                "shape": shape,
            }
            for color, material, shape in solids
        ],
    }


def made(root: Path, part: str, scenes: Sequence[Sequence[Solid]]) -> None:
    """One part as it is published; the pictures are empty files."""
    (root / "images" / part).mkdir(parents=True)
    (root / "scenes").mkdir(exist_ok=True)
    names = [f"CLEVR_{part}_{n:06d}.png" for n in range(len(scenes))]
    for name in names:
        (root / "images" / part / name).write_bytes(b"")
    whole = {
        "info": {"split": part, "version": "1.0", "license": "none"},
        "scenes": [scene(name, solids) for name, solids in zip(names, scenes, strict=True)],
    }
    (root / "scenes" / f"CLEVR_{part}_scenes.json").write_text(json.dumps(whole))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made(tmp_path, "train", [[RED_CUBE, RED_BALL, BLUE_CUBE], []])
    made(tmp_path, "val", [[BLUE_CUBE]])
    (tmp_path / "images" / "test").mkdir()  # published without scenes
    (tmp_path / "images" / "test" / "CLEVR_test_000000.png").write_bytes(b"")
    return tmp_path


def test_counts_of_all_values(root: Path) -> None:
    data = read(root, ReadOptions())
    counts = {labels.key: labels.values.tolist() for labels in data.labels}
    assert len(counts) == 8 + 2 + 3
    assert counts["color/red"] == [2, 0, 0]
    assert counts["color/blue"] == [1, 0, 1]
    assert counts["color/cyan"] == [0, 0, 0]
    assert counts["material/metal"] == [2, 0, 1]
    assert counts["material/rubber"] == [1, 0, 0]
    assert counts["shape/cube"] == [2, 0, 1]
    assert counts["shape/sphere"] == [1, 0, 0]
    assert data.parts == ("train", "train", "test")
    assert data.paths[2] == root / "images" / "val" / "CLEVR_val_000000.png"
    assert data.keys[0] == "clevr/train/CLEVR_train_000000.png"


def test_the_words_of_the_paper(root: Path) -> None:
    by_key = {labels.key: labels for labels in read(root, ReadOptions()).labels}
    red = by_key["color/red"]
    assert red.prompt == "sort images by the number of objects in red."
    assert (red.task, red.subject, red.unit, red.range) == ("count", "objects in red", "", None)
    assert by_key["shape/cube"].subject == "objects in cube"


def test_a_fiftieth_of_the_training_pictures_validates(tmp_path: Path) -> None:
    made(tmp_path, "train", [[RED_CUBE]] * 500)
    made(tmp_path, "val", [[RED_CUBE]] * 20)
    data = read(tmp_path, ReadOptions())
    assert len(data.rows("test")) == 20
    assert 3 <= len(data.rows("validation")) <= 22
    assert len(data.rows("train")) + len(data.rows("validation")) == 500


def test_scenes_of_test_pictures_instead_of_val(tmp_path: Path) -> None:
    made(tmp_path, "train", [[RED_CUBE]] * 200)
    made(tmp_path, "test", [[RED_BALL]] * 3)
    data = read(tmp_path, ReadOptions())
    test = {data.paths[n].parent.name for n in data.rows("test")}
    assert test == {"train", "test"}
    assert {data.parts[n] for n in range(200, 203)} == {"test"}
    shares = [len(data.rows(part)) for part in ("train", "validation", "test")]
    assert sum(shares) == 203
    assert 140 <= shares[0] <= 180
    assert 8 <= shares[1] <= 35


def test_scenes_of_both(root: Path) -> None:
    (root / "images" / "test" / "CLEVR_test_000000.png").unlink()
    (root / "images" / "test").rmdir()
    made(root, "test", [[RED_BALL]])
    assert read(root, ReadOptions()).parts == ("train", "train", "validation", "test")


# ---- what can be wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"scenes": [', r"CLEVR_train_scenes\.json is damaged or cut off"),
        ("{}", "is no file of CLEVR's scenes: KeyError"),
        ('{"scenes": [{"image_filename": "a.png"}]}', "KeyError.'objects'"),
        (
            json.dumps({"scenes": [scene("a.png", [("pink", "metal", "cube")])]}),
            "an object is pink",
        ),
        ('{"scenes": [{"image_filename": "a", "objects": [{"color": "red"}]}]}', "'material'"),
    ],
)
def test_a_wrong_file_of_scenes(root: Path, text: str, message: str) -> None:
    (root / "scenes" / "CLEVR_train_scenes.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read(root, ReadOptions())


@pytest.mark.parametrize(("gone", "left"), [("train", ("test",)), ("val", ("train", "train"))])
def test_a_missing_file_of_scenes(root: Path, gone: str, left: tuple[str, ...]) -> None:
    (root / "scenes" / f"CLEVR_{gone}_scenes.json").unlink()
    with pytest.raises(DataError, match=rf"CLEVR_{gone}_scenes\.json is missing \(--partial"):
        read(root, ReadOptions())
    said: list[str] = []
    assert read(root, ReadOptions(partial=True, report=said.append)).parts == left
    assert f"CLEVR_{gone}_scenes.json is missing" in said[0]


def test_no_scenes_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train_scenes\.json, .*val_scenes\.json is missing\.$"):
        read(tmp_path, ReadOptions(partial=True))


def test_missing_pictures(root: Path) -> None:
    (root / "images" / "train" / "CLEVR_train_000000.png").unlink()
    with pytest.raises(DataError, match=r"clevr: 1 of 3 pictures are missing:\n.*train_000000"):
        read(root, ReadOptions())
    data = read(root, ReadOptions(partial=True))
    assert data.labels[2].values.tolist() == [0, 1]  # blue
    assert data.parts == ("train", "test")


def test_the_real_renders(tmp_path: Path) -> None:
    data = catalogue.read("clevr", unpack("clevr", tmp_path, contents=False))
    assert [len(data.rows(part)) for part in ("train", "validation", "test")] == [62, 10, 9]
    counts = {labels.key: labels.values for labels in data.labels}
    assert counts["material/metal"].sum() == 176
    assert counts["material/rubber"].sum() == 191
    both = counts["material/metal"] + counts["material/rubber"]
    solids = sum(counts[f"shape/{shape}"] for shape in ("cube", "sphere", "cylinder"))
    assert (both == solids).all()
    assert (both.min(), both.max()) == (3, 8)
