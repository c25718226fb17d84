"""Starting an adapter where ridge regression ends.

With some thousand pictures and a few hundred steps, what a linear model finds at once in narrow
directions of the tokens (sharpness, noise) would be found late by gradient descent. So the token
sources begin standardised, and with ridge solutions among their directions; all of that goes on
learning. Labels of training rows only are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from imgrank.data.features import TokenSet
from imgrank.evaluate.scoring import tokens_of
from imgrank.models.adapter import Adapter

__all__ = ["warm_start"]

RIDGE = (0.003, 0.1, 1.0)  # penalties, per picture
SCALE = 2.0  # standard deviation of such a direction; the random ones have about 0.6


@torch.no_grad()
def warm_start(adapter: Adapter, sets: Mapping[str, TokenSet]) -> None:
    """Set the LayerNorm and Linear of each image source, in place.

    The LayerNorm gets gain 1/std and bias -mean/std of its channels over training pictures; the
    first rows of the Linear become ridge solutions (pooled tokens -> target) for each data set and
    each penalty of `RIDGE`, scaled to standard deviation `SCALE`.
    """
    for name in adapter.image_sources:
        source = adapter.image_sources.get_submodule(name)
        norm: Any = source.get_submodule("norm")
        linear: Any = source.get_submodule("linear")
        pooled, moments = {}, []
        for key, data in sets.items():
            pooled[key], found = _pooled(data, name)
            moments.append(found)
        mean, square = torch.cat(moments).mean(0)
        norm.weight.copy_(1 / (square - mean**2).clamp(min=1e-4).sqrt())
        norm.bias.copy_(-mean * norm.weight)
        directions = [
            direction
            for key, data in sets.items()
            for direction in _ridge((pooled[key] - mean) * norm.weight, data)
        ][: len(linear.weight)]
        linear.weight[: len(directions)] = torch.stack(directions).to(linear.weight.dtype)
        linear.bias[: len(directions)] = 0


def _pooled(data: TokenSet, source: str) -> tuple[Tensor, Tensor]:
    """Layer-normalised tokens of the training rows, averaged over positions [N, D], and the first
    two moments of their channels, by parts of the rows [parts, 2, D]."""
    rows, means, moments = data.rows("train"), [], []
    for part in np.array_split(rows, 1 + len(rows) // 256):
        x = tokens_of(data, part)[source]
        x = F.layer_norm(x, x.shape[-1:])  # [n, P, D]
        means.append(x.mean(1))
        moments.append(torch.stack((x.mean((0, 1)), x.square().mean((0, 1)))))
    return torch.cat(means), torch.stack(moments)


def _ridge(x: Tensor, data: TokenSet) -> list[Tensor]:
    """Directions [D] that predict the target of the training rows, one a penalty."""
    x = (x - x.mean(0)).double()
    y = torch.from_numpy(data.targets[data.rows("train")]).double()
    gram, cross = x.T @ x, x.T @ (y - y.mean())
    eye = torch.eye(len(gram), dtype=gram.dtype)
    solutions = [torch.linalg.solve(gram + p * len(x) * eye, cross) for p in RIDGE]
    return [SCALE * solution / (x @ solution).std() for solution in solutions]
