"""Losses of L2RCLIP: pure functions, one equation each (paper section 3.2; spec/l2rclip.md).

v [B, E]: image embeddings.  r [M, E]: embeddings of the ranks.  Both L2-normalised.
y [B] long: the rank of each image, 0..M-1.  values [M]: c_k, what each rank stands for.
scale: 1/t, by what cosines are multiplied before a softmax. Every loss is a scalar, its mean over
the batch, in which ranks may be repeated.

`ordinal_pairwise`, `text_to_image` and `image_to_text` look at the ranks of the batch alone: the
rows of r of other ranks may hold anything finite, so that only the batch's ranks need the text
tower. In several processes v is gathered first (`Processes.gather`) and every process computes the
loss of the whole batch: a mean of losses of slices would lack the pairs between slices.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["WeightNorm", "cross_entropy", "image_to_text", "ordinal_pairwise", "text_to_image"]

WeightNorm = Literal["largest", "none"]


def ordinal_pairwise(
    v: Tensor,
    r: Tensor,
    y: Tensor,
    values: Tensor,
    gamma: float = 1.0,
    w_norm: WeightNorm = "largest",
) -> Tensor:
    """mean_i of 1/(B-1) sum_{j != i} w_ij (v_i + gamma r_{y_i})^T r_{y_j} - v_i^T r_{y_i}.

    L_cop; L_scop is gamma = 0 with a detached r. w_ij = |c_{y_i} - c_{y_j}|, divided by the
    largest such distance of the task (`w_norm="none"`: not divided; then the weight of the loss
    is in the task's unit). With B = 1 there is no pair: -v^T r. Both parts are bounded: at
    "largest" the loss lies in [-2 - gamma, 2 + gamma].
    """
    texts = r[y]  # [B, E]
    c = values.to(v.dtype)[y]
    w = (c[:, None] - c).abs()  # [B, B], 0 on the diagonal
    if w_norm == "largest":
        w = w / (values.max() - values.min()).to(v.dtype)
    pushed = (w * ((v + gamma * texts) @ texts.T)).sum() / max(len(y) - 1, 1)
    return (pushed - (v * texts).sum()) / len(y)


def text_to_image(
    v: Tensor, r: Tensor, y: Tensor, scale: float | Tensor, without_same: bool = False
) -> Tensor:
    """mean_i of -1/|Z(y_i)| sum_{z in Z(y_i)} log(exp(s_zi) / sum_j exp(s_ji)), s_ji = v_j^T
    r_{y_i} / t, Z(y) the images of the batch with rank y (paper, eq. 7).

    Images of the same rank stay in the denominator, so that it cannot fall below log|Z|.
    without_same: of those only z itself stays; then the least is 0.
    """
    s = scale * (r[y] @ v.T)  # [B texts, B images]
    same = y[:, None] == y
    if without_same:
        others = s.masked_fill(same, -torch.inf).logsumexp(1, keepdim=True)
        log_p = s - torch.logaddexp(s, others)  # only looked at where `same`
    else:
        log_p = s.log_softmax(1)
    return -(log_p.masked_fill(~same, 0).sum(1) / same.sum(1)).mean()


def image_to_text(v: Tensor, r: Tensor, y: Tensor, scale: float | Tensor) -> Tensor:
    """mean_i of -log(exp(s_{i y_i}) / sum over the distinct ranks k of the batch of exp(s_ik)),
    s_ik = v_i^T r_k / t. A rank counts once, however many images have it."""
    present, position = torch.unique(y, return_inverse=True)
    return F.cross_entropy(scale * (v @ r[present].T), position)


def cross_entropy(v: Tensor, r: Tensor, y: Tensor, scale: float | Tensor) -> Tensor:
    """mean_i of -log softmax_k(v_i^T r_k / t) at k = y_i, over all M ranks: L_ce."""
    return F.cross_entropy(scale * (v @ r.T), y)
