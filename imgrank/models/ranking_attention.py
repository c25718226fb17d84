"""Pair heads of the ranking adapter: from the encoded tokens of two images to "i above j".

Paper: Ranking-aware adapter for text-driven image ordering, section 3.2, eqs. 1-3, and the
ablations of its tables 5, 6 and 10. What differs from the text and follows the authors' released
code: the keys are projected and normalised and serve as values too, eight heads, LayerNorm on the
queries, an output projection, and a SUM over the M relational tokens where eq. 3 has a mean
(`over_tokens="mean"` gives the mean).

The paper's softmax runs over the 2P tokens of a pair, so B images cost B^2 attention maps. It
factorises exactly. With lse_i = logsumexp(q k_i / sqrt d) and p_i = softmax(q k_i / sqrt d) k_i,
both of one image alone, and w = sigmoid(lse_i - lse_j),

    O_i = w p_i,    O_j = (1 - w) p_j.

So every head here has two steps: `summarise`, once per image, and `fuse`, for pairs of summaries.
A summary is a tuple of tensors with the images in front, which processes can gather. Summing over
M before the (linear) output projection is exact too, and saves a factor M of memory.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "DifferenceOfTokens",
    "Fusion",
    "OverTokens",
    "RankingAttention",
    "SelfRankingAttention",
    "Summary",
]

Fusion = Literal["difference", "merged", "concatenation"]
OverTokens = Literal["sum", "mean"]
Summary = tuple[Tensor, ...]


def _combine(o_i: Tensor, o_j: Tensor, out: nn.Linear, tokens: float, fusion: Fusion) -> Tensor:
    """Partial sums [A, B, D], already summed over queries -> fused pair embedding.

    `tokens`: by how many output biases the sum over queries is accompanied (1 for a mean).
    """
    if fusion == "concatenation":
        both = torch.stack((o_i, o_j))
        projected = F.linear(both, out.weight) + tokens * out.bias
        return torch.cat((projected[0], projected[1]), dim=-1)  # [A, B, 2D]
    mixed = o_i - o_j if fusion == "difference" else o_i + o_j
    return F.linear(mixed, out.weight) + tokens * out.bias  # [A, B, D]


class RankingAttention(nn.Module):
    """Relational ranking-aware attention: M learnable queries over the tokens of both images.

    fusion: "difference" O_i - O_j (paper); "merged" O_i + O_j, that is A V (table 6, row 1; it
    cannot tell i from j); "concatenation" [O_i; O_j] (table 6, row 2).
    """

    def __init__(
        self, width: int, queries: int, heads: int, fusion: Fusion, over_tokens: OverTokens
    ) -> None:
        super().__init__()
        self.heads, self.fusion, self.over_tokens = heads, fusion, over_tokens
        self.queries = nn.Parameter(torch.randn(queries, width) * width**-0.5)  # R
        self.query = nn.Linear(width, width)
        self.query_norm = nn.LayerNorm(width)
        self.key_value = nn.Linear(width, width)
        self.key_value_norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)

    @property
    def width_out(self) -> int:
        """Width of the fused pair embedding."""
        return self.out.out_features * (2 if self.fusion == "concatenation" else 1)

    def summarise(self, z: Tensor) -> Summary:
        """z' [B, P, D] -> (lse [B, H, M], p [B, H, M, d]); no other image is looked at."""
        q = self.query_norm(self.query(self.queries))  # [M, D]
        q = q.unflatten(-1, (self.heads, -1)).transpose(0, 1)  # [H, M, d]
        k = self.key_value_norm(self.key_value(z))  # [B, P, D]
        k = k.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, P, d]
        logits = q @ k.transpose(-1, -2) * k.shape[-1] ** -0.5  # [B, H, M, P]
        return logits.logsumexp(-1), logits.softmax(-1) @ k

    def partial_sums(self, first: Summary, second: Summary) -> tuple[Tensor, Tensor]:
        """O_i, O_j [A, B, H, d], summed over M; `first` gives the rows, `second` the columns."""
        lse_i, p_i = first
        lse_j, p_j = second
        w = torch.sigmoid(lse_i[:, None] - lse_j[None])  # [A, B, H, M]
        o_i = torch.einsum("abhm,ahmd->abhd", w, p_i)
        o_j = torch.einsum("abhm,bhmd->abhd", 1 - w, p_j)
        return o_i, o_j

    def fuse(self, first: Summary, second: Summary) -> Tensor:
        """Summaries of A and of B images -> fused embedding of each pair [A, B, D or 2D]."""
        o_i, o_j = (o.flatten(2) for o in self.partial_sums(first, second))
        M = self.queries.shape[0]
        if self.over_tokens == "mean":
            return _combine(o_i / M, o_j / M, self.out, 1, self.fusion)
        return _combine(o_i, o_j, self.out, M, self.fusion)


