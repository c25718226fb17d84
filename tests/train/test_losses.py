"""Each loss against numbers worked by hand."""

import math

import pytest
import torch
from torch import Tensor

from imgrank.train import losses


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


O = torch.tensor([[0.0, 2.0, -1.0], [0.5, 1.0, 3.0], [-2.0, 0.0, 0.25]])  # noqa: E741
Y = torch.tensor([3.0, 1.0, 1.0])


def test_rank_bce_counts_ties_and_the_diagonal_as_label_zero() -> None:
    # Labels: only (0, 1) and (0, 2) are 1. BCE is softplus(-o) for label 1, softplus(o) for 0.
    ones = softplus(-2.0) + softplus(1.0)
    zeros = sum(softplus(o) for o in (0.0, 0.5, 1.0, 3.0, -2.0, 0.0, 0.25))
    assert losses.rank_bce(O, Y).item() == pytest.approx((ones + zeros) / 9, rel=1e-6)


def test_rank_bce_within_chosen_pairs() -> None:
    pairs = torch.zeros(3, 3, dtype=torch.bool)
    pairs[0, 1] = pairs[1, 0] = True
    expected = (softplus(-2.0) + softplus(0.5)) / 2
    assert losses.rank_bce(O, Y, pairs).item() == pytest.approx(expected, rel=1e-6)
    assert losses.rank_bce(O, Y, torch.zeros_like(pairs)).item() == 0.0


def test_rank_hinge_by_hand() -> None:
    # Pairs with y_i > y_j: (0,1): (2 - 0.5)/2 = 0.75 -> 0.25; (0,2): (-1 + 2)/2 = 0.5 -> 0.5.
    assert losses.rank_hinge(O, Y).item() == pytest.approx((0.25 + 0.5) / 2)
    assert losses.rank_hinge(O, torch.ones(3)).item() == 0.0


def test_rank_hinge_is_not_satisfied_by_a_constant() -> None:
    """The one-sided hinge of eq. 5 is: a constant above 1 has loss 0 and gradient 0."""
    o = torch.full((3, 3), 5.0, requires_grad=True)
    one_sided = torch.relu(1 - o)[Y[:, None] > Y[None]].mean()
    assert one_sided.item() == 0.0
    loss = losses.rank_hinge(o, Y)
    loss.backward()
    assert loss.item() == 1.0
    assert o.grad is not None
    expected = torch.tensor([[0.0, -1.0, -1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]) / 4
    torch.testing.assert_close(o.grad, expected)


@pytest.mark.parametrize("loss", [losses.rank_bce, losses.rank_hinge])
def test_rank_losses_against_the_slow_loop(loss: object) -> None:
    torch.manual_seed(0)
    o, y = torch.randn(7, 7), torch.randint(0, 4, (7,)).float()
    terms = []
    for i in range(7):
        for j in range(7):
            if loss is losses.rank_bce:
                terms.append(softplus(-o[i, j].item() if y[i] > y[j] else o[i, j].item()))
            elif y[i] > y[j]:
                terms.append(max(0.0, 1 - (o[i, j].item() - o[j, i].item()) / 2))
    assert callable(loss)
    assert loss(o, y).item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


S = torch.tensor([0.5, 4.0])
T = torch.tensor([0.0, 1.0])


def test_regression_losses_by_hand() -> None:
    mean = (0.5 * 0.25 + (3.0 - 0.5)) / 2  # quadratic below 1, linear above
    assert losses.reg_smooth_l1(S, T).item() == pytest.approx(mean)
    assert losses.reg_log_smooth_l1(S, T).item() == pytest.approx(math.log(1 + mean))


def test_bce_by_hand() -> None:
    expected = (softplus(0.5) + softplus(-4.0)) / 2
    assert losses.bce(S, T).item() == pytest.approx(expected)


def test_single_is_bce_of_score_differences() -> None:
    # o = s_i - s_j: diagonal 0 (label 0), (0,1) = -3.5 label 0, (1,0) = 3.5 label 1.
    expected = (2 * math.log(2) + 2 * softplus(-3.5)) / 4
    assert losses.rank_bce_single(S, T).item() == pytest.approx(expected, rel=1e-6)


def gradient_at(loss: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(loss, x)[0]


def test_empty_masks_give_a_zero_gradient() -> None:
    o = O.clone().requires_grad_()
    none = torch.zeros(3, 3, dtype=torch.bool)
    assert gradient_at(losses.rank_bce(o, Y, none), o).abs().max() == 0
    assert gradient_at(losses.rank_hinge(o, Y, none), o).abs().max() == 0
