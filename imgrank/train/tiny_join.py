"""Joining an image classifier and a sentence encoder without picture-text pairs, and with a few.

Closed form. E [K, D] are the centred text embeddings of the K class names, W [K, C] and b [K] the
classifier on pooled features f [C]. The image embedding v that best explains the classifier's
logits as inner products with the classes' texts is a ridge regression,

    v = argmin |E v - (W f + b)|^2 + lambda |v|^2 = (E'E + lambda I)^-1 E' (W f + b),

linear in f: an ordinary projection. A constant added to all logits changes nothing, since E is
centred.

Captions. A second projection, ridge regression from the features of captioned pictures to their
captions' mean centred embedding, knows people, scenes and actions, which ImageNet's classes lack.
The two are scaled to the same mean length over those pictures and mixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Projection", "from_captions", "from_classes", "mix"]


@dataclass(frozen=True)
class Projection:
    """f [N, C] -> weight f + bias, [N, D]."""

    weight: Tensor
    bias: Tensor

    def __call__(self, f: Tensor) -> Tensor:
        return f @ self.weight.T + self.bias


def from_classes(E: Tensor, W: Tensor, b: Tensor, ridge: float) -> Projection:
    """E [K, D] centred, W [K, C], b [K] -> the closed form above, lambda = ridge."""
    E, W, b = E.double(), W.double(), b.double()
    inverse = torch.linalg.solve(E.T @ E + ridge * torch.eye(E.shape[1], dtype=E.dtype), E.T)
    return Projection((inverse @ W).float(), (inverse @ b).float())


def from_captions(F: Tensor, T: Tensor, ridge: float) -> Projection:
    """Ridge regression with an intercept from features F [N, C] to embeddings T [N, D]."""
    F, T = F.double(), T.double()
    mean, target = F.mean(0), T.mean(0)
    X = F - mean
    gram = X.T @ X + ridge * torch.eye(F.shape[1], dtype=F.dtype)
    weight = torch.linalg.solve(gram, X.T @ (T - target)).T
    return Projection(weight.float(), (target - weight @ mean).float())


def mix(first: Projection, second: Projection, share: float, F: Tensor) -> Projection:
    """(1 - share) first + share second, after scaling `second` to `first`'s mean length on F."""
    scale = share * first(F).norm(dim=-1).mean() / second(F).norm(dim=-1).mean()
    return Projection(
        (1 - share) * first.weight + scale * second.weight,
        (1 - share) * first.bias + scale * second.bias,
    )
