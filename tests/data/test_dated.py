"""OldNYC with modern photographs above it, on made-up folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgrank.data.dated import YEAR, read
from imgrank.data.labelled import Labelled, ReadOptions
from imgrank.data.oasis import parts_of
from imgrank.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two old pictures, three of OASIS, two of Flickr8k; each a plain colour."""
    names = ["oldnyc/images/700440f-a.jpg", "oldnyc/images/700440f-b.jpg"]
    names += [f"oasis/images/{name}.jpg" for name in ("Acorns_1", "Acorns_2", "Bee_1")]
    names += [f"flickr8k/images/{n}.jpg" for n in (1, 2)]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (200, 100, 0)).save(path, quality=100)
    rows = "filepath,year\nimages/700440f-a.jpg,1931\nimages/700440f-b.jpg,1932\n"
    (tmp_path / "oldnyc" / "labels.csv").write_text(rows)
    return tmp_path


def of(data: Labelled, name: str) -> list[int]:
    return [n for n, path in enumerate(data.paths) if path.name == name]


def test_years_and_parts(root: Path) -> None:
    data = read(root, ReadOptions())
    # Two old ones, five photographs, and every second of these again.
    assert data.labels[0].values.tolist() == [1931, 1932] + [YEAR] * 8
    assert (data.labels[0].task, data.labels[0].unit) == ("decade", "year")
    assert len(set(data.keys)) == 10
    oasis = [n for n, path in enumerate(data.paths) if "oasis" in path.parts]
    assert [data.parts[n] for n in oasis] == parts_of([data.paths[n] for n in oasis])
    twice = of(data, "Acorns_1.jpg")
    assert len(twice) == 2
    assert data.groups[twice[0]] == data.groups[twice[1]]


def test_half_of_the_modern_ones_also_in_monochrome(root: Path) -> None:
    data = read(root, ReadOptions())
    colour, grey = of(data, "Acorns_1.jpg")
    assert np.ptp(data.pixels(grey, 4), axis=2).max() == 0
    assert np.ptp(data.pixels(colour, 4), axis=2).min() > 150
    assert np.ptp(data.pixels(0, 4), axis=2).min() > 150  # the old ones are as they are
    # ITU-R 601: .299 x 200 + .587 x 100
    assert data.pixels(grey, 4).mean() == pytest.approx(118.5, abs=2)


def test_a_missing_folder(root: Path) -> None:
    for path in (root / "flickr8k" / "images").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="flickr8k"):
        read(root, ReadOptions())
