"""Thumbnails: what they look like, and what becomes of files that have none."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pictures import BLUE, GREEN, RED, quadrants, saved, with_orientation
from PIL import Image, ImageCms

from imgrank.images import Skip
from imgrank.images.reading import Unreadable
from imgrank.images.thumbnail import Thumbnail, Wanted, thumbnail, thumbnails


def opened(data: bytes, side: int, instead: int | None = None) -> Image.Image:
    image = Image.open(io.BytesIO(thumbnail(data, side, instead).webp))
    assert (image.format, image.mode) == ("WEBP", "RGB")
    assert not {"exif", "icc_profile"} & image.info.keys()
    return image


def near(image: Image.Image, at: tuple[int, int], colour: tuple[int, int, int]) -> bool:
    pixel = np.array(image.getpixel(at), dtype=int)
    return bool(np.abs(pixel - colour).max() < 40)


def test_the_long_side_is_as_long_as_was_asked() -> None:
    assert opened(saved(quadrants(600, 400), "JPEG"), 150).size == (150, 100)
    assert opened(saved(quadrants(400, 600), "PNG"), 150).size == (100, 150)


def test_a_small_picture_is_not_enlarged() -> None:
    assert opened(saved(quadrants(48, 32), "PNG"), 320).size == (48, 32)


def test_a_line_of_pixels_stays_a_line() -> None:
    assert opened(saved(Image.new("RGB", (3000, 1), RED), "PNG"), 100).size == (100, 1)


def test_turned_upright_with_the_size_of_the_upright_original() -> None:
    upright = quadrants(300, 200)  # as a camera held upright stores it: turned by 90 degrees
    data = with_orientation(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", 6)
    found = thumbnail(data, 90)
    assert (found.width, found.height) == (300, 200)
    image = opened(data, 90)
    assert image.size == (90, 60)
    assert near(image, (20, 15), RED)
    assert near(image, (70, 15), GREEN)
    assert near(image, (20, 45), BLUE)


def test_transparency_is_white() -> None:
    assert near(opened(saved(Image.new("RGBA", (40, 40)), "PNG"), 20), (10, 10), (255, 255, 255))


def swapped_profile() -> bytes:
    """sRGB's, in which the primaries red and green have changed places."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    table, rest = profile[:300], profile[300:]
    table = table.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
    return table + rest


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_colours_go_through_the_profile(kind: str) -> None:
    red = Image.new("RGB", (64, 64), RED)
    assert near(opened(saved(red, kind, icc_profile=swapped_profile()), 32), (16, 16), GREEN)


@pytest.mark.parametrize("profile", [b"no profile", swapped_profile()[:200]])
def test_a_damaged_profile_is_as_none(profile: bytes) -> None:
    red = Image.new("RGB", (64, 64), RED)
    assert near(opened(saved(red, "PNG", icc_profile=profile), 32), (16, 16), RED)


def test_the_same_file_gives_the_same_bytes() -> None:
    data = saved(quadrants(200, 100), "JPEG")
    assert thumbnail(data, 64) == thumbnail(data, 64)


def test_what_no_browser_shows_is_as_large_as_was_asked_instead() -> None:
    picture = quadrants(600, 400)
    assert opened(saved(picture, "TIFF"), 90, 300).size == (300, 200)
    assert opened(saved(picture, "TIFF"), 90).size == (90, 60)
    assert opened(saved(picture, "PNG"), 90, 300).size == (90, 60)


def test_unreadable_bytes_are_refused_with_a_reason() -> None:
    with pytest.raises(Unreadable, match="damaged or unsupported JPEG"):
        thumbnail(saved(quadrants(), "JPEG")[:200], 64)


# ---- files ---------------------------------------------------------------------------------------


def found(*paths: Path) -> list[Thumbnail | Skip]:
    return list(thumbnails([Wanted(path, 32, 64) for path in paths], threads=2))


def test_one_a_file_in_their_order(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(30)]
    for i, path in enumerate(paths):
        path.write_bytes(saved(quadrants(2 * i + 2, 10), "PNG"))
    assert [one.width for one in found(*paths) if isinstance(one, Thumbnail)] == [
        2 * i + 2 for i in range(30)
    ]


def test_what_is_no_picture_is_a_skip_with_its_reason(tmp_path: Path) -> None:
    text, pipe, good = tmp_path / "a.jpg", tmp_path / "pipe.jpg", tmp_path / "good.png"
    text.write_text("words")
    os.mkfifo(pipe)
    good.write_bytes(saved(quadrants(), "PNG"))
    gone, strange = tmp_path / "gone.jpg", (tmp_path / "a\0b.jpg", tmp_path / "a\ud800b.jpg")
    *skips, last = found(text, pipe, gone, tmp_path, *strange, good)
    assert [(skip.path, skip.reason) for skip in skips if isinstance(skip, Skip)] == [
        (text, "not a picture in a known format"),
        (pipe, "not an ordinary file"),
        (gone, "no such file any more"),
        (tmp_path, "not an ordinary file"),
        (strange[0], "not a possible file name"),
        (strange[1], "not a possible file name"),
    ]
    assert isinstance(last, Thumbnail)


def test_few_pictures_are_in_flight(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(saved(quadrants(), "PNG"))
    taken = 0

    def wanted() -> Iterator[Wanted]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield Wanted(path, 32, 64)

    small = thumbnails(wanted(), threads=2)
    for seen in range(1, 50):
        next(small)
        assert taken <= seen + 8
