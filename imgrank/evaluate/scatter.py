"""Predicted against true values as a PNG, one panel a query. Needs matplotlib (extra `train`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgrank.errors import MissingExtra, UsageError
from imgrank.evaluate.measure import Answered, in_unit
from imgrank.evaluate.metrics import srcc

__all__ = ["PANELS", "draw", "panel", "require_matplotlib"]

PANELS = 12  # queries that are drawn; more would be stamps
MOST_BOXES = 12  # whole numbers of at most so many values are drawn as boxes


def require_matplotlib() -> None:
    """Raises MissingExtra if it is not installed; long work asks before it begins."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtra("a scatter plot", "train") from error


def panel(axis: Any, truth: npt.ArrayLike, predicted: npt.ArrayLike, identity: bool = True) -> None:
    """Draws predictions [N] over true values [N], neither of them NaN.

    Few whole numbers (class indices, small counts) are boxes: quartiles, and whiskers at the 5th
    and 95th percentile. More of them are points that are moved sideways a little.
    identity: also the line where both are the same, for those that are in one unit.
    """
    y, s = np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    whole = bool(len(y)) and bool((y == np.rint(y)).all())
    values = np.unique(y)
    if whole and len(values) <= MOST_BOXES:
        groups = [s[y == value] for value in values]
        gap = float(np.diff(values).min()) if len(values) > 1 else 1.0
        style = {"whis": (5, 95), "widths": 0.6 * gap, "showfliers": False}
        axis.boxplot(groups, positions=values, manage_ticks=False, **style)
        axis.set_xticks(values)
    else:
        aside = np.random.default_rng(0).uniform(-0.3, 0.3, len(y)) if whole else np.zeros(len(y))
        axis.scatter(y + aside, s, s=9, alpha=0.35, linewidths=0)
    if identity:
        ends = [min(y.min(), s.min()), max(y.max(), s.max())] if len(y) else [0.0, 1.0]
        axis.plot(ends, ends, color="grey", linewidth=1, linestyle="--", label="identity")
    axis.grid(alpha=0.3)


def draw(queries: Sequence[Answered], title: str, path: Path) -> None:
    """The first `PANELS` queries, a `panel` each.

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
        panel(axes, query.truth, query.scores, identity=in_unit(query))
        labels, answer = query.labels, query.answer
        axes.set_xlabel(f"true {labels.key}, {labels.unit or 'no unit'}")
        axes.set_ylabel(f"{answer.label}, {answer.unit or 'no unit'}")
        axes.set_title(f"SRCC {srcc(query.truth, query.scores):.3f}, n = {len(query.rows)}")
    more = f" (the first {PANELS} of {len(queries)} queries)" if len(queries) > PANELS else ""
    figure.suptitle(title + more)
    try:
        figure.savefig(path, format="png", dpi=100)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}.") from None
