"""A Qwen2.5-VL that learns from answers, and what it was when the stage began.

LoRA on the language model's projections; the vision tower has modules of the same names and none of
it. The start of the stage is then the same model with LoRA switched off, so what earlier stages
learnt is merged into the weights before (`start`). Factors are float32 on weights of the model's
precision. `full`: all weights of the language model learn, in float32 and computed in bfloat16
where that is asked for; the start is a second, frozen copy.

Shapes: B rows, T tokens of the longest answer, L of the longest prompt.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imgrank.errors import CheckpointError
from imgrank.models.vlm import VisionLanguage
from imgrank.train.rarl_data import Conversation
from imgrank.train.rarl_recipe import Tuning

__all__ = ["TARGETS", "Asked", "Policy", "enough_memory", "policy_of"]

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ONLY = rf"(.*\.)?language_model\..*\.({'|'.join(TARGETS)})"  # not those of the vision tower
Inputs = dict[str, Tensor]


class Asked:
    """Conversations as the model takes them; parts of it, rows in any order and number.

    inputs: input_ids, attention_mask [B, L], left padded, and the patches of all pictures.
    pictures: how many each row has.
    """

    def __init__(self, inputs: Inputs, pictures: Sequence[int]) -> None:
        self.inputs, self.pictures = inputs, tuple(pictures)

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, rows: Sequence[int]) -> Inputs:
        """These rows, one as often as it is named, without columns that are padding in all."""
        ...


class Policy:
    """model: of transformers, with LoRA inside unless full."""

    def __init__(self, vlm: VisionLanguage, config: Tuning, *, frozen: bool) -> None:
        """frozen: whether the start of the stage will be asked for (`reference`)."""
        ...

    def trained(self) -> dict[str, nn.Parameter]:
        """What learns, by its name in the model."""
        ...

    def ask(self, conversations: Sequence[Conversation]) -> Asked:
        """Conversations as the model takes them."""
        ...

    def answers(self, asked: Asked, rows: Sequence[int], temperature: float, seed: int) -> Tensor:
        """Sampled answers [B, T] to these rows: token ids, padded behind the end of the text."""
        ...

    def texts(self, answers: Tensor) -> list[str]:
        """Answers [B, T] as text, without what is behind the end and without special tokens."""
        ...

    def encoded(self, text: str) -> Tensor:
        """A given answer [T] as the model would write it, with the end of the text."""
        ...

    def padded(self, answers: Sequence[Tensor]) -> Tensor:
        """[B, T] of answers of different lengths."""
        ...

    def mask(self, answers: Tensor) -> Tensor:
        """[B, T] bool: up to the end of the text, which belongs to the answer."""
        ...

    def logprobs(self, asked: Asked, rows: Sequence[int], answers: Tensor) -> tuple[Tensor, Tensor]:
        """log p and entropy [B, T] of each token, float32; behind the end 0. With gradient."""
        ...

    def reference(self, asked: Asked, rows: Sequence[int], answers: Tensor) -> Tensor:
        """log p [B, T] by the start of the stage, without gradient."""
        ...


def policy_of(
    config: Tuning, backbone: Path, start: Path | None, device: torch.device, *, frozen: bool = True
) -> Policy:
    """A policy that begins as `backbone` with the checkpoint `start` merged into it."""
    ...


@contextmanager
def enough_memory(config: Tuning) -> Iterator[None]:
    """A device that is too small for a step is a CheckpointError that says what takes less."""
    ...
