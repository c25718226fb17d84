"""Pictures and their ranks, as both stages of L2RCLIP draw and measure them.

Everything random at a step depends on (seed, stage, step) alone. Shapes: n pictures, M ranks, E
embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imgrank.data.fewer import few_shot, shifted
from imgrank.data.labelled import Labelled, Labels
from imgrank.evaluate.calibration import ordinality_score
from imgrank.evaluate.metrics import mae, srcc
from imgrank.models.backbone import Backbone
from imgrank.models.ranks import Ranks
from imgrank.rankers.levels import expected, softmax
from imgrank.train.image_side import ImageSide
from imgrank.train.l2rclip_recipe import Config, labels_of, make_ranks

__all__ = ["Problem", "draw", "embedded", "figures", "predicted", "problem_of"]

Rows = npt.NDArray[np.intp]
Mirror = npt.NDArray[np.bool_]
MOST = 800  # validation pictures that a running training is measured on
AT_ONCE = 64  # pictures


@dataclass(frozen=True, eq=False)
class Problem:
    """Pictures and their ranks. y [N] long: the rank of each picture, of those that have one.

    rows: to train on.   watched: validation pictures that are measured on the way.   scale: 1 / t.
    """

    data: Labelled
    labels: Labels
    ranks: Ranks
    y: Tensor
    rows: Rows
    watched: Rows
    scale: float

    @property
    def values(self) -> Tensor:
        """c_k, [M]."""
        return torch.tensor(self.ranks.values, device=self.y.device)

    def ranks_of(self, rows: Rows) -> Tensor:
        """The ranks of these pictures, [n] long."""
        return self.y[torch.from_numpy(rows).to(self.y.device)]

    def epoch(self, batch: int) -> int:
        """Steps of an epoch; what does not fill a batch is left out."""
        return max(1, len(self.rows) // batch)


def problem_of(config: Config, data: Labelled, backbone: Backbone) -> Problem:
    """The recipe's query of a data set, its ranks, and fewer pictures if the recipe says so.

    Raises UsageError and DataError if the data do not make what the recipe asks for.
    """
    labels = labels_of(config, data)
    ranks = make_ranks(config.ranks, labels, data)
    if config.few_shot:
        data = few_shot(data, ranks, config.few_shot, config.seed, labels)
    if config.shift_ranks:
        data = shifted(data, ranks, config.shift_ranks, config.shift_drop, config.seed, labels)
    y = torch.from_numpy(ranks.of(np.nan_to_num(labels.values))).to(backbone.device)
    watched = data.rows("validation", labels)
    some = np.linspace(0, len(watched) - 1, min(MOST, len(watched))).round().astype(np.intp)
    scale = config.logit_scale or backbone.spec.logit_scale()
    return Problem(data, labels, ranks, y, data.rows("train", labels), watched[some], scale)


def draw(problem: Problem, config: Config, stage: int, step: int) -> tuple[Rows, Mirror]:
    """Rows of a step [B], each once an epoch, and which of them are in the mirror."""
    epoch, place = divmod(step, problem.epoch(config.batch))
    order = np.random.default_rng((config.seed, stage, epoch)).permutation(problem.rows)
    rows = order[place * config.batch : (place + 1) * config.batch]
    return rows, np.random.default_rng((config.seed, stage, step, 1)).random(len(rows)) < 0.5


@torch.no_grad()
def embedded(images: ImageSide, rows: Rows) -> Tensor:
    """v [n, E] of plain pictures, a few at a time, float32."""
    parts = [images.embed(rows[n : n + AT_ONCE]) for n in range(0, len(rows), AT_ONCE)]
    return torch.cat(parts).float() if parts else torch.zeros(0, 1)


def predicted(problem: Problem, v: Tensor, r: Tensor) -> npt.NDArray[np.float64]:
    """p [n, M] of pictures v [n, E] by the ranks r [M, E]."""
    return softmax(problem.scale * (v @ r.T).double().cpu().numpy())


def figures(problem: Problem, v: Tensor, r: Tensor) -> dict[str, float]:
    """MAE and SRCC of the expected value, accuracy of the likeliest rank, ordinality score of the
    ranks ("OS"), named "DATA FIGURE". What is undefined is left out.

    v [n, E]: of the watched pictures.
    """
    found = {"OS": ordinality_score(r.cpu().numpy())}
    if len(v):
        p, truth = predicted(problem, v, r), problem.labels.values[problem.watched]
        means = expected(p, problem.ranks)
        right = p.argmax(axis=1) == problem.ranks.of(truth)
        found |= {"mae": mae(truth, means), "srcc": srcc(truth, means)}
        found["accuracy"] = float(right.mean())
    name = problem.data.name
    return {f"{name} {key}": round(x, 4) for key, x in found.items() if not math.isnan(x)}
