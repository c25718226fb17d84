"""Each loss against slow double loops written from spec/l2rclip.md, and numbers worked by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from imgrank.train import l2rclip_losses as losses

VALUES = torch.tensor([10.0, 20.0, 25.0, 60.0, 110.0], dtype=torch.double)
SCALE = 7.0
BATCHES = {
    "repeated": [0, 3, 3, 1, 4, 3, 1],
    "one rank only": [2, 2, 2],
    "all different": [4, 0, 2, 1],
    "one image": [3],
}


def embeddings(B: int, M: int = 5, E: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(B)
    rows = torch.randn(B + M, E, generator=generator, dtype=torch.double)
    v, r = F.normalize(rows, dim=1).split([B, M])
    return v.clone(), r.clone()


def dot(a: Tensor, b: Tensor) -> float:
    return sum(float(x) * float(z) for x, z in zip(a, b, strict=True))


def slow_pairwise(v: Tensor, r: Tensor, y: list[int], gamma: float, largest: float) -> float:
    B, total = len(y), 0.0
    for i in range(B):
        pushed = 0.0
        for j in range(B):
            if j != i:
                w = abs(float(VALUES[y[i]]) - float(VALUES[y[j]])) / largest
                pushed += w * dot(v[i] + gamma * r[y[i]], r[y[j]])
        total += (pushed / (B - 1) if B > 1 else 0.0) - dot(v[i], r[y[i]])
    return total / B


def slow_text_to_image(v: Tensor, r: Tensor, y: list[int], without_same: bool) -> float:
    B, total = len(y), 0.0
    for i in range(B):
        positives = [z for z in range(B) if y[z] == y[i]]
        for z in positives:
            below = sum(
                math.exp(SCALE * dot(v[j], r[y[i]]))
                for j in range(B)
                if not without_same or j == z or y[j] != y[i]
            )
            above = math.exp(SCALE * dot(v[z], r[y[i]]))
            total -= math.log(above / below) / len(positives)
    return total / B


def slow_image_to_text(v: Tensor, r: Tensor, y: list[int], ranks: set[int]) -> float:
    total = 0.0
    for i in range(len(y)):
        below = sum(math.exp(SCALE * dot(v[i], r[k])) for k in ranks)
        total -= math.log(math.exp(SCALE * dot(v[i], r[y[i]])) / below)
    return total / len(y)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("gamma", [0.0, 1.0, 0.4])
@pytest.mark.parametrize(("w_norm", "largest"), [("largest", 100.0), ("none", 1.0)])
def test_ordinal_pairwise(batch: str, gamma: float, w_norm: Any, largest: float) -> None:
    y = BATCHES[batch]
    v, r = embeddings(len(y))
    found = losses.ordinal_pairwise(v, r, torch.tensor(y), VALUES, gamma, w_norm)
    assert found.item() == pytest.approx(slow_pairwise(v, r, y, gamma, largest), rel=1e-9)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("without_same", [False, True])
def test_text_to_image(batch: str, without_same: bool) -> None:
    y = BATCHES[batch]
    v, r = embeddings(len(y))
    found = losses.text_to_image(v, r, torch.tensor(y), SCALE, without_same)
    slow = slow_text_to_image(v, r, y, without_same)
    assert found.item() == pytest.approx(slow, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("batch", BATCHES)
def test_image_to_text_and_cross_entropy(batch: str) -> None:
    y = BATCHES[batch]
    v, r = embeddings(len(y))
    found = losses.image_to_text(v, r, torch.tensor(y), SCALE)
    slow = slow_image_to_text(v, r, y, set(y))
    assert found.item() == pytest.approx(slow, rel=1e-9, abs=1e-12)
    found = losses.cross_entropy(v, r, torch.tensor(y), SCALE)
    assert found.item() == pytest.approx(slow_image_to_text(v, r, y, set(range(5))), rel=1e-9)


def test_by_hand() -> None:
    """Two images of two ranks in a plane: v_0 = r_0 = (1, 0), v_1 = (0.6, 0.8), r_1 = (0, 1)."""
    v = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    r, y, values = torch.eye(2), torch.tensor([0, 1]), torch.tensor([1930.0, 1940.0])
    # w = 1 (10 years of 10). i = 0: v_0^T r_1 + r_0^T r_1 - v_0^T r_0 = 0 + 0 - 1.
    # i = 1: v_1^T r_0 + r_1^T r_0 - v_1^T r_1 = 0.6 + 0 - 0.8.
    assert losses.ordinal_pairwise(v, r, y, values).item() == pytest.approx(-1.2 / 2)
    # Raw, the pair's part is ten times as much: (0 - 1 + 6 - 0.8) / 2.
    raw = losses.ordinal_pairwise(v, r, y, values, w_norm="none").item()
    assert raw == pytest.approx(4.2 / 2)
    # Rank 0 sees the images at 1 and 0.6, rank 1 at 0 and 0.8; image 0 the ranks at 1 and 0,
    # image 1 at 0.6 and 0.8.
    expected = (math.log(1 + math.exp(-0.4)) + math.log(1 + math.exp(-0.8))) / 2
    assert losses.text_to_image(v, r, y, 1.0).item() == pytest.approx(expected)
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-0.2))) / 2
    assert losses.image_to_text(v, r, y, 1.0).item() == pytest.approx(expected)


def test_weights_are_of_the_task_not_of_the_batch() -> None:
    """Neighbours alone in a batch are pushed apart as little as beside the far ones."""
    y, (v, r) = [1, 2], embeddings(2)
    found = losses.ordinal_pairwise(v, r, torch.tensor(y), VALUES)
    w = 5 / 100
    expected = (
        w * dot(v[0] + r[1], r[2]) + w * dot(v[1] + r[2], r[1]) - dot(v[0], r[1]) - dot(v[1], r[2])
    ) / 2
    assert found.item() == pytest.approx(expected)


def test_images_of_one_rank_bound_the_loss_unless_left_out() -> None:
    """Perfect embeddings: 4 images of one rank cannot get below log 4, but for the option."""
    r = torch.eye(3)
    y = torch.tensor([0, 0, 0, 0, 1])
    v, scale = r[y], 50.0
    expected = 4 / 5 * math.log(4)
    assert losses.text_to_image(v, r, y, scale).item() == pytest.approx(expected)
    assert losses.text_to_image(v, r, y, scale, without_same=True).item() < 1e-6
    assert losses.image_to_text(v, r, y, scale).item() < 1e-6


@pytest.mark.parametrize("batch", BATCHES)
def test_gradients(batch: str) -> None:
    y = torch.tensor(BATCHES[batch])
    v, r = (x.requires_grad_() for x in embeddings(len(y)))

    def all_of(v: Tensor, r: Tensor) -> Tensor:
        return torch.stack([
            losses.ordinal_pairwise(v, r, y, VALUES),
            losses.text_to_image(v, r, y, SCALE),
            losses.text_to_image(v, r, y, SCALE, without_same=True),
            losses.image_to_text(v, r, y, SCALE),
            losses.cross_entropy(v, r, y, SCALE),
        ])  # fmt: skip

    assert torch.autograd.gradcheck(all_of, (v, r))


def test_one_image_pulls_its_text_and_nothing_else() -> None:
    v, r = (x.requires_grad_() for x in embeddings(1))
    loss = losses.ordinal_pairwise(v, r, torch.tensor([3]), VALUES)
    v_grad, r_grad = torch.autograd.grad(loss, (v, r))
    torch.testing.assert_close(v_grad[0], -r[3].detach())
    torch.testing.assert_close(r_grad[3], -v[0].detach())
    assert r_grad[[0, 1, 2, 4]].abs().max() == 0


def test_rows_of_ranks_that_the_batch_lacks_do_not_matter() -> None:
    y = torch.tensor([0, 3, 3])
    v, r = embeddings(3)
    other = r.clone()
    other[[1, 2, 4]] = 0  # not computed
    for loss in (
        lambda r: losses.ordinal_pairwise(v, r, y, VALUES),
        lambda r: losses.text_to_image(v, r, y, SCALE),
        lambda r: losses.image_to_text(v, r, y, SCALE),
    ):
        assert loss(r).item() == loss(other).item()
    assert losses.cross_entropy(v, r, y, SCALE) != losses.cross_entropy(v, other, y, SCALE)


def test_the_whole_batch_is_more_than_its_halves() -> None:
    """Why processes gather: pairs between the halves count. Joined rows give the batch's loss."""
    y = torch.tensor(BATCHES["repeated"][:6])
    v, r = embeddings(6)
    whole = losses.ordinal_pairwise(v, r, y, VALUES)
    gathered = torch.cat([v[:3], v[3:]])
    assert losses.ordinal_pairwise(gathered, r, y, VALUES).item() == whole.item()
    parts = (slice(3), slice(3, 6))
    halves = [losses.ordinal_pairwise(v[part], r, y[part], VALUES).item() for part in parts]
    assert abs(sum(halves) / 2 - whole.item()) > 1e-3


def test_large_scales_stay_finite() -> None:
    """float32 at CLIP's 1/t = 100 and far beyond."""
    y = torch.tensor(BATCHES["repeated"])
    v, r = (x.float().requires_grad_() for x in embeddings(len(y)))
    for without_same in (False, True):
        loss = losses.text_to_image(v, r, y, 1e4, without_same) + losses.image_to_text(v, r, y, 1e4)
        assert loss.isfinite()
        assert all(grad.isfinite().all() for grad in torch.autograd.grad(loss, (v, r)))
