"""Losses of the ranking adapter: pure functions, one equation each.

o [B, B]: pair logits, o_ij = "i above j".  s [B]: regression scores.  y [B]: ground truth.
Total = rank + alpha * regression, alpha = 0.2 (paper, eq. 6). `pairs` [B, B] bool, where a loss
takes it, says which pairs count; None: all of them.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "ALPHA",
    "bce",
    "rank_bce",
    "rank_bce_single",
    "rank_hinge",
    "reg_log_smooth_l1",
    "reg_smooth_l1",
]

ALPHA = 0.2


def rank_bce(o: Tensor, y: Tensor, pairs: Tensor | None = None) -> Tensor:
    """mean over all B^2 of BCE-with-logits(o_ij, [y_i > y_j]); ties and the diagonal have label 0.

    Used by the released checkpoints. Returns a scalar; 0 if no pair counts.
    """
    label = (y[:, None] > y[None]).to(o.dtype)
    loss = F.binary_cross_entropy_with_logits(o, label, reduction="none")
    return loss.mean() if pairs is None else _mean_where(loss, pairs)


def rank_hinge(o: Tensor, y: Tensor, pairs: Tensor | None = None) -> Tensor:
    """mean over y_i > y_j of max(0, 1 - (o_ij - o_ji) / 2).

    The paper's eq. 5 has o_ij alone; a constant output above 1 satisfies that, so it teaches
    nothing. The antisymmetric part cannot be a constant. Returns a scalar; 0 without such a pair.
    """
    above = y[:, None] > y[None]
    return _mean_where(F.relu(1 - (o - o.T) / 2), above if pairs is None else above & pairs)


def reg_log_smooth_l1(s: Tensor, y: Tensor) -> Tensor:
    """log(1 + mean SmoothL1(s, y)). Used by the released checkpoints."""
    return F.smooth_l1_loss(s, y).log1p()


def reg_smooth_l1(s: Tensor, y: Tensor) -> Tensor:
    """mean SmoothL1(s, y), that is d^2/2 for |d| < 1, else |d| - 1/2 (paper, eq. 4)."""
    return F.smooth_l1_loss(s, y)


def bce(s: Tensor, y: Tensor) -> Tensor:
    """mean BCE-with-logits(s, [y > 0]): is there anything to count at all. Off by default."""
    return F.binary_cross_entropy_with_logits(s, (y > 0).to(s.dtype))


def rank_bce_single(s: Tensor, y: Tensor, pairs: Tensor | None = None) -> Tensor:
    """`rank_bce` with o_ij = s_i - s_j, for an adapter without a ranking head."""
    return rank_bce(s[:, None] - s[None], y, pairs)


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the chosen values; 0, with a gradient of 0, if none is chosen."""
    weights = chosen.to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp(min=1)
