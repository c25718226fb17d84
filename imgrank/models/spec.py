"""What can be known about a backbone without loading it: identity, size, preprocessing. No torch.

A backbone is a folder that OpenCLIP loads by `local-dir:` (config, weights, tokenizer file), and
beside them `imgrank.json`, which records what would otherwise need the weights to be read:

    {"format": 1, "name": "tiny", "weights_sha256": "<64 hex>", "statistics": [1, 2, 3, 4],
     "widths": {"grid": 1280, "statistics": 992, "text": 256, "embed": 384}, "grid_tokens": 49,
     "merges": "merges.txt.gz", "image_size": 224}

* `statistics`: which intermediate maps of the trunk (indices of timm's `forward_intermediates`)
  give channel means and standard deviations as one extra image token; [] for none. For
  EfficientNet-Lite0 the indices 1, 2, 3, 4 are the ends of blocks 1, 2, 4 and 6.
* `merges`: a byte-pair merges file of the folder for OpenCLIP's own tokenizer; without it the
  tokenizer is whatever the OpenCLIP config asks for.
* `image_size`: side of the input in pixels where it is not the config's own; absent else. A model
  that was trained at 320 pixels can so be used at 224.

`imgrank.json` is optional: without it the weights are hashed once (`digests.py`), and the widths
are not known before the model is loaded. `models/backbone.py:describe` writes it.
"""

from __future__ import annotations

import hashlib
import json
import math
import shlex
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgrank.errors import CheckpointError
from imgrank.models.digests import file_sha256, known_sha256

__all__ = ["FORMAT", "PREPROCESSING", "BackboneSpec", "file_sha256", "read_spec", "to_verify"]

FORMAT = 1
PREPROCESSING = 1
"""Version of everything between a file's bytes and the model's input, and of how features are
taken from the model. Raise it when either changes: every kept feature and score is then stale."""

CONFIG = "open_clip_config.json"
RECORD = "imgrank.json"
MERGES = "merges.txt.gz"
LARGEST = 2048  # pixels a side; no published tower reads as many
# The order in which OpenCLIP's `local-dir:` looks for weights, safetensors only: pickles are
# never read.
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
LARGEST_HEADER = 100_000_000  # bytes; what safetensors itself accepts
_FLOATS = {"F64": "<d", "F32": "<f", "F16": "<e", "BF16": "<f"}
# OpenCLIP's defaults for a config without preprocess_cfg.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """A backbone folder as read from its two JSON files.

    identity: hex sha256 over the weights' digest, the OpenCLIP config, the statistics choice, the
    merges file's digest, `PREPROCESSING` and, where the record has one, the other `image_size`; a
    key of the store.
    image_size: side of the square input in pixels.  other_size: it is not the config's own.
    mean, std: per channel, on pixels in 0..1.
    interpolation: "bicubic" or "bilinear".  resize_mode: "shortest", "longest" or "squash".
    fill_color: grey in 0..255 beside a picture that "longest" leaves too narrow.
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
    other_size: bool = False
    fill_color: int = 0

    def logit_scale(self) -> float:
        """By what the model multiplies cosines before a softmax: exp of the tensor `logit_scale`.

        Read from the head of the weights' file: no torch, and not checked against the digest.
        Raises CheckpointError if the file has no such tensor.
        """
        try:
            return math.exp(_scalar(self.weights, "logit_scale"))
        except (OSError, ValueError, KeyError, TypeError, struct.error, OverflowError) as error:
            raise CheckpointError(
                f"{self.weights} holds no logit_scale that can be read ({error}). "
                "Fetch the backbone again."
            ) from error


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
        raise _no_weights(folder)
    try:
        return _join(folder, config, record, weights, _merges(folder, record.get("merges")))
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder} is not a backbone that can be read: {error!r}.") from error


def to_verify(folder: Path) -> str:
    """The next step where a model's files are not those that it records."""
    from imgrank.models.registry import EMBEDDED
    from imgrank.settings import load_settings

    in_place = folder.absolute().parent in (load_settings().models_dir, EMBEDDED)
    name = folder.name if in_place else shlex.quote(str(folder))
    return f"`imgrank models verify {name}` says what to do."


