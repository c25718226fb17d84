"""Where the faces of a picture are, for the estimates that read faces (extra `faces`). No torch.

Three detectors with one interface; `detector` takes the first of them that is on this machine:

    yunet     the network of OpenCV's zoo (MIT, 233 kB), where `imgrank models pull yunet` or the
              user put its ONNX file; boxes and five landmarks
    hog       dlib's frontal face detector (Boost licence): histograms of oriented gradients and
              five linear filters (Dalal and Triggs 2005; King 2015), part of the library itself
    cascade   the boosted cascade that OpenCV 4 brings in its wheel (Viola and Jones 2001; Lienhart
              2002). OpenCV 5 brings none, so that the extra asks for OpenCV 4

The last two need no download; they give the eyes too where OpenCV's eye cascade finds both. The
libraries are imported by the first `detect`: until then, and so where all faces are known already,
it is enough that they are installed.
`python -m imgrank.evaluate.faces` measures all on pictures whose faces were boxed by hand. All
coordinates are pixels of the upright picture that was given, x to the right and y downwards.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from imgrank.errors import CheckpointError, MissingExtra, UsageError

__all__ = ["DETECTORS", "Detector", "Face", "detect", "detector"]

Point = tuple[float, float]
_Box = tuple[float, float, float, float]
Pixels = npt.NDArray[np.uint8]
DETECTORS = ("yunet", "hog", "cascade")  # the better one first
YUNET = "face_detection_yunet_2023mar.onnx"
FACES_VERSION = 1
"""Part of every detector's identity: rises when the same pixels give other faces."""

PACKAGES = {
    "cv2": ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless",
            "opencv-contrib-python"),
    "dlib": ("dlib-bin", "dlib"),
}  # fmt: skip
"""Module -> the names of packages that bring it."""

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
    Raises MissingExtra if no detector is installed, UsageError for a name that is not here. Imports
    no library. Then `detect` raises MissingExtra if a library that is installed cannot be loaded,
    and CheckpointError if OpenCV cannot use the file of YuNet.
    """
    if name not in (None, *DETECTORS):
        raise UsageError(f"There is no face detector '{name}'. There are: {', '.join(DETECTORS)}.")
    file = models / "yunet" / YUNET if models else None
    if file and not file.is_file():
        file = None
    if name == "yunet" and not file:
        raise UsageError(
            f"The face detector yunet needs the file {YUNET}. Fetch it: imgrank models pull yunet"
        )
    if file and name in (None, "yunet"):
        return _yunet(file, file.stat().st_mtime_ns)
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
def _yunet(file: Path, changed: int) -> Detector:
    """changed: when the file did, so that another one of its name is read anew."""
    return YuNetDetector(file)


def _version(module: str) -> str:
    """Of a library, three numbers; it is not imported if pip put it here. Raises MissingExtra."""
    if importlib.util.find_spec(module) is None:
        raise MissingExtra("finding faces" + (" by dlib" if module == "dlib" else ""), "faces")
    for package in PACKAGES[module]:
        with suppress(importlib.metadata.PackageNotFoundError):
            return ".".join(importlib.metadata.version(package).split(".")[:3])
    return str(_library(module).__version__)


def _library(module: str) -> Any:
    """OpenCV ("cv2") or "dlib". Raises MissingExtra if it cannot be loaded."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"finding faces ({module} cannot be loaded: {error})", "faces"
        ) from error


@dataclass(frozen=True, slots=True)
class _View:
    """What a detector reads: pixels of another size with a border, and the way back."""

    pixels: Pixels
    scale: float
    border: int

    def back(self, x: float, y: float) -> Point:
        return ((x - self.border) / self.scale, (y - self.border) / self.scale)


def _view(image: Image.Image | Pixels, enlarge: float, most: int) -> _View:
    """enlarge: factor.   most: pixels of the longer side, border not counted."""
    cv2 = _library("cv2")
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

    def __init__(self) -> None:
        self._own = threading.local()

    def classifier(self, name: str) -> Any:
        if not hasattr(self._own, name):
            cv2 = _library("cv2")
            path = Path(cv2.data.haarcascades) / f"haarcascade_{name}.xml"
            setattr(self._own, name, cv2.CascadeClassifier(str(path)))
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
        cv2 = _library("cv2")
        if not face.size or not hasattr(cv2, "CascadeClassifier"):  # OpenCV 5
            return None
        side, least, most = EYE_SIDE, round(0.14 * EYE_SIDE), round(0.36 * EYE_SIDE)
        scaled = cv2.resize(face, (side, side), interpolation=cv2.INTER_LINEAR)
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


def _grey(view: _View) -> Pixels:
    cv2 = _library("cv2")
    grey: Pixels = cv2.cvtColor(view.pixels, cv2.COLOR_RGB2GRAY)
    return grey


def _sorted(faces: list[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: (-face.size, face.x, face.y))


class HogDetector:
    """dlib's frontal face detector. Its boxes are moved to where the cascade's would lie."""

    name = "hog"

    def __init__(self) -> None:
        versions = f"dlib-{_version('dlib')}-opencv-{_version('cv2')}"
        self.identity = f"hog-{FACES_VERSION}-{versions}"
        self._cascades = _Classifiers()
        self._own = threading.local()  # a detector keeps the picture it is searching

    def detect(self, image: Image.Image | Pixels) -> list[Face]:
        """See `Detector`."""
        view = _view(image, *HOG_SIDES)
        if not hasattr(self._own, "find"):
            self._own.find = _library("dlib").get_frontal_face_detector()
        grey = _grey(view)
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
        version = _version("cv2")
        if int(version.partition(".")[0]) > 4:
            raise MissingExtra(f"finding faces (not by OpenCV {version})", "faces")
        self.identity = f"cascade-{FACES_VERSION}-opencv-{version}"
        self._cascades = _Classifiers()

    def detect(self, image: Image.Image | Pixels) -> list[Face]:
        """See `Detector`."""
        view = _view(image, *CASCADE_SIDES)
        grey = _grey(view)
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

        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        self.identity = f"yunet-{FACES_VERSION}-{digest}-opencv-{_version('cv2')}"
        self._file = file
        self._own = threading.local()  # a network keeps its input's size

    def detect(self, image: Image.Image | Pixels) -> list[Face]:
        """See `Detector`. Raises CheckpointError if OpenCV cannot use the file."""
        view = _view(image, *YUNET_SIDES)
        cv2 = _library("cv2")
        height, width = view.pixels.shape[:2]
        try:
            if not hasattr(self._own, "net"):
                self._own.net = cv2.FaceDetectorYN.create(str(self._file), "", (width, height))
            self._own.net.setInputSize((width, height))
            _, rows = self._own.net.detect(view.pixels[:, :, ::-1].copy())  # it reads BGR
        except cv2.error as error:
            raise CheckpointError(
                f"OpenCV {cv2.__version__} cannot use {self._file} ({error.err}). `imgrank models "
                "verify yunet` tells whether it is the file that was pulled; without it (`imgrank "
                "models remove yunet`) faces are found by another detector."
            ) from error
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
