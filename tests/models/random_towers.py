"""Small OpenCLIP folders with random weights, of every kind of tower, and OpenCLIP's own reading of
them to compare with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

TEXT = {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
SIGLIP_TEXT = {
    "context_length": 16, "vocab_size": 40, "width": 32, "heads": 2, "layers": 2,
    "hf_tokenizer_name": "somebody/siglip", "tokenizer_kwargs": {"clean": "canonicalize"},
    "no_causal_mask": True, "proj_bias": True, "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"},
}  # fmt: skip


def timm(name: str, size: int, pool: str, proj: str | None) -> dict[str, Any]:
    return {
        "timm_model_name": name, "timm_model_pretrained": False, "image_size": size,
        "timm_pool": pool, "timm_proj": proj, "timm_drop": 0.0,
    }  # fmt: skip


def config(vision: dict[str, Any], text: dict[str, Any] = TEXT, **more: Any) -> dict[str, Any]:
    return {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text, **more}


VIT = {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}


def words() -> Tokenizer:
    """A tokenizer of forty words, as a SigLIP folder has one of 256,000."""
    names = ["<pad>", "<eos>", "<unk>", "a", "cat", "two", "dogs", "on", "the", "grass", "sleeps"]
    names += [f"word{i}" for i in range(len(names), SIGLIP_TEXT["vocab_size"])]
    vocab = {word: i for i, word in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    return tokenizer


def make(folder: Path, model_cfg: dict[str, Any], weights: str = "open_clip_model") -> Path:
    """A folder as OpenCLIP writes it, with random weights of which every one matters."""
    folder.mkdir(parents=True)
    preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.25, 0.2], "resize_mode": "squash"}
    content = {"model_cfg": model_cfg, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    if model_cfg["text_cfg"].get("hf_tokenizer_name"):
        words().save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps({
            "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>",
            "eos_token": "<eos>", "unk_token": "<unk>",
        }))  # fmt: skip
    torch.manual_seed(0)
    state = random_model(model_cfg).state_dict()
    for name, value in state.items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif name.endswith("running_mean"):
            value.normal_(std=0.3)
        elif value.is_floating_point() and value.ndim == 1 and not name.endswith("bias"):
            value.uniform_(0.3, 0.9)  # gains: some begin at nought or a millionth
    state = {name: value.contiguous().clone() for name, value in state.items()}
    state["logit_scale"] = torch.tensor(3.0)
    save_file(state, folder / f"{weights}.safetensors")
    return folder


def random_model(model_cfg: dict[str, Any]) -> torch.nn.Module:
    rest = {key: value for key, value in model_cfg.items() if key != "custom_text"}
    kind = open_clip.CustomTextCLIP if model_cfg.get("custom_text") else open_clip.CLIP
    return kind(**rest)


def plain(folder: Path, **options: Any) -> Any:
    return open_clip.create_model(f"local-dir:{folder}", **options).eval()


def pixels(size: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def by_hand(batch: np.ndarray) -> Tensor:
    x = (batch / 255 - np.array([0.5, 0.4, 0.3])) / np.array([0.5, 0.25, 0.2])
    return torch.from_numpy(x.transpose(0, 3, 1, 2).astype(np.float32))
