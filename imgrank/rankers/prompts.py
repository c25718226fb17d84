"""Zero-shot: what a CLIP-like model can say of a picture from words alone. Nothing was trained.

* A known task with poles: the picture's cosine to the good end minus its cosine to the bad end,
  averaged over the pairs of poles (after CLIP-IQA, Wang et al. 2023, which takes the softmax of the
  two; the order over pictures is the same for one pair). One pole alone says little: most of
  a cosine is what the picture shows, and that cancels in the difference.
* Free text: the cosine to the mean embedding of the text in a few templates.

Both are on no scale that means anything by itself; they order pictures and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imgrank.instruction import Query, tasks
from imgrank.rankers.base import Answer, Features, Scope, Score
from imgrank.rankers.source import BackboneSource

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PromptRanker"]

TEMPLATES = ("{}", "a photo of {}.", "a picture of {}.")
VERSION = 1  # raise when templates or the formula change


class PromptRanker:
    """Scores by text similarity on a backbone; answers every query, and says it is zero-shot."""

    scope: Scope = "image"
    needs = frozenset({"pooled"})

    def __init__(self, source: BackboneSource) -> None:
        self.source = source
        self.name = source.spec.name
        self.identity = f"zero-shot.{VERSION} {source.identity}"
        self._directions: dict[str, NDArray[np.float32]] = {}

    def answer(self, query: Query) -> Answer:
        """Poles where the task has them, else plain similarity to the words."""
        poles, words = _poles(query), _words(query)
        return Answer(
            method="zero-shot",
            model=self.name,
            revision=self.source.spec.weights_sha256[:12],
            prompt=" ".join(f"+{good} -{bad}" for good, bad in poles) if poles else words,
            unit="cosine difference" if poles else "cosine",
            note=""
            if poles or query.task is None
            else f"no model here was trained for {query.task}; similarity to '{words}'",
        )

    def score(
        self, features: Sequence[Features], queries: Sequence[Query]
    ) -> list[list[Score | None]]:
        """[picture][query] -> cosine, or difference of cosines, in -2..2."""
        import numpy as np

        if not features:
            return []
        pooled = np.stack([f["pooled"] for f in features]).astype(np.float32)  # [B, E]
        directions = np.stack([self._direction(q) for q in queries], axis=1)  # [E, Q]
        return [[Score(float(v)) for v in row] for row in pooled @ directions]

    def _direction(self, query: Query) -> NDArray[np.float32]:
        """The vector [E] whose inner product with a picture's embedding is the score."""
        import numpy as np

        key = self.answer(query).prompt
        if key not in self._directions:
            poles = _poles(query)
            if poles:
                good = self._embed([p[0] for p in poles])
                bad = self._embed([p[1] for p in poles])
                self._directions[key] = (good - bad).mean(0)
            else:
                mean = self._embed([t.format(_words(query)) for t in TEMPLATES]).mean(0)
                self._directions[key] = mean / np.linalg.norm(mean)
        return self._directions[key]

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        return self.source.text_embeddings(texts)


def _poles(query: Query) -> Sequence[tuple[str, str]]:
    return tasks()[query.task].poles if query.task else ()


def _words(query: Query) -> str:
    return query.subject or query.prompt
