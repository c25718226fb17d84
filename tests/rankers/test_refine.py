"""Strengths from all pairs, against the plain double loop and a fitted Bradley-Terry model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from imgrank.models.adapter import Adapter, AdapterConfig
from imgrank.rankers.refine import win_shares

P, D = 5, 8


def adapter(**fields: object) -> Adapter:
    torch.manual_seed(0)
    sizes = {"text_width": D, "width": D, "heads": 2, "encoder_heads": 2, "rank_heads": 2}
    config = AdapterConfig(
        image_widths={"grid": D}, layers=1, relational_tokens=3, **sizes, **fields
    )  # type: ignore[arg-type]
    return Adapter(config).eval()


def by_hand(model: Adapter, z: Tensor) -> list[float]:
    """Mean over j of sigmoid((o_ij - o_ji) / 2), pair by pair."""
    shares = []
    for i in range(len(z)):
        wins = [torch.sigmoid(model.pair_logit(z[i], z[j])).item() for j in range(len(z)) if j != i]
        shares.append(sum(wins) / len(wins))
    return shares


@pytest.mark.parametrize("block", [1, 3, 4, 100])
@pytest.mark.parametrize("head", ["attention", "self-attention", "tokens"])
def test_blocks_give_what_a_double_loop_gives(head: str, block: int) -> None:
    model = adapter(rank_head=head)
    with torch.inference_mode():
        z = 3 * torch.randn(10, P, D)
        chunks = [model.summarise(z[:4]), model.summarise(z[4:5]), model.summarise(z[5:])]
        shares = win_shares(model, chunks, block)
        assert shares.tolist() == pytest.approx(by_hand(model, z), abs=1e-5)
        assert shares.mean().item() == pytest.approx(0.5)
        assert shares.max() - shares.min() > 0.01


def test_a_lone_picture_and_a_pair() -> None:
    model = adapter()
    with torch.inference_mode():
        z = 3 * torch.randn(2, P, D)
        assert win_shares(model, [model.summarise(z[:1])]).tolist() == [0.5]
        p = torch.sigmoid(model.pair_logit(z[0], z[1])).item()
        shares = win_shares(model, [model.summarise(z)]).tolist()
        assert shares == pytest.approx([p, 1 - p], abs=1e-6)


def test_a_bradley_terry_model_of_the_same_pairs_has_the_same_order() -> None:
    model = adapter()
    with torch.inference_mode():
        z = 3 * torch.randn(12, P, D)
        shares = win_shares(model, [model.summarise(z)])
        o = model.pair_logits(z)
    p = torch.sigmoid((o - o.T).double() / 2)
    t = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    fit = torch.optim.LBFGS([t], lr=1, max_iter=500, tolerance_grad=1e-12, tolerance_change=0)

    def loss() -> Tensor:  # -log likelihood, over the pairs
        fit.zero_grad()
        above = torch.nn.functional.logsigmoid(t[:, None] - t[None])
        value = -(p * above).fill_diagonal_(0).sum()
        value.backward()
        return value

    fit.step(loss)
    assert t.argsort().tolist() == shares.argsort().tolist()
    expected = torch.sigmoid(t[:, None] - t[None]).fill_diagonal_(0).sum(1) / 11
    torch.testing.assert_close(expected.detach(), shares, atol=1e-5, rtol=0)
