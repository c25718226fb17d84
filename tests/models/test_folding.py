"""Folding changes nothing, neither of towers that it fits nor of those that are built otherwise."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from imgrank.models.folding import fold_batch_norm, folded


def lively(model: nn.Module) -> nn.Module:
    """Statistics as training leaves them, and branches that are not nearly nought."""
    for name, value in model.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(std=0.3)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif value.is_floating_point() and value.ndim == 1 and not name.endswith("bias"):
            value.uniform_(0.3, 0.9)
    return model.eval().requires_grad_(False)


def count(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def features(model: nn.Module) -> dict[str, Tensor]:
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return {"map": model.forward_features(x)}  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("test_efficientnet", 0),
        ("test_resnet", 1),  # behind a stem of several convolutions
        ("fastvit_t8", 0),
        ("test_byobnet", 0),
        ("test_convnext", 0),  # has none
    ],
)
def test_towers_of_timm_lose_their_batch_norm_and_change_nothing(name: str, left: int) -> None:
    torch.manual_seed(0)
    model = lively(timm.create_model(name))
    with torch.no_grad():
        wanted = features(model)["map"]
        found = folded(lambda: model, features)
        torch.testing.assert_close(features(found)["map"], wanted, atol=1e-4, rtol=1e-4)
    assert count(found) == left


class Crossed(nn.Module):
    """Its children do not stand in the order in which they run."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 3, 1)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.second(self.first(self.norm(x)).relu())


class Looking(Crossed):
    """Asks its batch norm for what a folded one no longer has."""

    def forward_features(self, x: Tensor) -> Tensor:
        return self.norm(self.first(x)) + self.norm.running_mean.view(1, 3, 1, 1)


@pytest.mark.parametrize("kind", [Crossed, Looking])
def test_a_tower_that_folding_would_change_is_left_as_it_is(kind: type[Crossed]) -> None:
    def load() -> nn.Module:
        torch.manual_seed(0)
        return lively(kind())

    with torch.no_grad():
        wanted = features(load())["map"]
        found = folded(load, features)
        assert torch.equal(features(found)["map"], wanted)
    assert count(found) == 1


def test_one_convolution_by_hand() -> None:
    conv, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0)
    model = nn.Sequential(conv, norm).eval()
    state = {"0.weight": 3.0, "0.bias": 1.0, "1.weight": 4.0, "1.bias": 5.0,
             "1.running_mean": 7.0, "1.running_var": 4.0}  # fmt: skip
    for name, value in state.items():
        model.state_dict()[name].fill_(value)
    with torch.no_grad():
        fold_batch_norm(model)
        got = model(torch.full((1, 1, 1, 1), 2.0))
    assert isinstance(model[1], nn.Identity)
    assert (model[0].weight.item(), model[0].bias.item()) == (6.0, -7.0)
    assert got.item() == (3 * 2 + 1 - 7) / 2 * 4 + 5
