"""What a pull turns into something else: pickles into safetensors, tags into OpenCLIP configs.

A pickle is read by `torch.load(weights_only=True)`, which builds tensors and plain containers and
runs nothing of the file's; whatever else is in it makes it refuse. The pickle is not kept.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from imgrank.errors import CheckpointError, ModelUnavailable

__all__ = ["tag_config", "to_safetensors", "write_config"]

PREPROCESS = ("mean", "std", "interpolation", "resize_mode")


def to_safetensors(source: Path, target: Path) -> None:
    """Read a pickled state dict (bare, or under `state_dict`), write it as safetensors.

    Names lose a leading `module.`; tensors keep their precision. Raises ModelUnavailable if the
    file holds anything but tensors, OSError if the target cannot be written.
    """
    from safetensors.torch import save_file

    from imgrank.models.imported import read_state_dict

    try:
        tensors = read_state_dict(source)
    except CheckpointError as error:
        raise ModelUnavailable(
            f"{source.name} was refused: {error} Nothing of it was run or kept. Ask its owners "
            "for safetensors."
        ) from error
    # Tensors that share memory, which safetensors does not write, become copies.
    save_file(
        {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, target
    )


def tag_config(architecture: str, tag: str) -> dict[str, Any]:
    """The `open_clip_config.json` that OpenCLIP's own tables give an architecture and its weights.

    The preprocessing is the tag's, and so is the kind of GELU: OpenAI's weights were trained with
    the quick one, and the architecture's bare name does not say so. Raises ModelUnavailable.
    """
    import open_clip

    model = open_clip.get_model_config(architecture)
    facts = open_clip.get_pretrained_cfg(architecture, tag)
    if not model or not facts:
        raise ModelUnavailable(f"OpenCLIP has no {architecture} with the tag '{tag}'.")
    model.pop("quick_gelu", None)
    if facts.get("quick_gelu"):
        model["quick_gelu"] = True
    preprocess = {
        key: list(facts[key]) if isinstance(facts[key], tuple) else facts[key]
        for key in PREPROCESS
        if key in facts
    }
    return {"model_cfg": model, "preprocess_cfg": preprocess}


def write_config(path: Path, config: dict[str, Any]) -> None:
    """As JSON. Raises OSError."""
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
