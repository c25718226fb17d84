"""Resizing as a backbone's config says: byte for byte what OpenCLIP's own transform gives."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from imgrank.images.decode import LONGEST, decode, to_input, to_square

SIZES = [(300, 200), (201, 333), (97, 97), (56, 80), (40, 23), (57, 56), (641, 30), (1, 9)]


def picture(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def openclips(image: Image.Image, size: int, mode: str, interpolation: str, fill: int = 0):
    from open_clip.transform import image_transform

    transform = image_transform(
        size, is_train=False, mean=(0, 0, 0), std=(1, 1, 1),
        resize_mode=mode, interpolation=interpolation, fill_color=fill,
    )  # fmt: skip
    return (transform(image) * 255).round().byte().permute(1, 2, 0).numpy()


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_same_bytes_as_openclip(mode: str, interpolation: str) -> None:
    for width, height in SIZES:
        for size in (56, 57):
            image = picture(width, height)
            found = to_input(image, size, interpolation, mode)
            assert (found.shape, found.dtype) == ((size, size, 3), np.uint8)
            theirs = openclips(image, size, mode, interpolation)
            np.testing.assert_array_equal(found, theirs, err_msg=f"{width} x {height} to {size}")


def test_the_fill_colour_is_beside_the_picture_only() -> None:
    image = picture(60, 31)
    found = to_input(image, 56, "bicubic", "longest", fill=200)
    np.testing.assert_array_equal(found, openclips(image, 56, "longest", "bicubic", fill=200))
    assert (found[:13] == 200).all() and (found[-14:] == 200).all()  # 29 rows of 56 are picture
    assert not (found[13] == 200).all()


def test_squash_is_to_square() -> None:
    image = picture(90, 130)
    for name in ("bicubic", "bilinear"):
        want = to_square(image, 56, name)  # type: ignore[arg-type]
        np.testing.assert_array_equal(to_input(image, 56, name, "squash"), want)


def test_a_thin_line_gives_its_middle_and_no_gigabytes() -> None:
    line = np.zeros((1, 60_001, 3), np.uint8)
    line[0, 30_000] = 255
    for image in (Image.fromarray(line), Image.fromarray(line.transpose(1, 0, 2))):
        found = to_input(image, 32, "bilinear", "shortest")
        assert found.shape == (32, 32, 3)
        assert found.max() > 200
    assert to_input(Image.fromarray(line), 32, "bilinear", "longest").shape == (32, 32, 3)


def test_a_strip_just_short_enough_is_resized_whole() -> None:
    image = picture(4 * LONGEST, 4)
    np.testing.assert_array_equal(
        to_input(image, 16, "bicubic", "shortest"), openclips(image, 16, "shortest", "bicubic")
    )


def test_an_unknown_mode_is_an_error() -> None:
    with pytest.raises(ValueError, match="stretch"):
        to_input(picture(4, 4), 4, "bicubic", "stretch")


def test_a_drafted_jpeg_keeps_twice_the_size_on_its_short_side() -> None:
    file = io.BytesIO()
    picture(2400, 620).save(file, "JPEG")
    small = decode(file.getvalue(), 100)
    assert small.size == (1200, 310)  # at 1/4 the short side would be 155
    assert to_input(small, 100, "bicubic", "shortest").shape == (100, 100, 3)
