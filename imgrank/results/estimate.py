"""What `age`, `decade` and `aesthetic` say of a picture, or of one face in it. Plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Box", "Estimate", "Status"]

Status = Literal["ok", "no_face", "out_of_range"]
"""ok; no face was found; the picture is of a kind that the model knows nothing of."""


@dataclass(frozen=True, slots=True)
class Box:
    """A face: upper left corner, width and height in pixels of the upright picture.

    confidence: of the detector, 0 to 1.   cropped: the whole picture was taken as one face.
    """

    x: float
    y: float
    width: float
    height: float
    confidence: float = 1.0
    cropped: bool = False


@dataclass(frozen=True, slots=True)
class Estimate:
    """One row. Without an estimate (`status`) all from `value` to `likely` are None or empty.

    face: 1, 2, ... within the picture, by size, the largest first; None where faces are not looked
    for.   box: of the face.
    value: the estimate in the unit of the task, low and high: its 80 % interval.
    level: name of the likeliest rank ("1930s", "ordinary"), or of the age group.
    probability: of that level.   levels: every rank's name and probability, lowest first; empty
    where they are too many to be told (ages).   likely: names of the smallest set of ranks that
    holds the truth in 80 of 100 cases.
    source: "model", or "exif".   reason: why there is no estimate, and what else would help.
    """

    path: Path
    status: Status = "ok"
    value: float | None = None
    low: float | None = None
    high: float | None = None
    level: str = ""
    probability: float | None = None
    levels: tuple[tuple[str, float], ...] = ()
    likely: tuple[str, ...] = ()
    face: int | None = None
    box: Box | None = None
    source: Literal["model", "exif"] = "model"
    reason: str = ""
