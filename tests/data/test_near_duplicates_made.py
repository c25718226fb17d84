"""Made near-duplicates: size, strength and sameness of each kind."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgrank.data.near_duplicates import KINDS, PAN, framed, made

PHOTO = Image.open(Path(__file__).parents[2] / "examples" / "photos" / "coffee.jpg").convert("RGB")
SEEDS = [f"{n}.jpg" for n in range(12)]


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        ("crop", 0.85, 0.98),
        ("shift", 0.90, 0.97),
        ("turn", 0.89, 0.99),
        ("half", 0.5, 0.5),
        ("burst", 0.88, 0.98),
        (PAN, 0.70, 0.85),
        *((kind, 1.0, 1.0) for kind in ("jpeg", "exposure", "blur", "noise", "colour")),
    ],
)
def test_how_much_of_the_frame_is_left(kind: str, least: float, most: float) -> None:
    for seed in SEEDS:
        width, height = opened(made(PHOTO, kind, seed)).size
        assert least - 0.005 <= width / PHOTO.width <= most + 0.005
        assert least - 0.005 <= height / PHOTO.height <= most + 0.005


@pytest.mark.parametrize("kind", [*KINDS, PAN])
def test_the_same_seed_gives_the_same_bytes_and_another_another(kind: str) -> None:
    one, again, other = (made(PHOTO, kind, seed) for seed in ("a", "a", "b"))
    assert one == again
    assert (one == other) == (kind == "half")
    assert one != framed(PHOTO, kind, "a")


@pytest.mark.parametrize("kind", ["shift", PAN])
def test_two_frames_lie_at_both_edges(kind: str) -> None:
    """Of a ramp from black to white: the left one is as much darker as it lies to the left."""
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 400), (200, 1)).astype(np.uint8))
    for seed in SEEDS:
        pair = [opened(make(ramp.convert("RGB"), kind, seed)) for make in (framed, made)]
        assert pair[0].size == pair[1].size
        left, right = (np.asarray(image)[:, :, 1] for image in pair)
        assert left.min() <= 1
        assert right.max() >= 254
        cut_off = 1 - pair[0].width / 400
        assert right.mean() - left.mean() == pytest.approx(255 * cut_off, abs=2)


def test_exposure_is_a_quarter_to_half_a_stop() -> None:
    grey = Image.new("RGB", (64, 64), (100, 100, 100))
    stops = [
        2.2 * np.log2(np.asarray(opened(made(grey, "exposure", seed))).mean() / 100)
        for seed in SEEDS
    ]
    assert all(0.22 <= abs(stop) <= 0.53 for stop in stops)
    assert min(stops) < 0 < max(stops)


def test_what_is_no_kind() -> None:
    with pytest.raises(KeyError):
        made(PHOTO, "mirror", "a")
