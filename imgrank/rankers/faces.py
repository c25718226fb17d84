"""Features of every face of a picture: found, cut out as a model's training crops were, embedded.

A `FeatureSource` over a backbone's: in worker threads a picture is decoded at full size (a face is
a small part of it), faces are found and cut out (`images/face_crop.py`); in the main thread all
crops of a batch go through the backbone. Of a picture with F faces, the largest first:

    faces              [F, 6] float32: x, y, width, height (pixels of the upright picture),
                       confidence (0 to 1), cropped (1: the whole picture was taken as the crop)
    pooled, ...        what the backbone gives, stacked: [F, E], ...

F may be 0. All is kept in the store, so that a second run opens no file and loads no model. Faces
of low confidence are kept too: which ones count is asked for later.

Without a detector every picture is taken as the crop of one face.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imgrank.images.face_crop import CropGeometry, crop, fills, placed
from imgrank.rankers.base import Features
from imgrank.rankers.source import BackboneSource

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from imgrank.images.faces import Detector

__all__ = ["COLUMNS", "FACES", "MOST", "FaceSource", "PreparedFaces"]

FACES = "faces"
COLUMNS = ("x", "y", "width", "height", "confidence", "cropped")

MOST = 200
"""Faces of one picture, the largest ones: 30 MB of crops wait at most for each picture."""

AT_ONCE = 8
"""Crops that go through a backbone at once, at least (see `pipeline.BATCH`)."""

SMALLEST = 16
"""Pixels of a side, below which a picture has no face that a detector need look for."""


@dataclass(frozen=True, slots=True)
class PreparedFaces:
    """faces: [F, 6] float32.   crops: F inputs of the backbone, uint8 [S, S, 3]."""

    faces: NDArray[np.float32]
    crops: Sequence[NDArray[np.uint8]]


class FaceSource:
    """Faces of pictures through one backbone.

    needs: names of the backbone's features that are wanted of each face.
    detector: None: every picture is the crop of one face.
    """

    def __init__(
        self,
        backbone: BackboneSource,
        needs: Collection[str],
        detector: Detector | None,
        geometry: CropGeometry,
    ) -> None:
        self.backbone = backbone
        self.detector = detector
        self.geometry = geometry
        self.names = frozenset(needs)
        self.kept = self.names | {FACES}
        found = detector.identity if detector else "whole"
        self.identity = f"{backbone.identity}.faces-{found}-{geometry.identity}"

    @property
    def batch(self) -> int:
        """The backbone's: of pictures, which have about one face each."""
        return self.backbone.batch

    def prepare(self, data: bytes) -> PreparedFaces:
        """Bytes of a file -> its faces and their crops. Raises `Unreadable`."""
        import numpy as np

        from imgrank.images.decode import decode

        image = decode(data)
        rows, crops = [], []
        for box, cut in self._cut(image):
            rows.append(box)
            crops.append(self._input(cut))
        table = np.array(rows, np.float32).reshape(len(rows), len(COLUMNS))
        return PreparedFaces(table, crops)

    def compute(self, prepared: Sequence[Any]) -> list[Features]:
        """The crops of all pictures through the backbone -> features of each picture."""
        import numpy as np

        crops = [cut for item in prepared for cut in item.crops]
        found: list[Features] = []
        while len(found) < len(crops):  # its batch may be larger once the model is loaded
            size = max(AT_ONCE, self.backbone.batch)
            found += self.backbone.compute(crops[len(found) : len(found) + size])
        features: list[Features] = []
        start = 0
        for item in prepared:
            own = found[start : start + len(item.crops)]
            start += len(item.crops)
            stacked = {
                name: np.stack([f[name] for f in own]) if own else np.zeros((0, 0), np.float16)
                for name in self.names
            }
            features.append({FACES: item.faces, **stacked})
        return features

    def _cut(self, image: Image.Image) -> list[tuple[tuple[float, ...], Image.Image]]:
        """Row of `faces` and crop of each face, the largest first."""
        whole = (0.0, 0.0, float(image.width), float(image.height))
        if self.detector is None:
            return [((*whole, 1.0, 1.0), image)]
        if min(image.size) < SMALLEST:
            return []
        faces = self.detector.detect(image)
        surest = max(faces, key=lambda face: face.confidence, default=None)
        if surest and fills(image.size, placed(surest, self.geometry)):
            return [((*whole, surest.confidence, 1.0), image)]  # others would be chance
        found: list[tuple[tuple[float, ...], Image.Image]] = []
        for face in sorted(faces, key=lambda face: -face.size)[:MOST]:
            box = (face.x, face.y, face.width, face.height, face.confidence, 0.0)
            found.append((box, crop(image, placed(face, self.geometry), self.geometry.size)))
        return found

    def _input(self, cut: Image.Image) -> NDArray[np.uint8]:
        """A crop as the backbone reads it, never finer than the training set's crops were."""
        from PIL import Image

        from imgrank.images.decode import to_input

        size, source = self.geometry.size, self.backbone
        if min(cut.size) > size:
            cut = cut.resize((size, size), Image.Resampling.BICUBIC)
        return to_input(
            cut,
            source.spec.image_size,
            source.interpolation,
            source.resize_mode,
            source.spec.fill_color,
        )
