"""What an evaluation is asked for, and what comes of it for each model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgrank.data.labelled import Labelled
from imgrank.data.split import Part
from imgrank.evaluate.answers import Answers, Asked
from imgrank.evaluate.groups import Ordered
from imgrank.evaluate.measure import Measured, Rounds
from imgrank.images import Skip
from imgrank.listwise.patience import Agree
from imgrank.pipeline import Progress

__all__ = ["Evaluated", "Request", "Run"]


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure.

    models: names or folders; None: whoever the router chooses.   root: see `catalogue.place`.
    fold: of models that do not say which one they were trained to be tested on.
    queries: keys of the data set's labels; empty: all.   rounds, seed: of the bootstrap.
    attributes: also contrast, colorfulness and brightness, measured from the pixels.
    sizes: of groups to be put in order, 1 for single pictures; empty: `SIZES` if a model looks at
    several pictures at once, else single ones alone.   groups: of each size.   alone: how many
    single pictures, drawn over all queries; None: all, but `ALONE` if they are windows.
    slow: see `windows.Asking`.
    """

    data: str
    root: Path
    models: Sequence[str | None] = (None,)
    fold: int | None = None
    part: Part = "test"
    queries: Sequence[str] = ()
    rounds: int = 1000
    seed: int = 0
    partial: bool = False
    attributes: bool = False
    sizes: Sequence[int] = ()
    groups: int = 200
    alone: int | None = None
    slow: bool | Agree = False
    notify: Callable[[str], None] = lambda line: None
    progress: Progress | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Run:
    """One model on its part of the data. name: tells it from the other models.

    orders: of groups, by size; of 1 whether the answers about single pictures were well formed.
    """

    name: str
    asked: Asked
    fold: int | None
    data: Labelled
    answers: Answers
    rounds: Rounds
    queries: dict[str, Measured]
    means: dict[str, Measured]
    orders: Mapping[int, Ordered] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, slots=True)
class Evaluated:
    """table: plain values, see the top of this module.   skips: pictures that cannot be read."""

    table: dict[str, Any]
    runs: list[Run]
    skips: list[Skip] = field(default_factory=list)
