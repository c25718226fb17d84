"""Faces cut out as a training set's crops were: against hand-worked numbers and slow references."""

from __future__ import annotations

import cmath

import numpy as np
import pytest
from PIL import Image

from imgrank.images.face_crop import UTKFACE, CropGeometry, Similarity, crop, fills, placed
from imgrank.images.faces import Face

FIVE = ((0.3, 0.3), (0.7, 0.3), (0.5, 0.5), (0.35, 0.7), (0.65, 0.7))
GEOMETRY = CropGeometry(100, FIVE, (0.1, 0.2, 0.8, 0.6))


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def moved(a: complex, b: complex) -> tuple[tuple[float, float], ...]:
    points = [a * complex(*point) + b for point in FIVE]
    return tuple((z.real, z.imag) for z in points)


def test_a_turned_and_scaled_face_is_found_back() -> None:
    a, b = cmath.rect(240, 0.4), 30 + 75j
    found = placed(Face(0, 0, 1, 1, 1.0, landmarks=moved(a, b)), GEOMETRY)
    assert found.a == pytest.approx(a)
    assert found.b == pytest.approx(b)
    assert found.corners == pytest.approx([b, a + b, a * (1 + 1j) + b, a * 1j + b])


def test_eyes_turn_a_face_about_the_middle_of_its_box() -> None:
    # The box says 100 pixels a side; the eyes rise by 3 on 4: the right one is the lower one.
    found = placed(Face(40, 50, 80, 60, 1.0, eyes=((50, 60), (90, 90))), GEOMETRY)
    assert found.a == pytest.approx(100 * (0.8 + 0.6j))
    assert found.a * (0.5 + 0.5j) + found.b == pytest.approx(80 + 80j)


def test_landmarks_that_do_not_agree_are_met_by_least_squares() -> None:
    rng = np.random.default_rng(3)
    at = np.array(FIVE) * 200 + rng.normal(0, 15, (5, 2))
    found = placed(Face(0, 0, 1, 1, 1.0, landmarks=tuple(map(tuple, at))), GEOMETRY)
    # Slow reference: [x, -y, 1, 0; y, x, 0, 1] [p, q, r, s] = [X; Y], with a = p + iq, b = r + is.
    rows = [[[x, -y, 1, 0], [y, x, 0, 1]] for x, y in FIVE]
    p, q, r, s = np.linalg.lstsq(np.reshape(rows, (10, 4)), at.reshape(10), rcond=None)[0]
    assert found.a == pytest.approx(complex(p, q))
    assert found.b == pytest.approx(complex(r, s))


def test_a_face_of_which_only_the_box_is_known() -> None:
    # 0.8 x 0.6 of the side are 80 x 60 pixels: the side is 100. Its middle is at (0.5, 0.5).
    found = placed(Face(40, 50, 80, 60, 1.0), GEOMETRY)
    assert found == Similarity(100 + 0j, complex(40 + 40 - 50, 50 + 30 - 50))


def test_eyes_on_one_point_are_no_landmarks() -> None:
    assert placed(Face(40, 50, 80, 60, 1.0, eyes=((9, 9), (9, 9))), GEOMETRY).a == 100


def test_a_crop_of_the_same_scale_is_a_cut() -> None:
    image = noise(60, 50)
    found = crop(image, Similarity(20 + 0j, 11 + 7j), 20)
    assert np.array_equal(np.asarray(found), np.asarray(image.crop((11, 7, 31, 27))))


def test_a_face_turned_to_the_right_is_turned_back() -> None:
    image = noise(40, 40)
    found = crop(image, Similarity(40j, 40 + 0j), 40)  # upper left corner of the crop: upper right
    assert np.array_equal(np.asarray(found), np.rot90(np.asarray(image)))


def test_the_outermost_pixels_go_on_beyond_the_edge() -> None:
    image = noise(10, 10)
    found = np.asarray(crop(image, Similarity(16 + 0j, -3 - 4j), 16))
    assert np.array_equal(found, np.pad(np.asarray(image), ((4, 2), (3, 3), (0, 0)), mode="edge"))


def test_a_face_far_outside_is_still_a_crop() -> None:
    image = Image.new("RGB", (10, 10), (9, 80, 200))
    for b in (500 + 0j, -500 - 500j, 1000j):
        assert crop(image, Similarity(8 + 1j, b), 8).getcolors() == [(64, (9, 80, 200))]


def test_a_large_face_is_made_smaller_without_aliasing() -> None:
    # Stripes of one pixel become grey; sampling every 8th pixel would leave them black or white.
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    found = np.asarray(crop(Image.fromarray(stripes), Similarity(320 + 0j, 40 + 40j), 40))
    assert found.shape == (40, 40, 3)
    assert np.abs(found.astype(int) - 127).max() <= 2


def test_what_fills_the_picture() -> None:
    own = placed(Face(0, 0, 1, 1, 1.0, landmarks=moved(300, 0)), GEOMETRY)
    assert fills((300, 300), own)
    assert fills((330, 290), own)
    assert not fills((300, 420), own)  # not square
    assert not fills((400, 400), own)  # a margin of a third
    aside = placed(Face(0, 0, 1, 1, 1.0, landmarks=moved(300, 75)), GEOMETRY)
    assert not fills((300, 300), aside)
    upside_down = placed(Face(0, 0, 1, 1, 1.0, landmarks=moved(-300, 300 + 300j)), GEOMETRY)
    assert not fills((300, 300), upside_down)


def test_the_geometry_of_a_config() -> None:
    assert CropGeometry.from_dict({}) == UTKFACE
    table = {"size": 100, "landmarks": [list(point) for point in FIVE], "box": [0.1, 0.2, 0.8, 0.6]}
    assert CropGeometry.from_dict(table) == GEOMETRY
    assert CropGeometry.from_dict(table).identity == GEOMETRY.identity
    assert GEOMETRY.identity != CropGeometry.from_dict(table | {"size": 101}).identity


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0},
        {"size": "large"},
        {"landmarks": [[0.3, 0.3], [0.7, 0.3]]},
        {"landmarks": [[0.3, 0.3]] * 5},
        {"landmarks": 3},
        {"box": [0, 0, 0, 1]},
        {"box": [0, 0, 1]},
        {"box": [0, 0, 1, float("nan")]},
    ],
)
def test_what_is_no_geometry_is_said(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        CropGeometry.from_dict(wrong)
