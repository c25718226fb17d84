"""Properties that are measured, not judged: exact numbers from the pixels or from the header.

From the pixels, as shown (upright, 8-bit R'G'B', see `decode.py`), with luma
Y' = 0.2126 R' + 0.7152 G' + 0.0722 B' (Rec. ITU-R BT.709-6, item 3.2):

    brightness     mean of Y'                                     % of white, 0 .. 100
    contrast       standard deviation of Y' (RMS contrast)        % of white, 0 .. 50
    colorfulness   Hasler and Suesstrunk's M^(3)                  no unit, 0 .. about 250
    sharpness      variance of the Laplacian of Y' at one size    no unit, 0 upwards

From the header, with no pixel decoded:

    megapixels     width x height / 10^6
    file_size      bytes
    date           EXIF date taken, seconds since 1970; absent in many pictures
    aspect         width / height, upright

Luma, not CIE L*: both follow the eye (the gamma of R'G'B' is close to the cube root of L*), and the
mean of luma is linear in the pixels. So the first three need nothing but the sums and the sums of
products of the channels, which are whole numbers: one pass, and no rounding at all.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from imgrank.images.decode import decode, read_header

__all__ = [
    "VIEWING_SIZE",
    "ColorMoments",
    "brightness",
    "color_moments",
    "colorfulness",
    "contrast",
    "date_taken",
    "measure",
    "measure_header",
    "sharpness",
    "viewing_luma",
    "year_taken",
]

VIEWING_SIZE = 1024
"""Longest side in pixels at which sharpness is measured."""

_LUMA = np.array([0.2126, 0.7152, 0.0722])
_RED_GREEN = np.array([1.0, -1.0, 0.0])
_YELLOW_BLUE = np.array([0.5, 0.5, -1.0])
_STRIP_PIXELS = 1 << 16  # 2 MB as float64: stays in the cache and out of the peak of memory
_FIRST_PHOTOGRAPH = 1826


def measure(data: bytes) -> dict[str, float]:
    """brightness, contrast, colorfulness and sharpness of a picture file: one full decode.

    Raises `Unreadable`.
    """
    image = decode(data)
    moments = color_moments(image)
    return {
        "brightness": brightness(moments),
        "contrast": contrast(moments),
        "colorfulness": colorfulness(moments),
        "sharpness": sharpness(viewing_luma(image)),
    }


def measure_header(data: bytes) -> dict[str, float | None]:
    """megapixels, file_size, date and aspect of a picture file, without decoding its pixels.

    date is None if the picture carries none. Raises `Unreadable`.
    """
    header = read_header(data)
    return {
        "megapixels": header.width * header.height / 1e6,
        "file_size": float(len(data)),
        "date": date_taken(header.exif),
        "aspect": header.width / header.height,
    }


@dataclass(frozen=True, slots=True)
class ColorMoments:
    """First and second moments of R'G'B' over a picture, levels 0..255.

    mean: [3].  covariance: [3, 3], of the population (divided by the number of pixels).
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    def along(self, weights: NDArray[np.float64]) -> tuple[float, float]:
        """Mean and variance of the weighted sum of the three channels."""
        variance = float(weights @ self.covariance @ weights)
        return float(weights @ self.mean), max(variance, 0.0)


def color_moments(image: Image.Image) -> ColorMoments:
    """Moments of an RGB picture. The sums are whole numbers below 2^53, so they are exact."""
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // width)
    sums = np.zeros((4, 4))
    for top in range(0, height, rows):
        strip = np.asarray(image.crop((0, top, width, min(top + rows, height))))  # [h, W, 3]
        columns = np.ones((4, strip.shape[0] * width))
        columns[:3] = strip.reshape(-1, 3).T
        sums += columns @ columns.T
    mean = sums[3, :3] / sums[3, 3]
    return ColorMoments(mean, sums[:3, :3] / sums[3, 3] - np.outer(mean, mean))


def brightness(moments: ColorMoments) -> float:
    """Mean luma in percent of white, 0 (black) to 100 (white)."""
    mean, _ = moments.along(_LUMA)
    return 100.0 * mean / 255.0


def contrast(moments: ColorMoments) -> float:
    """Standard deviation of luma in percent of white, 0 (flat) to 50 (half black, half white).

    RMS contrast, as defined by E. Peli, "Contrast in complex images", JOSA A 7 (10), 1990.
    """
    _, variance = moments.along(_LUMA)
    return 100.0 * math.sqrt(variance) / 255.0


