"""Drawn pictures: the same every time, with as many things as their labels say, all to be seen."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imgrank.data import catalogue, renders
from imgrank.data.raycast import Camera, Solid, cast, visible_share
from imgrank.data.renders import Picture, Thing, draw, plan

FROM_ABOVE = Camera(height=10.0, distance=0.01, around=0.0, half_width=0.5)
RED = (1.0, 0.0, 0.0)


def solid(shape: str, x: float = 0.0, y: float = 0.0, size: float = 1.0) -> Solid:
    return Solid(shape, x, y, size, turn=0.0, rgb=RED, metal=False)


def red_pixels(picture: np.ndarray) -> int:
    values = picture.astype(int)
    return int((values[..., 0] > 2 * values[..., 1] + 10).sum())


def silhouette(shape: str) -> int:
    """Pixels of a solid seen from straight above, in a frame of 200 x 200."""
    return red_pixels(cast([solid(shape)], FROM_ABOVE, 200, np.random.default_rng(0)))


def test_sizes_of_solids_are_those_of_the_pinhole_camera() -> None:
    # At a distance d the frame is d wide and high: 2 d x half_width. The top of the cube, of side
    # sqrt 2, is at 10 - sqrt 2, that of the cylinder at 8; the sphere shows the circle of its
    # tangents, whose tangent of half angle is r / sqrt(d^2 - r^2), d = 9.
    assert silhouette("cube") == pytest.approx(200**2 * 2 / (10 - math.sqrt(2)) ** 2, rel=0.03)
    assert silhouette("cylinder") == pytest.approx(200**2 * math.pi / 8**2, rel=0.03)
    assert silhouette("sphere") == pytest.approx(200**2 * math.pi / (81 - 1), rel=0.03)


def test_what_hides_what() -> None:
    level = Camera(height=1.0, distance=10.0, around=0.0, half_width=0.5)
    near, behind, beside = solid("cube", x=2), solid("cube", x=-2, size=0.5), solid("cube", y=3)
    assert visible_share([near, behind, beside], level) == [1.0, 0.0, 1.0]
    outside = solid("sphere", y=30)
    assert visible_share([near, outside], level) == [1.0, 0.0]
    assert visible_share([], level) == []


def test_a_solid_throws_a_shadow() -> None:
    grey = replace(solid("sphere"), rgb=(0.5, 0.5, 0.5))
    empty = cast([], FROM_ABOVE, 64, np.random.default_rng(1))
    with_one = cast([grey], FROM_ABOVE, 64, np.random.default_rng(1))
    ys, xs = np.mgrid[0:64, 0:64] - 31.5
    ground = np.hypot(xs, ys) > 9  # the sphere itself covers a radius of 7
    darker = (with_one.mean(-1) < 0.8 * empty.mean(-1)) & ground
    assert darker.sum() > 30


def test_the_same_number_gives_the_same_picture() -> None:
    assert plan(7) == plan(7)
    assert np.array_equal(draw(plan(7), 48), draw(plan(7), 48))
    assert plan(7) != plan(8)
    assert plan(7) != plan(7, seed=1)


def test_a_circle_covers_its_area_and_is_what_the_picture_gains() -> None:
    circle = Thing("circle", "red", "", RED, 0.5, 0.5, 0.25, 0.0)
    with_it, without = (draw(Picture(True, t, seed=3), 80) for t in ((circle,), ()))
    assert red_pixels(without) == 0
    assert red_pixels(with_it) == pytest.approx(math.pi * 20**2, rel=0.06)


@pytest.mark.parametrize("index", range(12))
def test_every_thing_that_is_counted_can_be_seen(index: int) -> None:
    picture = plan(index)
    whole = draw(picture, 96).astype(int)
    for n, thing in enumerate(picture.things):
        others = replace(picture, things=picture.things[:n] + picture.things[n + 1 :])
        changed = np.abs(draw(others, 96).astype(int) - whole).max(-1) > 12
        assert changed.sum() >= 8, thing


def test_the_labels_count_what_is_on_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renders, "COUNT", 40)
    data = catalogue.read("renders", Path("there is no such folder"))
    values = {labels.key: labels.values for labels in data.labels}
    pictures = [plan(n) for n in range(40)]
    assert values["objects"].tolist() == [len(picture.things) for picture in pictures]
    red = [sum(thing.colour == "red" for thing in picture.things) for picture in pictures]
    assert values["color/red"].tolist() == red
    colours = np.sum([values[f"color/{colour}"] for colour in renders.COLOURS], axis=0)
    assert colours.tolist() == values["objects"].tolist()
    flat = np.array([picture.flat for picture in pictures])
    for keys in (
        [f"shape/{shape}" for shape in renders.SOLIDS],
        [f"material/{material}" for material in renders.MATERIALS],
    ):
        assert np.isnan([values[key][flat] for key in keys]).all()
        assert np.sum([values[key] for key in keys], 0)[~flat].tolist() == [
            len(picture.things) for picture in pictures if not picture.flat
        ]
    drawn = np.sum([values[f"{shape}s"] for shape in renders.FLAT], 0)
    assert drawn[flat].tolist() == [len(picture.things) for picture in pictures if picture.flat]
    assert np.isnan(drawn[~flat]).all()
    subjects = {labels.key: (labels.subject, labels.prompt) for labels in data.labels}
    assert subjects["shape/cube"] == (
        "objects in cube",
        "sort images by the number of objects in cube.",
    )
    assert [len(data.rows(part)) for part in ("train", "validation", "test")] == [32, 4, 4]
    assert np.array_equal(data.pixels(3, 32), draw(pictures[3], 32))
