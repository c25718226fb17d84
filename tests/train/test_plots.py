"""Plots of a training: the numbers that the axes hold, and a PNG of the announced size."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imgrank.errors import MissingExtra
from imgrank.train import plots


def step(n: int, total: float, **more: float) -> dict[str, Any]:
    return {"step": n, "data": "koniq", "total": total, **more}


def lines(axis: Any) -> dict[str, list[tuple[float, float]]]:
    """{label: points} of an axis."""
    return {line.get_label(): [tuple(p) for p in line.get_xydata()] for line in axis.lines}


def test_losses_and_figures_over_steps() -> None:
    rows = [
        step(1, 3.0, rank=2.0, regression=5.0),
        step(2, 1.0, rank=0.5),
        {"step": 2, "koniq srcc": 0.5, "koniq mae": 4.0, "a b srcc": 0.25},
        step(3, 2.0, rank=1.0),
        {"step": 3, "koniq srcc": 0.75, "koniq mae": 3.0},
    ]
    losses, srcc, mae = plots.curves_figure(rows).axes
    assert lines(losses) == {
        "total": [(1, 3), (2, 1), (3, 2)],
        "rank": [(1, 2), (2, 0.5), (3, 1)],
        "regression": [(1, 5)],
    }
    assert lines(srcc) == {"koniq": [(2, 0.5), (3, 0.75)], "a b": [(2, 0.25)]}
    assert lines(mae) == {"koniq": [(2, 4), (3, 3)]}
    labels = [axis.get_ylabel() for axis in (losses, srcc, mae)]
    assert labels == ["loss", "SRCC, validation", "MAE, validation"]
    assert mae.get_xlabel() == "step"


def test_many_steps_are_smoothed() -> None:
    """100 steps: means of two neighbours. 0, 1, 0, 1, ... becomes one half."""
    (losses,) = plots.curves_figure([step(n, float(n % 2)) for n in range(100)]).axes
    points = lines(losses)["total"]
    assert points[:3] == [(0, 0.0), (1, 0.5), (2, 0.5)]
    assert {y for _, y in points[1:]} == {0.5}
    assert losses.get_ylabel() == "loss, mean of 2 steps"


def test_a_hundred_queries_are_their_mean_and_range() -> None:
    figures = {f"q{n} srcc": n / 100 for n in range(100)}
    _, srcc = plots.curves_figure([step(1, 1.0), {"step": 1, **figures}]).axes
    assert lines(srcc) == {"mean and range of 100 queries": [(1, pytest.approx(0.495))]}


def test_a_log_of_nothing_yet() -> None:
    (losses,) = plots.curves_figure([]).axes
    assert lines(losses) == {}


def test_the_files(tmp_path: Path) -> None:
    before = "matplotlib.pyplot" in sys.modules
    log = tmp_path / "metrics.jsonl"
    rows = [step(1, 1.0), {"step": 1, "koniq srcc": 0.5}]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plots.curves(log, tmp_path / "curves.png")
    plots.scatter([0.5, 1, 2], [1, 2, 3], tmp_path / "scatter.png", "koniq", "MOS")
    for name, inches in (("curves", (7.0, 5.4)), ("scatter", (5.0, 5.2))):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.format == "PNG"
            assert image.size == tuple(round(side * plots.DPI) for side in inches)
    assert {path.suffix for path in tmp_path.glob("*.p*")} == {".png"}
    first = (tmp_path / "scatter.png").read_bytes()
    plots.scatter([0.5, 1, 2], [1, 2, 3], tmp_path / "scatter.png", "koniq", "MOS")
    assert (tmp_path / "scatter.png").read_bytes() == first
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_predictions_beside_the_truth() -> None:
    truth = [1.5, 2.5, float("nan"), 3.5, 4.5]
    predicted = [1.0, 3.0, 9.0, 2.0, 5.0]
    (axis,) = plots.scatter_figure(truth, predicted, "koniq, test", "MOS").axes
    (points,) = axis.collections
    assert points.get_offsets().tolist() == [[1.5, 1.0], [2.5, 3.0], [3.5, 2.0], [4.5, 5.0]]
    assert lines(axis) == {"identity": [(1.0, 1.0), (5.0, 5.0)]}
    # Ranks 1 3 2 4 against 1 2 3 4: 1 - 6 * 2 / (4 * 15) = 0.8. Covariance 5.5, variances 5 and
    # 8.75: 5.5 / sqrt(43.75) = 0.832. Errors 0.5, 0.5, 1.5, 0.5.
    assert axis.get_title() == "koniq, test\nSRCC 0.800, PLCC 0.832, MAE 0.75 MOS, n = 4"
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("true value (MOS)", "predicted (MOS)")


def test_classes_are_boxes() -> None:
    truth = [0, 0, 0, 2, 2]
    (axis,) = plots.scatter_figure(truth, [0.0, 1.0, 5.0, 2.0, 3.0], "hci", "").axes
    level = [set(line.get_ydata()) for line in axis.lines]
    assert not axis.collections
    assert list(axis.get_xticks()) == [0, 2]
    assert {1.0} in level  # the medians
    assert {2.5} in level
    assert axis.get_xlabel() == "true value"


def test_many_counts_are_moved_aside_but_stay_apart() -> None:
    truth = np.arange(40)
    (axis,) = plots.scatter_figure(truth, truth + 1.0, "coco", "objects").axes
    x, y = np.asarray(axis.collections[0].get_offsets()).T
    assert (y == truth + 1).all()
    assert 0.1 < np.abs(x - truth).max() <= 0.3


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"plots of a training.*imgrank\[train\]"):
        plots.scatter([1.0], [2.0], tmp_path / "scatter.png", "koniq", "MOS")
