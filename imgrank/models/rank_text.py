"""Ranks as text that is learnt: RankFormer and context vectors before a frozen text tower.

Wang et al., "Learning-to-Rank Meets Language" (L2RCLIP, NeurIPS 2023), section 3.2. Each of the M
ranks is a template with a word in it; its tokens, looked up in the tower's frozen table of word
embeddings, are R [M, n, D]. RankFormer refines them, a text as long as before:

    R' = (1 - a) R + a FFN(MSA(LN(R)))

and L context vectors G, shared by all ranks, stand before them:

    [start] G_1..G_L R'_1..R'_{n_k} [end] padding  ->  frozen text tower  ->  r_k, L2-normalised

Start, end and padding keep their own embedding; each rank has its own n_k and is pooled at its own
end. Beside it are the ways that the paper compares with, by the same interface:

| way | rank tokens | trained |
| --- | --- | --- |
| rankformer | R' | RankFormer, G |
| templates | R itself, from the template's on (Table 5, "without RankFormer") | R, G |
| context | R, fixed (CoOp, with the template's words behind the context) | G |
| interpolation | one token a rank, between a few base ranks (OrdinalCLIP) | base ranks, G |
| vanilla | R, fixed; no context | nothing |

interpolation follows OrdinalCLIP (Li et al., NeurIPS 2022) as published with its code: rank k is
sum_j w_kj b_j over all J base ranks, w_kj = 1 - |k - p_j| / (M - 1), divided by their sum, with
p_j evenly from 0 to M - 1; J = 3 and one token a rank are its defaults, std 0.02 its start. Its
full stop behind the rank is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgrank.errors import UsageError
from imgrank.models.attention import attend
from imgrank.models.ranks import Ranks
from imgrank.models.word_level import Prompts, WordTower, read_prompts

__all__ = ["RankFormer", "RankText", "RankTextConfig", "Way"]

Way = Literal["rankformer", "templates", "context", "interpolation", "vanilla"]
Attention = Literal["tokens", "ranks"]

STD = 0.02  # of context vectors and base ranks at the start


@dataclass(frozen=True, slots=True)
class RankTextConfig:
    """What is learnt of the ranks' texts.

    way: see the module.   context: L, number of context vectors; nothing to `vanilla`.
    residual: a in 0..1, learnt too with `learn_residual`.   heads: of the attention.
    attention: over the tokens of one template, or across the ranks at one token's position.
    base: J, number of base ranks of `interpolation`.
    Raises UsageError for values out of range.
    """

    way: Way = "rankformer"
    context: int = 5
    residual: float = 0.1
    learn_residual: bool = False
    heads: int = 8
    attention: Attention = "tokens"
    base: int = 3

    def __post_init__(self) -> None:
        for name, known in (("way", get_args(Way)), ("attention", get_args(Attention))):
            if getattr(self, name) not in known:
                raise UsageError(
                    f"{name} = {getattr(self, name)!r} of the rank texts: use {', '.join(known)}."
                )
        if self.context < 0 or (self.way == "context" and not self.context):
            raise UsageError(f"context = {self.context} vectors: use 0 or more; for CoOp, 1.")
        if not 0 <= self.residual <= 1:
            raise UsageError(f"residual = {self.residual}: use a ratio from 0 to 1.")
        if self.base < 2:
            raise UsageError(f"base = {self.base} base ranks: use 2 or more.")


class RankFormer(nn.Module):
    """R' = (1 - a) R + a FFN(MSA(LN(R))), literally: no other residual, FFN width 4D with GELU.

    Raises UsageError if the width cannot be divided among the heads.
    """

    def __init__(self, width: int, config: RankTextConfig) -> None:
        super().__init__()
        if width % config.heads:
            raise UsageError(
                f"heads = {config.heads}: word embeddings of width {width} cannot be divided so."
            )
        self.across_ranks = config.attention == "ranks"
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, config.heads, batch_first=True)
        self.ffn = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        ratio = torch.tensor(config.residual)
        if config.learn_residual:
            self.residual = nn.Parameter(ratio)
        else:
            self.register_buffer("residual", ratio, persistent=False)

    def forward(self, R: Tensor, valid: Tensor) -> Tensor:
        """R [M, n, D], valid [M, n] bool (a token, no padding) -> R' [M, n, D].

        What stands at padding is not to be used.
        """
        x, seen = self.norm(R), valid
        if self.across_ranks:
            x, seen = x.transpose(0, 1), seen.T  # [n, M, D], [n, M]
        x = attend(self.attention, x, x, seen[:, None, None])
        x = self.ffn(x.transpose(0, 1) if self.across_ranks else x)
        refined: Tensor = (1 - self.residual) * R + self.residual * x
        return refined


class RankText(nn.Module):
    """The M ranks of a task as embeddings r [M, E], by a text tower that stays as it is.

    text_tower: as `Backbone.text`; frozen, in evaluation mode, on its device, where the parameters
    are put too: `to` does not take the tower along.   tokenize: of the same backbone, texts -> ids.
    seed: of all that is random at the start; torch's own generator is neither used nor moved.
    Its parameters and state are those that are trained, no other.
    Raises UsageError if a template is too long or empty, or tower, tokenizer and config do not fit.
    """

    ids: Tensor  # [M, T] long
    valid: Tensor  # [M, T - s - L] bool: a token of the rank
    ends: Tensor  # [M] long
    start: Tensor  # [M, s, D], s = 1 or 0
    tail: Tensor  # [M, T - s - L, D]: template, end, padding as the table has them
    weights: Tensor  # [M, J], for interpolation

    def __init__(
        self,
        text_tower: nn.Module,
        tokenize: Callable[[list[str]], Tensor],
        ranks: Ranks,
        config: RankTextConfig | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.ranks = ranks
        self.config = config = config or RankTextConfig()
        self.tower = WordTower(text_tower)
        prompts = read_prompts(tokenize, ranks.texts)
        if config.way == "interpolation":  # one token a rank; its id only says that it is no pad
            prompts = replace(prompts, inner=tuple(ids[:1] for ids in prompts.inner))
        L = 0 if config.way == "vanilla" else config.context
        prompts.check(self.tower.context_length, L)
        self._pack(prompts, L)
        with _seeded(seed):
            self._build(L)
        self.to(self.tower.device)

    def _pack(self, prompts: Prompts, L: int) -> None:
        """What does not change: ids of all positions, and the words that stand there at first."""
        lengths = torch.tensor([len(ids) for ids in prompts.inner])
        before = len(prompts.start) + L
        ends = before + lengths
        T = self.tower.length(int(ends.max()) + len(prompts.end))
        tail = torch.full((len(lengths), T - before), prompts.pad)
        for row, inner in zip(tail, prompts.inner, strict=True):
            row[: len(inner) + len(prompts.end)] = torch.tensor([*inner, *prompts.end])
        start = torch.tensor(prompts.start, dtype=torch.long).expand(len(tail), -1)
        ids = torch.cat([start, tail[:, :1].expand(-1, L), tail], dim=1)  # contexts: no padding
        self.tower.check_ends(ids, ends)
        self.longest, device = int(lengths.max()), self.tower.device  # n
        self._keep(ids=ids, ends=ends, valid=torch.arange(T - before) < lengths[:, None])
        self._keep(start=self.tower.words(start.to(device)))  # [M, 1 or 0, D]
        self._keep(tail=self.tower.words(tail.to(device)))  # [M, T - before, D]

    def _keep(self, **tensors: Tensor) -> None:
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)

    def _build(self, L: int) -> None:
        """What is trained, and what that needs."""
        config, D, M = self.config, self.tower.width, len(self.ranks)
        self.context = nn.Parameter(STD * torch.randn(L, D)) if L else None
        self.rankformer = RankFormer(D, config) if config.way == "rankformer" else None
        self.templates: nn.Parameter | None = None
        self.base: nn.Parameter | None = None
        if config.way == "templates":
            self.templates = nn.Parameter(self.tail[:, : self.longest].clone())
        elif config.way == "interpolation":
            self._keep(weights=interpolation(M, config.base))
            self.base = nn.Parameter(STD * torch.randn(config.base, D))

    def forward(self, which: Tensor | None = None) -> Tensor:
        """Ranks `which` [K] (long, on the tower's device; None: all M) -> r [K, E]."""
        rows = torch.arange(len(self.ranks), device=self.ids.device) if which is None else which
        tail, valid = self.tail[rows], self.valid[rows]
        tokens = self.rank_tokens(rows)  # [K, n, D]
        tokens = F.pad(tokens, (0, 0, 0, tail.shape[1] - tokens.shape[1]))
        x = [self.start[rows], torch.where(valid[..., None], tokens, tail)]
        if self.context is not None:
            x.insert(1, self.context.expand(len(rows), -1, -1))
        return self.tower.embed(torch.cat(x, dim=1), self.ids[rows], self.ends[rows])

    def rank_tokens(self, rows: Tensor) -> Tensor:
        """The rank tokens [K, n, D] of ranks `rows` [K] as they go into the tower."""
        if self.base is not None:
            return (self.weights[rows] @ self.base)[:, None]
        if self.templates is not None:
            return self.templates[rows]
        R, valid = self.tail[:, : self.longest], self.valid[:, : self.longest]
        if self.rankformer is None:
            return R[rows]
        if self.rankformer.across_ranks:  # every rank looks at all others
            return cast(Tensor, self.rankformer(R, valid)[rows])
        return cast(Tensor, self.rankformer(R[rows], valid[rows]))


def interpolation(M: int, J: int) -> Tensor:
    """Weights [M, J] of J base ranks for each of M ranks, OrdinalCLIP's linear ones; rows sum to 1.

    w_kj = 1 - |k - p_j| / (M - 1), p_j evenly from 0 to M - 1, then divided by sum_j w_kj.
    """
    positions = torch.linspace(0, M - 1, J)
    weights = 1 - (torch.arange(M)[:, None] - positions).abs() / (M - 1)
    return weights / weights.sum(1, keepdim=True)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Inside, torch's random numbers are those of the seed; outside nothing has happened."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
