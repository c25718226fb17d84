"""Ranking by a linear head (`models/linear.py`) on a backbone's pooled embedding. No torch.

score = w x + b, where x is the picture's embedding, L2-normalised, as the backbone gives it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.errors import CheckpointError, UsageError
from imgrank.instruction import Query
from imgrank.models.checkpoint import identity, read_config
from imgrank.rankers.base import Answer, Features, Scope, Score
from imgrank.rankers.source import BackboneSource
from imgrank.rankers.trained import check_backbone, refusal, remarks, task_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LinearRanker"]


class LinearRanker:
    """A linear checkpoint; answers the one task that its config lists.

    Raises CheckpointError if the head was made for another backbone than the one given.
    """

    scope: Scope = "image"
    needs = frozenset({"pooled"})

    def __init__(self, folder: Path, source: BackboneSource) -> None:
        self.folder = folder
        self.config = read_config(folder, "linear")
        self.source = source
        self.name = str(self.config["name"])
        self.identity = identity(folder, source.identity)
        self.tasks: Mapping[str, Mapping[str, Any]] = self.config["tasks"]
        check_backbone(folder, self.config, source.spec)
        self._head: tuple[NDArray[np.float32], float] | None = None

    def answer(self, query: Query) -> Answer | None:
        """The task's unit and range, if the head is for this task. It reads no prompt."""
        if refusal(self.name, self.tasks, query):
            return None
        name = task_of(self.tasks, query) or ""
        task = self.tasks[name]
        return Answer(
            method="linear",
            model=self.name,
            revision=str(self.config["weights"]["sha256"])[:12],
            prompt=name,
            unit=task["unit"],
            range=(task["range"][0], task["range"][1]) if task.get("range") else None,
            note=remarks(self.name, task, query),
        )

    def score(
        self, features: Sequence[Features], queries: Sequence[Query]
    ) -> list[list[Score | None]]:
        """[picture][query] -> score, in the task's unit."""
        import numpy as np

        for query in queries:
            if task_of(self.tasks, query) is None:
                raise UsageError(f"{self.name} was not trained for '{query.text}'.")
        if not features:
            return []
        pooled = np.stack([f["pooled"] for f in features]).astype(np.float32)  # [B, E]
        weight, bias = self._load(pooled.shape[1])
        return [[Score(float(value) + bias)] * len(queries) for value in pooled @ weight]

    def _load(self, width: int) -> tuple[NDArray[np.float32], float]:
        """w [E], b; width: E of the backbone."""
        if self._head is None:
            from imgrank.models.checkpoint import load_arrays

            arrays = load_arrays(self.folder)
            if sorted(arrays) != ["bias", "weight"] or arrays["weight"].ndim != 1:
                raise CheckpointError(f"{self.folder} holds no weight [E] and bias.")
            if len(arrays["weight"]) != width:
                raise CheckpointError(
                    f"{self.folder} is a head for embeddings of {len(arrays['weight'])} numbers; "
                    f"those of {self.source.spec.name} have {width}. Import it again with the "
                    "backbone that it was made for."
                )
            self._head = arrays["weight"], float(arrays["bias"].reshape(-1)[0])
        return self._head
