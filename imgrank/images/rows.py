"""Two rows of pictures in one, for somebody who is to look at both at once.

    Row 1
    [ ] [ ] [ ] [ ] [ ]
    Row 2
    [ ] [ ] [ ] [ ] [ ]

Every picture stands whole in a square of its own, on grey, colours in sRGB.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from imgrank.images.reading import Unreadable, read_file
from imgrank.images.thumbnail import reduced

__all__ = ["LAYOUT", "two_rows"]

LAYOUT = 1
"""Changes with anything below that changes what is seen."""
SIDE = 320
"""Pixels of a square: ten of them make a picture that vision models take without reducing it."""
GAP, TITLE = 8, 40
GREY, INK = (128, 128, 128), (255, 255, 255)
QUALITY = 88
"""Of JPEG."""


def two_rows(first: Sequence[Path], second: Sequence[Path], side: int = SIDE) -> bytes:
    """A JPEG file. A picture that cannot be read any more leaves its square empty.

    side: pixels of a square.
    """
    columns = max(len(first), len(second), 1)
    step = side + GAP
    page = Image.new("RGB", (GAP + columns * step, 2 * (TITLE + step) + GAP), GREY)
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=28)
    for number, row in enumerate((first, second)):
        top = number * (TITLE + step)
        draw.text((GAP, top + 4), f"Row {number + 1}", INK, font)
        for place, path in enumerate(row):
            small = _small(path, side)
            if small is not None:
                left = GAP + place * step + (side - small.width) // 2
                page.paste(small, (left, top + TITLE + (side - small.height) // 2))
    file = io.BytesIO()
    page.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _small(path: Path, side: int) -> Image.Image | None:
    try:
        return reduced(read_file(path), side)
    except Unreadable:
        return None
