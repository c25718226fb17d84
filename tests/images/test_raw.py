"""RAW files by their embedded preview; LibRaw is played by the test."""

from __future__ import annotations

import struct
import sys
import types
from typing import Any

import numpy as np
import pytest
from pictures import BLUE, RED, pixels, quadrants, saved, with_orientation
from PIL import Image

from imgrank.images.decode import decode, read_header
from imgrank.images.reading import Unreadable


def fake_rawpy(preview: Any, kind: str, flip: int) -> types.ModuleType:
    """LibRaw's side of the conversation, as rawpy 0.28 speaks it."""
    module: Any = types.ModuleType("rawpy")
    module.ThumbFormat = types.SimpleNamespace(JPEG="jpeg", BITMAP="bitmap")
    module.LibRawNoThumbnailError = type("LibRawNoThumbnailError", (Exception,), {})
    module.LibRawUnsupportedThumbnailError = type("Unsupported", (Exception,), {})

    class Opened:
        sizes = types.SimpleNamespace(width=6000, height=4000, flip=flip)

        def __enter__(self) -> Opened:
            return self

        def __exit__(self, *error: object) -> None: ...

        def extract_thumb(self) -> Any:
            if preview is None:
                raise module.LibRawNoThumbnailError
            return types.SimpleNamespace(format=kind, data=preview)

    module.imread = lambda file: Opened()
    return module  # type: ignore[no-any-return]


@pytest.mark.parametrize(("flip", "turn"), [(0, 0), (3, 2), (5, 1), (6, 3)])
def test_raw_preview_is_turned_as_the_camera_was_held(
    monkeypatch: pytest.MonkeyPatch, flip: int, turn: int
) -> None:
    expected = np.rot90(np.asarray(quadrants()), turn)  # anticlockwise
    bitmap = np.asarray(quadrants())
    monkeypatch.setitem(sys.modules, "rawpy", fake_rawpy(bitmap, "bitmap", flip))
    assert np.array_equal(pixels(b"FUJIFILMCCD-RAW"), expected)
    jpeg = saved(quadrants(), "JPEG", quality=100, subsampling=0)
    monkeypatch.setitem(sys.modules, "rawpy", fake_rawpy(jpeg, "jpeg", flip))
    assert np.abs(pixels(b"FUJIFILMCCD-RAW").astype(int) - expected).max() <= 4
    header = read_header(b"FUJIFILMCCD-RAW")
    assert (header.width, header.height) == ((4000, 6000) if flip in (5, 6) else (6000, 4000))


def test_raw_preview_with_its_own_orientation_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg = with_orientation(quadrants(), "JPEG", 3)
    monkeypatch.setitem(sys.modules, "rawpy", fake_rawpy(jpeg, "jpeg", 6))
    assert decode(b"FUJIFILMCCD-RAW").size == (48, 32)


def test_raw_without_a_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", fake_rawpy(None, "", 0))
    with pytest.raises(Unreadable, match="without an embedded preview"):
        decode(b"FUJIFILMCCD-RAW")


def dng(orientation: int) -> bytes:
    """A DNG of 96 x 64: a JPEG preview (left blue, right red), random sensor data, a date."""
    preview = Image.new("RGB", (96, 64), RED)
    preview.paste(BLUE, (0, 0, 48, 64))
    jpeg = saved(preview, "JPEG", quality=95)
    sensor = np.random.default_rng(0).integers(0, 4000, (64, 96)).astype("<u2").tobytes()
    byte, text, short, long, rational = 1, 2, 3, 4, 10
    first, second, exif, at_jpeg, at_sensor = 8, 2048, 3072, 4096, 8192
    size = [(256, long, "I", [96]), (257, long, "I", [64]), (278, long, "I", [64])]
    identity = [1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1]
    pages = {
        first: [
            *size, (254, long, "I", [1]), (258, short, "H", [8, 8, 8]), (259, short, "H", [7]),
            (262, short, "H", [6]), (271, text, "B", b"Test\0"), (272, text, "B", b"Camera\0"),
            (273, long, "I", [at_jpeg]), (274, short, "H", [orientation]),
            (277, short, "H", [3]), (279, long, "I", [len(jpeg)]), (330, long, "I", [second]),
            (34665, long, "I", [exif]), (50706, byte, "B", [1, 4, 0, 0]),
            (50708, text, "B", b"Test Camera\0"), (50721, rational, "i", identity),
        ],
        second: [
            *size, (254, long, "I", [0]), (258, short, "H", [16]), (259, short, "H", [1]),
            (262, short, "H", [32803]), (273, long, "I", [at_sensor]), (277, short, "H", [1]),
            (279, long, "I", [len(sensor)]), (33421, short, "H", [2, 2]),
            (33422, byte, "B", [0, 1, 1, 2]), (50717, long, "I", [4095]),
        ],
        exif: [(36867, text, "B", b"2020:05:06 07:08:09\0")],
    }  # fmt: skip
    data = bytearray(b"II*\0\x08\0\0\0".ljust(at_sensor, b"\0") + sensor)
    data[at_jpeg : at_jpeg + len(jpeg)] = jpeg
    for start, entries in pages.items():
        beyond = start + 2 + 12 * len(entries) + 4
        page = struct.pack("<H", len(entries))
        for tag, kind, code, values in sorted(entries, key=lambda entry: entry[0]):
            field = struct.pack(f"<{len(values)}{code}", *values)
            if len(field) > 4:
                data[beyond : beyond + len(field)] = field
                field, beyond = struct.pack("<I", beyond), beyond + len(field) + len(field) % 2
            count = len(values) // 2 if kind == rational else len(values)
            page += struct.pack("<HHI4s", tag, kind, count, field)
        data[start : start + len(page)] = page
    return bytes(data)


@pytest.mark.parametrize(
    ("orientation", "size", "first"),
    [(1, (96, 64), BLUE), (3, (96, 64), RED), (6, (64, 96), BLUE), (8, (64, 96), RED)],
)
def test_a_real_dng_through_the_real_libraw(
    orientation: int, size: tuple[int, int], first: tuple[int, int, int]
) -> None:
    pytest.importorskip("rawpy", reason="the raw extra is not installed")
    data = dng(orientation)
    image = decode(data)
    assert image.size == size
    assert np.abs(np.subtract(image.getpixel((2, 2)), first)).max() <= 3
    header = read_header(data)
    assert (header.width, header.height) == size
    assert header.exif[36867] == "2020:05:06 07:08:09"
    with pytest.raises(Unreadable, match=r"damaged or unsupported RAW: [A-Z]"):
        decode(data[:3000])
