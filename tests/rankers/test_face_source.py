"""Features of faces: which are found, how they are cut out, how they are kept. Known detector and
backbone, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from face_pictures import BLUE, GREEN, RED, PaintedFaces, painted
from PIL import ExifTags, Image

import imgrank.pipeline as pipeline
import imgrank.rankers.faces as rooms
from imgrank.images import ImageFile, Skip
from imgrank.images.face_crop import UTKFACE, CropGeometry
from imgrank.images.reading import Unreadable
from imgrank.images.scan import scan
from imgrank.pipeline import features_of
from imgrank.rankers.base import Features
from imgrank.rankers.faces import FaceSource
from imgrank.scoring import Scored
from imgrank.store.store import Store

# The crop is the box of a face; or its inner half, so that a painted face is one plain colour.
BOX = CropGeometry(8, UTKFACE.landmarks, (0, 0, 1, 1))
PLAIN = CropGeometry(8, UTKFACE.landmarks, (-0.5, -0.5, 2, 2))


class Backbone:
    """`pooled` is the mean colour of an input of 8 x 8; sizes: of the batches."""

    identity = "backbone.1"
    interpolation, resize_mode, batch = "bicubic", "squash", 1
    spec = SimpleNamespace(image_size=8, fill_color=0)

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def compute(self, prepared: Sequence[Any]) -> list[Features]:
        self.sizes.append(len(prepared))
        assert all(item.shape == (8, 8, 3) for item in prepared)
        return [{"pooled": i.mean((0, 1)).astype(np.float16), "grid": i[0, 0]} for i in prepared]


def source(**given: Any) -> FaceSource:
    wanted = {"backbone": Backbone(), "needs": {"pooled"}, "detector": PaintedFaces()}
    return FaceSource(**(wanted | {"geometry": PLAIN} | given))


def features(source: FaceSource, *paths: Path) -> list[Features]:
    return source.compute([source.prepare(path.read_bytes()) for path in paths])


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return painted(tmp_path / "two.png", {GREEN: (10, 20, 30, 30), RED: (100, 40, 80, 80)})


def test_two_faces_the_largest_first(two: Path) -> None:
    (found,) = features(source(), two)
    assert found.keys() == {"faces", "pooled"}
    assert found["faces"].dtype == np.float32
    assert found["faces"].tolist() == [
        pytest.approx([100, 40, 80, 80, 0.9, 0]),
        pytest.approx([10, 20, 30, 30, 0.8, 0]),
    ]
    assert found["pooled"].tolist() == [[255, 0, 0], [0, 255, 0]]


def test_crops_of_all_pictures_go_through_the_backbone_together(two: Path, tmp_path: Path) -> None:
    none = painted(tmp_path / "none.png", {})
    one = painted(tmp_path / "one.png", {BLUE: (0, 0, 20, 20)})
    own = source()
    found = features(own, two, none, one, *[two] * 4)
    assert own.backbone.sizes == [8, 3]
    assert [len(f["faces"]) for f in found] == [2, 0, 1, 2, 2, 2, 2]
    assert [len(f["pooled"]) for f in found] == [2, 0, 1, 2, 2, 2, 2]
    assert found[2]["pooled"].tolist() == [[0, 0, 255]]


def test_a_face_over_the_edge_goes_on_with_the_edge(tmp_path: Path) -> None:
    image = Image.new("RGB", (100, 100), (90, 90, 90))
    image.paste(RED, (0, 0, 10, 40))
    image.save(tmp_path / "edge.png")
    # The crop is the square about the box's middle: 15 pixels of it lie left of the picture.
    wide = CropGeometry(20, UTKFACE.landmarks, (0.375, 0, 0.25, 1))
    prepared = source(geometry=wide).prepare((tmp_path / "edge.png").read_bytes())
    (cut,) = prepared.crops
    assert cut[:7, :4].reshape(-1, 3).tolist() == [[255, 0, 0]] * 28
    assert cut[4, 7].tolist() == [90, 90, 90]


def test_a_picture_that_is_a_crop_already_is_taken_whole(tmp_path: Path) -> None:
    # Blue is a chance find inside; the surest face says what the picture is.
    path = painted(tmp_path / "crop.png", {RED: (2, 1, 58, 58), BLUE: (20, 20, 9, 9)}, (60, 62))
    (found,) = features(source(geometry=BOX), path)
    assert found["faces"].tolist() == [pytest.approx([0, 0, 60, 62, 0.9, 1])]
    image = Image.open(path).resize((8, 8), Image.Resampling.BICUBIC)
    assert found["pooled"][0] == pytest.approx(np.asarray(image).mean((0, 1)), abs=0.1)


def test_an_unsure_face_that_fills_the_picture_hides_no_surer_one(tmp_path: Path) -> None:
    path = painted(tmp_path / "a.png", {BLUE: (0, 0, 60, 60), RED: (20, 20, 9, 9)}, (60, 60))
    (found,) = features(source(geometry=BOX), path)
    assert [row[5] for row in found["faces"].tolist()] == [0, 0]


def test_without_a_detector_every_picture_is_a_crop(two: Path) -> None:
    (found,) = features(source(detector=None), two)
    assert found["faces"].tolist() == [[0, 0, 300, 200, 1, 1]]


def test_boxes_are_those_of_the_upright_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # shown turned to the right: 200 x 300
    path = painted(tmp_path / "a.png", {RED: (0, 0, 50, 30)}, exif=exif)
    (found,) = features(source(), path)
    assert found["faces"].tolist() == [pytest.approx([170, 0, 30, 50, 0.9, 0])]


def test_a_few_pixels_hold_no_face(tmp_path: Path) -> None:
    path = painted(tmp_path / "a.png", {RED: (0, 0, 15, 15)}, (15, 40))
    own = source()
    assert len(features(own, path)[0]["faces"]) == 0
    assert own.detector.calls == 0


def test_of_a_crowd_the_largest_are_kept(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "MOST", 1)
    (found,) = features(source(), two)
    assert found["pooled"].tolist() == [[255, 0, 0]]


def test_a_large_crop_is_no_finer_than_those_of_the_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    large = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    large.save(tmp_path / "a.png")
    own = source(detector=None, geometry=CropGeometry(4, UTKFACE.landmarks, (0, 0, 1, 1)))
    (cut,) = own.prepare((tmp_path / "a.png").read_bytes()).crops
    bicubic = Image.Resampling.BICUBIC
    assert np.array_equal(cut, large.resize((4, 4), bicubic).resize((8, 8), bicubic))


def test_an_unreadable_picture_says_so() -> None:
    with pytest.raises(Unreadable):
        source().prepare(b"no picture")


def test_another_detector_backbone_or_geometry_is_another_source() -> None:
    other = Backbone()
    other.identity = "backbone.2"
    names = {
        source().identity,
        source(backbone=other).identity,
        source(detector=PaintedFaces("painted-2")).identity,
        source(detector=None).identity,
        source(geometry=BOX).identity,
    }
    assert len(names) == 5
    assert source(needs={"grid"}).identity == source().identity


# ---- in the store --------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.sqlite3")


def run(store: Store, own: FaceSource, folder: Path) -> dict[str, Scored | Skip]:
    files = [f for f in scan([folder]) if isinstance(f, ImageFile)]
    return {o.path.name: o for o in features_of(files, [(own, own.kept)], store, threads=2)}


def test_kept_faces_need_no_file_no_detector_and_no_backbone(
    store: Store, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted(two.parent / "none.png", {})
    fresh, again = source(), source()
    first = run(store, fresh, two.parent)
    monkeypatch.setattr(pipeline, "read_file", None)
    second = run(store, again, two.parent)
    assert (again.detector.calls, again.backbone.sizes) == (0, [])
    assert first.keys() == second.keys() == {"two.png", "none.png"}
    for name in first:
        a, b = (found[name].features[again.identity] for found in (first, second))
        assert a.keys() == b.keys() == {"faces", "pooled"}
        assert all(np.array_equal(a[key], b[key]) and a[key].dtype == b[key].dtype for key in a)
    assert second["none.png"].features[again.identity]["faces"].shape == (0, 6)


def test_small_features_of_faces_are_outside_the_budget(two: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "small.sqlite3", feature_budget=0) as store:
        run(store, source(needs={"pooled", "grid"}), two.parent)
        kept = {count.name: count.evictable for count in store.info().features}
        assert kept == {"faces": False, "pooled": False}  # grid found no room


def test_another_feature_of_known_faces_is_added(store: Store, two: Path) -> None:
    run(store, source(), two.parent)
    run(store, source(needs={"grid"}), two.parent)
    third = source(needs={"pooled", "grid"})
    run(store, third, two.parent)
    assert third.backbone.sizes == []
    found = run(store, source(), two.parent)["two.png"].features[third.identity]
    assert found.keys() == {"faces", "pooled"}  # grids may be large: none is read for nothing
