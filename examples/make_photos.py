"""Makes `examples/photos` from the public-domain photographs that the scikit-image wheel carries.

    pip download --no-deps scikit-image && unzip scikit_image-*.whl 'skimage/data/*'
    python examples/make_photos.py skimage/data examples/photos

Some of the pictures are spoilt on purpose, so that "by image quality" has an order that anyone can
see is right: every spoilt picture belongs below the one that it was made from. Always the same
files for the same version of Pillow. Sources and licences: `photos/CREDITS.md`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

LONGEST_SIDE = 512

GOOD = {
    "astronaut": "astronaut.png",
    "cat": "chelsea.png",
    "clock-camera-moved": "clock_motion.png",  # as it was taken
    "coffee": "coffee.png",
    "galaxies": "hubble_deep_field.jpg",
    "photographer": "camera.png",
    "rocket": "rocket.jpg",
}


def noisy(image: Image.Image) -> Image.Image:
    """Gaussian noise with a standard deviation of 45 levels, as from a very dark scene."""
    levels = np.asarray(image).astype(np.float64)
    levels += np.random.default_rng(0).normal(0, 45, levels.shape)
    return Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))


def underexposed(image: Image.Image) -> Image.Image:
    """Three stops less light: linear light divided by 8 (sRGB taken as a gamma of 2.2)."""
    return image.point(lambda level: round(255 * ((level / 255) ** 2.2 / 8) ** (1 / 2.2)))


def low_resolution(image: Image.Image) -> Image.Image:
    """A seventh of the pixels on each side, enlarged again."""
    small = image.resize((image.width // 7, image.height // 7), Image.Resampling.BICUBIC)
    return small.resize(image.size, Image.Resampling.BICUBIC)


SPOILT: dict[str, tuple[str, Callable[[Image.Image], Image.Image], int]] = {
    # name -> (made from, by, JPEG quality)
    "astronaut-noisy": ("astronaut", noisy, 75),
    "cat-blurred": ("cat", lambda image: image.filter(ImageFilter.GaussianBlur(2.5)), 90),
    "cat-very-blurred": ("cat", lambda image: image.filter(ImageFilter.GaussianBlur(7)), 90),
    "coffee-compressed": ("coffee", lambda image: image, 4),
    "coffee-underexposed": ("coffee", underexposed, 90),
    "rocket-low-resolution": ("rocket", low_resolution, 90),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path, help="the folder skimage/data")
    parser.add_argument("target", type=Path, help="where the pictures go")
    arguments = parser.parse_args()
    arguments.target.mkdir(parents=True, exist_ok=True)

    good = {}
    for name, file in GOOD.items():
        image = Image.open(arguments.source / file).convert("RGB")
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
        good[name] = image
        image.save(arguments.target / f"{name}.jpg", quality=90)
    for name, (origin, spoil, quality) in SPOILT.items():
        spoil(good[origin]).save(arguments.target / f"{name}.jpg", quality=quality)


if __name__ == "__main__":
    main()
