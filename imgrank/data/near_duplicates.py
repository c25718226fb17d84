"""Near-duplicates made of real photographs: what a burst, an edit or a re-encode leaves alike.

Of one photograph, each kind once, its strength drawn uniformly:

    crop      2 to 15 % of each side cut off, anywhere
    shift     two frames of 90 to 97 % of each side, one at the left, one at the right edge
    turn      1 to 3 degrees to either side, cut to what is left of the frame
    jpeg      quality 30 to 90
    half      half as many pixels on each side
    exposure  0.25 to 0.5 stops down or up, clipped
    blur      Gaussian, 0.5 to 1.5 pixels of the picture as seen at 224 on the short side
    noise     Gaussian, standard deviation 4 to 12 grey levels, more for more pixels
    colour    saturation 0.8 to 1.25, red and blue 0.92 to 1.08
    burst     turn to 1.5 degrees, crop of 2 to 6 %, exposure to 0.25 stops, all at once
    pan       two frames of 70 to 85 % of each side, one at the left, one at the right edge

All are saved as JPEG of quality 92 (but `jpeg`), without EXIF. They only approach a real burst, in
which the subject moves and the light changes; say so beside every figure that rests on them.
"""

from __future__ import annotations

import io
import math
import random

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

__all__ = ["KINDS", "PAN", "framed", "made"]

KINDS = (
    *("crop", "shift", "turn", "jpeg", "half"),
    *("exposure", "blur", "noise", "colour", "burst"),
)
PAN = "pan"  # too far to be a near-duplicate, but for its time
FRAMED = {"shift": (0.03, 0.10), PAN: (0.15, 0.30)}  # share that is cut off
VIEW = 224
QUALITY = 92


def made(image: Image.Image, kind: str, seed: str) -> bytes:
    """The near-duplicate of an RGB picture, as the bytes of a JPEG. Raises KeyError for no kind."""
    draw = random.Random(f"{seed}|{kind}")
    if kind == "jpeg":
        return _jpeg(image, draw.randint(30, 90))
    return _jpeg(_made(image, kind, draw))


def framed(image: Image.Image, kind: str, seed: str) -> bytes:
    """What it is a near-duplicate of: the picture, or the other of the two frames."""
    if kind not in FRAMED:
        return _jpeg(image)
    draw = random.Random(f"{seed}|{kind}")
    return _jpeg(_cut(image, 1 - draw.uniform(*FRAMED[kind]), 0.0, draw.random()))


def _made(image: Image.Image, kind: str, draw: random.Random) -> Image.Image:
    zoom = max(1.0, min(image.size) / VIEW)
    match kind:
        case "crop":
            return _cut(image, 1 - draw.uniform(0.02, 0.15), draw.random(), draw.random())
        case "turn":
            return _turned(image, draw.choice((-1, 1)) * draw.uniform(1, 3))
        case "half":
            half = (max(1, image.width // 2), max(1, image.height // 2))
            return image.resize(half, Image.Resampling.BICUBIC)
        case "exposure":
            return _exposed(image, draw.choice((-1, 1)) * draw.uniform(0.25, 0.5))
        case "blur":
            return image.filter(ImageFilter.GaussianBlur(draw.uniform(0.5, 1.5) * zoom))
        case "noise":
            return _noisy(image, draw.uniform(4, 12) * math.sqrt(zoom), draw.getrandbits(31))
        case "colour":
            image = ImageEnhance.Color(image).enhance(draw.uniform(0.8, 1.25))
            gains = (draw.uniform(0.92, 1.08), 1.0, draw.uniform(0.92, 1.08))
            return image.point([min(255, round(v * gain)) for gain in gains for v in range(256)])
        case "burst":
            image = _turned(image, draw.uniform(-1.5, 1.5))
            image = _cut(image, 1 - draw.uniform(0.02, 0.06), draw.random(), draw.random())
            return _exposed(image, draw.uniform(-0.25, 0.25))
        case _:
            return _cut(image, 1 - draw.uniform(*FRAMED[kind]), 1.0, draw.random())


def _cut(image: Image.Image, share: float, x: float, y: float) -> Image.Image:
    """A frame of this share of each side; x, y: 0 at the left and top edge, 1 at the others."""
    width, height = share * image.width, share * image.height
    left, top = x * (image.width - width), y * (image.height - height)
    return image.crop((round(left), round(top), round(left + width), round(top + height)))


def _turned(image: Image.Image, degrees: float) -> Image.Image:
    slope = math.tan(math.radians(abs(degrees))) / 2
    left, top = math.ceil(image.height * slope) + 1, math.ceil(image.width * slope) + 1
    turned = image.rotate(degrees, Image.Resampling.BICUBIC)
    return turned.crop((left, top, image.width - left, image.height - top))


def _exposed(image: Image.Image, stops: float) -> Image.Image:
    """Light times 2^stops, with the sRGB curve taken as a power of 2.2."""
    levels = np.clip(((np.arange(256) / 255) ** 2.2 * 2.0**stops) ** (1 / 2.2), 0, 1) * 255
    return image.point([round(float(level)) for level in levels] * 3)


def _noisy(image: Image.Image, std: float, seed: int) -> Image.Image:
    values = np.asarray(image, np.float32)
    noise = np.random.default_rng(seed).standard_normal(values.shape, np.float32)
    return Image.fromarray(np.clip(np.rint(values + std * noise), 0, 255).astype(np.uint8))


def _jpeg(image: Image.Image, quality: int = QUALITY) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()
