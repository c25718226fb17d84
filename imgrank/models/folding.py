"""Batch norm folded into the convolution before it, and branches merged that training needed: a
convolutional tower then runs fewer operations for the same result.

Which batch norm follows which convolution is read from the order of a module's children, which is
the order of their use in most towers but need not be. So a tower runs on one random picture before
and after, and is loaded again if it does not agree with itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d
from timm.utils.model import reparameterize_model
from torch import Tensor, nn

from imgrank.models.device import one_thread

__all__ = ["fold_batch_norm", "folded"]

LEAST_COSINE = 1 - 1e-5
LARGEST_ERROR = 1e-3
"""What a folded tower may differ by: least cosine of a feature, and largest difference of a value,
relative to the largest value."""


def folded(
    load: Callable[[], nn.Module], features: Callable[[nn.Module], Mapping[str, Tensor]]
) -> nn.Module:
    """An image tower with its batch norm folded; as `load` gives it if it has none, or if folding
    would change what it gives.

    load: reads the tower, for evaluation.
    features: what a tower gives for one and the same picture, by name.
    """
    visual = load()
    if not any(isinstance(module, nn.BatchNorm2d) for module in visual.modules()):
        return visual
    with torch.no_grad(), one_thread():
        wanted = features(visual)
        try:
            reparameterize_model(visual, inplace=True)  # timm's own, of towers with branches
            fold_batch_norm(visual)
            got = features(visual.eval().requires_grad_(False))
        except (AttributeError, RuntimeError, TypeError, ValueError):
            return load()  # a tower that is built in another way than its parts suggest
    same = all(_same(value, got[name]) for name, value in wanted.items())
    return visual if same else load()


def _same(wanted: Tensor, got: Tensor) -> bool:
    cosine = F.cosine_similarity(wanted.flatten(1).double(), got.flatten(1).double())
    error = (wanted - got).abs().max() / wanted.abs().max().clamp_min(1e-12)
    return bool((cosine >= LEAST_COSINE).all()) and float(error) <= LARGEST_ERROR


def fold_batch_norm(module: nn.Module) -> None:
    """Fold every batch norm that directly follows a convolution into it, in place.

    With running mean m and variance v, scale g, shift b: W' = W g / sqrt(v + eps),
    b' = (c - m) g / sqrt(v + eps) + b, where c is the convolution's bias. Only for models in
    evaluation mode whose children stand in the order in which they run.
    """
    conv: nn.Conv2d | None = None
    for name, child in list(module.named_children()):
        if conv is not None and _foldable(conv, child):
            norm: Any = child
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            bias = norm.bias - norm.running_mean * scale
            if conv.bias is not None:
                bias = bias + conv.bias * scale
            conv.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1), requires_grad=False)
            conv.bias = nn.Parameter(bias.detach(), requires_grad=False)
            rest = isinstance(norm, BatchNormAct2d)
            setattr(module, name, nn.Sequential(norm.drop, norm.act) if rest else nn.Identity())
        else:
            fold_batch_norm(child)
        conv = child if isinstance(child, nn.Conv2d) else None


def _foldable(conv: nn.Conv2d, child: nn.Module) -> bool:
    if type(child) not in (BatchNormAct2d, nn.BatchNorm2d):
        return False
    norm: Any = child
    known = norm.affine and norm.running_mean is not None
    return bool(known and norm.num_features == conv.out_channels)
