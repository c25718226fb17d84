"""The plain values that go into the store and come out of it.

`Score` lives here, at the lowest floor that needs it; `imgrank.rankers.base` hands it on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from imgrank.images import ImageFile

__all__ = [
    "ALWAYS_KEPT",
    "AnswerCount",
    "Batch",
    "FeatureCount",
    "FeatureRow",
    "FileRow",
    "Score",
    "ScoreCount",
    "ScoreRow",
    "StoreInfo",
    "TextCount",
]

ALWAYS_KEPT = frozenset({"pooled", "statistics", "faces", "chroma", "taken", "sketch", "moment"})
"""Features of at most about 3 KB a picture (or a face of it), which are outside the feature budget:
with a budget of 0 nothing else could be known in a second run."""


class Score(NamedTuple):
    """A score in the ranker's unit, with an interval where the model has one."""

    value: float
    low: float | None = None
    high: float | None = None


class FileRow(NamedTuple):
    """A file whose content was read and hashed."""

    file: ImageFile
    digest: bytes


class ScoreRow(NamedTuple):
    """One score. `Score(nan)` means: asked, and the picture has no such property (no EXIF date)."""

    digest: bytes
    ranker: str
    prompt: str
    score: Score


class FeatureRow(NamedTuple):
    """One named feature of one picture: an array of any shape, or a float.

    evictable: True for large ones, which live under the feature budget; False for those that are
    always kept; None: by name, see `ALWAYS_KEPT`.
    """

    digest: bytes
    source: str
    name: str
    array: NDArray[np.generic] | float
    evictable: bool | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction keeps: all of it, or nothing."""

    files: Sequence[FileRow] = ()
    scores: Sequence[ScoreRow] = ()
    features: Sequence[FeatureRow] = ()


class ScoreCount(NamedTuple):
    """Scores of one ranker: how many prompts, how many scores."""

    ranker: str
    prompts: int
    scores: int


class FeatureCount(NamedTuple):
    """Arrays of one name from one feature source, with their bytes."""

    source: str
    name: str
    arrays: int
    bytes: int
    evictable: bool


class TextCount(NamedTuple):
    """Texts of one kind that one source has answered for, with the bytes of their arrays."""

    source: str
    kind: str
    texts: int
    bytes: int


class AnswerCount(NamedTuple):
    """Answers of one kind by one language model, with the bytes of their text."""

    source: str
    kind: str
    answers: int
    bytes: int


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What the store holds, for `cache info`.

    version: of the schema.  writable: False if this run cannot keep anything.
    file_bytes: on disk, with the write-ahead log.  files: paths known.  pictures: distinct
    contents among them.  evictable_bytes: of features under the budget.
    set_aside: files of damaged stores of the past.
    """

    path: Path
    version: int
    writable: bool
    file_bytes: int
    files: int
    pictures: int
    scores: tuple[ScoreCount, ...]
    features: tuple[FeatureCount, ...]
    texts: tuple[TextCount, ...]
    answers: tuple[AnswerCount, ...]
    evictable_bytes: int
    feature_budget: int
    set_aside: tuple[Path, ...]
