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
from imgrank.models.config_values import missing_values, of_transformers, wrong_values
from imgrank.models.convert import tag_config
from imgrank.models.hub import Repository, fetch
from imgrank.models.registry import Listed
from imgrank.models.spec import CONFIG
from imgrank.models.terms import TERMS
from imgrank.models.vlm_spec import (
    INDEX,
    MODEL_TYPE,
    PROCESSOR,
    TELLING,
    WEIGHTS,
    unusable,
    weight_names,
    without,
)
from imgrank.models.vlm_spec import TOKENIZER as VLM_TOKENIZER
from imgrank.models.wish import TOKENIZER, Wish

__all__ = ["backbone_config", "detector_file", "json_config", "vlm_files"]

SMALL = 1_000_000  # bytes: no config of a model is larger
KINDS = (
    "adapter",
    "linear",
    "l2rclip",
    checkpoint.RETRIEVAL,
    checkpoint.RARL,
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


def json_config(repository: Repository) -> dict[str, Any]:
    """The `config.json` of a checkpoint of ours, which has a `format`, or of a Qwen2.5-VL.

    Raises ModelUnavailable for any other, MissingExtra if it cannot be used here.
    """
    config = _read_small(repository, checkpoint.CONFIG)
    if "format" not in config and config.get("model_type") == MODEL_TYPE:
        _check_vlm(config, repository)
    elif "format" not in config and "model_type" in config:
        raise ModelUnavailable(f"{repository.name} holds {of_transformers(config)}.")
    else:
        _check_own(config, repository)
    return config


def vlm_files(repository: Repository) -> tuple[str, ...]:
    """Names of all that makes a Qwen2.5-VL: terms and small files first, weights last.

    Pickles and programs are never among them. Raises ModelUnavailable if something is not there.
    """
    names = repository.files.keys()
    beside = (
        "generation_config.json",
        *VLM_TOKENIZER,
        *PROCESSOR,
        "video_preprocessor_config.json",
    )
    small = tuple(name for name in (*TERMS, checkpoint.CONFIG, *beside) if name in names)
    telling = (name for name in TELLING if name in names)
    if lacks := without(
        names, lambda: any(_read_small(repository, n).get("chat_template") for n in telling)
    ):
        raise ModelUnavailable(f"{repository.name} {lacks}. Nothing was fetched.")
    if WEIGHTS in names:
        return (*small, WEIGHTS)
    try:
        weights = weight_names(_read_small(repository, INDEX))
    except ValueError as error:
        raise ModelUnavailable(
            f"{INDEX} of {repository.name} {error}. Nothing was fetched."
        ) from error
    if gone := [name for name in weights if name not in names]:
        raise ModelUnavailable(
            f"{repository.name} lacks {len(gone)} of the {len(weights)} files of weights that its "
            f"{INDEX} names: {', '.join(gone[:3])}{', ...' if gone[3:] else ''}."
        )
    return (*small, INDEX, *weights)


def _check_vlm(config: dict[str, Any], repository: Repository) -> None:
    if why := unusable(config):
        raise ModelUnavailable(f"{checkpoint.CONFIG} of {repository.name} {why}.")
    _need_transformers(repository.name)


def _need_transformers(name: str) -> None:
    if importlib.util.find_spec("transformers") is None:
        raise MissingExtra(f"the vision-language model {name}", "rarl")


def _check_own(config: dict[str, Any], repository: Repository) -> None:
    if "format" not in config or not isinstance(config.get("kind"), str):
        raise ModelUnavailable(
            f"{repository.name} is no checkpoint of imgrank's: its {checkpoint.CONFIG} is another "
            "program's. imgrank takes its own checkpoints, OpenCLIP backbones and Qwen2.5-VL."
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
    missing, wrong = missing_values(config), wrong_values(config)
    if missing or wrong:
        how = f"lacks {', '.join(missing)}"
        if not missing:
            how = f"has another kind of value than is expected as {', '.join(wrong)}"
        raise ModelUnavailable(
            f"{repository.name} cannot be used: its {checkpoint.CONFIG} {how}. Nothing was fetched."
        )
    if config["kind"] == checkpoint.RARL:
        _need_transformers(repository.name)


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
