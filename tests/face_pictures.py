"""Pictures with painted faces, and a detector that finds them: what tests of faces share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from imgrank.images.faces import Face

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
SURE = {RED: 0.9, GREEN: 0.8, BLUE: 0.3}


class PaintedFaces:
    """Finds a face wherever pixels are purely red (0.9 sure), green (0.8) or blue (0.3).

    A face's box is that of the colour; calls: pictures that were searched.
    """

    name = "painted"

    def __init__(self, identity: str = "painted-1") -> None:
        self.identity = identity
        self.calls = 0

    def detect(self, image: Image.Image) -> list[Face]:
        self.calls += 1
        pixels = np.asarray(image)
        found = []
        for colour, sure in SURE.items():
            rows, columns = np.nonzero((pixels == colour).all(axis=2))
            if len(rows):
                x, y = int(columns.min()), int(rows.min())
                width, height = int(columns.max()) - x + 1, int(rows.max()) - y + 1
                found.append(Face(x, y, width, height, sure))
        return found


def painted(
    path: Path,
    faces: dict[tuple[int, int, int], tuple[int, int, int, int]],
    size: tuple[int, int] = (300, 200),
    **options: object,
) -> Path:
    """A grey picture with a rectangle (x, y, width, height) of each colour."""
    image = Image.new("RGB", size, (90, 90, 90))
    for colour, (x, y, width, height) in faces.items():
        image.paste(colour, (x, y, x + width, y + height))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path
