"""Measured properties against numbers worked by hand and against slow references."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import quadrants, saved
from PIL import ExifTags, Image, ImageFilter

from imgrank.images.measure import (
    brightness,
    color_moments,
    colorfulness,
    contrast,
    date_taken,
    measure,
    measure_header,
    sharpness,
    viewing_luma,
)
from imgrank.images.reading import Unreadable

TAKEN, DIGITIZED = ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized
FRACTION, OFFSET = ExifTags.Base.SubsecTimeOriginal, ExifTags.Base.OffsetTimeOriginal


def flat(*colours: tuple[int, int, int]) -> Image.Image:
    """One row with equal parts of the colours."""
    return Image.fromarray(np.array([colours], np.uint8))


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (flat((0, 0, 0)), 0.0),
        (flat((255, 255, 255)), 100.0),
        (flat((255, 0, 0)), 21.26),
        (flat((0, 255, 0)), 71.52),
        (flat((0, 0, 255)), 7.22),
        (flat((255, 255, 255), (0, 0, 0), (0, 0, 0), (0, 0, 0)), 25.0),
    ],
)
def test_brightness(image: Image.Image, expected: float) -> None:
    assert brightness(color_moments(image)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (flat((90, 20, 7)), 0.0),
        (flat((0, 0, 0), (255, 255, 255)), 50.0),
        (flat((51, 51, 51), (153, 153, 153)), 20.0),  # 20 % and 60 % of white: 20 about 40
        (flat((255, 0, 0), (0, 255, 0)), (71.52 - 21.26) / 2),
    ],
)
def test_contrast(image: Image.Image, expected: float) -> None:
    assert contrast(color_moments(image)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (flat((9, 9, 9), (200, 200, 200)), 0.0),
        # One colour: no deviation; rg = 255, yb = 127.5.
        (flat((255, 0, 0)), 0.3 * math.hypot(255, 127.5)),
        # Red and green: rg = 255, -255 (deviation 255, mean 0), yb = 127.5 both.
        (flat((255, 0, 0), (0, 255, 0)), 255 + 0.3 * 127.5),
        # Blue and yellow: rg = 0, yb = -255, 255.
        (flat((0, 0, 255), (255, 255, 0)), 255.0),
    ],
)
def test_colorfulness(image: Image.Image, expected: float) -> None:
    assert colorfulness(color_moments(image)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (700, 300), (2, 70_000)])
def test_strips_give_what_the_whole_picture_gives(height: int, width: int) -> None:
    image = noise(height, width)
    pixels = np.asarray(image).reshape(-1, 3).astype(np.float64)
    luma = pixels @ [0.2126, 0.7152, 0.0722]
    rg, yb = pixels[:, 0] - pixels[:, 1], pixels[:, :2].mean(axis=1) - pixels[:, 2]
    moments = color_moments(image)
    assert brightness(moments) == pytest.approx(luma.mean() / 2.55, rel=1e-12)
    assert contrast(moments) == pytest.approx(luma.std() / 2.55, rel=1e-9, abs=1e-6)
    slow = math.hypot(rg.std(), yb.std()) + 0.3 * math.hypot(rg.mean(), yb.mean())
    assert colorfulness(moments) == pytest.approx(slow, rel=1e-9, abs=1e-6)


def test_sharpness_of_a_dot() -> None:
    luma = np.zeros((5, 5), np.float32)
    luma[2, 2] = 10.0
    # The Laplacian is -40 at the dot and 10 at its four neighbours: mean 0, squares 1600 + 4 x 100.
    assert sharpness(luma) == pytest.approx((1600 + 400) / 25)


def test_sharpness_at_the_border() -> None:
    corner = np.array([[8.0, 0.0], [0.0, 0.0]], np.float32)
    # Repeated border: 8 + 8 + 0 + 0 - 32 = -16 in the corner, 8 on both sides of it, 0 opposite.
    assert sharpness(corner) == pytest.approx((256 + 64 + 64) / 4)
    assert sharpness(np.full((1, 1), 77.0, np.float32)) == 0.0


def test_sharpness_of_a_ramp_is_that_of_its_ends() -> None:
    ramp = np.tile(np.arange(10, dtype=np.float32), (4, 1))
    # Flat inside; the repeated border bends the first column by +1 and the last by -1.
    assert sharpness(ramp) == pytest.approx(2 / 10)


def test_blur_lowers_sharpness_step_by_step() -> None:
    image = noise(60, 80).resize((960, 720), Image.Resampling.NEAREST)
    blurred = [image.filter(ImageFilter.GaussianBlur(radius)) for radius in (0, 1, 2, 4, 8)]
    found = [sharpness(viewing_luma(step)) for step in blurred]
    assert found == sorted(found, reverse=True)
    assert found[0] > 5 * found[2] > 25 * found[4] > 0


def test_sharpness_does_not_follow_the_number_of_pixels() -> None:
    scene = noise(30, 40).resize((2048, 1536), Image.Resampling.BICUBIC)
    half = scene.resize((1024, 768), Image.Resampling.BICUBIC)
    thumbnail = scene.resize((64, 48), Image.Resampling.BICUBIC)
    large, small, tiny = (sharpness(viewing_luma(x)) for x in (scene, half, thumbnail))
    assert large == pytest.approx(small, rel=0.05)
    assert tiny < 1.05 * large


def test_viewing_size() -> None:
    for size, shown in (
        ((2048, 512), (256, 1024)),
        ((10, 20), (1024, 512)),
        ((5000, 1), (1, 1024)),
    ):
        luma = viewing_luma(Image.new("RGB", size, (255, 0, 0)))
        assert luma.shape == shown
        assert luma.dtype == np.float32
        assert np.allclose(luma, 0.2126 * 255)


def test_measure_is_the_measures_of_the_upright_picture() -> None:
    image = quadrants(60, 40)
    found = measure(saved(image, "PNG"))
    moments = color_moments(image)
    assert found == {
        "brightness": brightness(moments),
        "contrast": contrast(moments),
        "colorfulness": colorfulness(moments),
        "sharpness": sharpness(viewing_luma(image)),
    }
    with pytest.raises(Unreadable):
        measure(b"nothing")


def test_header_measures() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    exif[ExifTags.Base.DateTime] = "2019:01:01 00:00:00"  # of the last change: not used
    data = saved(quadrants(60, 40), "JPEG", exif=exif)
    assert measure_header(data) == {
        "megapixels": 0.0024,
        "file_size": len(data),
        "date": None,
        "aspect": 40 / 60,
    }
    exif.get_ifd(ExifTags.IFD.Exif)[TAKEN] = "1970:01:02 00:00:01"
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        assert measure_header(saved(quadrants(), kind, exif=exif.tobytes()))["date"] == 86401.0
    with pytest.raises(Unreadable):
        measure_header(b"nothing")


NOON = 1_000_036_800.0  # 2001-09-09 12:00:00 UTC: 10^9 s is 01:46:40 of that day


@pytest.mark.parametrize(
    ("exif", "expected"),
    [
        ({TAKEN: "2001:09:09 12:00:00"}, NOON),
        ({TAKEN: "2001:09:09 12:00"}, NOON),
        ({TAKEN: "2001-09-09T12:00:00"}, NOON),
        ({TAKEN: b"2001:09:09 12:00:00\0"}, NOON),
        ({TAKEN: "2001:09:09 12:00:00", FRACTION: "25"}, NOON + 0.25),
        ({TAKEN: "2001:09:09 12:00:00", FRACTION: "007 "}, NOON + 0.007),
        ({TAKEN: "2001:09:09 12:00:00", FRACTION: "x"}, NOON),
        ({TAKEN: "2001:09:09 12:00:00", OFFSET: "+02:00"}, NOON - 7200),
        ({TAKEN: "2001:09:09 12:00:00", OFFSET: "-05:30"}, NOON + 19800),
        ({TAKEN: "2001:09:09 12:00:00", OFFSET: "Z"}, NOON),
        ({TAKEN: "2001:09:09 12:00:00", OFFSET: "   :  "}, NOON),
        ({TAKEN: "2001:09:09 12:00:00", DIGITIZED: "2010:01:01 00:00:00"}, NOON),
        ({TAKEN: "0000:00:00 00:00:00", DIGITIZED: "2001:09:09 12:00:00"}, NOON),
        ({TAKEN: "1969:12:31 23:59:59"}, -1.0),
        ({TAKEN: "0000:00:00 00:00:00"}, None),
        ({TAKEN: "    :  :     :  :  "}, None),
        ({TAKEN: "2001:13:01 00:00:00"}, None),
        ({TAKEN: "2001:02:29 00:00:00"}, None),
        ({TAKEN: "0001:01:01 00:00:00"}, None),
        ({TAKEN: "yesterday"}, None),
        ({TAKEN: 12}, None),
        ({}, None),
    ],
)
def test_date_taken(exif: dict[int, object], expected: float | None) -> None:
    assert date_taken(exif) == expected


@given(st.datetimes(datetime.datetime(1826, 1, 1)))
def test_every_date_of_photography(moment: datetime.datetime) -> None:
    text = f"{moment.year:04}:{moment:%m:%d %H:%M:%S}"
    found = date_taken({TAKEN: text, FRACTION: f"{moment.microsecond:06}"})
    exact = moment.replace(tzinfo=datetime.UTC) - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    assert found == pytest.approx(exact.total_seconds(), abs=1e-4)
