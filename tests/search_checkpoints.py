"""Checkpoints of kind "retrieval" as tests want them: `tiny` with other numbers in its towers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from imgrank.models import retrieval_checkpoint
from imgrank.models.checkpoint import save_checkpoint
from imgrank.models.registry import EMBEDDED
from imgrank.models.spec import read_spec

TINY = EMBEDDED / "tiny"
IMAGE, TEXT, SCALE = "visual.head.proj.weight", "text.text_projection.weight", "logit_scale"
NAMES = (IMAGE, TEXT, SCALE)
TUNED_SCALE = 2.5


def search_checkpoint(
    folder: Path, names: tuple[str, ...] = NAMES, *, backbone: Path = TINY, **facts: Any
) -> Path:
    """A made-up one, as a training would write it; names: of the tensors that differ."""
    spec = read_spec(backbone)
    own = load_file(spec.weights)
    torch.manual_seed(0)
    after = {
        name: own[name] + (0.5 * own[name].float().std() * torch.randn(own[name].shape)).half()
        for name in names
        if name != SCALE
    }
    if SCALE in names:
        after[SCALE] = torch.tensor(TUNED_SCALE)
    tensors = retrieval_checkpoint.tensors(own, after)
    config = retrieval_checkpoint.facts(
        spec,
        tensors,
        name=folder.name,
        licence="mit",
        made_by="a test",
        training={"loss": "dpo", "seed": 0},
        **facts,
    )
    card = retrieval_checkpoint.card(config, "Made up.", ["loss: dpo"])
    save_checkpoint(folder, config, tensors, card)
    return folder
