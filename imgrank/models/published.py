"""What the small configs of a repository say, before anything large is fetched. Opens the network.

They are written by others: whatever cannot be used is refused here, in one line.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

from imgrank.errors import MissingExtra, ModelUnavailable
from imgrank.models import checkpoint
from imgrank.models.convert import tag_config
from imgrank.models.hub import Repository, fetch
from imgrank.models.registry import Listed
from imgrank.models.spec import CONFIG
from imgrank.models.wish import TOKENIZER, Wish

__all__ = ["backbone_config", "detector_file", "own_config"]

SMALL = 1_000_000  # bytes: no config of a model is larger
KINDS = (
    "adapter",
    "linear",
    "l2rclip",
    checkpoint.RETRIEVAL,
)  # of checkpoints; `rankers/load.py` runs them


def backbone_config(wish: Wish, repository: Repository) -> dict[str, Any]:
    """Raises MissingExtra, or ModelUnavailable for what could not be loaded anyway."""
    if CONFIG in repository.files:
        config = _read_small(repository, CONFIG)
    else:
        config = tag_config(wish.architecture, wish.tag)
    model = config.get("model_cfg")
    text = model.get("text_cfg") if isinstance(model, dict) else None
    if not isinstance(text, dict):
        raise ModelUnavailable(f"{CONFIG} of {repository.name} describes no OpenCLIP model.")
    if elsewhere := text.get("hf_model_name"):
        raise ModelUnavailable(
            f"the text tower of {repository.name} is built from another repository ({elsewhere}), "
            "which imgrank does not fetch. Take a model with OpenCLIP's own text tower."
        )
    if tokenizer := text.get("hf_tokenizer_name"):
        if not any(name in repository.files for name in TOKENIZER):
            raise ModelUnavailable(
                f"the tokenizer of {repository.name} is in another repository ({tokenizer}), "
                "which imgrank does not fetch."
            )
        if importlib.util.find_spec("transformers") is None:
            raise MissingExtra(f"the tokenizer of {wish.text}", "siglip")
    return config


def detector_file(known: Listed) -> str:
    """The one file of a face detector: ONNX, which OpenCV alone opens. Raises MissingExtra."""
    if importlib.util.find_spec("cv2") is None:
        raise MissingExtra(f"the face detector {known.name}", "faces")
    (name,) = known.files
    return name


def own_config(repository: Repository) -> dict[str, Any]:
    """Of a checkpoint of ours. Raises ModelUnavailable for any other."""
    config = _read_small(repository, checkpoint.CONFIG)
    if "format" not in config or not isinstance(config.get("kind"), str):
        raise ModelUnavailable(
            f"{repository.name} is no checkpoint of imgrank's: its {checkpoint.CONFIG} is another "
            "program's. imgrank takes its own checkpoints and OpenCLIP backbones."
        )
    if config["format"] != checkpoint.FORMAT:
        raise ModelUnavailable(
            f"{repository.name} has format {config['format']!r}, this imgrank reads "
            f"{checkpoint.FORMAT}. Upgrade imgrank."
        )
    if config["kind"] not in KINDS:
        raise ModelUnavailable(
            f"{repository.name} is of a kind that this imgrank cannot run: {config['kind']}. "
            "Upgrade imgrank."
        )
    return config


def _read_small(repository: Repository, name: str) -> dict[str, Any]:
    if repository.files[name].bytes > SMALL:
        raise ModelUnavailable(f"{name} of {repository.name} is too large to be a config.")
    with tempfile.TemporaryDirectory(prefix="imgrank-") as folder:
        text = fetch(repository, name, Path(folder)).read_bytes()
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ModelUnavailable(f"{name} of {repository.name} is not a JSON object.")
    return content
