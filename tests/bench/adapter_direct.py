"""The pair head of the ranking adapter as the paper writes it; `adapter_step.py` compares with it.

One attention map for each pair of pictures: the M relational tokens look at the 2P tokens of both,
the map is cut in two, and both halves are multiplied, subtracted, projected and summed over M, in
the order of the paper's equations. Keys are projected once a picture. Parameters are those of our
own adapter, so that both forms give the same numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from imgrank.models.adapter import Adapter


def pair_logits(adapter: Adapter, z: Tensor, rows: int) -> Tensor:
    """z' [B, P, D] -> o [B, B], the pairs of `rows` pictures with all others at a time.

    rows = B: all B^2 maps in one batch. Fewer keep better to a processor's caches.
    """
    head: Any = adapter.ranking
    q = head.query_norm(head.query(head.queries)).unflatten(-1, (head.heads, -1)).transpose(0, 1)
    k = head.key_value_norm(head.key_value(z)).unflatten(-1, (head.heads, -1)).transpose(1, 2)
    fused = torch.cat([_fused(head, q, part, k) for part in k.split(rows)])  # [B, B, D]
    logits: Tensor = adapter.pair_mlp(adapter.pair_norm(fused)).squeeze(-1)
    return logits


def _fused(head: Any, q: Tensor, k_i: Tensor, k_j: Tensor) -> Tensor:
    """q [H, M, d], keys [A, H, P, d] and [B, H, P, d] -> pair embeddings [A, B, D]."""
    A, B, P = len(k_i), len(k_j), k_i.shape[2]
    shape = (A, B, *k_i.shape[1:])
    pair = torch.cat((k_i[:, None].expand(shape), k_j[None].expand(shape)), -2)  # [A, B, H, 2P, d]
    weights = (q @ pair.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)  # [A, B, H, M, 2P]
    o_i = weights[..., :P] @ pair[..., :P, :]  # [A, B, H, M, d]
    o_j = weights[..., P:] @ pair[..., P:, :]
    projected: Tensor = head.out((o_i - o_j).transpose(2, 3).flatten(3))  # [A, B, M, D]
    return projected.sum(2)
