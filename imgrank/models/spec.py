"""What can be known about a backbone without loading it: identity, size, preprocessing. No torch.

A backbone is a folder that OpenCLIP loads by `local-dir:` (config, weights, tokenizer file), and
beside them `imgrank.json`, which records what would otherwise need the weights to be read:

    {"format": 1, "name": "tiny", "weights_sha256": "<64 hex>", "statistics": [1, 2, 3, 4],
     "widths": {"grid": 1280, "statistics": 992, "text": 256, "embed": 384}, "grid_tokens": 49,
     "merges": "merges.txt.gz"}

* `statistics`: which intermediate maps of the trunk (indices of timm's `forward_intermediates`)
  give channel means and standard deviations as one extra image token; [] for none. For
  EfficientNet-Lite0 the indices 1, 2, 3, 4 are the ends of blocks 1, 2, 4 and 6.
* `merges`: a byte-pair merges file of the folder for OpenCLIP's own tokenizer; without it the
  tokenizer is whatever the OpenCLIP config asks for.

`imgrank.json` is optional: without it the weights are hashed at every `read_spec` (so
`models/backbone.py:describe` writes it once), and the widths are not known before the model is
loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgrank.errors import CheckpointError

__all__ = ["FORMAT", "PREPROCESSING", "BackboneSpec", "file_sha256", "read_spec"]

FORMAT = 1
PREPROCESSING = 1
"""Version of everything between a file's bytes and the model's input, and of how features are
taken from the model. Raise it when either changes: every kept feature and score is then stale."""

CONFIG = "open_clip_config.json"
RECORD = "imgrank.json"
# The order in which OpenCLIP's `local-dir:` looks for weights, safetensors only: pickles are
# never read.
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
# OpenCLIP's defaults for a config without preprocess_cfg.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """A backbone folder as read from its two JSON files.

    identity: hex sha256 over the weights' digest, the OpenCLIP config, the statistics choice, the
    merges file's digest and `PREPROCESSING`; a key of the store.
    image_size: side of the square input in pixels.  mean, std: per channel, on pixels in 0..1.
    widths: grid, statistics, text, embed; empty if the folder has no `imgrank.json`.
    """

    folder: Path
    name: str
    weights: Path
    weights_sha256: str
    identity: str
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    resize_mode: str
    statistics: tuple[int, ...] = ()
    merges: Path | None = None
    widths: Mapping[str, int] = field(default_factory=dict)
    grid_tokens: int | None = None


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_spec(folder: Path) -> BackboneSpec:
    """Read a backbone folder's spec. Raises CheckpointError if it is not a usable folder."""
    config = _read_json(folder / CONFIG)
    record: dict[str, Any] = {}
    if (folder / RECORD).is_file():
        record = _read_json(folder / RECORD)
        if record.get("format") != FORMAT:
            raise CheckpointError(
                f"{folder / RECORD} has format {record.get('format')!r}, this imgrank reads "
                f"{FORMAT}. Upgrade imgrank or fetch the backbone again."
            )
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise CheckpointError(
            f"{folder} holds no weights ({' or '.join(WEIGHTS)}). Fetch the backbone again."
        )
    merges = folder / record["merges"] if record.get("merges") else None
    if merges is not None and not merges.is_file():
        raise CheckpointError(f"{merges} is missing. Fetch the backbone again.")
    try:
        return _join(folder, config, record, weights, merges)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder} is not a backbone that can be read: {error!r}.") from error


def _join(
    folder: Path,
    config: dict[str, Any],
    record: dict[str, Any],
    weights: Path,
    merges: Path | None,
) -> BackboneSpec:
    preprocess = config.get("preprocess_cfg", {})
    size = config["model_cfg"]["vision_cfg"].get("image_size", 224)
    if isinstance(size, list):
        if len(set(size)) != 1:
            raise ValueError(f"image_size {size} is not square")
        size = size[0]
    statistics = tuple(int(index) for index in record.get("statistics", ()))
    digest = record.get("weights_sha256") or file_sha256(weights)
    named = {
        "weights": digest,
        "config": config,
        "statistics": statistics,
        "merges": file_sha256(merges) if merges else None,
        "preprocessing": PREPROCESSING,
    }
    return BackboneSpec(
        folder=folder,
        name=record.get("name", folder.name),
        weights=weights,
        weights_sha256=digest,
        identity=hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest(),
        image_size=int(size),
        mean=_three(preprocess.get("mean", CLIP_MEAN)),
        std=_three(preprocess.get("std", CLIP_STD)),
        interpolation=str(preprocess.get("interpolation", "bicubic")),
        resize_mode=str(preprocess.get("resize_mode", "shortest")),
        statistics=statistics,
        merges=merges,
        widths=dict(record.get("widths", {})),
        grid_tokens=record.get("grid_tokens"),
    )


def _three(values: list[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object.")
    return content
