"""Losses of aligned retrieval against numbers worked by hand and against double loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from imgrank.data.preferences import order_pairs
from imgrank.train import retrieval_losses as losses

PAIR = torch.tensor([[0, 1]])


def random_case() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """log_pi, log_ref [3, 6], pairs of a 2 x 3 matrix, cosines [3, 6] above zero."""
    draw = torch.Generator().manual_seed(0)
    cosines = torch.rand(3, 6, generator=draw, dtype=torch.float64) * 0.9 + 0.05
    reference = torch.rand(3, 6, generator=draw, dtype=torch.float64) * 0.9 + 0.05
    return cosines.log(), reference.log(), torch.from_numpy(order_pairs(2, 3)), cosines


def test_dpo_by_hand() -> None:
    # pi 0.4 and 0.2, ref 0.3 and 0.3: the margin is log(0.4 / 0.2) = log 2.
    log_pi, log_ref = torch.tensor([[0.4, 0.2]]).log(), torch.tensor([[0.3, 0.3]]).log()
    assert losses.margins(log_pi, log_ref, PAIR).item() == pytest.approx(math.log(2))
    found = losses.dpo(log_pi, log_ref, PAIR, beta=1.0)
    assert found.item() == pytest.approx(math.log(1.5))  # sigmoid(log 2) = 2/3
    assert losses.dpo(log_pi, log_ref, PAIR.flip(1), 1.0).item() == pytest.approx(math.log(3))
    small = losses.dpo(log_pi, log_ref, PAIR, beta=0.05)
    assert small.item() == pytest.approx(math.log(1 + 2**-0.05))


def test_ipo_and_rrhf_by_hand() -> None:
    log_pi, log_ref = torch.tensor([[0.4, 0.2]]).log(), torch.tensor([[0.3, 0.3]]).log()
    found = losses.ipo(log_pi, log_ref, PAIR, beta=0.5)
    assert found.item() == pytest.approx((math.log(2) - 1) ** 2)
    assert losses.ipo(log_ref, log_ref, PAIR, 0.1).item() == pytest.approx(25)  # 1 / (2 b) = 5
    assert losses.rrhf(log_pi, PAIR).item() == pytest.approx(-0.2)


def test_a_model_that_has_not_moved() -> None:
    log_pi, _, pairs, _ = random_case()
    assert losses.dpo(log_pi, log_pi, pairs, 0.05).item() == pytest.approx(math.log(2))
    assert not losses.margins(log_pi, log_pi, pairs).any()


def test_preference_losses_against_loops() -> None:
    log_pi, log_ref, pairs, _ = random_case()
    sums, count, beta = {"dpo": 0.0, "ipo": 0.0, "rrhf": 0.0}, 0, 0.3
    for q in range(3):
        for w, other in _pairs_of_a_matrix(2, 3):
            pi_w, pi_l = log_pi[q, w].exp().item(), log_pi[q, other].exp().item()
            ref_w, ref_l = log_ref[q, w].exp().item(), log_ref[q, other].exp().item()
            m = math.log(pi_w / ref_w) - math.log(pi_l / ref_l)
            sums["dpo"] -= math.log(1 / (1 + math.exp(-beta * m)))
            sums["ipo"] += (m - 1 / (2 * beta)) ** 2
            sums["rrhf"] -= pi_w - pi_l
            count += 1
    assert count == 3 * len(pairs) == 3 * (2 * 3 + 3 * 1)
    assert losses.dpo(log_pi, log_ref, pairs, beta).item() == pytest.approx(sums["dpo"] / count)
    assert losses.ipo(log_pi, log_ref, pairs, beta).item() == pytest.approx(sums["ipo"] / count)
    assert losses.rrhf(log_pi, pairs).item() == pytest.approx(sums["rrhf"] / count)


def _pairs_of_a_matrix(u: int, v: int) -> list[tuple[int, int]]:
    rows = [[i * v + j for j in range(v)] for i in range(u)]
    columns = [[i * v + j for i in range(u)] for j in range(v)]
    found = []
    for sequence in rows + columns:
        for a in range(len(sequence)):
            found += [(sequence[a], sequence[b]) for b in range(a + 1, len(sequence))]
    return found


def test_policies_by_hand() -> None:
    cosines = torch.tensor([[0.5, -0.2, 0.1]])
    own = torch.tensor([[2, 1]])

    def log_pi(policy: Any) -> list[float]:
        found: list[list[float]] = losses.log_policy(cosines, own, policy, 0.1, 0.01).tolist()
        return found[0]

    assert log_pi("cosine_clamped") == pytest.approx([math.log(0.1), math.log(0.01)])
    assert log_pi("shifted") == pytest.approx([math.log(0.55), math.log(0.4)])
    total = math.log(math.exp(5) + math.exp(-2) + math.exp(1))
    assert log_pi("logit") == pytest.approx([1 - total, -2 - total])
    assert losses.clamped_share(cosines, "cosine_clamped", 0.01) == pytest.approx(1 / 3)
    assert losses.clamped_share(cosines, "shifted", 0.45) == pytest.approx(1 / 3)
    assert losses.clamped_share(cosines, "logit", 0.01) == 0


def test_a_clamped_cosine_has_no_gradient() -> None:
    cosines = torch.tensor([[0.5, -0.2]], requires_grad=True)
    own = torch.tensor([[0, 1]])
    losses.log_policy(cosines, own, "cosine_clamped", 1.0, 0.01).sum().backward()
    assert cosines.grad is not None
    assert cosines.grad.tolist() == [[2.0, 0.0]]


def test_what_pi_is_divided_by_cancels_in_margins() -> None:
    """So the other pictures of a batch do not matter for `logit`, nor for the reference's."""
    _, log_ref, pairs, cosines = random_case()
    own = torch.arange(6).expand(3, 6)
    more = torch.cat([cosines, torch.full((3, 4), 0.9, dtype=torch.float64)], 1)
    one, two = (losses.log_policy(c, own, "logit", 0.07, 0.01) for c in (cosines, more))
    assert (one - two).abs().min() > 0.1
    torch.testing.assert_close(
        losses.margins(one, log_ref, pairs), losses.margins(two, log_ref, pairs)
    )


