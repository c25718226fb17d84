"""Ranking by L2RCLIP (NeurIPS 2023): ranks as text, a picture's place among them. No torch.

A checkpoint keeps the L2-normalised text embedding r_k of each of the M ranks, so the text tower is
not needed here. With v the picture's L2-normalised embedding and s = 1 / (t x temperature),

    p_k = softmax_k(s v^T r_k),    score = sum_k p_k c_k,

c_k being the rank's value; the score has an interval (`levels.py`). v is the backbone's embedding
x or, where the checkpoint has a map of the statistics token (our addition: what a tower with frozen
first stages throws away), v = normalise(x + W z + b), z being the standardised statistics.

Tensors: `ranks` [M, E]; with statistics also `statistics.weight` [E, Ds], `statistics.bias` [E],
`statistics.mean` [Ds], `statistics.std` [Ds]; `tower.NAME` where the image tower was tuned.
Of `model` in the config: `logit_scale` = 1 / t; `features`: ["pooled"] or, with statistics,
["pooled", "statistics"]. Of its one task: `ranks` (`models/ranks.py`), `calibration`
(`levels.Calibration`, optional), `domain` (`domain.py`, optional, with its tensors).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.errors import CheckpointError, UsageError
from imgrank.instruction import Query
from imgrank.models.checkpoint import identity, read_config
from imgrank.models.ranks import Ranks
from imgrank.rankers import levels
from imgrank.rankers.base import Answer, Features, Scope, Score
from imgrank.rankers.domain import TENSORS, Domain, Outside
from imgrank.rankers.levels import Calibration
from imgrank.rankers.source import BackboneSource
from imgrank.rankers.trained import check_backbone, refusal, remarks, task_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.float32]]
    Matrix = NDArray[np.float64]

__all__ = ["L2RCLIPRanker"]

STATISTICS = ("weight", "bias", "mean", "std")


class L2RCLIPRanker:
    """An L2RCLIP checkpoint; answers the one task that its config lists.

    task: its key.   ranks, calibration: of that task.   domain: None if it says nothing of one.
    Raises CheckpointError if the checkpoint was trained on another backbone than the one given, or
    if its ranks, calibration or domain are none.
    """

    scope: Scope = "image"

    def __init__(self, folder: Path, source: BackboneSource) -> None:
        self.folder = folder
        self.config = read_config(folder, "l2rclip")
        self.source = source
        self.name = str(self.config["name"])
        self.identity = identity(folder, source.identity)
        self.tasks: Mapping[str, Mapping[str, Any]] = self.config["tasks"]
        check_backbone(folder, self.config, source.spec)
        if len(self.tasks) != 1:
            raise CheckpointError(
                f"{folder} cannot be used: it lists {len(self.tasks)} tasks, where the ranks of an "
                "l2rclip checkpoint are those of one."
            )
        try:
            ((self.task, facts),) = self.tasks.items()
            self.ranks = Ranks.from_dict(facts["ranks"])
            self.calibration = Calibration.from_dict(facts.get("calibration", {}))
            self.domain = Domain.from_dict(facts["domain"]) if "domain" in facts else None
        except ValueError as error:
            raise CheckpointError(f"{folder} cannot be used: {error}.") from error
        self.needs = frozenset(self.config["model"]["features"])
        self._loaded: Arrays | None = None

    def answer(self, query: Query) -> Answer | None:
        """The task's unit and range, if the ranks are of this task."""
        if refusal(self.name, self.tasks, query):
            return None
        facts = self.tasks[self.task]
        ends = facts.get("range")
        return Answer(
            method="l2rclip",
            model=self.name,
            revision=str(self.config["weights"]["sha256"])[:12],
            prompt=self.ranks.template,
            unit=facts["unit"],
            range=(ends[0], ends[1]) if ends else None,
            note=remarks(self.name, facts, query),
        )

    def score(
        self, features: Sequence[Features], queries: Sequence[Query]
    ) -> list[list[Score | None]]:
        """[picture][query] -> the expected value with its interval, in the task's unit."""
        for query in queries:
            if task_of(self.tasks, query) is None:
                raise UsageError(f"{self.name} was not trained for '{query.text}'.")
        if not features:
            return []
        return [[score] * len(queries) for score in self.scores_of(self.distribution(features))]

    def scores_of(self, p: Matrix) -> list[Score]:
        """[B, M] -> the score of each picture, as `score` gives it."""
        means = levels.expected(p, self.ranks)
        low, high = levels.interval(p, self.ranks, self.calibration.tail)
        return [Score(*map(float, row)) for row in zip(means, low, high, strict=True)]

    def outside(
        self, features: Sequence[Features], chroma: Sequence[float | None]
    ) -> list[Outside | None]:
        """Why each picture is of a kind that the checkpoint knows nothing of; None if it is not.

        chroma: of each (`domain.COLOUR`); needed where the domain is monochrome.
        """
        if self.domain is None:
            return [None] * len(features)
        return self.domain.outside(features, chroma, self._arrays)

    def distribution(self, features: Sequence[Features]) -> Matrix:
        """Calibrated probabilities of the ranks [B, M]."""
        import numpy as np

        v = self.embedded(features)
        scale = float(self.config["model"]["logit_scale"]) / self.calibration.temperature
        p = levels.softmax(scale * (v @ self._arrays["ranks"].T.astype(np.float64)))
        if not np.isfinite(p).all():
            raise CheckpointError(
                f"{self.name} gives scores that are no numbers: features of the backbone "
                f"{self.source.spec.name} went out of float16's range, or weights are damaged. Run "
                f"`imgrank models verify {self.name}`."
            )
        return p

    def embedded(self, features: Sequence[Features]) -> Matrix:
        """v [B, E], L2-normalised."""
        import numpy as np

        arrays = self._arrays
        x = np.stack([f["pooled"] for f in features]).astype(np.float64)  # [B, E]
        if "statistics" in self.needs:
            z = np.stack([f["statistics"] for f in features]).astype(np.float64)  # [B, Ds]
            z = (z - arrays["statistics.mean"]) / arrays["statistics.std"]
            x = x + z @ arrays["statistics.weight"].T + arrays["statistics.bias"]
        v: Matrix = x / np.linalg.norm(x, axis=1, keepdims=True)
        return v

    @property
    def _arrays(self) -> Arrays:
        if self._loaded is None:
            from imgrank.models.checkpoint import load_arrays

            arrays = load_arrays(self.folder)
            wanted = {"ranks"}
            if "statistics" in self.needs:
                wanted |= {f"statistics.{name}" for name in STATISTICS}
            if self.domain is not None and self.domain.distance is not None:
                wanted |= {f"domain.{name}" for name in TENSORS}
            if missing := sorted(wanted - set(arrays)):
                raise CheckpointError(f"{self.folder} lacks the tensors {', '.join(missing)}.")
            embed = self.source.spec.widths.get("embed", arrays["ranks"].shape[-1])
            if arrays["ranks"].shape != (len(self.ranks), embed):
                raise CheckpointError(
                    f"{self.folder} holds rank embeddings of the shape {arrays['ranks'].shape}, "
                    f"not {(len(self.ranks), embed)}: one a rank, as wide as the backbone's."
                )
            self._loaded = arrays
        return self._loaded
