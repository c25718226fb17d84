"""Errors of estimated ages by the true age: one figure for all ages hides where a model is bad."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imgrank.evaluate.calibration import inside
from imgrank.evaluate.levels import Levels
from imgrank.evaluate.measure import Answered, Rounds, in_unit, plain
from imgrank.evaluate.resampling import Drawn, interval, mean_samples

__all__ = ["bands_of", "by_age"]

Vector = npt.NDArray[np.floating]

UNIT = "years"
STARTS = (0, 10, 20, 30, 40, 50, 60, 70, 80)  # the last band is open


def by_age(query: Answered, rounds: Rounds) -> list[dict[str, Any]]:
    """A row for each band of ten years that has pictures; none if these are no ages in years."""
    if query.labels.unit != UNIT or not in_unit(query):
        return []
    return bands_of(query.truth, query.scores, rounds.at(query.rows), query.levels)


def bands_of(
    truth: Vector, scores: Vector, drawn: Drawn, levels: Levels | None = None
) -> list[dict[str, Any]]:
    """{"band": "20-29", "n": pictures, "mae": ..., "mae_interval": [low, high], "bias": mean of
    estimate less truth, "coverage": of the interval, if the model has one}.

    truth, scores: [n], in years.   drawn: [R, n], see `resampling.py`.
    """
    held = None
    if levels is not None:
        held = inside(levels.p, truth, levels.ranks, levels.calibration.tail)
    bands = np.searchsorted(STARTS, truth, side="right") - 1
    out = []
    for number, start in enumerate(STARTS):
        rows = np.flatnonzero(bands == number)
        if not len(rows):
            continue
        errors = scores[rows] - truth[rows]
        ends = interval(mean_samples(np.abs(errors), drawn[:, rows]))
        last = number + 1 == len(STARTS)
        row: dict[str, Any] = {
            "band": f"{start}+" if last else f"{start}-{STARTS[number + 1] - 1}",
            "n": len(rows),
            "mae": plain(float(np.abs(errors).mean())),
            "mae_interval": [plain(end) for end in ends],
            "bias": plain(float(errors.mean())),
        }
        if held is not None:
            row["coverage"] = plain(float(held[rows].mean()))
        out.append(row)
    return out
