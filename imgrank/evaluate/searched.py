"""What is asked of a measure of search, and what it finds, as plain values.

    {"data": "beauty-search", "part": "test", "rounds": ..., "seed": ..., "versions": {...},
     "models": [{"model": ..., "revision": ..., ...}],
     "tables": [{"queries": "theme names", "pool": "oasis", "n": 20, "pictures": 69,
                 "rows": [{"kind": "model", "model": ..., "figures":
                           {"human": {"value": ..., "interval": [...], "wide": [...]}}}]}],
     "paper": [...], "notes": [...], "skipped": [...]}

kind: "model"; "two stages"; "difference" of two rows, paired; "chance", what a random order gives.
interval: 95 %, over queries.   wide: 95 %, over queries and pictures (see `recall.py`), moved so
that the mean of its rounds is the value: a pool with copies of pictures is an easier one.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imgrank.data.split import Part
from imgrank.evaluate.resampling import interval
from imgrank.images import Skip
from imgrank.pipeline import Progress

__all__ = ["Asked", "Figure", "Found", "Kind", "Line", "Sheet", "differences", "plain_table"]

FORMAT = 1
LIBRARIES = ("imgrank", "torch", "open_clip_torch", "timm", "numpy", "pillow")
Kind = Literal["model", "two stages", "difference", "chance"]
Samples = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Asked:
    """What to measure.

    models: names or folders; None: the one that `imgrank search` takes.   root: see
    `catalogue.place`.   rounds, seed: of the bootstrap.   top: pictures that a search shows.
    pool: sets whose pictures are searched, "beauty-search" alone.
    rerank, first, weight: of the two-stage baseline: its model, how many pictures that sees, and
    what its score counts beside a cosine.
    templates: prompts of "classes", {} for the class.
    """

    data: str
    root: Path
    models: Sequence[str | None] = (None,)
    part: Part = "test"
    rounds: int = 1000
    seed: int = 0
    partial: bool = False
    top: int = 10
    pool: Sequence[str] = ()
    rerank: str = "tiny-l2r-aesthetic"
    first: int = 100
    weight: float = 1.25
    templates: Sequence[str] = ()
    notify: Callable[[str], None] = lambda line: None
    progress: Progress | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Figure:
    """A value, and what it was in each bootstrap round: of queries; of queries and pictures."""

    value: float
    narrow: Samples | None = None
    wide: Samples | None = None

    def less(self, other: Figure) -> Figure:
        """This one minus another on the same queries, round by round."""
        return Figure(
            self.value - other.value,
            _less(self.narrow, other.narrow),
            _less(self.wide, other.wide),
        )

    def plain(self) -> dict[str, Any]:
        """{"value": ..., "interval": [...], "wide": [...]}."""
        found: dict[str, Any] = {"value": _number(self.value)}
        wide = self.wide
        if wide is not None and not np.isnan(wide).all():
            wide = wide + (self.value - np.nanmean(wide))
        for name, samples in (("interval", self.narrow), ("wide", wide)):
            if samples is not None:
                found[name] = [_number(end) for end in interval(samples)]
        return found


@dataclass(frozen=True, eq=False, slots=True)
class Line:
    """One row of a sheet: the figures of a model, or of a difference."""

    kind: Kind
    model: str
    figures: Mapping[str, Figure]


@dataclass(frozen=True, eq=False, slots=True)
class Sheet:
    """The figures of all models on the same n queries and the same pictures."""

    queries: str
    pool: str
    n: int
    pictures: int
    lines: Sequence[Line]

    def plain(self) -> dict[str, Any]:
        """As the head of this module has it."""
        return {
            "queries": self.queries,
            "pool": self.pool,
            "n": self.n,
            "pictures": self.pictures,
            "rows": [
                {
                    "kind": line.kind,
                    "model": line.model,
                    "figures": {name: each.plain() for name, each in line.figures.items()},
                }
                for line in self.lines
            ],
        }


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """table: plain values, see the head of this module.   skips: pictures that cannot be read."""

    table: dict[str, Any]
    skips: list[Skip] = field(default_factory=list)
    computed: int = 0
    known: int = 0


def differences(lines: Sequence[Line]) -> list[Line]:
    """Each line of a model or of two stages less the first, in the figures that both have."""
    if not lines:
        return []
    first, *others = lines
    return [
        Line(
            "difference",
            f"{other.model} less {first.model}",
            {
                name: figure.less(first.figures[name])
                for name, figure in other.figures.items()
                if name in first.figures
            },
        )
        for other in others
    ]


def plain_table(
    asked: Asked,
    models: Sequence[Mapping[str, Any]],
    sheets: Sequence[Sheet],
    *,
    split: str,
    paper: Sequence[Mapping[str, Any]] = (),
    paper_note: str = "",
    notes: Sequence[str] = (),
    skips: Sequence[Skip] = (),
    **facts: Any,
) -> dict[str, Any]:
    """All that is said of a measure, see the head of this module."""
    return {
        "format": FORMAT,
        "data": asked.data,
        "part": asked.part,
        "split": split,
        "partial": asked.partial,
        "intervals": "95 %, bootstrap",
        "rounds": asked.rounds,
        "seed": asked.seed,
        "versions": _versions(),
        **facts,
        "models": [dict(model) for model in models],
        "tables": [sheet.plain() for sheet in sheets],
        "paper": [dict(row) for row in paper],
        "paper_note": paper_note if paper else "",
        "notes": list(notes),
        "skipped": [{"path": str(skip.path), "reason": skip.reason} for skip in skips],
    }


def _less(first: Samples | None, second: Samples | None) -> Samples | None:
    return None if first is None or second is None else first - second


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
