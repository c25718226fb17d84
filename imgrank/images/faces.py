"""Where the faces of a picture are, for the estimates that read faces (extra `faces`). No torch.

Two detectors with one interface; `detector` takes the better one that is on this machine:

    yunet     the network of OpenCV's zoo (MIT, 233 kB), where a folder `yunet` among the user's
              models holds its ONNX file; boxes and five landmarks
    cascade   the boosted cascades that OpenCV 4 brings in its wheel (Viola and Jones 2001; trained
              by Lienhart), nothing to download; boxes, and eyes where its eye cascade finds both.
              OpenCV 5 brings none, so that the extra asks for OpenCV 4

`python -m imgrank.evaluate.faces` measures both on pictures whose faces were boxed by hand. All
coordinates are pixels of the upright picture that was given, x to the right and y downwards.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from imgrank.errors import MissingExtra, UsageError

__all__ = ["DETECTORS", "Detector", "Face", "detect", "detector"]

Point = tuple[float, float]
Pixels = npt.NDArray[np.uint8]
DETECTORS = ("yunet", "cascade")  # the better one first
YUNET = "face_detection_yunet_2023mar.onnx"
FACES_VERSION = 1
"""Part of every detector's identity: rises when the same pixels give other faces."""

SIDE = 1024  # the longer side that is searched: larger pictures are made smaller
SMALL = 320  # ... and smaller ones larger, where faces are below what a detector can find
BORDER = 0.1  # of the longer side, repeated pixels around it: crops are cut close to the face


@dataclass(frozen=True, slots=True)
class Face:
    """A face: its box from about the eyebrows to the chin (corner, width, height; it may reach
    over the picture's edge), how sure the detector is (0 to 1, comparable within a detector), and
    where known the centres of the eyes, the left one in the picture first, and five `landmarks`:
    those eyes, tip of the nose, corners of the mouth (left one first)."""

    x: float
    y: float
    width: float
    height: float
    confidence: float
    eyes: tuple[Point, Point] | None = None
    landmarks: tuple[Point, Point, Point, Point, Point] | None = None

    @property
    def size(self) -> float:
        """The side of a square of the same area, in pixels."""
        return float(np.sqrt(self.width * self.height))


class Detector(Protocol):
    """Finds faces. One instance may be used by many threads at once."""

    @property
    def name(self) -> str:
        """As in `DETECTORS`."""
        ...

    @property
    def identity(self) -> str:
        """Name, versions and weights: what was found with one identity stays as it is."""
        ...

    def detect(self, image: Image.Image | Pixels) -> list[Face]:
        """All faces, the largest first. image: upright, or its pixels uint8 [H, W, 3] as RGB."""
        ...


def detect(image: Image.Image | Pixels, models: Path | None = None) -> list[Face]:
    """Faces of one picture by the best detector that is here, the largest first."""
    return detector(models).detect(image)


def detector(models: Path | None = None, name: str | None = None) -> Detector:
    """The best detector on this machine, or the one of this name.

    models: the folder of the user's models (`Settings.models_dir`), where YuNet may be.
    Raises MissingExtra if OpenCV is not installed, UsageError for a name that is not here.
    """
    file = models / "yunet" / YUNET if models else None
    here = file is not None and file.is_file()
    if name not in (None, *DETECTORS):
        raise UsageError(f"There is no face detector '{name}'. There are: {', '.join(DETECTORS)}.")
    if name == "yunet" and not here:
        raise UsageError(f"The face detector yunet needs the file {file or YUNET}.")
    if here and name != "cascade":
        return _yunet(str(file))
    return _cascade()


@cache
def _cascade() -> Detector:
    return CascadeDetector()


@cache
def _yunet(file: str) -> Detector:
    return YuNetDetector(Path(file))


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise MissingExtra("finding faces", "faces") from error
    return cv2


@dataclass(frozen=True, slots=True)
class _View:
    """What a detector reads: pixels of another size with a border, and the way back."""

    pixels: Pixels
    scale: float
    border: int

    def back(self, x: float, y: float) -> Point:
        return ((x - self.border) / self.scale, (y - self.border) / self.scale)


