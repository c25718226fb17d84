"""`tiny`'s text tower: OpenCLIP's text transformer, distilled from a sentence encoder.

Two steps, both on cached teacher embeddings y (centred and L2-normalised, [N, E]):

1. A bag of tokens: the sum of a sentence's token vectors, one linear map, 1 - cosine. A minute of
   training; it alone is most of the way.
2. The transformer, with the bag's table as its token embedding, its linear map as projection, and
   a first layer whose attention starts out as a plain mean (queries and keys near zero, values
   and output the identity), so that it starts from the bag rather than from nothing.

Loss of step 2, with unit vectors s (student) and y (teacher):

    (1 - s.y) + a (s - y)' G (s - y) / mean(y' G y),    G = mean of v v' over pictures' v,

v being image embeddings less their mean: the second term asks that the two texts rank pictures
alike, which is what the tower is for. Sequences are cut to the longest of a batch: under a causal
mask what follows the end token cannot change it. A run can be stopped and started again.
"""

from __future__ import annotations

import gzip
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "Bag",
    "DistilOptions",
    "batches",
    "distil",
    "embed_ids",
    "score_loss",
    "start_from_bag",
    "train_bag",
    "write_merges",
]

Log = Callable[[str], None]


def write_merges(source: Path, target: Path, count: int) -> int:
    """The first `count` merges of an OpenCLIP merges file; returns the vocabulary's size.

    OpenCLIP's vocabulary: 256 bytes, the same at a word's end, one token a merge, and two special
    tokens. Its reader takes every line after the first, so no newline may end the file.
    """
    with gzip.open(source, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[: count + 1]
    if len(lines) != count + 1:
        raise ValueError(f"{source} holds only {len(lines) - 1} merges, {count} were asked for")
    with target.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        packed.write("\n".join(lines).encode())
    return 2 * 256 + count + 2


@dataclass(frozen=True)
class Bag:
    """table [V, W] and the linear map weight [E, W], bias [E] of a bag of tokens."""

    table: Tensor
    weight: Tensor
    bias: Tensor

    def __call__(self, ids: Tensor) -> Tensor:
        """ids [B, T], 0 is padding -> unit vectors [B, E]."""
        summed = F.embedding_bag(ids, self.table, mode="sum", padding_idx=0)
        return F.normalize(F.linear(summed, self.weight, self.bias), dim=-1)


def train_bag(
    ids: Tensor, targets: Tensor, vocabulary: int, width: int, epochs: int, seed: int, log: Log
) -> Bag:
    """Fit a bag of tokens to unit targets [N, E] by Adam on 1 - cosine."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(vocabulary, width, generator=generator) * 0.02
    weight = torch.randn(targets.shape[1], width, generator=generator) * width**-0.5
    bag = Bag(table, weight, torch.zeros(targets.shape[1]))
    parameters = [p.requires_grad_() for p in (bag.table, bag.weight, bag.bias)]
    total = epochs * math.ceil(len(ids) / 1024)
    optimizer = torch.optim.Adam(parameters, lr=5e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    for epoch in range(epochs):
        mean = 0.0
        for rows in torch.split(torch.randperm(len(ids), generator=generator), 1024):
            loss = 1 - (bag(ids[rows]) * targets[rows].float()).sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            mean += float(loss.detach()) * len(rows) / len(ids)
        log(json.dumps({"stage": "bag", "epoch": epoch, "cosine": round(1 - mean, 4)}))
    return Bag(bag.table.detach(), bag.weight.detach(), bag.bias.detach())


@torch.no_grad()
def start_from_bag(text: Any, bag: Bag) -> None:
    """Set a fresh OpenCLIP TextTransformer so that it begins near the bag of tokens.

    The table is scaled to OpenCLIP's usual size for the residual stream; the projection takes the
    bag's map, fitted to the unit-variance vectors that the final LayerNorm gives.
    """
    W = bag.table.shape[1]
    for block in text.transformer.resblocks:  # every other branch begins by adding nothing
        block.attn.out_proj.weight.zero_()
        block.mlp.c_proj.weight.zero_()
    text.token_embedding.weight.copy_(bag.table / bag.table.std() * 0.1)
    for token in (0, len(bag.table) - 2, len(bag.table) - 1):  # padding, start, end: no meaning
        text.token_embedding.weight[token].normal_(std=0.02)
    text.positional_embedding.normal_(std=0.005)
    attention = text.transformer.resblocks[0].attn
    attention.in_proj_weight[: 2 * W].normal_(std=0.02)
    attention.in_proj_weight[2 * W :].copy_(torch.eye(W))
    attention.out_proj.weight.copy_(torch.eye(W))
    text.text_projection.weight.copy_(bag.weight / bag.weight.std() * W**-0.5)
    text.text_projection.bias.copy_(bag.bias)


def embed_ids(text: Any, ids: Tensor) -> Tensor:
    """Token ids [B, T] -> unit embeddings [B, E]; equal to the tower's own forward, normalised,
    but without the work on columns of nothing but padding."""
    L = int((ids != 0).sum(-1).max())
    ids = ids[:, :L]
    x = text.token_embedding(ids) + text.positional_embedding[:L]
    x = text.transformer(x, attn_mask=text.attn_mask[:L, :L])
    x = text.ln_final(x[torch.arange(len(ids)), ids.argmax(-1)])
    return F.normalize(text.text_projection(x), dim=-1)


def score_loss(s: Tensor, y: Tensor, G: Tensor) -> Tensor:
    """Mean of (s - y)' G (s - y) over mean of y' G y: relative squared error of picture scores."""
    d = s - y
    wrong: Tensor = ((d @ G) * d).sum(-1).mean()
    return wrong / ((y @ G) * y).sum(-1).mean().clamp_min(1e-12)


@dataclass(frozen=True)
class DistilOptions:
    """epochs: passes over the sentences.   batch: sentences.   rate: peak of AdamW's step size.
    warmup: steps.   score_weight: a of the loss.   keep_every: steps between checkpoints."""

    epochs: int = 10
    batch: int = 256
    rate: float = 1e-3
    warmup: int = 200
    score_weight: float = 0.5
    keep_every: int = 250
    seed: int = 0


def batches(lengths: Tensor, size: int, epoch: int, seed: int) -> Iterator[Tensor]:
    """Row numbers of one epoch's batches: shuffled, then sorted by length within 64 batches, so
    that sentences of a batch are about equally long; the batches come in random order."""
    generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
    made: list[Tensor] = []
    for pool in torch.split(torch.randperm(len(lengths), generator=generator), 64 * size):
        made += torch.split(pool[lengths[pool].argsort(stable=True)], size)
    for index in torch.randperm(len(made), generator=generator).tolist():
        yield made[index]


def distil(
    text: nn.Module,
    ids: Tensor,
    targets: Tensor,
    held_out: int,
    G: Tensor,
    options: DistilOptions,
    checkpoint: Path,
    log: Log,
) -> None:
    """Train the tower in place; the last `held_out` rows are only measured.

    checkpoint: where the state is kept (replaced atomically) and taken up again if it is there.
    """
    train, own = ids[:-held_out], targets[:-held_out]
    lengths = (train != 0).sum(-1)
    steps = options.epochs * sum(1 for _ in batches(lengths, options.batch, 0, options.seed))
    optimizer = torch.optim.AdamW(
        text.parameters(), lr=options.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    done = _resume(text, optimizer, checkpoint)
    step, began, first = 0, time.perf_counter(), done
    text.train()
    for epoch in range(options.epochs):
        for rows in batches(lengths, options.batch, epoch, options.seed):
            step += 1
            if step <= done:
                continue
            loss = _step(text, optimizer, train[rows], own[rows].float(), G, options, step, steps)
            if step == first + 20 or step % options.keep_every == 0:
                _report(text, ids[-held_out:], targets[-held_out:], step, steps, loss, log)
                log(f"{(time.perf_counter() - began) / (step - first) * (steps - step):.0f} s left")
            if step % options.keep_every == 0 or step == steps:
                _keep(text, optimizer, step, checkpoint)
    text.eval()
    _report(text, ids[-held_out:], targets[-held_out:], steps, steps, float("nan"), log)


def _step(
    text: nn.Module,
    optimizer: torch.optim.Optimizer,
    ids: Tensor,
    y: Tensor,
    G: Tensor,
    options: DistilOptions,
    step: int,
    steps: int,
) -> float:
    """One update at the rate of a linear warm-up followed by half a cosine."""
    rate = options.rate * min(step / options.warmup, (1 + math.cos(math.pi * step / steps)) / 2)
    for group in optimizer.param_groups:
        group["lr"] = rate
    s = embed_ids(text, ids)
    loss = 1 - (s * y).sum(-1).mean() + options.score_weight * score_loss(s, y, G)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(text.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


@torch.no_grad()
def _report(
    text: nn.Module, ids: Tensor, targets: Tensor, step: int, steps: int, loss: float, log: Log
) -> None:
    parts = [embed_ids(text, part) for part in torch.split(ids, 256)]
    cosine = float((torch.cat(parts) * targets.float()).sum(-1).mean())
    row = {"stage": "distil", "step": step, "steps": steps, "held_out_cosine": round(cosine, 4)}
    log(json.dumps(row if math.isnan(loss) else row | {"loss": round(loss, 4)}))


def _keep(text: nn.Module, optimizer: torch.optim.Optimizer, step: int, file: Path) -> None:
    partial = file.with_suffix(".part")
    state = {"step": step, "text": text.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state, partial)
    partial.replace(file)


def _resume(text: nn.Module, optimizer: torch.optim.Optimizer, file: Path) -> int:
    if not file.is_file():
        return 0
    state = torch.load(file, map_location="cpu", weights_only=True)
    text.load_state_dict(state["text"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
