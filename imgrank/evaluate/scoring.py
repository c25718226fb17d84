"""Scores of an adapter for cached tokens, and the figures that a training run watches."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imgrank.data.features import TokenSet
from imgrank.evaluate.metrics import pair_accuracy, srcc
from imgrank.models.adapter import Adapter

__all__ = ["score_rows", "tokens_of", "validate"]

Rows = npt.NDArray[np.intp]


def tokens_of(
    data: TokenSet, rows: Rows, mirror: npt.NDArray[np.bool_] | None = None
) -> dict[str, Tensor]:
    """Cached tokens of these rows {source: [B, P, D]}, float32; mirror: which in the mirror."""
    arrays = data.cache.batch(rows.tolist(), None if mirror is None else mirror.tolist())
    return {name: torch.from_numpy(array).float() for name, array in arrays.items()}


@torch.inference_mode()
def score_rows(
    adapter: Adapter, data: TokenSet, rows: Rows, text: Tensor, batch: int = 64
) -> npt.NDArray[np.float32]:
    """Scores [len(rows)] of the plain pictures; puts the adapter into evaluation mode."""
    adapter.eval()
    parts = [
        adapter.scores(adapter.encode(tokens_of(data, rows[n : n + batch]), text)).numpy()
        for n in range(0, len(rows), batch)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def validate(
    adapter: Adapter, sets: Mapping[str, TokenSet], text: Tensor, most: int = 800
) -> dict[str, float]:
    """SRCC and pair accuracy within groups on the validation part of each set that has one.

    most: of a larger part, only so many of its first rows, to keep this short.
    """
    out = {}
    for name, data in sets.items():
        rows = data.rows("validation")[:most]
        if not len(rows):
            continue
        scores = score_rows(adapter, data, rows, text)
        groups = np.asarray(data.groups)[rows]
        out[f"{name} srcc"] = round(srcc(data.targets[rows], scores), 4)
        out[f"{name} pairs"] = round(pair_accuracy(data.targets[rows], scores, groups.tolist()), 4)
    return out
