"""Pictures of a training: losses and validation figures over the steps, predictions beside truth.

The log is that of `run.JsonLines`: rows with `total` are training steps and hold its losses, the
others hold validation figures, named "DATA FIGURE" ("agiqa3k srcc"). Where a training has stages,
each row says its `stage`.

Matplotlib is used through its objects alone (`Figure`, never pyplot), so that no backend, window
or setting of the caller is touched. Each plot is first a figure, which tests look into.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgrank.errors import DataError, MissingExtra
from imgrank.evaluate.metrics import mae, plcc, srcc
from imgrank.evaluate.scatter import panel

__all__ = ["curves", "curves_figure", "panels", "panels_figure", "scatter", "scatter_figure"]

Row = Mapping[str, Any]
Values = npt.NDArray[np.float64]
Line = tuple[list[int], list[float]]
LOSSES = {"total": "black", "rank": "tab:blue", "regression": "tab:orange", "bce": "tab:green"}
LOSSES |= {"t2i": "tab:blue", "i2t": "tab:cyan", "cop": "tab:orange"}  # of L2RCLIP
LOSSES |= {"dpo": "tab:blue", "ipo": "tab:blue", "rrhf": "tab:blue"}  # of aligned retrieval
LOSSES |= {"pt": "tab:orange", "kl": "tab:orange"}
LOSSES |= {"ce": "tab:blue", "scop": "tab:orange", "l2": "tab:green"}
BOUNDED = ("srcc", "plcc", "pairs", "accuracy")
"""Figures without a unit, up to 1; any other (MAE) is in the unit of its data."""
WINDOW = 50
"""Losses are means over the last 1/50 of the logged steps."""
MOST_LINES = 8
"""More lines than these in one panel become their mean and their range."""
DPI = 120


def curves(metrics_jsonl: Path, out_png: Path, stage: int | None = None) -> None:
    """Writes the PNG of `curves_figure` for a log, or for a stage of it. Raises MissingExtra
    without matplotlib."""
    lines = metrics_jsonl.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    _save(curves_figure([row for row in rows if row.get("stage") == stage]), out_png)


def panels(metrics_jsonl: Path, out_png: Path, groups: Mapping[str, Sequence[str]]) -> None:
    """Writes the PNG of `panels_figure` for a log. Raises MissingExtra without matplotlib."""
    lines = metrics_jsonl.read_text(encoding="utf-8").splitlines()
    _save(panels_figure([json.loads(line) for line in lines], groups), out_png)


def panels_figure(rows: Sequence[Row], groups: Mapping[str, Sequence[str]]) -> Any:
    """Rows of a log -> a Figure with a panel for each group {label: names}, two beside each other.

    A row may lack a name; means over the last 1/50 of the logged steps.
    """
    figure = _figure(9.0, 2.2 * -(-len(groups) // 2))
    axes = figure.subplots(-(-len(groups) // 2), 2, sharex=True, squeeze=False).flatten()
    window = max(1, len(rows) // WINDOW)
    for axis, (label, names) in zip(axes, groups.items(), strict=False):
        for name in names:
            found = [(row["step"], row[name]) for row in rows if name in row]
            if found:
                steps, values = zip(*found, strict=True)
                axis.plot(steps, _mean_of_last(values, window), label=name)
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        if len(names) > 1 and axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize="small")
    for axis in axes[-2:]:
        axis.set_xlabel("step")
    return figure


def scatter(
    truth: npt.ArrayLike, predicted: npt.ArrayLike, out_png: Path, title: str, unit: str
) -> None:
    """Writes the PNG of `scatter_figure`. Raises MissingExtra without matplotlib or scipy."""
    _save(scatter_figure(truth, predicted, title, unit), out_png)


def curves_figure(rows: Sequence[Row]) -> Any:
    """Rows of a log -> a Figure with one panel for the losses (smoothed) and one for each kind of
    validation figure that there is."""
    training = [row for row in rows if "total" in row]
    panels = _validation([row for row in rows if "total" not in row])
    figure = _figure(7.0, 2.7 * (1 + len(panels)))
    axes = figure.subplots(1 + len(panels), 1, sharex=True, squeeze=False)[:, 0]
    window = max(1, len(training) // WINDOW)
    for name, colour in LOSSES.items():
        found = [(row["step"], row[name]) for row in training if name in row]
        if found:
            steps, values = zip(*found, strict=True)
            axes[0].plot(steps, _mean_of_last(values, window), color=colour, label=name)
    axes[0].set_ylabel("loss" if window == 1 else f"loss, mean of {window} steps")
    for axis, (kind, lines) in zip(axes[1:], panels.items(), strict=True):
        _draw_lines(axis, lines)
        axis.set_ylabel(_label(kind))
    for axis in axes:
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize="small")
    axes[-1].set_xlabel("step")
    return figure


def scatter_figure(truth: npt.ArrayLike, predicted: npt.ArrayLike, title: str, unit: str) -> Any:
    """True values [N] and predictions [N] in `unit` -> a Figure with the identity line; SRCC, PLCC
    and MAE in its title. Rows without a truth (NaN) are left out. The rest is `evaluate.scatter`'s.
    """
    y, s = np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    y, s = y[~np.isnan(y)], s[~np.isnan(y)]
    figure = _figure(5.0, 5.2)
    axis = figure.subplots()
    panel(axis, y, s)
    said = f" {unit}" if unit else ""
    axis.set_xlabel(f"true value ({unit})" if unit else "true value")
    axis.set_ylabel(f"predicted ({unit})" if unit else "predicted")
    figures = f"SRCC {srcc(y, s):.3f}, PLCC {plcc(y, s):.3f}, MAE {mae(y, s):.3g}{said}"
    axis.set_title(f"{title}\n{figures}, n = {len(y)}", fontsize="medium")
    return figure


def _validation(rows: Sequence[Row]) -> dict[str, dict[str, Line]]:
    """{kind of figure: {data set: (steps, values)}}; the bounded kinds first, then by name."""
    found: dict[str, dict[str, Line]] = defaultdict(lambda: defaultdict(lambda: ([], [])))
    for row in rows:
        for name, value in row.items():
            data, _, kind = name.rpartition(" ")
            if not data or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            steps, values = found[kind][data]
            steps.append(row["step"])
            values.append(float(value))
    order = {kind: place for place, kind in enumerate(BOUNDED)}
    kinds = sorted(found, key=lambda kind: (order.get(kind, len(order)), kind))
    return {kind: dict(found[kind]) for kind in kinds}


def _draw_lines(axis: Any, lines: Mapping[str, Line]) -> None:
    if len(lines) <= MOST_LINES:
        for name, (steps, values) in lines.items():
            axis.plot(steps, values, marker="o", markersize=3, label=name)
        return
    by_step: dict[int, list[float]] = defaultdict(list)
    for steps, values in lines.values():
        for step, value in zip(steps, values, strict=True):
            by_step[step].append(value)
    at = sorted(by_step)
    axis.fill_between(at, [min(by_step[n]) for n in at], [max(by_step[n]) for n in at], alpha=0.2)
    means = [float(np.mean(by_step[n])) for n in at]
    axis.plot(at, means, marker="o", markersize=3, label=f"mean and range of {len(lines)} queries")


def _label(kind: str) -> str:
    names = {"pairs": "pair accuracy", "accuracy": "accuracy", "OS": "ordinality score"}
    return f"{names.get(kind, kind.upper())}, validation"


def _mean_of_last(values: Sequence[float], window: int) -> Values:
    """Mean of each value and those before it, `window` in all; at the start, of as many as there
    are."""
    sums = np.concatenate(([0.0], np.cumsum(values)))
    last = np.arange(1, len(sums))
    first = np.maximum(0, last - window)
    means: Values = (sums[last] - sums[first]) / (last - first)
    return means


def _figure(width: float, height: float) -> Any:
    """An empty Figure, in inches, drawn without any window."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("drawing the plots of a training", "train") from error
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _save(figure: Any, path: Path) -> None:
    """The old file stays until the new one is complete. Raises DataError on a full disk."""
    partial = path.with_name(path.name + ".part")
    try:
        figure.savefig(partial, format="png", dpi=DPI)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DataError(
            f"{path} cannot be written: {error.strerror}. Make room on the disk and run the same "
            "line to go on."
        ) from error
