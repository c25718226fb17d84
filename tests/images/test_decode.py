"""What pixels come out of a picture file, format by format, and why some are refused."""

from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from pictures import BLUE, GREEN, GREY, RED, pixels, png_chunk, quadrants, saved, with_orientation
from PIL import ExifTags, Image, ImageCms, ImageOps

from imgrank.images.decode import (
    Unreadable,
    decode,
    read_header,
    to_square,
)

STORED_FOR = {  # orientation -> how the upright picture has to be stored to need it
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,  # stored lying on its left side: shown turned right
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", STORED_FOR)
def test_all_orientations_are_turned_upright(kind: str, orientation: int) -> None:
    upright = quadrants()
    turn = STORED_FOR[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    data = with_orientation(stored, kind, orientation)
    found = pixels(data)
    assert found.shape == (32, 48, 3)
    for y, x in ((4, 4), (4, 44), (28, 4), (28, 44)):  # away from the blur of lossy formats
        assert np.abs(found[y, x].astype(int) - np.asarray(upright)[y, x]).max() <= 4
    header = read_header(data)
    assert (header.width, header.height) == (48, 32)


def test_a_nonsense_orientation_or_damaged_exif_is_ignored() -> None:
    plain = pixels(saved(quadrants(), "PNG"))
    assert np.array_equal(pixels(with_orientation(quadrants(), "PNG", 9)), plain)
    damaged = saved(quadrants(), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert np.array_equal(pixels(damaged), plain)
    assert read_header(damaged).exif == {}


def test_draft_is_never_below_twice_the_size() -> None:
    for width, height in ((1600, 1200), (1000, 300), (449, 2000), (100, 80)):
        data = saved(quadrants(width, height), "JPEG", quality=90)
        for size in (32, 50, 64, 224):
            drafted = decode(data, size).size
            if min(width, height) >= 2 * size:
                assert min(drafted) >= 2 * size
            else:
                assert drafted == (width, height)
        assert decode(data).size == (width, height)


def test_draft_reads_less_and_shows_the_same() -> None:
    data = saved(quadrants(1600, 1200), "JPEG", quality=95)
    assert decode(data, 64).size == (200, 150)  # an eighth; a smaller scale does not exist
    assert decode(data, 224).size == (800, 600)  # a quarter would be 400 x 300 < 448
    full, drafted = (to_square(decode(data, size), 64).astype(int) for size in (None, 64))
    assert np.abs(full - drafted).mean() < 1.0


def test_draft_leaves_other_formats_alone() -> None:
    assert decode(saved(quadrants(1600, 1200), "PNG"), 32).size == (1600, 1200)


def test_transparency_is_white() -> None:
    image = Image.new("RGBA", (3, 1))
    image.putdata([(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 128)])
    expected = [[255, 0, 0], [255, 255, 255], [127, 127, 127]]
    assert pixels(saved(image, "PNG"))[0].tolist() == expected
    assert pixels(saved(image, "WEBP", lossless=True))[0].tolist() == expected
    assert pixels(saved(image, "TIFF"))[0].tolist() == expected


def test_grey_with_alpha() -> None:
    image = Image.new("LA", (3, 1))
    image.putdata([(10, 255), (10, 0), (0, 51)])
    assert pixels(saved(image, "PNG"))[0].tolist() == [[10] * 3, [255] * 3, [204] * 3]


def test_palette_with_and_without_transparency() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    assert pixels(saved(image, "PNG"))[0].tolist() == [list(RED), list(GREEN), list(BLUE)]
    one_clear = saved(image, "PNG", transparency=1)
    assert pixels(one_clear)[0].tolist() == [list(RED), [255] * 3, list(BLUE)]
    graded = saved(image, "PNG", transparency=bytes([255, 128, 0]))
    assert pixels(graded)[0].tolist() == [list(RED), [127, 255, 127], [255] * 3]


@pytest.mark.parametrize(("mode", "clear"), [("1", 0), ("L", 7), ("RGB", (1, 2, 3))])
def test_one_transparent_colour(mode: str, clear: Any) -> None:
    image = Image.new(mode, (2, 1), clear)
    image.putpixel((1, 0), {"1": 1, "L": 99, "RGB": (9, 9, 9)}[mode])
    found = pixels(saved(image, "PNG", transparency=clear))[0].tolist()
    assert found == [[255] * 3, {"1": [255] * 3, "L": [99] * 3, "RGB": [9] * 3}[mode]]


def test_16_bit_grey_keeps_its_scale() -> None:
    levels = np.array([[0, 257, 32768, 65535, 128]], np.uint16)
    expected = [0, 1, 128, 255, 0]
    for kind in ("PNG", "TIFF"):
        found = pixels(saved(Image.fromarray(levels), kind))
        assert found[0].tolist() == [[x] * 3 for x in expected]
    clear = pixels(saved(Image.fromarray(levels), "PNG", transparency=257))
    assert clear[0, :2].tolist() == [[0] * 3, [255] * 3]


def test_16_bit_colour() -> None:
    row = struct.pack(">6H", 65535, 32768, 0, 257, 514, 65535)
    data = (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
        + png_chunk(b"IDAT", zlib.compress(b"\0" + row))
        + png_chunk(b"IEND", b"")
    )
    assert pixels(data)[0].tolist() == [[255, 128, 0], [1, 2, 255]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([-10.0, 0.0, 10.0], [0, 128, 255]),
        ([1000.0, 2000.0, 5000.0], [0, 64, 255]),
        ([0.5, 0.5, 0.5], [128, 128, 128]),
        ([float("nan"), 0.0, 1.0], [0, 0, 255]),
        ([300.0, 300.0, 300.0], [0, 0, 0]),
    ],
)
def test_float_pictures(values: list[float], expected: list[int]) -> None:
    data = saved(Image.fromarray(np.array([values], np.float32)), "TIFF")
    assert pixels(data)[0, :, 0].tolist() == expected


def test_32_bit_integers() -> None:
    beyond = np.array([[0, 1_000_000, 4_000_000]], np.int32)
    assert pixels(saved(Image.fromarray(beyond), "TIFF"))[0, :, 0].tolist() == [0, 64, 255]
    within = np.array([[0, 257, 65535]], np.int32)
    assert pixels(saved(Image.fromarray(within), "TIFF"))[0, :, 0].tolist() == [0, 1, 255]


def test_cmyk_is_not_inverted() -> None:
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow: red
    for kind in ("JPEG", "TIFF"):  # Pillow writes the JPEG inverted with Adobe's marker
        red, green, blue = pixels(saved(inks, kind))[8, 8].tolist()
        assert red > 200
        assert green < 60
        assert blue < 60


def test_cmyk_with_a_useless_profile_is_converted_plainly() -> None:
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (b"no profile at all", srgb):
        found = pixels(saved(inks, "TIFF", icc_profile=profile))
        assert found[8, 8].tolist() == [255, 0, 0]


def test_lab_is_converted_by_its_meaning() -> None:
    lab = Image.new("LAB", (4, 4), (255, 128, 128))  # L* 100, a 0, b 0 in Pillow's encoding
    lab.paste((0, 128, 128), (0, 0, 2, 4))
    found = pixels(saved(lab, "TIFF"))
    assert found[0, 0].max() <= 3
    assert found[0, 3].min() >= 252


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_counts(kind: str) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert pixels(data).tolist() == [[list(RED)] * 20] * 10


def test_the_first_picture_of_a_stereo_pair() -> None:
    left, right = Image.new("RGB", (32, 16), RED), Image.new("RGB", (32, 16), BLUE)
    data = saved(left, "MPO", save_all=True, append_images=[right], quality=95)
    found = pixels(data)
    assert found.shape == (16, 32, 3)
    assert np.abs(found.astype(int) - RED).max() <= 3


@pytest.mark.parametrize("kind", ["BMP", "PPM", "QOI", "PCX", "SGI", "DDS", "ICO", "JPEG2000"])
def test_other_formats(kind: str) -> None:
    assert np.array_equal(pixels(saved(quadrants(32, 32), kind)), np.asarray(quadrants(32, 32)))


def test_heic() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(quadrants(128, 64)).save(file, quality=95)
    found = pixels(file.getvalue())
    assert found.shape == (64, 128, 3)
    assert np.abs(found[8, 8].astype(int) - RED).max() <= 8
    assert np.abs(found[56, 120].astype(int) - GREY).max() <= 8
    with pytest.raises(Unreadable, match="truncated HEIC: the file is cut short by 20 bytes"):
        decode(file.getvalue()[:-20])
    with pytest.raises(Unreadable, match=r"cut short by 1 byte$"):
        decode(file.getvalue()[:-1])


def test_a_header_is_read_without_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2001:02:03 04:05:06"
    files = [saved(quadrants(), kind, exif=exif) for kind in ("JPEG", "PNG", "WEBP")]

    def load(image: Image.Image) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    for data in files:
        header = read_header(data)
        assert (header.width, header.height) == (32, 48)
        assert header.exif == {ExifTags.Base.DateTimeOriginal: "2001:02:03 04:05:06"}


def test_to_square_is_pillows_resize_of_the_whole_picture() -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 130, 3), dtype=np.uint8))
    for name, method in (("bicubic", 3), ("bilinear", 2)):
        found = to_square(image, 56, name)  # type: ignore[arg-type]
        assert found.dtype == np.uint8
        assert np.array_equal(found, np.asarray(image.resize((56, 56), method)))


def test_to_square_equals_openclips_squash() -> None:
    pytest.importorskip("torch")
    from open_clip.transform import image_transform

    image = ImageOps.mirror(quadrants(300, 200))
    transform = image_transform(
        56, is_train=False, mean=(0, 0, 0), std=(1, 1, 1),
        resize_mode="squash", interpolation="bicubic",
    )  # fmt: skip
    theirs = (transform(image) * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(to_square(image, 56), theirs)


def test_many_threads_give_the_same_pixels() -> None:
    files = [saved(quadrants(), kind) for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP")] * 20
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(pixels, files))
    for i, image in enumerate(found):
        assert np.array_equal(image, found[i % 5])
