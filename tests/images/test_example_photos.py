"""The example pictures: small, credited, and measurably what their names say."""

from __future__ import annotations

from pathlib import Path

from imgrank.images import ImageFile
from imgrank.images.measure import measure
from imgrank.images.scan import scan

PHOTOS = Path(__file__).resolve().parents[2] / "examples" / "photos"


def test_a_dozen_small_pictures_each_with_its_credit() -> None:
    found = list(scan([PHOTOS]))
    assert all(isinstance(item, ImageFile) for item in found)
    assert len(found) == 13
    assert sum(item.size for item in found if isinstance(item, ImageFile)) < 1_000_000
    credits = (PHOTOS / "CREDITS.md").read_text(encoding="utf-8")
    assert all(f"`{item.path.name}`" in credits for item in found)


def test_spoilt_pictures_measure_as_their_names_say() -> None:
    found = {path.stem: measure(path.read_bytes()) for path in PHOTOS.glob("*.jpg")}

    def falls(measure_name: str, *names: str) -> bool:
        values = [found[name][measure_name] for name in names]
        return values == sorted(values, reverse=True)

    assert falls("sharpness", "cat", "cat-blurred", "cat-very-blurred")
    assert falls("sharpness", "rocket", "rocket-low-resolution")
    assert falls("sharpness", "astronaut-noisy", "astronaut")
    assert falls("brightness", "coffee", "coffee-underexposed")
    assert falls("contrast", "coffee", "coffee-underexposed")
    assert found["photographer"]["colorfulness"] < 0.01 < 20 < found["astronaut"]["colorfulness"]
    assert min(found, key=lambda name: found[name]["brightness"]) == "galaxies"
