"""Where the faces of a picture are, for the estimates that read faces (extra `faces`). No torch.

Three detectors with one interface; `detector` takes the first of them that is on this machine:

    yunet     the network of OpenCV's zoo (MIT, 233 kB), where a folder `yunet` among the user's
              models holds its ONNX file; boxes and five landmarks
    hog       dlib's frontal face detector (Boost licence): histograms of oriented gradients and
              five linear filters (Dalal and Triggs 2005; King 2015), part of the library itself
    cascade   the boosted cascade that OpenCV 4 brings in its wheel (Viola and Jones 2001; Lienhart
              2002). OpenCV 5 brings none, so that the extra asks for OpenCV 4

The last two need no download; they give the eyes too where OpenCV's eye cascade finds both.
`python -m imgrank.evaluate.faces` measures all on pictures whose faces were boxed by hand. All
coordinates are pixels of the upright picture that was given, x to the right and y downwards.
"""

from __future__ import annotations

import math
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
_Box = tuple[float, float, float, float]
Pixels = npt.NDArray[np.uint8]
DETECTORS = ("yunet", "hog", "cascade")  # the better one first
YUNET = "face_detection_yunet_2023mar.onnx"
FACES_VERSION = 1
"""Part of every detector's identity: rises when the same pixels give other faces."""

SMALL = 320  # pixels of the longer side that every picture is enlarged to at least
BORDER = 0.15  # of the longer side, repeated pixels around it: crops are cut close to the face

HOG_SIDES = (3.0, 1600)  # enlarged by, unless the longer side would be above: it sees 80 pixels on
HOG_LEAST = -0.25  # of its score; dlib itself cuts at 0, where recall is .07 lower
HOG_UP = 0.08  # of the side: so much higher the cascade's boxes lie on the same faces (UTKFace)
CASCADE_SIDES = (1.67, 1024)
CASCADE_BOX = 20  # pixels, the smallest face it sees
NEIGHBOURS = 3  # windows that agree on a face, at least
SURE = 10  # windows for a confidence of 0.5
YUNET_SIDES = (1.0, 1024)  # it sees faces of about 10 to 300 pixels

EYE_SIDE = 160  # pixels that a face's box is scaled to before eyes are looked for
EYES_APART = (0.25, 0.6)  # of the box's side
LEVEL = 0.4  # most rise from eye to eye, by their distance


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
    Raises MissingExtra if no detector is installed, UsageError for a name that is not here.
    """
    if name not in (None, *DETECTORS):
        raise UsageError(f"There is no face detector '{name}'. There are: {', '.join(DETECTORS)}.")
    file = models / "yunet" / YUNET if models else None
    here = file is not None and file.is_file()
    if name == "yunet" and not here:
        raise UsageError(f"The face detector yunet needs the file {file or YUNET}.")
    if here and name in (None, "yunet"):
        return _yunet(str(file))
    if name == "cascade":
        return _cascade()
    try:
        return _hog()
    except MissingExtra:
        if name == "hog":
            raise
    return _cascade()


@cache
def _hog() -> Detector:
    return HogDetector()


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


def _view(cv2: Any, image: Image.Image | Pixels, enlarge: float, most: int) -> _View:
    """enlarge: factor.   most: pixels of the longer side, border not counted."""
    if isinstance(image, Image.Image):
        image = np.asarray(image.convert("RGB"))
    height, width = image.shape[:2]
    longer = max(height, width)
    scale = max(min(enlarge, most / longer), SMALL / longer)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    pixels = image if scale == 1 else cv2.resize(image, size, interpolation=way)
    border = round(BORDER * longer * scale)
    around = (border, border, border, border, cv2.BORDER_REPLICATE)
    return _View(cv2.copyMakeBorder(pixels, *around), scale, border)


class _Classifiers:
    """OpenCV's classifiers, one of each for a thread: they keep the picture they search."""

    def __init__(self, cv2: Any) -> None:
        self._cv2 = cv2
        self._own = threading.local()

    def classifier(self, name: str) -> Any:
        if not hasattr(self._own, name):
            path = Path(self._cv2.data.haarcascades) / f"haarcascade_{name}.xml"
            setattr(self._own, name, self._cv2.CascadeClassifier(str(path)))
        return getattr(self._own, name)

    def face(self, view: _View, grey: Pixels, box: _Box, confidence: float) -> Face:
        """box: x, y, width, height in the view."""
        x, y, width, height = box
        eyes = self._find(_cut(grey, box))
        at = None
        if eyes:
            first, second = ((x + u * width, y + v * height) for u, v in eyes)
            at = (view.back(*first), view.back(*second))
        left, top = view.back(x, y)
        return Face(left, top, width / view.scale, height / view.scale, confidence, at)

    def _find(self, face: Pixels) -> tuple[Point, Point] | None:
        """Centres as fractions of the box, if there is one on each side and they are level."""
        if not face.size or not hasattr(self._cv2, "CascadeClassifier"):  # OpenCV 5
            return None
        side, least, most = EYE_SIDE, round(0.14 * EYE_SIDE), round(0.36 * EYE_SIDE)
        scaled = self._cv2.resize(face, (side, side), interpolation=self._cv2.INTER_LINEAR)
        boxes, counts = self.classifier("eye").detectMultiScale2(
            scaled[: round(0.6 * side)], 1.05, 3, 0, (least, least), (most, most)
        )
        points = [
            (int(count), ((x + w / 2) / side, (y + h / 2) / side))
            for (x, y, w, h), count in zip(
                np.reshape(boxes, (-1, 4)).tolist(), np.ravel(counts).tolist(), strict=True
            )
        ]
        left = max((each for each in points if each[1][0] < 0.47), default=None)
        right = max((each for each in points if each[1][0] > 0.53), default=None)
        if left is None or right is None:
            return None
        (u0, v0), (u1, v1) = left[1], right[1]
        apart = EYES_APART[0] <= u1 - u0 <= EYES_APART[1]
        return (left[1], right[1]) if apart and abs(v1 - v0) <= LEVEL * (u1 - u0) else None


