"""Photographs made worse by known amounts: training pairs for quality without human raters.

A version of a photograph has a kind and a grade from 0 (as it was) to 5 (bad); the label is the
grade, and only versions of ONE photograph are strictly comparable. Grades need not be whole. The
strength at a grade between two of a kind's five levels is interpolated geometrically. All
strengths are relative to the picture as seen at 224 pixels on the short side, so that a grade looks
alike whatever the size of the photograph:

    blur       Gaussian, standard deviation in pixels of that view
    noise      Gaussian, independent per channel, standard deviation in grey levels of 255
    jpeg       quality of a JPEG saved at that view's size or the photograph's own, if smaller
    under,     exposure lowered or raised by so many stops in linear light, clipped
    over
    downscale  short side in pixels; the file stays that small

The same seed gives the same bytes with the same Pillow. Distortions of real photographs only
approach what people call quality; say so beside every figure that rests on them.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter

from imgrank.data.labelled import read_picture
from imgrank.errors import DataError
from imgrank.images import Skip
from imgrank.images.decode import decode
from imgrank.images.reading import Unreadable, read_file
from imgrank.images.scan import scan

__all__ = [
    "GRADES",
    "KINDS",
    "Kind",
    "Version",
    "find_photographs",
    "plan_versions",
    "render",
]

Kind = Literal["blur", "noise", "jpeg", "under", "over", "downscale"]
KINDS: tuple[Kind, ...] = ("blur", "noise", "jpeg", "under", "over", "downscale")
GRADES = 5
VIEW = 224

LEVELS: dict[Kind, tuple[float, float, float, float, float]] = {
    "blur": (0.6, 1.0, 1.6, 2.6, 4.2),
    "noise": (6.0, 11.0, 19.0, 32.0, 55.0),
    "jpeg": (35.0, 20.0, 12.0, 7.0, 4.0),
    "under": (0.9, 1.5, 2.2, 3.0, 4.0),
    "over": (0.6, 1.0, 1.5, 2.1, 2.8),
    "downscale": (156.0, 112.0, 80.0, 56.0, 40.0),
}


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a photograph, not made yet. grade 0: undistorted, whatever the kind.

    frame: seed of the crop and the mirroring, shared by all versions of a photograph; None: as is.
    noise: seed of the noise.
    """

    photograph: Path
    kind: Kind
    grade: float
    frame: int | None = None
    noise: int = 0

    @property
    def key(self) -> str:
        """Names this version in a cache, by the photograph's name and parent folder."""
        name = "/".join(self.photograph.parts[-3:])
        return f"{name}|{self.kind}|{self.grade:.4f}|{self.frame}|{self.noise}"


def find_photographs(
    folders: Sequence[Path], left_out: Callable[[Path, str], None] | None = None
) -> list[Path]:
    """All JPEG and PNG files under the folders, sorted in each; hidden ones do not count.

    left_out(path, reason): takes each that cannot be read, for which all are tried now; without it
    such a file is an error as soon as it is needed. Raises DataError for a folder without any.
    """
    found: list[Path] = []
    for folder in folders:
        here = []
        for each in scan([folder]) if folder.is_dir() else ():
            if each.path.suffix.lower() not in (".jpg", ".jpeg", ".png"):
                continue
            reason = each.reason if isinstance(each, Skip) else None
            if reason is None and left_out is not None:
                reason = _why_unreadable(each.path)
            if reason is None:
                here.append(each.path)
            elif left_out is not None:
                left_out(each.path, reason)
            else:
                raise DataError(f"{each.path}: {reason}. Unpack this data set again.")
        if not here:
            raise DataError(f"{folder} holds no JPEG or PNG photograph that can be read.")
        found += sorted(here)
    return found


def _why_unreadable(path: Path) -> str | None:
    try:
        decode(read_file(path), VIEW)
    except Unreadable as error:
        return str(error)
    return None


def plan_versions(
    photographs: Sequence[Path], per_kind: int, seed: int, augment: bool
) -> list[Version]:
    """For each photograph: itself, then `per_kind` grades of every kind, weakest first.

    augment: grades anywhere in [1, 5], and a random crop and mirroring; else different whole
    grades and the photograph as it is. With `per_kind` = 5 and no augmentation: every grade.
    """
    versions = []
    for photograph in photographs:
        draw = random.Random(f"{seed}|{'/'.join(photograph.parts[-3:])}")
        frame = draw.getrandbits(31) if augment else None
        versions.append(Version(photograph, KINDS[0], 0.0, frame))
        for kind in KINDS:
            if augment:
                grades = sorted(draw.uniform(1, GRADES) for _ in range(per_kind))
            else:
                grades = sorted(float(g) for g in draw.sample(range(1, GRADES + 1), per_kind))
            versions += [Version(photograph, kind, g, frame, draw.getrandbits(31)) for g in grades]
    return versions


def render(version: Version) -> bytes:
    """The version as the bytes of a picture file: a JPEG for `jpeg`, else a PNG.

    Raises DataError, which names it, if the photograph cannot be read.
    """
    image = read_picture(version.photograph)
    if version.frame is not None:
        image = _framed(image, random.Random(version.frame))
    if version.grade <= 0:
        return _png(image)
    strength = strength_of(version.kind, version.grade)
    zoom = min(image.size) / VIEW  # pixels of the photograph to one of the view
    match version.kind:
        case "blur":
            return _png(image.filter(ImageFilter.GaussianBlur(strength * zoom)))
        case "noise":
            return _png(_noisy(image, strength * max(zoom, 1.0), version.noise))
        case "jpeg":
            return _jpeg(_shortened(image, VIEW), round(strength))
        case "under":
            return _png(_exposed(image, -strength))
        case "over":
            return _png(_exposed(image, strength))
        case "downscale":
            return _png(_shortened(image, round(strength)))


def strength_of(kind: Kind, grade: float) -> float:
    """Strength at a grade in (0, 5]; geometric between levels, below 1 along the first step."""
    logs = np.log(LEVELS[kind])
    if grade < 1:
        return float(np.exp(logs[0] + (grade - 1) * (logs[1] - logs[0])))
    return float(np.exp(np.interp(grade, np.arange(1, GRADES + 1), logs)))


def _framed(image: Image.Image, draw: random.Random) -> Image.Image:
    """A random crop, at least 224 pixels (or as it is) on the short side, perhaps mirrored."""
    width, height = image.size
    low = min(1.0, VIEW / min(width, height))
    keep = draw.uniform(low, 1)
    w, h = round(width * keep), round(height * keep)
    left, top = draw.randint(0, width - w), draw.randint(0, height - h)
    image = image.crop((left, top, left + w, top + h))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draw.random() < 0.5 else image


def _shortened(image: Image.Image, short: int) -> Image.Image:
    """Downscaled to this short side; never enlarged."""
    width, height = image.size
    scale = short / min(width, height)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC)


def _noisy(image: Image.Image, std: float, seed: int) -> Image.Image:
    values = np.asarray(image, dtype=np.float32)
    noise = np.random.default_rng(seed).standard_normal(values.shape, dtype=np.float32)
    return Image.fromarray(np.clip(np.rint(values + std * noise), 0, 255).astype(np.uint8))


def _exposed(image: Image.Image, stops: float) -> Image.Image:
    """Light times 2^stops, with the sRGB curve taken as a power of 2.2."""
    levels = np.arange(256) / 255
    table = np.clip((levels**2.2 * 2.0**stops) ** (1 / 2.2), 0, 1) * 255
    return image.point([round(float(v)) for v in table] * 3)


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _jpeg(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()
