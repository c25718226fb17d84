"""A Qwen2.5-VL on a device: pictures and a prompt in, answers and their probabilities out.

    vlm = VisionLanguage(folder, torch.device("cuda"))
    inputs = vlm.inputs([(messages, [picture, picture])])
    answers = vlm.generate(inputs, 256)                     # [B, T] token ids, greedy
    vlm.texts(answers)                                      # ["<think>...</think><answer>[...", ]
    logp, entropy = vlm.logprobs(inputs, answers, vlm.mask(answers))

The distribution that is sampled from, and of which `logprobs` tells, is the model's without special
tokens other than the end of the text: a sampled placeholder of a picture would make the next pass
look for a picture that is not there (spec/rarl.md). The token for padding is one of them, so what
is padding in an answer is certain. Nothing of the folder's own `generation_config.json` applies:
its top_k, its temperature and its penalty for repetition would be another distribution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed

from imgrank.models.device import halving
from imgrank.models.vlm_inputs import Conversation, extended, inputs_of, take
from imgrank.models.vlm_loading import load_model, load_processor, quietly
from imgrank.models.vlm_spec import MAX_PIXELS
from imgrank.settings import Precision

__all__ = ["STOP", "Conversation", "VisionLanguage", "dtype_of"]

STOP = "</answer>"
CHUNK = 256
"""Tokens whose probabilities are computed at a time: over 152,000 words each that is 160 MB."""


class VisionLanguage:
    """A Qwen2.5-VL with its processor.

    model: transformers' model, for evaluation, or what a training has put in its place (peft).
    processor: transformers' processor.
    max_pixels: of a picture; larger ones are scaled down to it.
    max_new_tokens: what a checkpoint says its answers need; None without one.
    end, pad: token ids of the end of an answer and of what follows it.
    suppressed: ids that are never sampled, `pad` among them, [N] on the device.
    """

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        precision: Precision = "auto",
        checkpoint: Path | None = None,
        max_pixels: int | None = None,
    ) -> None:
        """Load a folder.

        precision: of the weights; "auto": bfloat16 on CUDA hardware that has it, else float32.
        checkpoint: of kind "rarl", merged into the weights.
        max_pixels: None: what the checkpoint was trained with, else `MAX_PIXELS`.
        Raises MissingExtra without transformers, CheckpointError if the folder or the checkpoint
        cannot be used, or the checkpoint rests on another model.
        """
        self.folder, self.device = folder, device
        facts: Mapping[str, Any] = {}
        self.processor: Any = load_processor(folder)
        self.model: Any = load_model(folder, dtype_of(device, precision))
        if checkpoint is not None:
            from imgrank.models.rarl_checkpoint import merge_checkpoint

            facts = merge_checkpoint(self.model, checkpoint, folder)
        self.model.to(device)
        self.max_pixels = int(max_pixels or facts.get("max_pixels") or MAX_PIXELS)
        self.max_new_tokens: int | None = facts.get("max_new_tokens")
        self._placeholder = int(self.model.config.image_token_id)
        self._merge = int(self.processor.image_processor.merge_size)
        tokenizer = self.processor.tokenizer
        self.end = int(tokenizer.eos_token_id)
        special = {*_special(tokenizer), *_placeholders(self.model.config)} - {self.end}
        unknown = range(len(tokenizer), int(self.model.config.get_text_config().vocab_size))
        self.suppressed = torch.tensor(sorted({*special, *unknown}), device=device)
        own = tokenizer.pad_token_id
        self.pad = int(own if own in special else self.model.config.vision_end_token_id)

    def inputs(self, conversations: Sequence[Conversation]) -> dict[str, Tensor]:
        """The batch on the device, padded on the left; see `vlm_inputs.py`.

        Raises ValueError if messages name another number of pictures than there are.
        """
        return inputs_of(self.processor, conversations, self.max_pixels, self.device)

    def take(self, inputs: Mapping[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
        """Some rows of a batch, in this order and as often as named."""
        return take(inputs, rows, self._placeholder, self._merge)

    @torch.no_grad()
    def generate(
        self,
        inputs: Mapping[str, Tensor],
        max_new_tokens: int,
        *,
        sample: bool = False,
        temperature: float = 1.0,
        seed: int | None = None,
        stop: str | None = STOP,
    ) -> Tensor:
        """Answers [B, T], T at most `max_new_tokens`: token ids, `pad` after the end of each.

        sample: from the whole distribution (no top_k, no top_p); else the likeliest token.
        seed: of the draws, which then leave the caller's random numbers as they were; None: drawn
        from the caller's.
        stop: a text with which an answer ends beside its end of text; None: only at the latter, as
        training wants it, where an answer must learn to end.
        Rows that do not fit into CUDA memory are answered in halves.
        """
        settings = self._settings(max_new_tokens, sample, temperature)
        unwrapped = getattr(self.model, "module", self.model)

        def run(rows: Sequence[int]) -> list[Tensor]:
            part = self.take(inputs, rows)
            start = part["input_ids"].shape[1]
            criteria = [_Ended(self.processor.tokenizer, stop, start)] if stop else []
            found = unwrapped.generate(
                **part, generation_config=settings, stopping_criteria=criteria
            )
            return list(found[:, start:])

        count = len(inputs["input_ids"])
        training = bool(self.model.training)
        self.model.eval()
        try:
            with quietly(), _seeded(seed, self.device):
                answers, _ = halving(range(count), run, count)
        finally:
            self.model.train(training)
        return nn.utils.rnn.pad_sequence(answers, batch_first=True, padding_value=self.pad)

    def texts(self, completions: Tensor) -> list[str]:
        """What answers [B, T] say, without special tokens."""
        found: list[str] = self.processor.tokenizer.batch_decode(
            completions, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return found

    def mask(self, completions: Tensor) -> Tensor:
        """[B, T], True for the tokens of each answer, with its end of text if it has one."""
        return completions != self.pad

    def encode(self, text: str) -> Tensor:
        """Token ids [T] of a given answer, on the device, ending in the end of text."""
        ids = self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        return torch.tensor([*ids, self.end], device=self.device)

    def logprobs(
        self,
        inputs: Mapping[str, Tensor],
        completions: Tensor,
        mask: Tensor,
        temperature: float = 1.0,
        model: nn.Module | None = None,
    ) -> tuple[Tensor, Tensor]:
        """log p of each token of given answers, and the entropy of what was drawn from there.

        completions, mask: [B, T].   model: what to ask; None: `self.model`.
        Both [B, T], float32, natural logarithms, 0 where `mask` is False; of the distribution that
        `generate` samples from at this temperature. log p has a gradient unless that is off,
        entropy has none. Without gradients, rows that do not fit into CUDA memory are computed in
        halves.
        """
        asked = self.model if model is None else model
        mask = mask.bool()

        def run(rows: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
            index = torch.tensor(list(rows), device=completions.device)
            part, own = self.take(inputs, rows), completions[index]
            logp, entropy = self._logprobs(asked, part, own, mask[index], temperature)
            return list(zip(logp, entropy, strict=True))

        count = len(completions)
        if torch.is_grad_enabled():
            return self._logprobs(asked, inputs, completions, mask, temperature)
        found, _ = halving(range(count), run, count)
        return torch.stack([logp for logp, _ in found]), torch.stack([each for _, each in found])

    def _logprobs(
        self,
        model: Any,
        inputs: Mapping[str, Tensor],
        completions: Tensor,
        mask: Tensor,
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        start, count = inputs["input_ids"].shape[1], completions.shape[1]
        # The logits that foretell a token are those of the token before it.
        before = torch.arange(start - 1, start + count - 1, device=self.device)
        logits = model(
            **extended(inputs, completions, mask), logits_to_keep=before, use_cache=False
        ).logits  # [B, T, V]
        about = (self.suppressed, temperature)
        parts = [
            recomputed(_of_tokens, part, chosen, *about, use_reentrant=False)
            if torch.is_grad_enabled()
            else _of_tokens(part, chosen, *about)
            for part, chosen in zip(
                torch.split(logits.flatten(0, 1), CHUNK),
                torch.split(completions.flatten(), CHUNK),
                strict=True,
            )
        ]
        logp, entropy = (torch.cat(each).view_as(mask) for each in zip(*parts, strict=True))
        return torch.where(mask, logp, 0.0), torch.where(mask, entropy, 0.0)

    def _settings(self, max_new_tokens: int, sample: bool, temperature: float) -> Any:
        from transformers import GenerationConfig

        drawn = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if sample else {}
        return GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=sample,
            eos_token_id=self.end,
            pad_token_id=self.pad,
            suppress_tokens=self.suppressed.tolist(),
            **drawn,
        )


def dtype_of(device: torch.device, precision: Precision) -> torch.dtype:
    """Of the weights. float16 is never taken unasked: activations of these models exceed it."""
    if precision != "auto":
        return {
            "float32": torch.float32,
            "bfloat16": torch.bfloat16,
            "float16": torch.float16,
        }[precision]
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return torch.bfloat16
    return torch.float32


def _of_tokens(
    logits: Tensor, ids: Tensor, suppressed: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """log p of one token and entropy, each [N], float32; logits [N, V], ids [N]."""
    logits = (logits.float() / temperature).index_fill(-1, suppressed, float("-inf"))
    total = logits.logsumexp(-1)
    logp = logits.gather(-1, ids[:, None])[:, 0] - total
    with torch.no_grad():
        chances = (logits - total[:, None]).exp()
        entropy = total - (chances * logits.index_fill(-1, suppressed, 0)).sum(-1)
    return logp, entropy.detach()


def _special(tokenizer: Any) -> set[int]:
    added = tokenizer.added_tokens_decoder.items()
    return {*tokenizer.all_special_ids, *(number for number, token in added if token.special)}


def _placeholders(config: Any) -> set[int]:
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    found = {getattr(config, name, None) for name in names}
    return {int(each) for each in found if each is not None}


@contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Random numbers from a seed inside; those of the caller go on after it as if nothing was."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


class _Ended:
    """Which answers end with a text. A criterion of transformers' `generate`: its own for texts
    first goes through the whole vocabulary, 4 seconds with 152,000 made-up words, to be as fast."""

    def __init__(self, tokenizer: Any, stop: str, start: int) -> None:
        self.tokenizer, self.stop, self.start = tokenizer, stop, start

    def __call__(self, ids: Tensor, scores: Any, **more: Any) -> Tensor:
        own = ids[:, self.start :][:, -len(self.stop) :]  # a token is a character at least
        texts = self.tokenizer.batch_decode(own, clean_up_tokenization_spaces=False)
        return torch.tensor([self.stop in text for text in texts], device=ids.device)
