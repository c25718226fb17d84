"""Zero-shot: what a CLIP-like model can say of a picture from words alone. Nothing was trained.

* A known task with poles: the picture's cosine to the good end minus its cosine to the bad end,
  averaged over the pairs of poles (after CLIP-IQA, Wang et al. 2023, which takes the softmax of the
  two; the order over pictures is the same for one pair). One pole alone says little: most of
  a cosine is what the picture shows, and that cancels in the difference.
* A known task with ranks ("a toddler" is 3 years, "an old man" 80), where a number is asked for
  ("closest to 30 years") or there are no poles: the mean of the ranks' values v_r, weighted by how
  well their words t_r fit the picture x,

      score = sum_r v_r p_r,   p = softmax_r(s cos(x, t_r)),

  s being the scale that the model was trained to multiply its cosines by. It is in the task's
  unit, yet only an estimate; a model that is unsure stays near the middle of the values.
* Free text: the cosine to the words.

Words go into a few templates, whose embeddings are averaged and normalised again (the prompt
ensembles of CLIP, Radford et al. 2021). Differences and cosines are on no scale that means anything
by itself; they order pictures and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from imgrank.instruction import Query, tasks
from imgrank.models.checkpoint import RETRIEVAL, identity, read_config
from imgrank.rankers.base import Answer, Features, Scope, Score
from imgrank.rankers.source import BackboneSource
from imgrank.tasks import Ranks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

__all__ = ["TEMPLATES", "PromptRanker", "ensemble", "expectation", "pole_direction", "rank_anchors"]

TEMPLATES = ("{}", "a photo of {}.", "a picture of {}.")
VERSION = 1  # raise when TEMPLATES or a formula changes; poles and ranks stand in the prompt


class PromptRanker:
    """Scores by text similarity on a backbone; answers every query, and says it is zero-shot.

    checkpoint: the folder of kind "retrieval" whose towers the source has, if it is one's: then
    name, revision and identity are that model's.
    """

    scope: Scope = "image"
    needs = frozenset({"pooled"})

    def __init__(self, source: BackboneSource, checkpoint: Path | None = None) -> None:
        self.source = source
        self.name, weights, own = source.spec.name, source.spec.weights_sha256, source.identity
        if checkpoint is not None:
            config = read_config(checkpoint, RETRIEVAL)
            self.name, weights = str(config["name"]), str(config["weights"]["sha256"])
            own = identity(checkpoint, source.identity)
        self.revision = weights[:12]
        self.identity = f"zero-shot.{VERSION} {own}"
        self._vectors: dict[str, Matrix] = {}

    def answer(self, query: Query) -> Answer:
        """Poles or ranks where the task has them, else plain similarity to the words."""
        prompt, unit, note = _words(query), "cosine", ""
        scale = None
        match _way(query):
            case "poles":
                prompt = " ".join(f"+{good} -{bad}" for good, bad in _poles(query))
                unit = "cosine difference"
            case "ranks":
                ranks = _ranks(query)
                prompt, unit = _spelled(ranks), tasks()[query.task or ""].unit
                scale = (min(ranks.values), max(ranks.values))
                note = f"{self.name} was not trained for {query.task}; estimated from words alone"
            case "words" if query.task is not None:
                note = f"{self.name} was not trained for {query.task}; similarity to '{prompt}'"
        return Answer(
            method="zero-shot",
            model=self.name,
            revision=self.revision,
            prompt=prompt,
            unit=unit,
            range=scale,
            note=note,
        )

    def score(
        self, features: Sequence[Features], queries: Sequence[Query]
    ) -> list[list[Score | None]]:
        """[picture][query] -> cosine or difference of cosines, in -2..2; or the expectation."""
        import numpy as np

        if not features:
            return []
        pooled = np.stack([f["pooled"] for f in features]).astype(np.float32)  # [B, E]
        scores = np.stack([self._score(pooled, query) for query in queries], axis=1)  # [B, Q]
        return [[Score(float(v)) for v in row] for row in scores]

    def _score(self, pooled: Matrix, query: Query) -> Matrix:
        """[B, E] -> [B]."""
        vectors = self._embedded(query)
        if _way(query) == "ranks":
            scale = self.source.logit_scale()
            return expectation(pooled, vectors, _ranks(query).values, scale)
        return pooled @ vectors

    def _embedded(self, query: Query) -> Matrix:
        """What the pictures' embeddings are multiplied with: [E], for ranks [R, E]."""
        key = self.answer(query).prompt
        if key not in self._vectors:
            match _way(query):
                case "poles":
                    self._vectors[key] = pole_direction(self.source, _poles(query))
                case "ranks":
                    self._vectors[key] = rank_anchors(self.source, _ranks(query))
                case "words":
                    self._vectors[key] = ensemble(self.source, [_words(query)], TEMPLATES)
        return self._vectors[key]


def expectation(pooled: Matrix, anchors: Matrix, values: Sequence[float], scale: float) -> Matrix:
    """sum_r v_r softmax_r(scale cos(x, t_r)), [B]; pooled [B, E], anchors [R, E], values [R]."""
    import numpy as np

    logits = scale * (pooled @ anchors.T)  # [B, R]
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    expected: Matrix = weights @ np.asarray(values, np.float32)
    return expected


def pole_direction(source: BackboneSource, poles: Sequence[tuple[str, str]]) -> Matrix:
    """The mean of good end less bad end, [E]: its inner product with a picture is the score."""
    good = source.text_embeddings([pair[0] for pair in poles])
    bad = source.text_embeddings([pair[1] for pair in poles])
    direction: Matrix = (good - bad).mean(0)
    return direction


def rank_anchors(source: BackboneSource, ranks: Ranks) -> Matrix:
    """[R, E], L2-normalised: of each rank all its words in all templates."""
    import numpy as np

    return np.stack([ensemble(source, words, ranks.templates) for words in ranks.words])


def ensemble(source: BackboneSource, words: Sequence[str], templates: Sequence[str]) -> Matrix:
    """The mean embedding of all `words` in all `templates`, normalised again, [E]."""
    import numpy as np

    texts = [template.format(word) for word in words for template in templates]
    mean = source.text_embeddings(texts).mean(0)
    normalised: Matrix = mean / np.linalg.norm(mean)
    return normalised


def _way(query: Query) -> Literal["poles", "ranks", "words"]:
    if query.task is None:
        return "words"
    task = tasks()[query.task]
    if task.ranks and (query.reference is not None or not task.poles):
        return "ranks"
    return "poles" if task.poles else "words"


def _poles(query: Query) -> Sequence[tuple[str, str]]:
    return tasks()[query.task].poles if query.task else ()


def _ranks(query: Query) -> Ranks:
    ranks = tasks()[query.task or ""].ranks
    assert ranks is not None  # asked only where `_way` says so
    return ranks


def _spelled(ranks: Ranks) -> str:
    """All that the ranks are made of, for people and as a key of the store."""
    rungs = zip(ranks.values, ranks.words, strict=True)
    words = ", ".join(f"{value:g} {'/'.join(words)}" for value, words in rungs)
    return f"expected of {words}; as {' '.join(repr(template) for template in ranks.templates)}"


def _words(query: Query) -> str:
    return query.subject or query.prompt