def test_contrastive_against_loops() -> None:
    draw = torch.Generator().manual_seed(0)
    v, t = (F.normalize(torch.randn(5, 4, generator=draw), dim=1) for _ in range(2))
    scale, smoothing, C = 7.0, 0.1, 5
    wanted = 0.0
    for i in range(C):
        for j in range(C):
            label = (1 - smoothing) * (i == j) + smoothing / C
            s = [[scale * float(v[a] @ t[b]) for b in range(C)] for a in range(C)]
            row = sum(math.exp(s[i][k]) for k in range(C))
            column = sum(math.exp(s[k][j]) for k in range(C))
            wanted -= label * (s[i][j] - math.log(row)) / C
            wanted -= label * (s[i][j] - math.log(column)) / C
    assert losses.contrastive(v, t, scale, smoothing).item() == pytest.approx(wanted, rel=1e-5)


def test_contrastive_by_hand_is_the_sum_of_both_directions() -> None:
    v = torch.eye(2)
    found = losses.contrastive(v, v, 1.0, 0.0)
    assert found.item() == pytest.approx(2 * math.log(1 + math.exp(-1)))


def test_the_temperature_is_trained() -> None:
    draw = torch.Generator().manual_seed(0)
    v, t = (F.normalize(torch.randn(5, 4, generator=draw), dim=1) for _ in range(2))
    logit_scale = torch.tensor(2.0, requires_grad=True)
    losses.contrastive(v, t, logit_scale.exp(), 0.1).backward()
    assert logit_scale.grad is not None
    assert logit_scale.grad.abs() > 0.01


def test_anchors_against_loops() -> None:
    _, log_ref, _, cosines = random_case()
    reference, temperature = log_ref.exp(), 0.2
    kl, l2 = 0.0, 0.0
    for q in range(3):
        p, r = (np.exp(c[q].numpy() / temperature) for c in (cosines, reference))
        p, r = p / p.sum(), r / r.sum()
        kl += sum(r[i] * math.log(r[i] / p[i]) for i in range(6)) / 3
        l2 += sum(float(cosines[q, i] - reference[q, i]) ** 2 for i in range(6)) / 18
    assert losses.kl_anchor(cosines, reference, temperature).item() == pytest.approx(kl)
    assert losses.l2_anchor(cosines, reference).item() == pytest.approx(l2)
    assert losses.kl_anchor(cosines, cosines, temperature).item() == pytest.approx(0, abs=1e-12)
