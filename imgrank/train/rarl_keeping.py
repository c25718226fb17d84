"""From a trained policy to a checkpoint of kind "rarl": one LoRA relative to the plain model.

Factors of all stages stand side by side (`models/rarl_checkpoint.py`), so that a checkpoint is small
and needs no other. If anything before was full, all tensors are written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from imgrank.train.rarl_data import Problem
from imgrank.train.rarl_policy import Policy
from imgrank.train.rarl_recipe import Tuning

__all__ = ["licence_of", "write_checkpoint"]

Report = Callable[[str], None]


def write_checkpoint(
    folder: Path,
    config: Tuning,
    problem: Problem,
    policy: Policy,
    backbone: Path,
    start: Path | None,
    told: Sequence[str],
    training: Mapping[str, Any],
    command: str,
    report: Report,
) -> None:
    """Write it, unless it is there already with the very same weights.

    told: lines of the card about the training.   training: what the config says of it.
    """
    ...


def licence_of(config: Tuning, backbone: Path) -> str:
    """Of the weights: the recipe's, and the base's where that allows less."""
    ...