class SelfRankingAttention(nn.Module):
    """Table 6, row 3: self-attention over the 2P tokens of a pair instead of relational tokens.

    Every token of both images is a query; the 2P outputs take the place of the M. The same
    factorisation holds for each query token, at B^2 maps of P x P.
    """

    def __init__(self, width: int, heads: int, fusion: Fusion, over_tokens: OverTokens) -> None:
        super().__init__()
        self.heads, self.fusion, self.over_tokens = heads, fusion, over_tokens
        self.query = nn.Linear(width, width)
        self.query_norm = nn.LayerNorm(width)
        self.key_value = nn.Linear(width, width)
        self.key_value_norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)

    @property
    def width_out(self) -> int:
        """Width of the fused pair embedding."""
        return self.out.out_features * (2 if self.fusion == "concatenation" else 1)

    def summarise(self, z: Tensor) -> Summary:
        """z' [B, P, D] -> (q [B, H, P, d], k [B, H, P, d])."""
        q = self.query_norm(self.query(z)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k = self.key_value_norm(self.key_value(z)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return q * q.shape[-1] ** -0.5, k

    def fuse(self, first: Summary, second: Summary) -> Tensor:
        """Summaries of A and of B images -> fused embedding of each pair [A, B, D or 2D]."""
        (q_i, k_i), (q_j, k_j) = first, second
        own_i, own_j = _attend_own(q_i, k_i), _attend_own(q_j, k_j)
        across_ij = _attend_across(q_i, k_j)  # [A, B, H, P(, d)]
        across_ji = _attend_across(q_j, k_i)  # [B, A, H, P(, d)]
        w_i = torch.sigmoid(own_i[0][:, None] - across_ij[0])[..., None]  # queries of image i
        w_j = torch.sigmoid(across_ji[0].transpose(0, 1) - own_j[0][None])[..., None]  # of image j
        o_i = w_i * own_i[1][:, None] + w_j * across_ji[1].transpose(0, 1)
        o_j = (1 - w_i) * across_ij[1] + (1 - w_j) * own_j[1][None]
        o_i, o_j = o_i.sum(-2).flatten(2), o_j.sum(-2).flatten(2)
        queries = q_i.shape[2] + q_j.shape[2]
        if self.over_tokens == "mean":
            return _combine(o_i / queries, o_j / queries, self.out, 1, self.fusion)
        return _combine(o_i, o_j, self.out, queries, self.fusion)


def _attend_own(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """q, k [B, H, P, d] -> (lse [B, H, P], p [B, H, P, d]) of an image's queries on itself."""
    logits = q @ k.transpose(-1, -2)
    return logits.logsumexp(-1), logits.softmax(-1) @ k


def _attend_across(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """q [A, H, P, d], k [B, H, P, d] -> (lse [A, B, H, P], p [A, B, H, P, d])."""
    logits = torch.einsum("ahpd,bhkd->abhpk", q, k)
    return logits.logsumexp(-1), torch.einsum("abhpk,bhkd->abhpd", logits.softmax(-1), k)


class DifferenceOfTokens(nn.Module):
    """Table 5, row 3: a ranking head on z'_i - z'_j, summed over the tokens, with no attention."""

    def __init__(self, width: int, over_tokens: OverTokens) -> None:
        super().__init__()
        self.width_out, self.over_tokens = width, over_tokens

    def summarise(self, z: Tensor) -> Summary:
        """z' [B, P, D] -> (sum over P [B, D],)."""
        return (z.sum(1) if self.over_tokens == "sum" else z.mean(1),)

    def fuse(self, first: Summary, second: Summary) -> Tensor:
        """Summaries of A and of B images -> their differences [A, B, D]."""
        return first[0][:, None] - second[0][None]
