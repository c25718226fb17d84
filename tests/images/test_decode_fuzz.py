"""No bytes whatever make `decode` or `read_header` raise anything but `Unreadable`."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from pictures import quadrants, saved

from imgrank.images.decode import decode, read_header
from imgrank.images.reading import Unreadable

PREFIXES = [
    b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"GIF89a",
    b"RIFF\xff\0\0\0WEBPVP8 ",
    b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"BM", b"P6 9 9 255\n", b"8BPS\0\1", b"qoif",
    b"\0\0\1\0\1\0", b"icns\0\0\0\x40", b"\x0a\5\1\x08", b"\x01\xda\1\1", b"DDS \x7c\0\0\0",
    b"\xff\x4f\xff\x51", b"\0\0\0\x18ftypheic", b"\0\0\0\x18ftypavif",
]  # fmt: skip
WHOLE = [
    saved(quadrants(), kind)
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "QOI", "ICO", "AVIF", "JPEG2000")
]


def read(data: bytes) -> None:
    for size in (None, 8):
        try:
            image = decode(data, size, max_pixels=1_000_000)
        except Unreadable as error:
            assert str(error)
            assert "\n" not in str(error)
        else:
            assert image.mode == "RGB"
            assert min(image.size) >= 1
    try:
        header = read_header(data)
    except Unreadable:
        return
    assert header.width >= 1
    assert header.height >= 1


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PREFIXES), st.binary(max_size=300))
@example(b"P6 9 9 255\n", b"")
def test_random_bytes(prefix: bytes, rest: bytes) -> None:
    read(prefix + rest)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    st.floats(0.5, 1),
)
def test_damaged_pictures(data: bytes, changes: list[tuple[float, int]], kept: float) -> None:
    damaged = bytearray(data[: int(len(data) * kept)])
    for where, value in changes:
        damaged[int(where * len(damaged))] = value
    read(bytes(damaged))