def _cut(pixels: Pixels, box: _Box) -> Pixels:
    """The part of a grey picture inside a box, repeated pixels where the box reaches over."""
    x, y, width, height = (round(value) for value in box)
    rows = np.clip(np.arange(y, y + height), 0, pixels.shape[0] - 1)
    columns = np.clip(np.arange(x, x + width), 0, pixels.shape[1] - 1)
    return np.ascontiguousarray(pixels[np.ix_(rows, columns)])


def _sorted(faces: list[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: (-face.size, face.x, face.y))


class HogDetector:
    """dlib's frontal face detector. Its boxes are moved to where the cascade's would lie."""

    name = "hog"

    def __init__(self) -> None:
        try:
            import dlib  # type: ignore[import-untyped, unused-ignore]
        except ImportError as error:
            raise MissingExtra("finding faces by dlib", "faces") from error
        self._cv2 = _opencv()
        self._dlib = dlib
        self._cascades = _Classifiers(self._cv2)
        self._own = threading.local()  # a detector keeps the picture it is searching

    @property
    def identity(self) -> str:
        """See `Detector`."""
        versions = f"dlib-{self._dlib.__version__}-opencv-{self._cv2.__version__}"
        return f"hog-{FACES_VERSION}-{versions}"

    def detect(self, image: Image.Image | Pixels) -> list[Face]:
        """See `Detector`."""
        view = _view(self._cv2, image, *HOG_SIDES)
        grey = self._cv2.cvtColor(view.pixels, self._cv2.COLOR_RGB2GRAY)
        if not hasattr(self._own, "find"):
            self._own.find = self._dlib.get_frontal_face_detector()
        boxes, scores, _ = self._own.find.run(grey, 0, HOG_LEAST)
        faces = []
        for box, score in zip(boxes, scores, strict=True):
            height = float(box.height())
            at = (float(box.left()), box.top() - HOG_UP * height, float(box.width()), height)
            faces.append(self._cascades.face(view, grey, at, 1 / (1 + math.exp(-4 * score))))
        return _sorted(faces)


class CascadeDetector:
    """OpenCV's frontal cascade."""

    name = "cascade"

    def __init__(self) -> None:
        self._cv2 = _opencv()
        if not hasattr(self._cv2, "CascadeClassifier"):
            raise MissingExtra(f"finding faces (not by OpenCV {self._cv2.__version__})", "faces")
        self._cascades = _Classifiers(self._cv2)

    @property
    def identity(self) -> str:
        """See `Detector`."""
        return f"cascade-{FACES_VERSION}-opencv-{self._cv2.__version__}"

    def detect(self, image: Image.Image | Pixels) -> list[Face]:
        """See `Detector`."""
        view = _view(self._cv2, image, *CASCADE_SIDES)
        grey = self._cv2.cvtColor(view.pixels, self._cv2.COLOR_RGB2GRAY)
        boxes, counts = self._cascades.classifier("frontalface_alt").detectMultiScale2(
            grey, 1.1, NEIGHBOURS, 0, (CASCADE_BOX, CASCADE_BOX)
        )
        found = zip(np.reshape(boxes, (-1, 4)).tolist(), np.ravel(counts).tolist(), strict=True)
        return _sorted(
            [self._cascades.face(view, grey, tuple(box), n / (n + SURE)) for box, n in found]
        )


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
        view = _view(self._cv2, image, *YUNET_SIDES)
        height, width = view.pixels.shape[:2]
        if not hasattr(self._own, "net"):
            self._own.net = self._cv2.FaceDetectorYN.create(str(self._file), "", (width, height))
        self._own.net.setInputSize((width, height))
        _, rows = self._own.net.detect(view.pixels[:, :, ::-1].copy())  # it reads BGR
        faces = [_from_row(row, view) for row in (() if rows is None else rows)]
        return _sorted(faces)


def _from_row(row: npt.NDArray[np.float32], view: _View) -> Face:
    """row [15]: x, y, width, height, five (x, y) as the person's right eye, left eye, nose, right
    and left corner of the mouth, score. The person's right is the picture's left."""
    points = tuple(view.back(float(row[i]), float(row[i + 1])) for i in range(4, 14, 2))
    x, y = view.back(float(row[0]), float(row[1]))
    width, height = float(row[2]) / view.scale, float(row[3]) / view.scale
    right, left, nose, mouth_right, mouth_left = points
    five = (right, left, nose, mouth_right, mouth_left)
    return Face(x, y, width, height, float(row[14]), (right, left), five)
