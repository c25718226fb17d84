"""Ranking by properties that are measured exactly: no model, no network, no torch.

Two rankers, because a ranker has one source of features: `HEADER` reads what the file's header says
and decodes no pixel, `PIXELS` decodes the whole picture once for all its properties. What each
number means is defined in `imgrank.images.measure`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imgrank.images.reading import DECODE_VERSION, MEASURE_VERSION
from imgrank.instruction import Query
from imgrank.rankers.base import Answer, Features, FeatureSource, Scope, Score

__all__ = ["HEADER", "PIXELS", "MeasuredRanker", "MeasuredSource"]


@dataclass(frozen=True)
class MeasuredSource:
    """Bytes of a picture -> its measures as floats by name; None where it has no such property.

    kept: names worth keeping in the store, so that the next property needs no decoding.
    """

    identity: str
    kept: frozenset[str]
    prepare: Callable[[bytes], Mapping[str, float | None]]
    batch: int = 1

    def compute(self, prepared: Sequence[Any]) -> list[Features]:
        """The measures as they are: all the work is done in the worker threads."""
        return list(prepared)


class MeasuredRanker:
    """Answers queries for the tasks in `units` (task -> unit of its score)."""

    scope: Scope = "image"

    def __init__(
        self,
        name: str,
        source: MeasuredSource,
        units: Mapping[str, str],
        ranges: Mapping[str, tuple[float, float]],
    ) -> None:
        self.name = name
        self.identity = source.identity
        self.source: FeatureSource = source
        self.needs = frozenset(units)
        self.units, self.ranges = units, ranges

    def answer(self, query: Query) -> Answer | None:
        """How a query for a measured property is answered; None for any other."""
        if query.task is None or query.task not in self.units:
            return None
        return Answer(
            method="measured",
            model="-",
            revision=self.identity,
            prompt=query.task,
            unit=self.units[query.task],
            range=self.ranges.get(query.task),
        )

    def score(
        self, features: Sequence[Features], queries: Sequence[Query]
    ) -> list[list[Score | None]]:
        """[picture][query] -> the measure; None where the picture has no such property."""
        return [[_score(found, query) for query in queries] for found in features]


def _score(found: Features, query: Query) -> Score | None:
    value = found.get(query.task or "")
    return None if value is None else Score(float(value))


def _header(data: bytes) -> Mapping[str, float | None]:
    from imgrank.images.measure import measure_header  # loads numpy: not for known scores

    return measure_header(data)


def _pixels(data: bytes) -> Mapping[str, float | None]:
    from imgrank.images.measure import measure

    return measure(data)


_VERSION = f"{MEASURE_VERSION}.{DECODE_VERSION}"
_HEADER_UNITS = {
    "megapixels": "megapixels",
    "file_size": "bytes",
    "date": "s since 1970",
    "aspect": "",
}
_PIXEL_UNITS = {"brightness": "%", "contrast": "%", "colorfulness": "", "sharpness": ""}

# Reading a header costs less than looking it up, so none of its measures is kept.
HEADER = MeasuredRanker(
    "measured header",
    MeasuredSource(f"measured header {_VERSION}", frozenset(), _header),
    _HEADER_UNITS,
    {},
)
"""megapixels, file_size, date, aspect."""

PIXELS = MeasuredRanker(
    "measured pixels",
    MeasuredSource(f"measured pixels {_VERSION}", frozenset(_PIXEL_UNITS), _pixels),
    _PIXEL_UNITS,
    {"brightness": (0.0, 100.0), "contrast": (0.0, 50.0)},
)
"""brightness, contrast, colorfulness, sharpness."""
