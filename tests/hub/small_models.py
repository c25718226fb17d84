"""Small random OpenCLIP repositories, as the stand-in's tests publish them."""

from __future__ import annotations

import json

import open_clip
import torch
from safetensors.torch import save

S = 32
PARTS = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": S, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}
SAFE = "open_clip_model.safetensors"


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {k: v.contiguous() for k, v in open_clip.CLIP(**PARTS).state_dict().items()}


def backbone(seed: int = 0, name: str = SAFE) -> dict[str, bytes]:
    config = {"model_cfg": PARTS, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    return {"open_clip_config.json": json.dumps(config).encode(), name: save(weights(seed)),
            ".gitattributes": b"", "pytorch_model.bin": b"not wanted"}  # fmt: skip
