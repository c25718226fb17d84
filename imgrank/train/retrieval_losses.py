"""Losses of aesthetic-aligned retrieval: pure functions, one equation each (paper 003, sections 2.1
and 2.3, appendix B.3; spec/retrieval.md).

cosines [B, U]: of B queries with the U distinct pictures of a batch.   own [B, n]: where a query's
n pictures stand among these.   pairs [P, 2]: of each pair (preferred, other), indices into a
query's n.   log_pi, log_ref [B, n]: of the trained and of the starting model, see `log_policy`.
Every loss is a scalar, its mean over all B x P pairs or all rows.

pi(y|q) is a cosine in the paper, and a cosine may be zero or below, which has no logarithm; so what
pi is is a choice. Whatever a query's pi is divided by is the same for all of its pictures and
cancels in every difference log pi_w - log pi_l; only RRHF sees it.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "Policy",
    "clamped_share",
    "contrastive",
    "dpo",
    "ipo",
    "kl_anchor",
    "l2_anchor",
    "log_policy",
    "margins",
    "rrhf",
]

Policy = Literal["cosine_clamped", "shifted", "logit"]


def log_policy(
    cosines: Tensor, own: Tensor, policy: Policy, temperature: float, floor: float
) -> Tensor:
    """log pi of each query's own pictures, [B, n].

    cosine_clamped: log max(cos, floor), the paper's; below the floor there is no gradient.
    shifted: log max((1 + cos) / 2, floor).
    logit: log softmax over the U pictures of the batch of cos / temperature.
    """
    if policy == "logit":
        return (cosines / temperature).log_softmax(1).gather(1, own)
    found = cosines.gather(1, own)
    found = found if policy == "cosine_clamped" else (1 + found) / 2
    return found.clamp(min=floor).log()


def clamped_share(cosines: Tensor, policy: Policy, floor: float) -> float:
    """The share of cosines, of any shape, that `log_policy` clamps; 0 for `logit`."""
    if policy == "logit":
        return 0.0
    found = cosines if policy == "cosine_clamped" else (1 + cosines) / 2
    return float((found < floor).double().mean())


def margins(log_pi: Tensor, log_ref: Tensor, pairs: Tensor) -> Tensor:
    """log pi_w/ref_w - log pi_l/ref_l of every pair, [B, P]: by how much more than the starting
    model the trained one prefers w to l."""
    ratio = log_pi - log_ref
    return ratio[:, pairs[:, 0]] - ratio[:, pairs[:, 1]]


def dpo(log_pi: Tensor, log_ref: Tensor, pairs: Tensor, beta: float) -> Tensor:
    """mean of -log sigmoid(beta m), m as `margins`: ranked DPO (eq. 7). log 2 at the start."""
    return -F.logsigmoid(beta * margins(log_pi, log_ref, pairs)).mean()


def ipo(log_pi: Tensor, log_ref: Tensor, pairs: Tensor, beta: float) -> Tensor:
    """mean of (m - 1 / (2 beta))^2, m as `margins`: ranked IPO (eq. 17).

    beta is its own, not that of DPO. 1 / (4 beta^2) at the start.
    """
    return (margins(log_pi, log_ref, pairs) - 1 / (2 * beta)).square().mean()


def rrhf(log_pi: Tensor, pairs: Tensor) -> Tensor:
    """- mean of (pi_w - pi_l): RRHF (eq. 15), which knows no starting model."""
    pi = log_pi.exp()
    return -(pi[:, pairs[:, 0]] - pi[:, pairs[:, 1]]).mean()


def contrastive(v: Tensor, t: Tensor, scale: Tensor | float, smoothing: float) -> Tensor:
    """L_pt = L_text + L_image (eq. 1 to 3): the SUM of both directions, each a mean over C rows.

        L_text = mean_i of -sum_j l'_ij log softmax_j(scale v_i t_j),  L_image over the columns,
        l'_ij = (1 - smoothing) [i = j] + smoothing / C

    v, t [C, E]: embeddings of pictures and their captions, L2-normalised.   scale: 1 / tau.
    """
    s = scale * (v @ t.T)  # [C, C]
    own = torch.arange(len(v), device=v.device)
    text = F.cross_entropy(s, own, label_smoothing=smoothing)
    return text + F.cross_entropy(s.T, own, label_smoothing=smoothing)


def kl_anchor(cosines: Tensor, reference: Tensor, temperature: float) -> Tensor:
    """mean over queries of KL(p_ref || p), p = softmax of cos / temperature over a query's own n.

    cosines, reference [B, n]: of the trained and of the starting model.
    """
    log_p = (cosines / temperature).log_softmax(1)
    log_ref = (reference / temperature).log_softmax(1)
    return F.kl_div(log_p, log_ref, reduction="batchmean", log_target=True)


def l2_anchor(cosines: Tensor, reference: Tensor) -> Tensor:
    """mean of (cos - cos_ref)^2 over queries and their own pictures, both [B, n]."""
    return (cosines - reference).square().mean()
