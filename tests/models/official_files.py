"""Official checkpoints and stock backbones for tests: the parity data wrapped, and random ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from imgrank.models.adapter import Adapter, AdapterConfig
from imgrank.models.backbone import describe
from imgrank.models.official import official_name
from imgrank.models.official_import import TRAINED_TEXT

PARITY = Path(__file__).resolve().parents[3] / "shared" / "parity"
ABSENT = "the parity data (shared/parity) is not beside the repository"
VOCABULARY = 49408
HEAD_CONV = ("visual.trunk.head.fc.weight", "visual.trunk.head.fc.bias")
TINY_VIT: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 32,
        "patch_size": 16,
        "width": 24,
        "head_width": 12,
        "layers": 1,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": VOCABULARY,
        "width": 16,
        "heads": 2,
        "layers": 1,
    },
}
SMALL_ADAPTER = AdapterConfig(
    image_widths={"grid": 24},
    text_width=16,
    width=16,
    layers=1,
    encoder_layers=1,
    learnable_text_tokens=3,
    relational_tokens=4,
    grid_projection="linear",
)


def save_backbone(folder: Path, model_config: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
    """A described OpenCLIP folder, preprocessed as OpenAI's models are (centre crop, bicubic)."""
    folder.mkdir(parents=True)
    preprocess = {
        "mean": open_clip.OPENAI_DATASET_MEAN,
        "std": open_clip.OPENAI_DATASET_STD,
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    config = {"model_cfg": model_config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        folder / "open_clip_model.safetensors",
    )
    describe(folder, folder.name)
    return folder


def disturbed(tensors: dict[str, Tensor], names: tuple[str, ...]) -> dict[str, Tensor]:
    """The same, but the named ones with noise: what they were before somebody trained them."""
    generator = torch.Generator().manual_seed(5)
    return {
        name: t + 0.1 * torch.randn(t.shape, generator=generator) if name in names else t
        for name, t in tensors.items()
    }


def wrapped(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """As the authors' training saves it: under `state_dict`, with `module.`, among other things."""
    moments = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-5}]}
    named = {f"module.{name}": tensor for name, tensor in tensors.items()}
    return {"epoch": 7, "name": "run", "state_dict": named, "optimizer": moments}


def random_official(root: Path) -> tuple[Path, dict[str, Tensor]]:
    """A stock ViT backbone folder, and an official state dict on it, all random."""
    torch.manual_seed(0)
    stock = open_clip.CLIP(**TINY_VIT).state_dict()
    backbone = save_backbone(root / "stock", TINY_VIT, stock)
    adapter = {
        official_name(n, vit=True): t for n, t in Adapter(SMALL_ADAPTER).state_dict().items()
    }
    official = {**disturbed(stock, TRAINED_TEXT), **adapter}
    official["visual.proj"] = official["visual.proj"].T.contiguous()
    return backbone, official


class ParityFiles:
    """One variant of the parity data: what the authors' program gave, its file and stock backbone.

    The 64-row vocabulary of the data becomes the real one, so that the real tokenizer fits.
    """

    def __init__(self, variant: str, root: Path) -> None:
        data = PARITY if variant == "main" else PARITY / variant
        self.config: dict[str, Any] = json.loads((data / "config.json").read_text())
        self.expected = load_file(data / "fixture.safetensors")
        self.gradients: dict[str, Any] = json.loads((data / "grad_norms.json").read_text())
        official = load_file(data / "official_tiny_state_dict.safetensors")
        official["token_embedding.weight"] = self._real_vocabulary(official)
        self.official = official
        torch.save(wrapped(official), root / "official.pt")
        self.file = root / "official.pt"
        stock = {name: t for name, t in official.items() if not name.startswith("adapter.")}
        if variant == "main":  # OpenCLIP's head stands in place of the authors' convolution
            torch.manual_seed(3)
            for name in HEAD_CONV:
                del stock[name]
            width = stock["visual.trunk.head.norm.weight"].shape[0]
            embed = stock["text_projection"].shape[1]
            stock["visual.head.mlp.fc1.weight"] = torch.randn(2 * embed, width)
            stock["visual.head.mlp.fc1.bias"] = torch.randn(2 * embed)
            stock["visual.head.mlp.fc2.weight"] = torch.randn(embed, 2 * embed)
        self.backbone = save_backbone(
            root / "stock",
            self._open_clip_config(variant),
            disturbed(stock, (*TRAINED_TEXT, "visual.proj")),
        )

    def _real_vocabulary(self, official: dict[str, Tensor]) -> Tensor:
        generator = torch.Generator().manual_seed(4)
        rows = self.expected["vocab_row_to_bpe"]
        used = official["token_embedding.weight"]
        table = torch.randn(VOCABULARY, used.shape[1], generator=generator)
        table[rows[rows >= 0]] = used[rows >= 0]
        return table

    def _open_clip_config(self, variant: str) -> dict[str, Any]:
        theirs = self.config["official_model_config"]
        vision = {k: v for k, v in theirs["vision_cfg"].items() if k != "output_tokens"}
        text = {k: v for k, v in theirs["text_cfg"].items() if k != "output_tokens"}
        if variant == "main":
            vision["timm_proj"] = "mlp"
        return {
            "embed_dim": theirs["embed_dim"],
            "vision_cfg": vision,
            "text_cfg": {**text, "vocab_size": VOCABULARY},
        }
