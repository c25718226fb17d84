"""Every file of the collection of odd pictures: which can be read, and how large they are."""

from __future__ import annotations

import importlib.util
import tarfile
from pathlib import Path

import numpy as np
import pytest

from imgrank.images import ImageFile
from imgrank.images.decode import decode, read_header
from imgrank.images.measure import measure, measure_header
from imgrank.images.reading import Unreadable, read_file
from imgrank.images.scan import scan

ARCHIVE = Path(__file__).resolve().parents[3] / "shared" / "data" / "odd.tar"

pytestmark = [
    pytest.mark.skipif(not ARCHIVE.exists(), reason="no odd.tar beside the repository"),
    pytest.mark.skipif(
        importlib.util.find_spec("pillow_heif") is None, reason="the heic extra is not installed"
    ),
]

READABLE = {
    "1_trns.png": (64, 64),
    "Apple iPhone 6.jpg": (3264, 2448),
    "Canon EOS 20D (1).jpg": (3504, 2336),
    "Channel_digital_image_CMYK_color_no_profile.jpg": (500, 333),
    "IMG_5195.HEIC": (2566, 3313),
    "Landscape_1.jpg": (1800, 1200),
    "Landscape_3.jpg": (1800, 1200),
    "Landscape_6.jpg": (1800, 1200),
    "Landscape_8.jpg": (1800, 1200),
    "Leica T (Typ 701).jpg": (3264, 4928),
    "Portrait_2.jpg": (1200, 1800),
    "Portrait_5.jpg": (1200, 1800),
    "Portrait_6.jpg": (1200, 1800),
    "Portrait_7.jpg": (1200, 1800),
    "animated-loop-3.gif": (370, 285),
    "animated-loop-3.webp": (370, 285),
    "exif.avif": (512, 512),
    "five_channels.psd": (1, 1),
    "frame_size.mpo": (56, 70),
    "frozenpond.mpo": (640, 480),
    "hopper-missing-pixi.avif": (128, 128),
    "i_trns.png": (64, 64),
    "mode_16bit.png": (128, 64),
    "mode_palette.png": (128, 64),
    "mode_palette_1bit_alpha.png": (128, 64),
    "pil_sample_cmyk.jpg": (100, 100),
    "tiff_16bit_RGB_target.png": (100, 40),
}

REFUSED = {
    "broken.png": "damaged or unsupported PNG",
    "broken_data_stream.png": "damaged or unsupported PNG",
    "combined_larger_than_size.psd": "damaged or unsupported PSD",
    "corrupt-header.jpg": "damaged or unsupported JPEG",
    "corrupted.heic": "truncated HEIC",
    "decompression_bomb.gif": "pixels",
    "decompression_bomb.ico": "pixels",
    "pil_sample_cmyk.eps": "PostScript",
    "text_named.jpg": "not a picture",
    "truncated.heic": "truncated HEIC",
    "truncated.jpg": "truncated",
    "zero_bytes.jpg": "empty file",
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def located(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.rglob("*") if path.is_file()}


def test_exactly_these_files_are_readable(odd: Path) -> None:
    read, refused = {}, {}
    for name, path in located(odd).items():
        try:
            image = decode(read_file(path), 224)
            full = read_header(read_file(path))
            assert image.mode == "RGB"
            assert min(image.size) >= min(448, full.width, full.height)
            read[name] = (full.width, full.height)
        except Unreadable as error:
            refused[name] = str(error)
    assert read == READABLE
    assert refused.keys() == REFUSED.keys()
    for name, reason in REFUSED.items():
        assert reason in refused[name]
        assert "\n" not in refused[name]


def test_a_scan_finds_them_all_but_the_program(odd: Path) -> None:
    found = {item.path.name for item in scan([odd]) if isinstance(item, ImageFile)}
    assert found == (READABLE.keys() | REFUSED.keys()) - {"pil_sample_cmyk.eps"}


def test_the_turned_pictures_agree(odd: Path) -> None:
    files = located(odd)
    for kind in ("Landscape", "Portrait"):
        small = [
            np.asarray(decode(read_file(path)).resize((12, 12)), dtype=float)
            for name, path in sorted(files.items())
            if name.startswith(kind)
        ]
        assert len(small) == 4
        # The corner carries the number of the orientation; the rest is one picture.
        for other in small[1:]:
            assert np.abs(other - small[0]).mean() < 8
            assert np.abs(other[::-1] - small[0]).mean() > 20


def test_measures_of_real_cameras(odd: Path) -> None:
    files = located(odd)
    iphone = measure_header(read_file(files["Apple iPhone 6.jpg"]))
    assert iphone == {
        "megapixels": 7.990272,
        "file_size": 2590700.0,
        "date": 1410876312.133,  # 2014-09-16 14:05:12.133 by its clock
        "aspect": 4 / 3,
    }
    assert measure_header(read_file(files["Landscape_1.jpg"]))["date"] is None
    leica = measure_header(read_file(files["Leica T (Typ 701).jpg"]))
    assert leica["aspect"] == 3264 / 4928
    found = measure(read_file(files["frozenpond.mpo"]))
    assert found.keys() == {"brightness", "contrast", "colorfulness", "sharpness"}
