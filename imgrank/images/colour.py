"""Is a picture in colour, or a monochrome print with a tint? One number, from a small copy of it.

A print is toned, faded, yellowed, scanned in colour: its mean colour says nothing. But its tint is
a smooth curve of lightness, the same all over the print, while in a colour photograph things of one
lightness differ in colour. So: CIELAB of a 64 x 64 copy, a* and b* each fitted by a parabola in L*,
and the distance of the pixels from that curve. The outer 15 % on each side are left out, where a
scan shows the mount and the border of the print, which have tints of their own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imgrank.images.decode import decode, to_square

__all__ = ["SIDE", "chroma", "chroma_of_pixels", "lab"]

SIDE = 64
MARGIN = 10  # of SIDE, on each side
SHARE = 98  # per cent of the pixels that are nearer to the curve than the number that is given

# IEC 61966-2-1 (sRGB), D65; CIE 15: L*a*b*.
_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_WHITE = _TO_XYZ.sum(axis=1)


def chroma(data: bytes) -> float:
    """Colour of a picture file beyond a uniform tint, in units of CIELAB: about 2 to 9 for toned
    prints, 10 to 60 for colour photographs, 0 for grey ones. Raises `Unreadable`."""
    return chroma_of_pixels(to_square(decode(data, SIDE), SIDE))


def chroma_of_pixels(pixels: NDArray[np.uint8]) -> float:
    """The same, of a picture [64, 64, 3] that was squashed already."""
    inside = pixels[MARGIN:-MARGIN, MARGIN:-MARGIN].reshape(-1, 3)
    lightness, *colours = lab(inside).T
    curve = np.vander(lightness / 100, 3)  # [n, 3]: of degree 2
    a_b = np.stack(colours, axis=1)  # [n, 2]
    fitted, *_ = np.linalg.lstsq(curve, a_b, rcond=None)
    return float(np.percentile(np.linalg.norm(a_b - curve @ fitted, axis=1), SHARE))


def lab(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """sRGB [n, 3] of 0..255 -> L* (0..100), a*, b* [n, 3]."""
    c = rgb.astype(np.float64) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    t = linear @ _TO_XYZ.T / _WHITE
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.T
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=1)
