"""A Qwen2.5-VL that learns from answers, and what it was when the stage began.

LoRA on the language model's projections; the vision tower has modules of the same names and none of
it. The start of the stage is then the same model with LoRA switched off, so what earlier stages
learnt is merged into the weights before. Factors are float32 on weights of the model's precision.
In bfloat16 what is merged is rounded, so a second stage learns on round(W + D1), and whoever uses
its checkpoint has round(W + D1 + D2), the sum rounded once, rather than round(W + D1) + D2: both
are within a part in 256 of each weight, as every weight of such a model is.
`full`: all weights but the vision tower's learn, in float32 and computed in bfloat16 where that is
asked for; the start is a second, frozen copy.

Shapes: B answers, T tokens of the longest.
"""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imgrank.errors import CheckpointError, MissingExtra
from imgrank.models.checkpoint import read_config
from imgrank.models.device import out_of_memory
from imgrank.models.rarl_checkpoint import from_peft, full_tensors
from imgrank.models.vlm import Conversation, VisionLanguage, dtype_of
from imgrank.train.processes import ALONE, Processes
from imgrank.train.rarl_recipe import Config, Tuning
from imgrank.train.run import load_state, require_extras, require_number

__all__ = [
    "TARGETS",
    "Inputs",
    "Learning",
    "Policy",
    "enough_memory",
    "learning_of",
    "pieces",
    "policy_of",
    "require_rarl",
]

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ONLY = rf".*\blanguage_model\..*\.({'|'.join(TARGETS)})"  # not those of the vision tower
VISION = "visual"  # a part of the names of the vision tower's parameters
Inputs = Mapping[str, Tensor]


class Policy:
    """vlm: its model is the one in training, with LoRA in it unless all learns."""

    def __init__(
        self, vlm: VisionLanguage, config: Tuning, *, frozen: bool = True, began: str = ""
    ) -> None:
        """frozen: whether the start of the stage will be asked for, which takes memory if full.
        began: sha256 of the weights of the checkpoint that is merged into it, "" for none."""
        self.vlm, self.began = vlm, began
        self._wrapped: Any = None
        self._scale = config.lora_alpha / config.rank
        self._frozen: nn.Module | None = None
        bfloat16 = dtype_of(vlm.device, config.precision) == torch.bfloat16
        self._mixed = bfloat16 and config.full
        vlm.model.requires_grad_(False)
        if config.full:
            self._frozen = copy.deepcopy(vlm.model).eval() if frozen else None
            for name, parameter in vlm.model.named_parameters():
                parameter.requires_grad_(VISION not in name.split("."))
        else:
            self._wrapped = _with_lora(vlm.model, config)
        if config.checkpointing:
            names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")
            enable = next(getattr(vlm.model, n) for n in names if hasattr(vlm.model, n))
            enable({"use_reentrant": False})  # of transformers 5, by its new or its old name
        vlm.model.train()  # what is checkpointed is so in training only; there is no dropout

    @property
    def full(self) -> bool:
        return self._wrapped is None

    def trained(self) -> dict[str, nn.Parameter]:
        """What learns, by its name in the model."""
        return {n: p for n, p in self.vlm.model.named_parameters() if p.requires_grad}

    def tensors(self) -> dict[str, Tensor]:
        """What was learnt in this stage, as a checkpoint stores it (`models/rarl_checkpoint.py`);
        of a full training what learns, with what went before, as precise as it is computed."""
        if self.full:
            kind = torch.bfloat16 if self._mixed else torch.float32
            own = self.trained().items()  # one after another: a device may have no room for all
            return full_tensors({name: p.detach().to("cpu", kind) for name, p in own})
        from peft import get_peft_model_state_dict

        state = get_peft_model_state_dict(self._wrapped, save_embedding_layers=False)
        return from_peft(state, self._scale)

    def ask(self, conversations: Sequence[Conversation]) -> Inputs:
        """Conversations as the model reads them, a row each."""
        return self.vlm.inputs(conversations)

    def answers(
        self, asked: Inputs, rows: Sequence[int], longest: int, temperature: float, seed: int
    ) -> Tensor:
        """A sampled answer to each of these rows [B, T], of at most `longest` tokens.

        It ends at its end of text, not at the text "</answer>": ending is learnt, too.
        """
        part = self.vlm.take(asked, rows)
        with self._precision():
            return self.vlm.generate(
                part, longest, sample=True, temperature=temperature, seed=seed, stop=None
            )

    def texts(self, answers: Tensor) -> list[str]:
        """What answers [B, T] say."""
        return self.vlm.texts(answers)

    def encoded(self, text: str) -> Tensor:
        """A given answer [T] as the model would write it, with its end of text."""
        return self.vlm.encode(text)

    def padded(self, answers: Sequence[Tensor]) -> Tensor:
        """[B, T] of answers of different lengths, without columns that are padding in all."""
        found = nn.utils.rnn.pad_sequence(
            list(answers), batch_first=True, padding_value=self.vlm.pad
        )
        return found[:, : max(1, int(self.mask(found).sum(1).max()))]

    def mask(self, answers: Tensor) -> Tensor:
        """[B, T] bool: up to the end of text, which belongs to the answer."""
        return self.vlm.mask(answers)

    def logprobs(
        self, asked: Inputs, rows: Sequence[int], answers: Tensor, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """log p of each token of answers [B, T] to these rows, with gradient, and the entropy that
        it was drawn with, without; float32, 0 behind the end."""
        part = self.vlm.take(asked, rows)
        with self._precision():
            return self.vlm.logprobs(part, answers, self.mask(answers), temperature)

    @torch.no_grad()
    def reference(
        self, asked: Inputs, rows: Sequence[int], answers: Tensor, temperature: float = 1.0
    ) -> Tensor:
        """log p [B, T] by the start of the stage."""
        part, mask = self.vlm.take(asked, rows), self.mask(answers)
        with self._precision():
            if self._wrapped is None:
                return self.vlm.logprobs(part, answers, mask, temperature, self._frozen)[0]
            with self._wrapped.disable_adapter():
                return self.vlm.logprobs(part, answers, mask, temperature)[0]

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.vlm.device.type, torch.bfloat16, enabled=self._mixed)


