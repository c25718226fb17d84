"""Checkpoints of kind "rarl" with small random factors, as a training would have written them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgrank.models.checkpoint import save_checkpoint
from imgrank.models.rarl_checkpoint import card, facts
from imgrank.models.vlm_spec import read_vlm

AGE = {"prompt": "the person's age", "unit": "years", "range": [0, 100], "order": "descending"}
LAYER = "lora.model.language_model.layers.0.self_attn.q_proj"


def random_rarl(
    folder: Path,
    vlm: Path,
    *,
    licence: str = "",
    tasks: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """A LoRA of rank 2 on one layer of a `tiny_vlm` of width 32. tasks: {"age": AGE} if None."""
    import torch

    draw = torch.Generator().manual_seed(0)
    tensors = {f"{LAYER}.{side}": torch.randn(shape, generator=draw)
               for side, shape in (("A", (2, 32)), ("B", (32, 2)))}  # fmt: skip
    config = facts(
        read_vlm(vlm),
        tensors,
        name=folder.name,
        licence=licence,
        made_by="a test",
        max_pixels=3136,
        max_new_tokens=64,
        tasks={"age": AGE} if tasks is None else tasks,
        training={},
    )
    save_checkpoint(folder, config, tensors, card(config, "", ["by a test"]))
    return folder
