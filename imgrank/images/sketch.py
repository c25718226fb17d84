"""What tells near-duplicates apart, of each picture: a sketch of it, when and by what it was taken.

    sketch   luma of the whole picture squashed to 32 x 32, uint8
    moment   seconds since 1970 (NaN if the picture does not say) and a number that stands for the
             camera (maker, model and serial number; 0 if the picture names none), float64 [2]

The moment is `measure.date_taken`: DateTimeOriginal with SubSecTimeOriginal and OffsetTimeOriginal.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from imgrank.images.decode import Header, decode, read_header
from imgrank.images.measure import date_taken

__all__ = ["SIDE", "look", "moment", "sketch"]

SIDE = 32

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)


def look(data: bytes) -> dict[str, NDArray[np.generic]]:
    """`sketch` and `moment` of a picture file. Raises `Unreadable`."""
    return {"sketch": sketch(decode(data, SIDE)), "moment": moment(read_header(data))}


def sketch(image: Image.Image) -> NDArray[np.uint8]:  # [32, 32]
    """Luma of an RGB picture, each value the mean over its part of it."""
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
    luma: NDArray[np.uint8] = np.rint(small.astype(np.float32) @ _LUMA).astype(np.uint8)
    return luma


def moment(header: Header) -> NDArray[np.float64]:  # [2]
    """When and by what a picture was taken."""
    taken = date_taken(header.exif)
    serial = header.exif.get(ExifTags.Base.BodySerialNumber)
    words = [header.camera, serial.strip(" \0") if isinstance(serial, str) else ""]
    number = 0
    if any(words):
        digest = hashlib.sha256("\n".join(words).encode("utf-8", "backslashreplace")).digest()
        number = 1 + (int.from_bytes(digest[:6], "big") >> 1)  # a float holds it exactly
    return np.array([math.nan if taken is None else taken, number])