def _view(cv2: Any, image: Image.Image | Pixels) -> _View:
    if isinstance(image, Image.Image):
        image = np.asarray(image.convert("RGB"))
    height, width = image.shape[:2]
    longer = max(height, width)
    scale = min(max(longer, SMALL), SIDE) / longer
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    pixels = image if scale == 1 else cv2.resize(image, size, interpolation=way)
    border = round(BORDER * longer * scale)
    around = (border, border, border, border, cv2.BORDER_REPLICATE)
    return _View(cv2.copyMakeBorder(pixels, *around), scale, border)


class CascadeDetector:
    """OpenCV's frontal cascade."""

    name = "cascade"

    def __init__(self) -> None:
        self._cv2 = _opencv()
        if not hasattr(self._cv2, "CascadeClassifier"):
            raise MissingExtra(f"finding faces (OpenCV {self._cv2.__version__})", "faces")
        self._own = threading.local()  # a classifier keeps the picture it is searching

    @property
    def identity(self) -> str:
        return f"cascade-{FACES_VERSION}-opencv-{self._cv2.__version__}"

    def detect(self, image: Image.Image | Pixels) -> list[Face]:
        view = _view(self._cv2, image)
        grey = self._cv2.cvtColor(view.pixels, self._cv2.COLOR_RGB2GRAY)
        boxes, _, weights = self._classifier("frontalface_alt2").detectMultiScale3(
            grey, scaleFactor=1.1, minNeighbors=3, minSize=(20, 20), outputRejectLevels=True
        )
        faces = [
            Face(*view.back(x, y), w / view.scale, h / view.scale, _sure(weight))
            for (x, y, w, h), weight in zip(
                np.reshape(boxes, (-1, 4)).tolist(), np.ravel(weights).tolist(), strict=True
            )
        ]
        return sorted(faces, key=lambda face: -face.size)

    def _classifier(self, name: str) -> Any:
        if not hasattr(self._own, name):
            path = Path(self._cv2.data.haarcascades) / f"haarcascade_{name}.xml"
            setattr(self._own, name, self._cv2.CascadeClassifier(str(path)))
        return getattr(self._own, name)


def _sure(weight: float) -> float:
    return float(1 / (1 + np.exp(-weight / 10)))


class YuNetDetector:
    """YuNet by OpenCV's own decoding. file: the ONNX file of the zoo, export of March 2023."""

    name = "yunet"

    def __init__(self, file: Path) -> None:
        import hashlib

        self._cv2 = _opencv()
        self._file = file
        self._digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        self._own = threading.local()  # a network keeps its input's size

    @property
    def identity(self) -> str:
        return f"yunet-{FACES_VERSION}-{self._digest}-opencv-{self._cv2.__version__}"

    def detect(self, image: Image.Image | Pixels) -> list[Face]:
        view = _view(self._cv2, image)
        height, width = view.pixels.shape[:2]
        if not hasattr(self._own, "net"):
            self._own.net = self._cv2.FaceDetectorYN.create(str(self._file), "", (width, height))
        self._own.net.setInputSize((width, height))
        _, rows = self._own.net.detect(view.pixels[:, :, ::-1].copy())  # it reads BGR
        faces = [_from_row(row, view) for row in (() if rows is None else rows)]
        return sorted(faces, key=lambda face: -face.size)


def _from_row(row: npt.NDArray[np.float32], view: _View) -> Face:
    """row [15]: x, y, width, height, five (x, y) as the person's right eye, left eye, nose, right
    and left corner of the mouth, score. The person's right is the picture's left."""
    points = tuple(view.back(float(row[i]), float(row[i + 1])) for i in range(4, 14, 2))
    x, y = view.back(float(row[0]), float(row[1]))
    width, height = float(row[2]) / view.scale, float(row[3]) / view.scale
    right, left, nose, mouth_right, mouth_left = points
    five = (right, left, nose, mouth_right, mouth_left)
    return Face(x, y, width, height, float(row[14]), (right, left), five)
