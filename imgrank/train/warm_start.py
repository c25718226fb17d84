"""Starting an adapter where ridge regression ends.

With some thousand pictures and a few hundred steps, what a linear model finds at once in narrow
directions of the tokens (sharpness, noise) would be found late by gradient descent. So the token
sources begin standardised, and with ridge solutions among their directions; all of that goes on
learning. Labels of training rows only are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from imgrank.data.features import Pictures
from imgrank.models.adapter import Adapter
from imgrank.train.streams import Asked, Stream

__all__ = ["warm_start"]

RIDGE = (0.003, 0.1, 1.0)  # penalties, per picture
ONE = RIDGE[1:2]  # where there are too many queries for all of them
SCALE = 2.0  # standard deviation of such a direction; the random ones have about 0.6
Rows = npt.NDArray[np.intp]


@torch.no_grad()
def warm_start(adapter: Adapter, streams: Sequence[Stream]) -> None:
    """Set the LayerNorm and Linear of each image source, in place.

    The LayerNorm gets gain 1/std and bias -mean/std of its channels over training pictures; the
    first rows of the Linear become ridge solutions (pooled tokens -> target) for each query and
    each penalty of `RIDGE`, scaled to standard deviation `SCALE`. If these were more than half of
    the rows, one penalty a query; what is then still too many is left out from the end.
    """
    streams = list({_content(stream): stream for stream in streams}.values())
    rows = [stream.data.rows("train") for stream in streams]
    queries = sum(len(stream.asked) for stream in streams)
    for name in adapter.image_sources:
        source = adapter.image_sources.get_submodule(name)
        norm: Any = source.get_submodule("norm")
        linear: Any = source.get_submodule("linear")
        pooled, moments = [], []
        for stream, own in zip(streams, rows, strict=True):
            assert stream.pictures is not None
            tokens, found = _pooled(stream.pictures, own, name)
            pooled.append(tokens)
            moments.append(found)
        mean, square = torch.cat(moments).mean(0)
        norm.weight.copy_(1 / (square - mean**2).clamp(min=1e-4).sqrt())
        norm.bias.copy_(-mean * norm.weight)
        many = queries * len(RIDGE) > len(linear.weight) // 2
        directions = [
            direction
            for stream, own, x in zip(streams, rows, pooled, strict=True)
            for asked in stream.asked
            for direction in _ridge((x - mean) * norm.weight, own, asked, ONE if many else RIDGE)
        ][: len(linear.weight)]
        linear.weight[: len(directions)] = torch.stack(directions).to(linear.weight.dtype)
        linear.bias[: len(directions)] = 0


def _content(stream: Stream) -> tuple[object, ...]:
    """Two sources may draw from the same queries in different ways."""
    return (id(stream.data), *(asked.labels.key for asked in stream.asked))


def _pooled(pictures: Pictures, rows: Rows, source: str) -> tuple[Tensor, Tensor]:
    """Layer-normalised tokens of these rows, averaged over positions [N, D], and the first two
    moments of their channels, by parts of the rows [parts, 2, D]."""
    means, moments = [], []
    for part in np.array_split(rows, 1 + len(rows) // 256):
        x = pictures.batch(part)[source]
        x = F.layer_norm(x, x.shape[-1:])  # [n, P, D]
        means.append(x.mean(1))
        moments.append(torch.stack((x.mean((0, 1)), x.square().mean((0, 1)))))
    return torch.cat(means), torch.stack(moments)


def _ridge(x: Tensor, rows: Rows, asked: Asked, penalties: Sequence[float]) -> list[Tensor]:
    """Directions [D] that predict the target, one a penalty. x [N, D]: of the rows [N]."""
    targets = asked.targets(rows)
    known = ~np.isnan(targets)
    if not known.all():
        x, targets = x[torch.from_numpy(known)], targets[known]
    x = (x - x.mean(0)).double()
    y = torch.from_numpy(targets).double()
    gram, cross = x.T @ x, x.T @ (y - y.mean())
    eye = torch.eye(len(gram), dtype=gram.dtype)
    solutions = [torch.linalg.solve(gram + p * len(x) * eye, cross) for p in penalties]
    return [SCALE * solution / (x @ solution).std() for solution in solutions]
