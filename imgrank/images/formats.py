"""Which files are pictures: by suffix for a walk of folders, by their first bytes for decoding.

A suffix only decides whether a file found in a folder is worth opening; the first bytes decide how
it is opened, so that a PNG named `.jpg` is read and a text named `.jpg` is not. HEIC and RAW
suffixes always count: without the extra such a file is a reported skip, not silence.

RAW files of most makers are TIFF files (Adobe's DNG specification 1.7, tag 50706; TIFF 6.0, tag
254): opened as TIFF they would show a thumbnail of 160 x 120, so they are told apart here.
"""

from __future__ import annotations

import struct
from typing import Literal

__all__ = ["RAW_SUFFIXES", "SUFFIXES", "Kind", "missing_bytes", "sniff"]

Kind = Literal[
    "AVIF", "BMP", "DDS", "GIF", "HEIC", "ICNS", "ICO", "JPEG", "JPEG 2000", "JPEG XL", "PCX",
    "PDF", "PNG", "PPM", "PSD", "PostScript", "QOI", "RAW", "SGI", "TIFF", "WebP",
]  # fmt: skip

RAW_SUFFIXES = frozenset((
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef",
    ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf",
    ".srw", ".x3f",
))  # fmt: skip

SUFFIXES = RAW_SUFFIXES | frozenset((
    ".apng", ".avif", ".avifs", ".bmp", ".dds", ".gif", ".heic", ".heics", ".heif", ".heifs",
    ".hif", ".icns", ".ico", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf",
    ".jpg", ".jpx", ".jxl", ".mpo", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi",
    ".sgi", ".tif", ".tiff", ".webp",
))  # fmt: skip

_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"8BPS", "PSD"),
    (b"qoif", "QOI"),
    (b"DDS ", "DDS"),
    (b"icns", "ICNS"),
    (b"\0\0\1\0", "ICO"),
    (b"\x01\xda", "SGI"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"%PDF", "PDF"),
    (b"FUJIFILMCCD-RAW", "RAW"),
    (b"IIRO", "RAW"),  # Olympus
    (b"IIRS", "RAW"),
    (b"MMOR", "RAW"),
    (b"IIU\0", "RAW"),  # Panasonic, Leica
    (b"FOVb", "RAW"),  # Sigma
    (b"\0MRM", "RAW"),  # Minolta
    (b"II\x1a\0\0\0HEAPCCDR", "RAW"),  # Canon CRW
)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIC_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
)
_NEW_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 254, 330, 50706


def sniff(data: bytes) -> Kind | None:
    """The format that the first bytes announce, None if it is none of a picture."""
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[:4] in _TIFF:
        return "RAW" if _is_raw_tiff(data) else "TIFF"
    if data[4:8] == b"ftyp":
        return _iso_media(data)
    if data[:1] == b"P" and data[1:2] in b"123456fFy" and data[2:3].isspace():
        return "PPM"
    if data[:1] == b"\n" and data[1:2] in (b"\0", b"\2", b"\3", b"\5") and data[2:3] == b"\1":
        return "PCX"
    return None


def _iso_media(data: bytes) -> Kind | None:
    """HEIC, AVIF or Canon CR3 by the brands of an ISO base media file (ISO/IEC 14496-12, 4.3)."""
    end = min(int.from_bytes(data[:4], "big"), 256)
    major = data[8:12]
    if major == b"crx ":
        return "RAW"
    brands = {major, *(data[i : i + 4] for i in range(16, end - 3, 4))}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIC" if brands & _HEIC_BRANDS else None


def missing_bytes(data: bytes) -> int:
    """How far the last box of a HEIC or AVIF file reaches beyond the end of the file.

    libheif decodes a file that was cut short without complaint, with grey where tiles are missing.
    """
    start = 0
    while start + 8 <= len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        if length == 1:  # a 64-bit length follows the type
            length = int.from_bytes(data[start + 8 : start + 16], "big")
        if length < 8:  # 0: the box ends with the file; less: not a box, something was appended
            return 0
        start += length
    return max(start - len(data), 0)


def _is_raw_tiff(data: bytes) -> bool:
    """DNG, CR2, or a first page that calls itself a reduced copy of one in a SubIFD (NEF, ARW)."""
    if data[8:11] == b"CR\x02":
        return True
    order = "<" if data[:2] == b"II" else ">"
    try:
        (offset,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, offset)
        tags = {}
        for i in range(count):
            tag, kind = struct.unpack_from(order + "HH", data, offset + 2 + 12 * i)
            value_code = "H" if kind == 3 else "I"
            tags[tag] = struct.unpack_from(order + value_code, data, offset + 10 + 12 * i)[0]
    except struct.error:
        return False  # a damaged TIFF: Pillow will say so
    return _DNG_VERSION in tags or (_SUB_IFDS in tags and bool(tags.get(_NEW_SUBFILE_TYPE, 0) & 1))
