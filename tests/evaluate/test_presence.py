"""Zero-shot presence of objects: what reaches the model."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imgrank.evaluate.zeroshot import embed_pictures
from imgrank.images.decode import decode, to_input
from imgrank.models.registry import EMBEDDED
from imgrank.models.spec import read_spec

PHOTOS = sorted((Path(__file__).parents[2] / "examples" / "photos").glob("*.jpg"))[:3]


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_pictures_are_resized_as_the_backbone_asks(mode: str) -> None:
    spec = replace(read_spec(EMBEDDED / "tiny"), resize_mode=mode, interpolation="bilinear")
    backbone: Any = SimpleNamespace(
        spec=spec, batch=2, encode_images=lambda pixels: [{"pooled": each} for each in pixels]
    )
    size = spec.image_size
    seen = embed_pictures(backbone, PHOTOS)
    for row, path in zip(seen, PHOTOS, strict=True):
        picture = decode(path.read_bytes(), size)
        np.testing.assert_array_equal(row, to_input(picture, size, "bilinear", mode))