def _merges(folder: Path, name: Any) -> Path | None:
    if not name:
        return None
    if name != MERGES:
        raise ValueError(f"merges {name!r}: that file is called {MERGES}")
    if not (folder / MERGES).is_file():
        raise CheckpointError(f"{folder / MERGES} is missing. Fetch the backbone again.")
    return folder / MERGES


def _no_weights(folder: Path) -> CheckpointError:
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if not pickles:
        return CheckpointError(
            f"{folder} holds no weights ({' or '.join(WEIGHTS)}). Fetch the backbone again."
        )
    return CheckpointError(
        f"{folder} holds its weights only as a pickle ({', '.join(pickles)}), which can run "
        "programs when it is read, so it is not. If you trust where it came from: "
        f"imgrank models import backbone {folder} --allow-pickle"
    )


def _join(
    folder: Path,
    config: dict[str, Any],
    record: dict[str, Any],
    weights: Path,
    merges: Path | None,
) -> BackboneSpec:
    # OpenCLIP takes its default for what is absent or null.
    given = config.get("preprocess_cfg")
    preprocess = {k: v for k, v in ({} if given is None else given).items() if v is not None}
    size = config["model_cfg"]["vision_cfg"].get("image_size", 224)
    if isinstance(size, list):
        if len(set(size)) != 1:
            raise ValueError(f"image_size {size} is not square")
        size = size[0]
    statistics = tuple(int(index) for index in record.get("statistics", ()))
    digest = record.get("weights_sha256") or known_sha256(weights)
    named = {
        "weights": digest,
        "config": config,
        "statistics": statistics,
        "merges": file_sha256(merges) if merges else None,
        "preprocessing": PREPROCESSING,
    }
    other = record.get("image_size")
    if other is not None:
        named["image_size"] = int(other)
    side = int(size if other is None else other)
    if not 1 <= side <= LARGEST:
        raise ValueError(f"image_size {side} is not one of 1 to {LARGEST} pixels")
    resize_mode = preprocess.get("resize_mode", "shortest")
    if resize_mode not in ("shortest", "longest", "squash"):
        raise ValueError(f"resize_mode {resize_mode!r} is unknown")
    return BackboneSpec(
        folder=folder,
        name=record.get("name", folder.name),
        weights=weights,
        weights_sha256=digest,
        identity=hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest(),
        image_size=side,
        mean=_three(preprocess.get("mean", CLIP_MEAN)),
        std=_three(preprocess.get("std", CLIP_STD)),
        # "random" is for training: OpenCLIP takes bicubic then, as for anything but "bilinear".
        interpolation="bilinear" if preprocess.get("interpolation") == "bilinear" else "bicubic",
        resize_mode=resize_mode,
        statistics=statistics,
        merges=merges,
        widths=dict(record.get("widths", {})),
        grid_tokens=record.get("grid_tokens"),
        other_size=other is not None,
        fill_color=int(preprocess.get("fill_color", 0)),
    )


def _three(values: list[float] | float) -> tuple[float, float, float]:
    if isinstance(values, int | float):
        return float(values), float(values), float(values)
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _scalar(weights: Path, name: str) -> float:
    """The first number of a tensor, by the head of a safetensors file: 8 bytes with the length of
    a JSON table, which gives dtype and place (counted from the table's end) of every tensor."""
    with weights.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > LARGEST_HEADER:
            raise ValueError("not a safetensors file")
        entry = json.loads(file.read(length))[name]
        dtype, start = entry["dtype"], int(entry["data_offsets"][0])
        file.seek(8 + length + start)
        data = file.read(struct.calcsize(_FLOATS[dtype]) if dtype != "BF16" else 2)
    if dtype == "BF16":  # the upper half of a float32
        data = b"\0\0" + data
    value: float = struct.unpack(_FLOATS[dtype], data)[0]
    return value


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object.")
    return content
