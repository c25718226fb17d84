"""A face cut out of a picture as the crops of a training set were cut: turned, scaled, moved.

Where the eyes, the tip of the nose and the corners of the mouth lie in a set's crops is data
(`CropGeometry`, of a checkpoint's config). A face goes there by the similarity transform that fits
its landmarks best (least squares). A face of which only the box is known goes where the set's boxes
lie, and is turned only if its eyes are known too.

Points are complex numbers here, x + iy: a similarity is then z -> a z + b, with a = scale x turn.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgrank.images.faces import Face

__all__ = ["UTKFACE", "CropGeometry", "Similarity", "crop", "fills", "placed"]

VERSION = 1
"""Part of every geometry's identity: rises when the same face gives another crop."""

SQUARE = 1.25
"""Longer side by shorter one, up to which a picture can be a crop of one face."""

NEAR = 0.2
"""Of the picture's side: how far a corner of the crop may lie from the picture's own corner for
the picture to count as cut out already."""


@dataclass(frozen=True, slots=True)
class CropGeometry:
    """Where a face lies in the crops of a training set; fractions of the crop's side.

    size: side of the training set's crops in pixels; a finer one was never seen in training.
    landmarks: the eyes, tip of the nose, corners of the mouth, of each pair the left one of the
    picture first.   box: x, y, width, height of a detector's box.
    """

    size: int
    landmarks: tuple[tuple[float, float], ...]
    box: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        flat = [value for point in self.landmarks for value in point] + list(self.box)
        if len(self.landmarks) != 5 or not all(map(math.isfinite, flat)) or self.size < 1:
            raise ValueError(f"this is no geometry of crops: {self}")
        if len(set(self.landmarks)) != 5 or min(self.box[2:]) <= 0:
            raise ValueError(f"this geometry of crops leaves no size to a face: {self}")

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> CropGeometry:
        """What stands in a config; absent fields are those of UTKFace. Raises ValueError."""
        try:
            landmarks = tuple((float(x), float(y)) for x, y in table.get("landmarks", _LANDMARKS))
            x, y, width, height = map(float, table.get("box", _BOX))
            return cls(int(table.get("size", _SIZE)), landmarks, (x, y, width, height))
        except TypeError as error:
            raise ValueError(f"this is no geometry of crops: {error}") from error

    @property
    def identity(self) -> str:
        """Of this geometry and of what `crop` does by it; a part of keys of the store."""
        facts = json.dumps([VERSION, self.size, self.landmarks, self.box])
        return hashlib.sha256(facts.encode()).hexdigest()[:12]


# Over the crops of UTKFace: medians of the eyes and boxes that were found in them (eye cascade, HOG
# detector, `faces.py`); tip of the nose and corners of the mouth as read off the mean crop.
_SIZE = 200
_LANDMARKS = ((0.283, 0.291), (0.679, 0.291), (0.485, 0.53), (0.32, 0.685), (0.67, 0.685))
_BOX = (0.027, -0.045, 0.893, 0.893)
UTKFACE = CropGeometry(_SIZE, _LANDMARKS, _BOX)


@dataclass(frozen=True, slots=True)
class Similarity:
    """z -> a z + b: from fractions of the crop's side to pixels of the picture."""

    a: complex
    b: complex

    @property
    def corners(self) -> NDArray[np.complex128]:
        """Of the crop in the picture, [4]: upper left, upper right, lower right, lower left."""
        return np.array([0, 1, 1 + 1j, 1j]) * self.a + self.b


def placed(face: Face, geometry: CropGeometry) -> Similarity:
    """Where in the picture the crop of a face lies: by its landmarks; else by its box, turned as
    its eyes are if they are known. (Of two points alone the scale would be a guess: a head that is
    turned aside has its eyes close together.)"""
    if face.landmarks is not None and len(set(face.landmarks)) > 1:
        return _fit(
            [complex(*p) for p in geometry.landmarks], [complex(*p) for p in face.landmarks]
        )
    x, y, width, height = geometry.box
    scale = complex(math.sqrt(face.width * face.height / (width * height)))
    if face.eyes is not None:
        left, right = (complex(*p) for p in face.eyes)
        level = complex(*geometry.landmarks[1]) - complex(*geometry.landmarks[0])
        turn = (right - left) / level
        scale *= turn / abs(turn) if turn else 1
    middle = complex(face.x + face.width / 2, face.y + face.height / 2)
    return Similarity(scale, middle - scale * complex(x + width / 2, y + height / 2))


def _fit(crop: Sequence[complex], picture: Sequence[complex]) -> Similarity:
    """Least squares: a = <z, w> / <z, z>, both centred."""
    z, w = np.array(crop), np.array(picture)
    centred = z - z.mean()
    a = complex(np.vdot(centred, w - w.mean()) / np.vdot(centred, centred).real)
    return Similarity(a, complex(w.mean() - a * z.mean()))


def fills(size: tuple[int, int], similarity: Similarity) -> bool:
    """Whether a picture of this width and height is the crop of that face already."""
    width, height = size
    if max(size) > SQUARE * min(size):
        return False
    own = np.array([0, width, complex(width, height), complex(0, height)])
    return bool(np.abs(similarity.corners - own).max() <= NEAR * min(size))


def crop(image: Image.Image, similarity: Similarity, size: int) -> Image.Image:
    """The crop, size x size, mode RGB; beyond the picture's edge its outermost pixels go on.

    The part of the picture that is needed is first made smaller (antialiased) if the crop has
    fewer pixels, then turned: memory follows from the crop, not from the face.
    """
    corners = similarity.corners
    left, right = _within(corners.real, image.width)
    top, bottom = _within(corners.imag, image.height)
    per_pixel = max(1.0, abs(similarity.a) / size)  # pixels of the picture
    width = max(1, round((right - left) / per_pixel))
    height = max(1, round((bottom - top) / per_pixel))
    part = image.resize((width, height), Image.Resampling.BICUBIC, box=(left, top, right, bottom))
    across, down = width / (right - left), height / (bottom - top)

    def moved(z: complex) -> complex:  # pixels of the picture -> of the part
        return complex((z.real - left) * across, (z.imag - top) * down)

    origin, ex, ey = (moved(complex(corners[i])) for i in (0, 1, 3))
    ends = [moved(complex(z)) for z in corners]
    over = max(
        *(max(-z.real, -z.imag, z.real - width, z.imag - height) for z in ends),
        0.0,
    )
    border = math.ceil(over) + 2  # bicubic reads two pixels further
    padded = np.pad(np.asarray(part), ((border, border), (border, border), (0, 0)), mode="edge")
    dx, dy = (ex - origin) / size, (ey - origin) / size
    start = origin + complex(border, border)
    matrix = (dx.real, dy.real, start.real, dx.imag, dy.imag, start.imag)
    return Image.fromarray(padded).transform(
        (size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
    )


def _within(ends: NDArray[np.float64], side: int) -> tuple[int, int]:
    """First and last pixel boundary of the part that is inside, at least one pixel wide."""
    low = min(max(math.floor(ends.min()) - 2, 0), side - 1)
    high = max(min(math.ceil(ends.max()) + 2, side), low + 1)
    return low, high