class Learning:
    """A policy with all that changes while it learns; saved and loaded whole.

    step: done.   seconds: of training so far, over all runs; kept by the loop.
    """

    def __init__(self, policy: Policy, config: Tuning) -> None:
        self.policy, self.clip = policy, config.clip
        self.step, self.seconds = 0, 0.0
        weights = list(policy.trained().values())
        # One weight after another: all together take as much memory again on a GPU.
        self.optimizer = torch.optim.AdamW(weights, config.lr, weight_decay=0.0, foreach=False)
        self.optimizer.zero_grad(set_to_none=True)

    def advance(self, processes: Processes = ALONE) -> float:
        """A step by the gradients that are there, meaned over processes; their norm before it was
        clipped. They are gone afterwards. Raises CheckpointError if they are no numbers."""
        weights = list(self.policy.trained().values())
        processes.average_gradients(weights)
        norm = nn.utils.clip_grad_norm_(weights, self.clip)
        require_number(norm, self.step, "the gradient")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return float(norm)

    def state(self) -> dict[str, Any]:
        """Everything that a run needs to go on bit for bit; all else depends on (seed, step)."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "weights": {name: p.detach() for name, p in self.policy.trained().items()},
            "optimizer": self.optimizer.state_dict(),
        }

    def resumed(self, path: Path, settings: Mapping[str, Any]) -> bool:
        """Goes on from the state at `path`, if there is one. Raises CheckpointError for one of
        other settings or a damaged one."""
        state = load_state(path, settings)
        if state is not None:
            self.load(state)
        return state is not None

    @torch.no_grad()
    def load(self, state: Mapping[str, Any]) -> None:
        """What `state` gave."""
        self.step, self.seconds = state["step"], state["seconds"]
        for name, parameter in self.policy.trained().items():
            parameter.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])


def policy_of(
    config: Tuning, backbone: Path, start: Path | None, device: torch.device, *, frozen: bool = True
) -> Policy:
    """A policy that begins as the model `backbone` with the checkpoint `start` merged into it.

    Raises CheckpointError as `VisionLanguage`, and if the model has no projections for LoRA.
    """
    precision = "float32" if config.full else config.precision
    vlm = VisionLanguage(backbone, device, precision, start, config.max_pixels)
    began = read_config(start)["weights"]["sha256"] if start is not None else ""
    return Policy(vlm, config, frozen=frozen, began=began)


def learning_of(
    config: Config, backbone: Path, start: Path | None, device: torch.device
) -> Learning:
    """As `policy_of`, with an optimiser."""
    return Learning(policy_of(config, backbone, start, device, frozen=config.kl > 0), config)


def require_rarl() -> None:
    """Raises MissingExtra for what a training would need, before any work."""
    what = "training a Qwen2.5-VL"
    if any(importlib.util.find_spec(name) is None for name in ("transformers", "peft")):
        raise MissingExtra(what, "rarl")
    require_extras(what)


def pieces(count: int, size: int) -> list[list[int]]:
    """0..count-1 in runs of `size`; 0: all in one."""
    return [list(range(count))[n : n + (size or count)] for n in range(0, count, size or count)]


@contextmanager
def enough_memory(config: Tuning) -> Iterator[None]:
    """A device that is too small for a step is a CheckpointError that says what takes less."""
    try:
        yield
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise CheckpointError(
            f"a step does not fit into the device's memory. {_of_the_same_run(config)}What else "
            "takes less is another --out with a smaller max_pixels or max_new_tokens, and of a GPU "
            "whose memory is in pieces PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True before the "
            "line."
        ) from error


def _of_the_same_run(config: Tuning) -> str:
    """A sentence on what takes less memory and leaves the state usable, "" if that is all set."""
    less = []
    if pieces := (config.at_once or 2 * config.prompts) // 2:
        less.append(f"--set at_once={pieces} (answers that go through the model together)")
    if not config.checkpointing:
        less.append("--set checkpointing=true")
    if not less:
        return ""
    return f"Go on from the last state with the same line and {', '.join(less)}. "


def _with_lora(model: Any, config: Tuning) -> Any:
    """A PeftModel around it; its modules are exchanged in place. Drawn from the seed alone."""
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=config.rank, lora_alpha=config.lora_alpha, target_modules=ONLY, lora_dropout=0.0
    )
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore", FutureWarning)  # peft calls transformers by old names
            torch.manual_seed(config.seed)
            return get_peft_model(model, lora)
    except ValueError as error:  # it found no such modules
        raise CheckpointError(
            f"the model has no projections that LoRA could be put on: {error}"
        ) from error
