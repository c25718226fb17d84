"""All pairs of K pictures by a pairwise head -> how strong each is among them.

With o_ij the head's "i above j", which is not antisymmetric, p_ij = sigmoid((o_ij - o_ji) / 2) is
the probability that i scores higher than j (as in `compare`). The strength of a picture is its
share of expected wins, the mean of p_ij over the K - 1 others j.

That is also the order of a Bradley-Terry model, p_ij = sigmoid(t_i - t_j): fitted to a round robin
in which every pair met once, its likelihood is largest where sum_j sigmoid(t_i - t_j) is i's win
sum, which rises with t_i. So there is nothing to choose between the two (`tests/bench/refine.py`
fits it), and a win share can be read without knowing the others' t.

Each picture is summarised once (`models/ranking_attention.py`); K^2 cheap mixes follow, in blocks,
so that memory grows with K and not with K^2. A strength belongs to the set it was won in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from imgrank.models.adapter import Adapter
    from imgrank.models.ranking_attention import Summary

__all__ = ["win_shares"]

BLOCK = 32  # pictures a side: 1,024 pairs at once


def win_shares(adapter: Adapter, summaries: Sequence[Summary], block: int = BLOCK) -> Tensor:
    """Summaries of K pictures, some at a time -> [K], float64 in 0..1; a lone picture has 0.5.

    Blocks above the diagonal give both p_ij and p_ji = 1 - p_ij.
    """
    import torch

    joined = tuple(torch.cat(parts) for parts in zip(*summaries, strict=True))
    count = len(joined[0])
    wins = torch.zeros(count, dtype=torch.float64)
    for top in range(0, count, block):
        rows = slice(top, top + block)
        for left in range(top, count, block):
            columns = slice(left, left + block)
            first, second = (tuple(part[one] for part in joined) for one in (rows, columns))
            logits = adapter.pair_logits_of(first, second)  # [A, B]
            back = logits if left == top else adapter.pair_logits_of(second, first)  # [B, A]
            above = torch.sigmoid((logits - back.T).double() / 2).cpu()
            wins[rows] += above.sum(1)
            if left != top:
                wins[columns] += (1 - above).sum(0)
    return (wins - 0.5) / max(count - 1, 1) if count > 1 else wins  # less that with itself
