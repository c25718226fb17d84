"""Colour beyond a uniform tint: known colours, toned prints, borders, real photographs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgrank.images.colour import SIDE, chroma, chroma_of_pixels, lab

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


def jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def toned(grey: np.ndarray, dark: tuple[int, ...], light: tuple[int, ...]) -> Image.Image:
    """A print whose shadows have one colour and whose lights another."""
    t = grey[..., None] / 255.0
    return Image.fromarray(np.rint((1 - t) * np.array(dark) + t * np.array(light)).astype(np.uint8))


def test_lab_of_known_colours() -> None:
    known = {
        (255, 255, 255): (100, 0, 0),
        (0, 0, 0): (0, 0, 0),
        (255, 0, 0): (53.24, 80.09, 67.20),
        (0, 0, 255): (32.30, 79.19, -107.86),
        (119, 119, 119): (50.03, 0, 0),
    }
    found = lab(np.array(list(known), np.uint8))
    np.testing.assert_allclose(found, list(known.values()), atol=0.02)


def test_what_has_one_colour_a_lightness_has_no_chroma() -> None:
    assert chroma_of_pixels(np.full((SIDE, SIDE, 3), (200, 30, 30), np.uint8)) < 1e-6
    rows = np.linspace(0, 255, SIDE).astype(np.uint8)
    grey = np.repeat(np.repeat(rows[:, None, None], SIDE, 1), 3, 2)
    assert chroma_of_pixels(grey) < 1e-6


def test_the_number_is_a_distance_from_two_parabolas() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    inside = [lab(pixels[y, x][None])[0] for y in range(10, 54) for x in range(10, 54)]
    lightness, a, b = np.array(inside).T
    off = [c - np.polyval(np.polyfit(lightness, c, 2), lightness) for c in (a, b)]
    slow = sorted(np.hypot(*off))[round(0.98 * (len(inside) - 1))]
    assert chroma_of_pixels(pixels) == pytest.approx(slow, rel=0.01)


def test_two_colours_of_each_lightness_are_half_their_distance_apart() -> None:
    """A ramp, its left half yellowish and its right half bluish."""
    pixels = np.repeat(np.linspace(60, 190, SIDE)[:, None], SIDE, 1)[..., None] * np.ones(3)
    pixels[:, : SIDE // 2, 2] -= 30
    pixels[:, SIDE // 2 :, 2] += 30
    pixels = np.rint(pixels).astype(np.uint8)
    left, right = (lab(pixels[32, x][None])[0] for x in (20, 44))
    half = np.linalg.norm(left[1:] - right[1:]) / 2
    assert chroma_of_pixels(pixels) == pytest.approx(half, rel=0.25)  # blue is lighter too


def test_toned_prints_are_below_and_colour_photographs_above() -> None:
    for name in ("astronaut", "cat", "coffee"):
        photo = Image.open(PHOTOS / f"{name}.jpg").convert("RGB")
        grey = np.asarray(photo.convert("L"))
        assert chroma(jpeg(photo)) > 10
        assert chroma(jpeg(photo.convert("L"))) < 0.5
        assert chroma(jpeg(toned(grey, (45, 25, 10), (250, 235, 200)))) < 3  # sepia
        assert chroma(jpeg(toned(grey, (10, 20, 60), (235, 245, 255)))) < 4  # cyanotype
        assert chroma(jpeg(toned(grey, (50, 20, 20), (240, 255, 235)))) < 4  # split toning


def test_the_mount_of_a_print_does_not_count() -> None:
    grey = np.asarray(Image.open(PHOTOS / "cat.jpg").convert("L").resize((280, 280)))
    sheet = Image.new("RGB", (400, 400), (40, 90, 160))
    sheet.paste(toned(grey, (45, 25, 10), (250, 235, 200)), (60, 60))
    assert chroma(jpeg(sheet)) < 4
    sheet.paste((200, 40, 40), (150, 150, 250, 250))
    assert chroma(jpeg(sheet)) > 20


@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (7, 900)])
def test_any_shape(size: tuple[int, int]) -> None:
    assert chroma(jpeg(Image.new("RGB", size, (9, 100, 40)))) < 1
