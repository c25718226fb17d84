"""What a model with ranks is worth beyond its one score: arg-max, interval, set, probabilities.

Of each picture with the true label y, its rank k(y) and value c, and the arg-max rank m:

    accuracy       m = k(y)
    level_mae      |c_m - c_k(y)|: an error of ranks, so of indices where they are classes
    coverage       y lies in the 80 % interval (the level is the checkpoint's)
    set_coverage   k(y) is in the 80 % set;   set_size: ranks in it
    ece            expected calibration error of p_m, 15 bins of equal width
    os             ordinality score of the rank embeddings: of the model, not of the pictures

`mae` is that of the expected value, sum_k p_k c_k, everywhere. Paper 000 speaks of "predicted
labels" and does not say which of the two its MAE is of; where ranks are classes and accuracies
stand beside it (Adience, HCI, CrowdBeauty) `level_mae` is the nearer one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgrank.evaluate.calibration import BINS, ece, inside, ordinality_score, top_bins
from imgrank.evaluate.resampling import Drawn, Samples
from imgrank.models.checkpoint import load_arrays
from imgrank.models.ranks import Ranks
from imgrank.rankers import levels
from imgrank.rankers.l2rclip import L2RCLIPRanker
from imgrank.rankers.levels import Calibration

__all__ = [
    "FIGURES",
    "Levels",
    "facts_of",
    "level_figures",
    "levels_of",
]

FIGURES = ("level_mae", "coverage", "set_coverage", "set_size", "ece", "os")
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Levels:
    """Probabilities of ranks p [n, M] of some pictures, and what they are probabilities of.

    embeddings: r [M, E] of the ranks.   scale: the ends of the task's scale, as its checkpoint
    names them; the values of the ranks lie within.
    """

    p: npt.NDArray[np.float64]
    ranks: Ranks
    calibration: Calibration
    embeddings: npt.NDArray[np.float32]
    scale: tuple[float, float] | None


def levels_of(ranker: L2RCLIPRanker, p: Sequence[Vector]) -> Levels:
    """p: probabilities [M] of each picture."""
    ends = ranker.tasks[ranker.task].get("range")
    return Levels(
        np.array(p, dtype=np.float64).reshape(len(p), len(ranker.ranks)),
        ranker.ranks,
        ranker.calibration,
        load_arrays(ranker.folder)["ranks"],
        (float(ends[0]), float(ends[1])) if ends else None,
    )


def level_figures(
    found: Levels, truth: Vector, drawn: Drawn
) -> tuple[dict[str, Vector], dict[str, float], dict[str, Samples]]:
    """(one value a picture, whose mean is the figure; other figures; their values in the rounds).

    truth: [n], in the unit of the ranks.   drawn: [R, n].
    """
    p, ranks, calibration = found.p, found.ranks, found.calibration
    true, best, values = ranks.of(truth), p.argmax(axis=1), np.asarray(ranks.values)
    sets = levels.chosen(p, calibration.mass)
    rows = {
        "accuracy": best == true,
        "level_mae": np.abs(values[best] - values[true]),
        "coverage": inside(p, truth, ranks, calibration.tail),
        "set_coverage": sets[np.arange(len(true)), true],
        "set_size": sets.sum(axis=1),
    }
    return (
        {name: np.asarray(each, dtype=np.float64) for name, each in rows.items()},
        {"ece": ece(p, true), "os": ordinality_score(found.embeddings)},
        {"ece": _ece_samples(p, true, drawn)},
    )


def facts_of(found: Levels) -> Mapping[str, Any]:
    """Plain values for JSON: names of the ranks, calibration."""
    return {"ranks": list(found.ranks.names), "calibration": found.calibration.to_dict()}


def _ece_samples(p: Vector, true: npt.NDArray[np.intp], drawn: Drawn) -> Samples:
    """`ece` in every round."""
    number, gap = top_bins(p, true)
    by_bin = np.zeros((len(gap), BINS))
    by_bin[np.arange(len(gap)), number] = gap
    found: Samples = np.abs(drawn @ by_bin).sum(axis=1) / drawn.sum(axis=1)
    return found