def colorfulness(moments: ColorMoments) -> float:
    """M^(3) = sqrt(s_rg^2 + s_yb^2) + 0.3 sqrt(m_rg^2 + m_yb^2), with means m and deviations s of

    rg = R' - G' and yb = (R' + G') / 2 - B', levels 0..255. 0: grey; 15 slightly, 45 averagely, 82
    highly and 109 extremely colourful to the paper's observers. D. Hasler and S. Suesstrunk,
    "Measuring colourfulness in natural images", Human Vision and Electronic Imaging VIII, 2003.
    """
    mean_rg, variance_rg = moments.along(_RED_GREEN)
    mean_yb, variance_yb = moments.along(_YELLOW_BLUE)
    return math.sqrt(variance_rg + variance_yb) + 0.3 * math.hypot(mean_rg, mean_yb)


def sharpness(luma: NDArray[np.float32]) -> float:
    """Variance of the Laplacian of a luma picture [H, W], levels 0..255; the border is repeated.

    The focus measure LAPV of J. L. Pech-Pacheco and others, "Diatom autofocusing in brightfield
    microscopy", ICPR 2000, with the kernel 0 1 0 / 1 -4 1 / 0 1 0. It rises with fine detail, with
    contrast and, like every measure of detail, with noise.
    """
    padded = np.pad(luma, 1, mode="edge")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    laplacian -= 4.0 * luma
    return float(laplacian.var(dtype=np.float64))


def viewing_luma(image: Image.Image) -> NDArray[np.float32]:  # [H, W]
    """Luma 0..255 of an RGB picture resized (bicubic, antialiased) to longest side `VIEWING_SIZE`.

    All pictures are compared as if shown at one size: 12 megapixels do not look less sharp than 1
    because an edge spans more of them, and a thumbnail does not look sharp for being small.
    """
    scale = VIEWING_SIZE / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    shown = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(shown).astype(np.float32) @ _LUMA.astype(np.float32)


_DATE = re.compile(r"\s*(\d{4})[:/.-](\d\d)[:/.-](\d\d)[ T]+(\d\d):(\d\d)(?::(\d\d))?")
_OFFSET = re.compile(r"\s*([+-])(\d\d):?(\d\d)|\s*Z")

_TAKEN = (
    (
        ExifTags.Base.DateTimeOriginal,
        ExifTags.Base.SubsecTimeOriginal,
        ExifTags.Base.OffsetTimeOriginal,
    ),
    (
        ExifTags.Base.DateTimeDigitized,
        ExifTags.Base.SubsecTimeDigitized,
        ExifTags.Base.OffsetTimeDigitized,
    ),
)


def date_taken(exif: Mapping[int, Any]) -> float | None:
    """Seconds since 1970-01-01 00:00 UTC (negative before) at which a picture was taken, or None.

    exif: tags of the Exif IFD (CIPA DC-008, Exif 2.32). DateTimeOriginal with its sub-second and
    offset, else DateTimeDigitized. The plain DateTime is not used: it is the date of the last
    change. Without an offset, the camera's clock is taken as UTC, which orders the pictures of one
    camera rightly. Impossible dates (month 0, before the first photograph) count as none.
    """
    for date_tag, fraction_tag, offset_tag in _TAKEN:
        seconds = _seconds(_text(exif.get(date_tag)))
        if seconds is not None:
            fraction = _text(exif.get(fraction_tag)).strip()
            if fraction.isascii() and fraction.isdigit():
                seconds += float("0." + fraction)
            return seconds - _offset_seconds(_text(exif.get(offset_tag)))
    return None


def year_taken(data: bytes) -> int | None:
    """The year of a picture file's DateTimeOriginal, as its camera wrote it; None without one.

    DateTimeDigitized is not used: of a scan it is the date of the scan. Raises `Unreadable`.
    """
    text = _text(read_header(data).exif.get(ExifTags.Base.DateTimeOriginal))
    match = _DATE.match(text)
    return int(match[1]) if match and _seconds(text) is not None else None


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value.split("\0")[0] if isinstance(value, str) else ""


def _seconds(text: str) -> float | None:
    match = _DATE.match(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(digits or 0) for digits in match.groups())
    try:
        moment = datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.UTC)
    except ValueError:
        return None
    return moment.timestamp() if moment.year >= _FIRST_PHOTOGRAPH else None


def _offset_seconds(text: str) -> float:
    match = _OFFSET.match(text)
    if match is None or match[1] is None:
        return 0.0
    return (1 if match[1] == "+" else -1) * (int(match[2]) * 3600 + int(match[3]) * 60)
