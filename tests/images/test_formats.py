"""What a file is, by its first bytes."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from imgrank.images.formats import RAW_SUFFIXES, SUFFIXES, missing_bytes, sniff


def tiff_header(order: str, *tags: tuple[int, int, int]) -> bytes:
    """A TIFF whose first page has the given (tag, type, value) entries, value in one field."""
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    for tag, kind, value in tags:
        field = struct.pack(order + ("H2x" if kind == 3 else "I"), value)  # 3: SHORT, 4: LONG
        data += struct.pack(order + "HHI", tag, kind, 1) + field
    return data + b"\0\0\0\0"


@pytest.mark.parametrize(
    ("pillow_name", "kind"),
    [
        ("JPEG", "JPEG"), ("PNG", "PNG"), ("GIF", "GIF"), ("WEBP", "WebP"), ("TIFF", "TIFF"),
        ("BMP", "BMP"), ("PPM", "PPM"), ("JPEG2000", "JPEG 2000"), ("ICO", "ICO"),
        ("ICNS", "ICNS"), ("QOI", "QOI"), ("PCX", "PCX"), ("SGI", "SGI"), ("DDS", "DDS"),
        ("AVIF", "AVIF"),
    ],
)  # fmt: skip
def test_every_readable_format_is_known_by_its_bytes(pillow_name: str, kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(file, pillow_name)
    assert sniff(file.getvalue()) == kind


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"\xc5\xd0\xd3\xc6rest", "PostScript"),
        (b"%PDF-1.7", "PDF"),
        (b"\xff\x0a\x00", "JPEG XL"),
        (b"8BPS\0\1", "PSD"),
        (b"FUJIFILMCCD-RAW 0201", "RAW"),
        (b"IIRO\x08\0\0\0", "RAW"),
        (b"IIU\0\x18\0\0\0", "RAW"),
        (b"II*\0\x10\0\0\0CR\x02\0", "RAW"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "RAW"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", None),  # a film
        (b"P6 is how this sentence starts", "PPM"),
        (b"Pictures of my cat", None),
        (b"Meow", None),
        (b"", None),
    ],
)
def test_first_bytes(data: bytes, kind: str | None) -> None:
    assert sniff(data) == kind


@pytest.mark.parametrize("order", ["<", ">"])
def test_raw_files_that_are_tiff_files_are_told_apart(order: str) -> None:
    long, short = 4, 3
    plain = tiff_header(order, (256, short, 100), (257, short, 80))
    dng = tiff_header(order, (254, long, 0), (50706, long, 0x01040000))
    thumbnail_of_a_raw = tiff_header(order, (254, long, 1), (330, long, 1000))
    pages_of_one_picture = tiff_header(order, (254, long, 0), (330, long, 1000))
    found = [sniff(data) for data in (plain, dng, thumbnail_of_a_raw, pages_of_one_picture)]
    assert found == ["TIFF", "RAW", "RAW", "TIFF"]


def test_a_tiff_directory_beyond_the_file_is_left_to_the_decoder() -> None:
    assert sniff(b"II*\0" + struct.pack("<I", 10_000)) == "TIFF"


def test_missing_bytes_counts_what_the_last_box_lacks() -> None:
    first = struct.pack(">I4s", 16, b"ftyp") + b"heic\0\0\0\0"
    last = struct.pack(">I4s", 108, b"mdat") + bytes(100)
    wide = struct.pack(">I4sQ", 1, b"mdat", 116) + bytes(100)
    open_ended = struct.pack(">I4s", 0, b"mdat") + bytes(100)
    assert missing_bytes(first + last) == 0
    assert missing_bytes(first + last + b"\0") == 0
    assert missing_bytes((first + last)[:-7]) == 7
    assert missing_bytes((first + wide)[:-7]) == 7
    assert missing_bytes((first + open_ended)[:-7]) == 0


def test_heic_and_raw_suffixes_are_scanned_without_their_extras() -> None:
    assert {".heic", ".heif", ".avif", ".dng", ".nef", ".cr3"} <= SUFFIXES
    assert RAW_SUFFIXES < SUFFIXES
    assert not {".txt", ".eps", ".pdf", ".mp4", ".xmp", ".svg"} & SUFFIXES
