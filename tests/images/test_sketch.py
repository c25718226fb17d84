"""Sketches and moments of pictures that are made here."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pictures import quadrants, saved, with_orientation
from PIL import ExifTags, Image

from imgrank.images.reading import Unreadable
from imgrank.images.sketch import look, sketch

NOON = 1136214245.0  # 2006-01-02 15:04:05 UTC


def photograph(**tags: str) -> bytes:
    """Tags by name: Model of the file, the others of the photograph."""
    exif = Image.Exif()
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    for name, value in tags.items():
        (exif if name in ("Make", "Model") else inner)[ExifTags.Base[name]] = value
    return saved(quadrants(), "JPEG", exif=exif)


def moment(**tags: str) -> tuple[float, float]:
    taken, camera = look(photograph(**tags))["moment"]
    return float(taken), float(camera)


def test_a_sketch_is_the_luma_of_the_parts() -> None:
    found = sketch(quadrants(64, 64))
    assert found.shape == (32, 32)
    assert found.dtype == np.uint8
    halves = found.reshape(2, 16, 2, 16)
    for (row, column), luma in {(0, 0): 54, (0, 1): 182, (1, 0): 18, (1, 1): 128}.items():
        assert np.all(halves[row, :, column] == luma)


def test_a_sketch_is_of_the_upright_picture() -> None:
    turned = look(with_orientation(quadrants(), "PNG", 6))["sketch"]
    upright = sketch(quadrants().transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(turned, upright)


def test_when_a_picture_was_taken() -> None:
    taken = {"DateTimeOriginal": "2006:01:02 15:04:05"}
    assert moment(**taken) == (NOON, 0)
    assert moment(**taken, SubsecTimeOriginal="25") == (NOON + 0.25, 0)
    assert moment(**taken, OffsetTimeOriginal="+02:00") == (NOON - 7200, 0)
    assert math.isnan(moment()[0])
    assert math.isnan(moment(DateTimeOriginal="0000:00:00 00:00:00")[0])


def test_a_camera_is_its_maker_model_and_serial_number() -> None:
    _, one = moment(Make="Maker", Model="One")
    assert one > 0
    assert one == math.floor(one) < 2**53
    assert moment(Make="Maker ", Model="One")[1] == one
    others = [
        moment(Make="Maker", Model="Two")[1],
        moment(Make="Maker", Model="One", BodySerialNumber="17")[1],
        moment(Make="Maker", Model="One", BodySerialNumber="18")[1],
        moment(BodySerialNumber="17")[1],
    ]
    assert len({one, 0, *others}) == 6


def test_what_is_no_picture_has_no_look() -> None:
    with pytest.raises(Unreadable):
        look(photograph()[:200])
