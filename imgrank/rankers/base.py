"""The one interface of all rankers, and the plain values that pass through it. No torch here.

A ranker is split in two so that one pass over the pictures can serve many instructions:

* a `FeatureSource` turns bytes of a file into features (decode in worker threads, model in the
  main thread). Two rankers that share a source share the work and the cached features;
* a `Ranker` turns features into scores for a list of queries.

`identity` strings are read from a checkpoint's `config.json`, without torch: they are keys of the
store, so a picture whose score is known never loads a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from imgrank.instruction import Query
from imgrank.store.values import Score

__all__ = [
    "WINDOWED",
    "Answer",
    "FeatureSource",
    "Features",
    "Job",
    "PairwiseRanker",
    "Ranker",
    "Scope",
    "Score",
    "SetRanker",
]

Scope = Literal["image", "set"]
WINDOWED = frozenset({"rarl", "vision-language"})
"""Methods (`Answer.method`) of rankers that look at a window of pictures and answer in text."""
Features = Mapping[str, Any]
"""Named arrays of one picture, float16 or float32 numpy: `pooled` [E], `statistics` [Ds],
`grid` [P, Dg]; for measured properties, floats by name (None where a picture has none)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a ranker answers one query: what is printed beside the scores.

    method: "measured", "adapter", "zero-shot", "rarl", ...   model: checkpoint name, or "-" if
    measured.
    prompt: the text (or pole pair, or property name) that was really used; a key of the store.
    unit: of the score, "" if it has none.   range: the scale's ends, None if open.
    note: what a user should know of it, "" if nothing.
    closeness: the score itself says how close a picture is to the query's reference, higher for
    closer; without it the order is by distance of the scores to the reference.
    """

    method: str
    model: str
    revision: str
    prompt: str
    unit: str
    range: tuple[float, float] | None = None
    note: str = ""
    closeness: bool = False

    @property
    def label(self) -> str:
        """What the router prints: `adapter tiny-quality`, `zero-shot tiny`, `measured`."""
        return self.method if self.model == "-" else f"{self.method} {self.model}"


class FeatureSource(Protocol):
    """Bytes of a picture -> features."""

    @property
    def identity(self) -> str:
        """Weights digest and preprocessing version; readable without torch."""
        ...

    @property
    def kept(self) -> frozenset[str]:
        """Feature names worth keeping in the store; others are recomputed."""
        ...

    @property
    def batch(self) -> int:
        """Pictures that it had best be given at once, 1 if that is the same to it."""
        ...

    def prepare(self, data: bytes) -> Any:
        """Decode and resize; runs in worker threads, must be thread-safe and torch-free.

        Raises `imgrank.images.decode.Unreadable` with a one-line reason.
        """
        ...

    def compute(self, prepared: Sequence[Any]) -> list[Features]:
        """One batch through the model; main thread; loads the model at first use."""
        ...


@runtime_checkable
class Ranker(Protocol):
    """Features -> scores for queries."""

    name: str
    identity: str
    scope: Scope
    needs: frozenset[str]

    @property
    def source(self) -> FeatureSource:
        """Where its features come from; shared between rankers on one backbone."""
        ...

    def answer(self, query: Query) -> Answer | None:
        """How this ranker would answer, or None if it cannot. Torch-free."""
        ...

    def score(
        self, features: Sequence[Features], queries: Sequence[Query]
    ) -> list[list[Score | None]]:
        """[picture][query] -> score; None where the picture has no such property."""
        ...


@runtime_checkable
class PairwiseRanker(Ranker, Protocol):
    """A ranker whose model may have a head that looks at two pictures at once."""

    pairwise: bool
    """Whether this model has one; readable without torch."""

    def compare(self, first: Features, second: Features, query: Query) -> float | None:
        """Probability that the first has the higher score; None if this model has no such head."""
        ...

    def strengths(self, chunks: Iterable[Sequence[Features]], query: Query) -> list[float]:
        """Of K pictures, each compared with all others: see `rankers/refine.py`; 0 to 1."""
        ...


class SetRanker(Ranker, Protocol):
    """A ranker of scope "set": its model looks at a window of pictures at once and answers in text
    (`listwise/`). Its `score` always raises UsageError: a picture alone has no score."""

    window: int
    """Pictures that the model can be shown at once."""

    def heard(self, query: Query) -> Query:
        """The query with its number, if it has one, in the unit in which the model answers.

        Raises UsageError for a number in a unit that the model does not give.
        """
        ...

    @property
    def batch(self) -> int:
        """Windows that it had best be asked about at once on its device, once that is known."""
        ...

    @property
    def device_note(self) -> str:
        """Where the model ran, in which precision, and why; "" before it has run."""
        ...

    @property
    def place(self) -> str:
        """Where the model runs, in the words of a sentence: "this CPU"."""
        ...

    def ask(self, windows: Sequence[Sequence[Any]], query: Query) -> list[str]:
        """What the model writes about each window, greedily. Loads it at first use.

        windows: of pictures as `source.prepare` gives them, 1 to `window` each.
        Raises MissingExtra without the extra, CheckpointError if the model cannot be used.
        """
        ...

    def seconds(self, pictures: int) -> float | None:
        """About how long one window of so many pictures takes on its device; None where that is
        fast enough to need no warning. Does not load the model."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """One column of a result: a query, who answers it, and how."""

    query: Query
    ranker: Ranker
    answer: Answer
