"""Predicted against true values as a PNG, one panel a query. Needs matplotlib (extra `train`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from imgrank.errors import MissingExtra, UsageError
from imgrank.evaluate.measure import Answered, in_unit
from imgrank.evaluate.metrics import srcc

__all__ = ["PANELS", "draw", "require_matplotlib"]

PANELS = 12  # queries that are drawn; more would be stamps


def require_matplotlib() -> None:
    """Raises MissingExtra if it is not installed; long work asks before it begins."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtra("a scatter plot", "train") from error


def draw(queries: Sequence[Answered], title: str, path: Path) -> None:
    """The first `PANELS` queries. Where the scores are in the truth's unit, the diagonal too.

    Raises UsageError if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = queries[:PANELS]
    across = math.ceil(math.sqrt(len(drawn)))
    down = math.ceil(len(drawn) / across)
    figure = Figure(figsize=(4 * across, 4 * down), layout="constrained")
    FigureCanvasAgg(figure)
    for number, query in enumerate(drawn, start=1):
        axes = figure.add_subplot(down, across, number)
        axes.scatter(query.truth, query.scores, s=9, alpha=0.4, linewidths=0)
        labels, answer = query.labels, query.answer
        axes.set_xlabel(f"true {labels.key}, {labels.unit or 'no unit'}")
        axes.set_ylabel(f"{answer.label}, {answer.unit or 'no unit'}")
        axes.set_title(f"SRCC {srcc(query.truth, query.scores):.3f}, n = {len(query.rows)}")
        if in_unit(query) and len(query.rows):
            ends = [float(query.truth.min()), float(query.truth.max())]
            axes.plot(ends, ends, linewidth=0.8, color="black")
    more = f" (the first {PANELS} of {len(queries)} queries)" if len(queries) > PANELS else ""
    figure.suptitle(title + more)
    try:
        figure.savefig(path, format="png", dpi=100)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}.") from None
