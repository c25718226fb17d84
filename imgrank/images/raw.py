"""RAW files of cameras, by the JPEG preview that the camera embedded in them (extra `raw`, rawpy).

The preview is what the photographer saw; developing the sensor's data would take seconds a picture
and depend on choices that nobody made. LibRaw reads the container, Pillow the preview.
"""

from __future__ import annotations

import io
from typing import Any

from imgrank.images.reading import Unreadable

__all__ = ["preview", "sensor_size"]

_FLIP_TO_ORIENTATION = {3: 3, 5: 8, 6: 6}
"""LibRaw's `flip` -> EXIF orientation of the same turn (180 degrees, 90 left, 90 right)."""

_EXIF_MARK = b"Exif\0\0"


def preview(data: bytes) -> tuple[bytes, int]:
    """The embedded preview as the bytes of a JPEG or PPM, and the EXIF orientation to turn it by.

    The orientation is 0 where the preview's own EXIF is to be believed. Raises `Unreadable`.
    """
    rawpy = _rawpy()
    with rawpy.imread(io.BytesIO(data)) as opened:
        try:
            thumb = opened.extract_thumb()
        except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
            raise Unreadable("RAW file without an embedded preview") from None
        orientation = _FLIP_TO_ORIENTATION.get(opened.sizes.flip, 1)
    if thumb.format == rawpy.ThumbFormat.JPEG:
        jpeg = bytes(thumb.data)
        return jpeg, 0 if _EXIF_MARK in jpeg[:64] else orientation
    height, width, _ = thumb.data.shape  # an RGB bitmap, uint8 [H, W, 3]
    return b"P6 %d %d 255\n" % (width, height) + thumb.data.tobytes(), orientation


def sensor_size(data: bytes) -> tuple[int, int]:
    """Width and height of the upright picture that the sensor took. Raises `Unreadable`."""
    with _rawpy().imread(io.BytesIO(data)) as opened:
        sizes = opened.sizes
        width, height = sizes.width, sizes.height
        return (height, width) if sizes.flip in (5, 6) else (width, height)


def _rawpy() -> Any:
    try:
        import rawpy
    except ImportError:
        raise Unreadable("RAW needs: pip install 'imgrank[raw]'") from None
    return rawpy
