"""Scores of an adapter for image tokens, and the figures that a training run watches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imgrank.data.features import Pictures
from imgrank.data.labelled import Labelled, Labels
from imgrank.evaluate.metrics import mae, pair_accuracy, srcc
from imgrank.models.adapter import Adapter

__all__ = ["Predicted", "Question", "figures", "predict", "score_rows"]

Rows = npt.NDArray[np.intp]
MOST = 800  # validation rows of a data set that a running training is measured on


@dataclass(frozen=True, eq=False, slots=True)
class Question:
    """One query of a data set, to be answered by an adapter.

    text: tokens of its prompt [T, Dt].   offset, scale: value = offset + scale * score.
    """

    pictures: Pictures
    data: Labelled
    labels: Labels
    text: Tensor
    offset: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True, eq=False, slots=True)
class Predicted:
    """Truth and prediction of some rows of a query, in its unit; groups as in its data set."""

    data: str
    unit: str
    truth: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.float32]
    groups: tuple[str, ...]


@torch.inference_mode()
def score_rows(
    adapter: Adapter, pictures: Pictures, rows: Rows, text: Tensor, batch: int = 64
) -> npt.NDArray[np.float32]:
    """Scores [len(rows)] of the plain pictures; puts the adapter into evaluation mode."""
    adapter.eval()
    device = next(adapter.parameters()).device
    text = text.to(device)
    parts = []
    for start in range(0, len(rows), batch):
        tokens = pictures.batch(rows[start : start + batch])
        z = adapter.encode({name: value.to(device) for name, value in tokens.items()}, text)
        parts.append(adapter.scores(z).cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def predict(adapter: Adapter, questions: Sequence[Question], most: int = MOST) -> list[Predicted]:
    """The adapter's answers on the validation part of each question that has one.

    most: rows of one data set over all its questions, taken at even steps, to keep this short.
    """
    counts: dict[str, int] = {}
    for question in questions:
        counts[question.data.name] = counts.get(question.data.name, 0) + 1
    found = []
    for question in questions:
        rows = question.data.rows("validation", question.labels)
        if not len(rows):
            continue
        few = max(1, min(len(rows), most // counts[question.data.name]))
        rows = rows[np.linspace(0, len(rows) - 1, few).round().astype(np.intp)]
        scores = score_rows(adapter, question.pictures, rows, question.text)
        found.append(
            Predicted(
                question.data.name,
                question.labels.unit,
                question.labels.values[rows],
                (question.offset + question.scale * scores).astype(np.float32),
                tuple(question.data.groups[row] for row in rows),
            )
        )
    return found


def figures(found: Iterable[Predicted]) -> dict[str, float]:
    """SRCC, MAE and pair accuracy within groups of each data set: means over its queries.

    What is undefined (no pair within a group, constant values) is left out.
    """
    by_name: dict[str, list[float]] = {}
    for each in found:
        y, s = each.truth, each.predicted
        for name, value in (
            ("srcc", srcc(y, s)),
            ("mae", mae(y, s)),
            ("pairs", pair_accuracy(y, s, list(each.groups))),
        ):
            if not math.isnan(value):
                by_name.setdefault(f"{each.data} {name}", []).append(value)
    return {name: round(float(np.mean(values)), 4) for name, values in by_name.items()}
