"""Why a file is refused, in one line; and that nothing but `Unreadable` comes out."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from pictures import png_chunk, quadrants, saved
from PIL import Image

from imgrank.images import decode as decode_module
from imgrank.images.decode import decode, pixel_cap, read_header
from imgrank.images.limits import available_memory
from imgrank.images.reading import Unreadable, read_file


def test_without_its_extra_a_heic_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(Unreadable, match=r"pip install 'imgrank\[heic\]'"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


def test_without_its_extra_a_raw_file_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    for read in (decode, read_header):
        with pytest.raises(Unreadable, match=r"pip install 'imgrank\[raw\]'"):
            read(b"FUJIFILMCCD-RAW")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"I am a text.\n", "not a picture in a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "never run"),
        (b"%PDF-1.7", "never run"),
        (b"\xff\x0a\xfa\x7f", "JPEG XL is not supported"),
        (b"\x89PNG\r\n\x1a\n", "damaged or unsupported PNG"),
        (b"\xff\xd8\xff", "damaged or unsupported JPEG"),
        (b"P6 nonsense", "damaged or unsupported PPM"),
    ],
)
def test_reasons(data: bytes, reason: str) -> None:
    for read in (decode, read_header):
        with pytest.raises(Unreadable, match=reason) as caught:
            read(data)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF", "QOI", "AVIF", "JPEG2000", "GIF", "PCX"]
)
@pytest.mark.parametrize("part", [0.3, 0.7, 0.95])
def test_truncated_files_are_refused(kind: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), kind)
    with pytest.raises(Unreadable):
        decode(data[: int(part * len(data))])


def test_a_truncated_jpeg_is_refused_in_draft_too() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), "JPEG")
    with pytest.raises(Unreadable, match="truncated"):
        decode(data[: len(data) // 2], 32)


def bombs() -> dict[str, bytes]:
    png = b"\x89PNG\r\n\x1a\n" + png_chunk(
        b"IHDR", struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
    )
    return {
        "png": png + png_chunk(b"IDAT", zlib.compress(bytes(100))) + png_chunk(b"IEND", b""),
        "gif": b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0)
        + b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x02\x02\x44\x01\0;",
        "ppm": b"P6 100000 100000 255\n",
        "bmp": b"BM" + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 90_000, 90_000, 1, 24, 0, 0, 0, 0, 0, 0),
    }  # fmt: skip


@pytest.mark.parametrize("name", bombs())
def test_decompression_bombs_are_refused_by_their_header(name: str) -> None:
    with pytest.raises(Unreadable, match="pixels"):
        decode(bombs()[name], max_pixels=500_000_000)


def test_the_cap_says_how_large_and_how_much() -> None:
    data = saved(quadrants(400, 300), "PNG")
    assert decode(data, max_pixels=120_000).size == (400, 300)
    with pytest.raises(Unreadable, match=r"^400 x 300 pixels; .* memory for 0 megapixels$"):
        decode(data, max_pixels=119_999)


def test_large_pictures_are_our_decision_not_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # a warning above, an error above twice it
    assert decode(saved(quadrants(400, 300), "PNG")).size == (400, 300)


def test_pixel_cap_follows_the_memory() -> None:
    assert pixel_cap(48_000_000_000) == 1_000_000_000
    assert pixel_cap(4_800_000_000) == 100_000_000
    assert pixel_cap(0) == 16_000_000  # pictures of ordinary cameras are always read
    assert 1 << 20 < available_memory() < 1 << 50


def test_available_memory_heeds_a_container(tmp_path: Path) -> None:
    from imgrank.images import limits

    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2048 kB\n")
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert limits._meminfo(tmp_path / "meminfo") == 2048 * 1024
    assert limits._cgroup(tmp_path) == 2_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert limits._cgroup(tmp_path) is None
    assert limits._meminfo(tmp_path / "none") is None


def test_whatever_a_decoder_raises_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(quadrants(), "PNG")
    for error, said in (
        (MemoryError(), "too large for the memory"),
        (struct.error("unpack\nrequires"), "damaged or unsupported PNG: unpack$"),
        (RuntimeError(), "damaged or unsupported PNG: RuntimeError"),
    ):

        def fail(image: Image.Image, error: Exception = error) -> Image.Image:
            raise error

        monkeypatch.setattr(decode_module, "_to_rgb", fail)
        with pytest.raises(Unreadable, match=said):
            decode(data)


def test_an_interrupt_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(image: Image.Image) -> Image.Image:
        raise KeyboardInterrupt

    monkeypatch.setattr(decode_module, "_to_rgb", interrupt)
    with pytest.raises(KeyboardInterrupt):
        decode(saved(quadrants(), "PNG"))


def test_read_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg = b"\xff\xd8\xff" + bytes(5000)
    (tmp_path / "a").write_bytes(jpeg)
    (tmp_path / "empty").touch()
    (tmp_path / "disk.raw").write_bytes(bytes(5000))
    assert read_file(tmp_path / "a") == jpeg
    assert read_file(tmp_path / "empty") == b""
    with pytest.raises(Unreadable, match="not a picture"):
        read_file(tmp_path / "disk.raw")
    with pytest.raises(Unreadable, match="No such file"):
        read_file(tmp_path / "b")
    with pytest.raises(Unreadable, match="Is a directory"):
        read_file(tmp_path)
    monkeypatch.setattr("imgrank.images.reading.available_memory", lambda: 10_000)
    monkeypatch.setattr("imgrank.images.reading._SMALL", 1000)
    with pytest.raises(Unreadable, match="no memory for that"):
        read_file(tmp_path / "a")
