"""Two rows of pictures in one JPEG."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from imgrank.images.rows import two_rows

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def picture(folder: Path, name: str, colour: tuple[int, int, int], size: tuple[int, int]) -> Path:
    path = folder / name
    Image.new("RGB", size, colour).save(path)
    return path


def near(found: object, colour: tuple[int, int, int]) -> bool:
    assert isinstance(found, tuple)
    return all(abs(a - b) < 12 for a, b in zip(found, colour, strict=True))


def test_each_picture_stands_whole_in_its_square(tmp_path: Path) -> None:
    wide = picture(tmp_path, "wide.png", RED, (400, 100))
    high = picture(tmp_path, "high.png", GREEN, (50, 200))
    small = picture(tmp_path, "small.png", BLUE, (20, 20))
    page = Image.open(io.BytesIO(two_rows([wide, high], [small], side=100)))
    assert (page.format, page.mode, page.size) == ("JPEG", "RGB", (224, 304))
    grey = (128, 128, 128)
    spots = {
        (58, 90): RED,  # in the middle of the first square
        (12, 90): RED,
        (104, 90): RED,  # 100 wide
        (58, 70): grey,  # and 25 high
        (166, 44): GREEN,
        (166, 136): GREEN,
        (140, 90): grey,
        (58, 238): BLUE,  # not enlarged
        (40, 238): grey,
        (166, 238): grey,  # nothing there
    }
    assert {spot: near(page.getpixel(spot), colour) for spot, colour in spots.items()} == (
        dict.fromkeys(spots, True)
    )
    assert page.crop((8, 0, 100, 36)).convert("L").getextrema()[1] > 240  # its title


def test_it_is_turned_as_its_camera_was(tmp_path: Path) -> None:
    image = Image.new("RGB", (200, 100), RED)
    image.paste(BLUE, (100, 0, 200, 100))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    page = Image.open(io.BytesIO(two_rows([tmp_path / "a.jpg"], [], side=100)))
    assert near(page.getpixel((58, 60)), RED)
    assert near(page.getpixel((58, 120)), BLUE)


def test_what_cannot_be_read_leaves_its_square_empty(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    red = picture(tmp_path, "red.png", RED, (100, 100))
    rows = two_rows([tmp_path / "broken.jpg", red], [tmp_path / "gone.jpg"], side=100)
    page = Image.open(io.BytesIO(rows))
    assert near(page.getpixel((58, 90)), (128, 128, 128))
    assert near(page.getpixel((166, 90)), RED)


def test_the_same_pictures_give_the_same_bytes(tmp_path: Path) -> None:
    red = picture(tmp_path, "red.png", RED, (90, 70))
    assert two_rows([red], [red]) == two_rows([red], [red])
