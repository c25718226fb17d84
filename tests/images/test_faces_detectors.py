"""Face detectors: which one is taken, what they give back, and what they do without OpenCV."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from imgrank.errors import CheckpointError, MissingExtra, UsageError
from imgrank.images import faces
from imgrank.images.faces import CascadeDetector, Face, YuNetDetector, detect, detector

pytest.importorskip("cv2", reason="needs the extra faces")
pytest.importorskip("dlib", reason="needs the extra faces")


def drawn(side: int, size: tuple[int, int], at: tuple[int, int]) -> Image.Image:
    """A drawn face, `side` pixels from brows to chin, its upper left corner at `at`."""
    face = Image.new("RGB", (100, 130), (90, 120, 90))
    draw = ImageDraw.Draw(face)
    draw.ellipse((5, 5, 95, 125), fill=(225, 180, 150))
    draw.rectangle((5, 0, 95, 22), fill=(60, 40, 30))  # hair
    for x in (32, 68):
        draw.rectangle((x - 14, 38, x + 14, 43), fill=(70, 45, 35))  # brow
        draw.ellipse((x - 12, 47, x + 12, 61), fill=(150, 105, 85))  # socket
        draw.ellipse((x - 9, 49, x + 9, 59), fill=(245, 245, 245))
        draw.ellipse((x - 5, 49, x + 5, 59), fill=(30, 20, 20))
    draw.polygon([(50, 55), (42, 82), (58, 82)], fill=(240, 200, 170))
    draw.rectangle((42, 80, 58, 84), fill=(150, 95, 80))
    draw.ellipse((33, 94, 67, 106), fill=(150, 50, 55))
    image = Image.new("RGB", size, (90, 120, 90))
    image.paste(face.resize((side, side * 13 // 10), Image.Resampling.BICUBIC), at)
    return image


WITHOUT_DOWNLOAD = ["hog", "cascade"]


def test_a_drawn_face_with_its_eyes_is_found_where_it_is_drawn() -> None:
    # Drawn at 2:1, the centres of the eyes are at (32, 54) and (68, 54) of each hundred.
    for name in WITHOUT_DOWNLOAD:
        (face,) = detector(None, name).detect(drawn(100, (400, 300), (150, 80)))
        assert face.x + face.width / 2 == pytest.approx(200, abs=8)
        assert face.y < 134 < 186 < face.y + face.height  # eyes and mouth are inside
        assert 75 < face.width < 135
        assert face.eyes is not None
        (x0, y0), (x1, y1) = face.eyes
        assert (x0, y0) == pytest.approx((182, 134), abs=4)
        assert (x1, y1) == pytest.approx((218, 134), abs=4)
        assert face.landmarks is None


@pytest.mark.parametrize("name", WITHOUT_DOWNLOAD)
def test_large_pictures_are_made_smaller_and_small_ones_larger(name: str) -> None:
    found = detector(None, name)
    (large,) = found.detect(drawn(600, (3000, 2000), (1500, 700)))
    assert large.x + large.width / 2 == pytest.approx(1800, abs=48)
    assert 450 < large.width < 810
    (small,) = found.detect(drawn(40, (60, 60), (10, 5)))
    assert small.x + small.width / 2 == pytest.approx(30, abs=5)
    assert 28 < small.width < 56


@pytest.mark.parametrize("name", WITHOUT_DOWNLOAD)
def test_a_crop_that_the_face_fills_is_found(name: str) -> None:
    (face,) = detector(None, name).detect(drawn(200, (200, 260), (0, 0)))
    assert face.width > 0.7 * 200


@pytest.mark.parametrize("name", WITHOUT_DOWNLOAD)
def test_the_largest_comes_first_and_pixels_do_as_well_as_a_picture(name: str) -> None:
    image = drawn(60, (500, 300), (30, 60))
    image.paste(drawn(120, (200, 200), (40, 20)), (260, 60))
    faces = detector(None, name).detect(image)
    assert len(faces) == 2
    assert faces[0].size > 1.5 * faces[1].size
    assert faces[0].x > 250 > faces[1].x
    assert detector(None, name).detect(np.asarray(image)) == faces


@pytest.mark.parametrize("name", WITHOUT_DOWNLOAD)
@pytest.mark.parametrize("size", [(1, 1), (3, 400), (400, 3), (320, 200)])
def test_pictures_without_a_face_and_of_any_shape(name: str, size: tuple[int, int]) -> None:
    assert detector(None, name).detect(Image.new("RGB", size, (120, 90, 60))) == []


@pytest.mark.parametrize("name", WITHOUT_DOWNLOAD)
def test_many_threads_find_what_one_finds(name: str) -> None:
    images = [drawn(side, (200, 160), (20, 10)) for side in (50, 70, 90)]
    alone = [detector(None, name).detect(image) for image in images]
    assert all(alone)
    together: dict[int, list[list[Face]]] = {}

    def work(who: int) -> None:
        together[who] = [detector(None, name).detect(image) for image in images]

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(together.values()) == [alone] * 4


def test_the_better_detector_is_taken_and_its_identity_names_what_it_is(tmp_path: Path) -> None:
    assert detector().name == detector(tmp_path).name == "hog"
    assert detector() is detector()
    assert detect(drawn(60, (160, 120), (30, 10))) == detector(None, "hog").detect(
        drawn(60, (160, 120), (30, 10))
    )
    import cv2
    import dlib

    assert detector().identity == f"hog-1-dlib-{dlib.__version__}-opencv-{cv2.__version__}"
    assert detector(None, "cascade").identity == f"cascade-1-opencv-{cv2.__version__}"


def test_names_that_are_not_here(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no face detector 'mtcnn'\. There are: yunet, hog, casc"):
        detector(None, "mtcnn")
    with pytest.raises(UsageError, match=r"the file face_detection_yunet_2023mar.*pull yunet$"):
        detector(tmp_path, "yunet")


def test_without_dlib_the_cascade_and_without_opencv_the_pip_line(
    monkeypatch: pytest.MonkeyPatch, fresh: None
) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    assert detector().name == "cascade"
    with pytest.raises(MissingExtra, match=r"dlib needs an extra: pip install 'imgrank\[faces\]'"):
        detector(None, "hog")
    faces._cascade.cache_clear()
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtra, match=r"finding faces needs .* pip install 'imgrank\[faces\]"):
        detector()


def test_opencv_5_has_no_cascade_but_dlib_finds_faces_without_eyes(
    monkeypatch: pytest.MonkeyPatch, fresh: None
) -> None:
    import cv2

    monkeypatch.delattr(cv2, "CascadeClassifier")
    monkeypatch.setattr(faces, "_version", lambda module: "5.0.0")
    with pytest.raises(MissingExtra, match=r"not by OpenCV 5\.0\.0"):
        CascadeDetector()
    (face,) = detector().detect(drawn(100, (400, 300), (150, 80)))
    assert face.eyes is None


def test_a_yunet_file_among_the_models_is_taken_and_its_rows_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: None
) -> None:
    """A stand-in for the network: the real file is on the Hub alone."""
    import cv2

    seen: list[np.ndarray] = []

    class Net:
        def setInputSize(self, size: tuple[int, int]) -> None:  # noqa: N802 (OpenCV's name)
            self.size = size

        def detect(self, pixels: np.ndarray) -> tuple[int, np.ndarray]:
            assert self.size == pixels.shape[1::-1]
            seen.append(pixels)
            box, five = [110, 60, 80, 100], [130, 90, 170, 92, 150, 110, 135, 135, 165, 136]
            smaller = [10, 20, 30, 40, *five]
            return 1, np.array([[*smaller, 0.75], [*box, *five, 0.5]], np.float32)

    class Made:
        @staticmethod
        def create(file: str, config: str, size: tuple[int, int]) -> Net:
            assert Path(file).name == faces.YUNET
            return Net()

    monkeypatch.setattr(cv2, "FaceDetectorYN", Made)
    (tmp_path / "yunet").mkdir()
    (tmp_path / "yunet" / faces.YUNET).write_bytes(b"weights")
    found = detector(tmp_path)
    assert isinstance(found, YuNetDetector)
    # sha256("weights"), first 12 digits
    assert found.identity == f"yunet-1-{SHA_OF_WEIGHTS}-opencv-{cv2.__version__}"
    pixels = np.zeros((480, 640, 3), np.uint8)
    pixels[..., 0] = 200  # red
    first, second = found.detect(pixels)  # border: 0.15 x 640 = 96; no scaling
    assert (first.x, first.y, first.width, first.height) == (14, -36, 80, 100)
    assert first.confidence == 0.5
    assert first.eyes == ((34, -6), (74, -4))
    assert first.landmarks == ((34, -6), (74, -4), (54, 14), (39, 39), (69, 40))
    assert second.confidence == 0.75
    assert seen[0][200, 300].tolist() == [0, 0, 200]  # it reads blue first
    assert detector(tmp_path, "cascade").name == "cascade"


def test_opencv_itself_reads_a_file_of_this_kind(tmp_path: Path, fresh: None) -> None:
    """Made-up weights: in 320 + 2 x 48 pixels the cell of the face begins at (128, 160)."""
    pytest.importorskip("onnx", reason="needs the extra onnx")
    from yunet_file import yunet_file

    (tmp_path / "yunet").mkdir()
    (tmp_path / "yunet" / faces.YUNET).write_bytes(yunet_file())
    pixels = np.zeros((320, 320, 3), np.uint8)
    pixels[112:144, 80:112, 0] = 255
    (face,) = detector(tmp_path).detect(pixels)
    assert (face.x, face.y, face.width, face.height) == (48, 80, 64, 64)
    assert face.eyes == ((64, 104), (96, 104))
    assert face.landmarks == ((64, 104), (96, 104), (80, 112), (72, 128), (88, 128))
    assert detector(tmp_path).detect(pixels[:, :, ::-1]) == []


@pytest.mark.parametrize("data", [b"", b"no network", bytes(4000)])
def test_a_file_that_opencv_cannot_read_is_told_at_the_first_picture(
    tmp_path: Path, fresh: None, data: bytes
) -> None:
    path = tmp_path / "yunet" / faces.YUNET
    path.parent.mkdir()
    path.write_bytes(data)
    found = detector(tmp_path)
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"verify yunet`.*models remove yunet`") as caught:
            found.detect(np.zeros((40, 40, 3), np.uint8))
        assert str(path) in str(caught.value)


def test_a_library_that_does_not_load_is_told_at_the_first_picture(
    monkeypatch: pytest.MonkeyPatch, fresh: None
) -> None:
    found = detector(None, "cascade")

    def broken(name: str) -> None:
        raise ImportError("libGL.so.1: cannot open")

    monkeypatch.setattr(faces.importlib, "import_module", broken)
    with pytest.raises(MissingExtra, match=r"cv2 cannot be loaded: libGL.*imgrank\[faces\]"):
        found.detect(np.zeros((40, 40, 3), np.uint8))


def test_a_library_without_a_package_of_pip_is_asked_itself(
    monkeypatch: pytest.MonkeyPatch, fresh: None
) -> None:
    usual = detector().identity
    faces._hog.cache_clear()
    monkeypatch.setattr(faces, "PACKAGES", {"cv2": ("no-such-package",), "dlib": ()})
    assert detector().identity == usual


ASK = """
import sys
from pathlib import Path
from imgrank.images.faces import DETECTORS, detector
print(detector().name, *(detector(Path(sys.argv[1]), name).identity for name in DETECTORS))
print([m for m in ("cv2", "dlib", "torch") if m in sys.modules])
"""


def test_which_detector_it_is_and_its_identity_load_no_library(tmp_path: Path) -> None:
    (tmp_path / "yunet").mkdir()
    (tmp_path / "yunet" / faces.YUNET).write_bytes(b"weights")
    out = subprocess.run(
        [sys.executable, "-c", ASK, str(tmp_path)], capture_output=True, text=True, check=False
    )
    known = [detector(tmp_path, name).identity for name in faces.DETECTORS]
    assert out.stdout.splitlines() == [" ".join(["hog", *known]), "[]"], out.stderr


SHA_OF_WEIGHTS = "9a129038d9a0"


@pytest.fixture
def fresh() -> Iterator[None]:
    """No detector that an earlier test made, and none left behind."""
    caches = (faces._hog, faces._cascade, faces._yunet)
    for each in caches:
        each.cache_clear()
    yield
    for each in caches:
        each.cache_clear()
