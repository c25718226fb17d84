"""Models that look at several pictures at once, as tests want them: folders without a network's
weights, and answers that are scripted. Pictures are those of `tiny_vlm.pictures`, whose hue tells
their value.
"""

from __future__ import annotations

import colorsys
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save

from imgrank.instruction import Query
from imgrank.models.vlm_spec import read_vlm
from imgrank.rankers.rarl import PictureSource

NEEDED = ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json")
NEEDED += ("chat_template.json",)
AGE = {"prompt": "the person's age", "unit": "years", "range": [0, 100], "order": "descending"}


def vlm_folder(folder: Path, seed: int = 0) -> Path:
    """A Qwen2.5-VL as far as can be known without loading it."""
    folder.mkdir(parents=True)
    config = {"model_type": "qwen2_5_vl", "vision_config": {}}
    (folder / "config.json").write_text(json.dumps(config))
    for name in NEEDED:
        (folder / name).write_text("{}")
    weights = np.random.default_rng(seed).normal(size=(4, 4)).astype(np.float32)
    (folder / "model.safetensors").write_bytes(save({"some.weight": weights}))
    return folder


def rarl_folder(
    folder: Path, vlm: Path, tasks: Mapping[str, Any] | None = None, **model: Any
) -> Path:
    """A checkpoint of kind "rarl" that rests on `vlm_folder`."""
    folder.mkdir(parents=True)
    factors = {f"lora.some.{k}": np.zeros((4, 4), np.float32) for k in "AB"}
    data = save(factors)
    (folder / "model.safetensors").write_bytes(data)
    config = {
        "format": 1,
        "kind": "rarl",
        "name": folder.name,
        "backbone": {"name": vlm.name, "digest": f"sha256:{read_vlm(vlm).identity}"},
        "model": {
            "lora": {"rank": 4, "alpha": 4, "targets": ["some"]},
            "max_pixels": 200_704,
            "max_new_tokens": 256,
            **model,
        },
        "tasks": {"age": AGE} if tasks is None else tasks,
        "weights": {"sha256": hashlib.sha256(data).hexdigest()},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def value_of(image: Image.Image) -> int:
    """What a picture of `tiny_vlm.pictures` was made for: 0 to 100."""
    colours = image.getcolors(image.width * image.height)
    assert colours
    red, green, blue = max(colours)[1]
    return round(colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)[0] * 150)


def written(values: Mapping[int, float] | Sequence[float]) -> str:
    """An answer that lists pictures 1..n, or those of a mapping, in ascending order."""
    pairs = values if isinstance(values, Mapping) else dict(enumerate(values, 1))
    order = sorted(pairs.items(), key=lambda pair: pair[1])
    items = [{"image_id": number, "value": value} for number, value in order]
    return f"<think>Seen.</think><answer>{json.dumps(items)}</answer>"


Script = Callable[[list[int]], str]
"""Values of a window's pictures, in the order shown -> what is written about it."""


class Fake:
    """A ranker of scope "set" that sees values by hue and writes as its script says.

    seen: the windows that it was asked about, each its values in the order shown.
    """

    scope = "set"
    needs: frozenset[str] = frozenset()
    name = "fake"
    window = 8
    place = "this CPU"
    device_note = ""

    def __init__(
        self, script: Script = written, *, batch: int = 1, seconds: float | None = None
    ) -> None:
        self.script, self.batch, self.took = script, batch, seconds
        self.identity = "fake:1"
        self.source = PictureSource(self.identity, 1_000_000)
        self.seen: list[list[int]] = []

    def ask(self, windows: Sequence[Sequence[Image.Image]], query: Query) -> list[str]:
        values = [[value_of(image) for image in window] for window in windows]
        texts = [self.script(window) for window in values]
        self.seen += values
        return texts

    def seconds(self, pictures: int) -> float | None:
        return self.took
