"""One model on one data set's test part, beside ridge regression on the same frozen features.

The rows of `python -m imgrank.evaluate.embedded`, as they stand in a checkpoint's config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from imgrank.data.features import TokenSet
from imgrank.evaluate.bands import bands_of
from imgrank.evaluate.levels import FIGURES as LEVEL_FIGURES
from imgrank.evaluate.levels import Levels, level_figures
from imgrank.evaluate.metrics import bootstrap, mae, pair_accuracy, plcc, srcc
from imgrank.evaluate.resampling import Drawn, draws, interval, mean_samples, srcc_samples
from imgrank.models.ranks import Ranks

__all__ = ["FIGURES", "TITLES", "as_text", "mean_lines", "measured_row"]

TITLES = {
    "agiqa3k": "AGIQA-3k, test split by prompt",
    "distortions": "graded distortions, test split by photograph",
    "coco-distorted": "graded distortions of COCO photographs, none trained on",
    "oasis": "OASIS, test split by theme",
    "utkface": "UTKFace, test split by minute of collection",
    "oldnyc": "OldNYC, test split by sheet",
}
GRADED = ("distortions", "coco-distorted")
FIGURES = ("srcc", "plcc", "mae", "pairs", "accuracy", *LEVEL_FIGURES)
NAMES = {
    **{name: name.upper() for name in ("srcc", "plcc", "mae", "ece")},
    "level_mae": "MAE of likeliest",
    "coverage": "interval holds",
    "set_coverage": "set holds",
    "set_size": "ranks in set",
    "os": "ordinality",
}
Vector = npt.NDArray[np.floating]


def measured_row(
    data: TokenSet,
    rows: npt.NDArray[np.intp],
    scores: Vector,
    ridge: Vector,
    rounds: int = 1000,
    levels: Levels | None = None,
    ranks: Ranks | None = None,
) -> dict[str, Any]:
    """Figures of one data set, as they stand in `measured` of a checkpoint's config.

    Pair accuracy is given where groups are versions of one photograph, PLCC and MAE elsewhere: a
    grade is no opinion on the scale. levels: of a model with ranks.   ranks: of the task; then
    accuracies say how often an estimate's rank (of `levels`, the likeliest) is the true one.
    """
    y, groups = data.targets[rows].astype(np.float64), np.asarray(data.groups)[rows].tolist()
    drawn = draws(groups, rounds)
    row: dict[str, Any] = {"data": TITLES.get(data.name, data.name), "n": len(rows)}
    graded = data.name in GRADED
    orders = []
    for prefix, given in (("", scores), ("ridge_", ridge)):
        values = given.astype(np.float64)
        orders.append(srcc_samples(y, values, drawn))
        row[f"{prefix}srcc"] = srcc(y, values)
        row[f"{prefix}srcc_interval"] = interval(orders[-1])
        if graded:
            row[f"{prefix}pairs"] = pair_accuracy(y, values, groups)
            row[f"{prefix}pairs_interval"] = bootstrap(
                pair_accuracy, y, values, groups, by_group=True, rounds=rounds
            )
        else:
            row[f"{prefix}plcc"] = plcc(y, values)
            row[f"{prefix}mae"] = mae(y, values)
            row[f"{prefix}mae_interval"] = interval(mean_samples(np.abs(y - values), drawn))
    if not graded:
        train = data.targets[data.rows("train", data.data.labels[0])]
        median = np.median(train) if len(train) else np.nan
        row["median_mae"] = mae(y, np.full(len(y), median))
        row |= _of_ranks(y, (scores, ridge, train), drawn, levels, ranks)
        if data.data.labels[0].unit == "years":
            row["bands"] = bands_of(y, scores, drawn, levels)
    row["gain_interval"] = interval(orders[0] - orders[1])
    return {key: _rounded(value) for key, value in row.items()}


def _of_ranks(
    y: npt.NDArray[np.float64],
    values: tuple[Vector, Vector, Vector],
    drawn: Drawn,
    levels: Levels | None,
    ranks: Ranks | None,
) -> dict[str, Any]:
    """What is measured where there are ranks.

    y: [n].   values: the model's, ridge's, and the truths of the training part.   drawn: [R, n].
    """
    scores, ridge, train = values
    out: dict[str, Any] = {}
    if ranks is not None:
        hits = {
            "accuracy": ranks.of(scores) == ranks.of(y),
            "ridge_accuracy": ranks.of(ridge) == ranks.of(y),
        }
        for name, each in hits.items():
            out[name] = float(each.mean())
            out[f"{name}_interval"] = interval(mean_samples(each.astype(np.float64), drawn))
        if len(train):
            majority = np.bincount(ranks.of(train)).argmax()
            out["majority_accuracy"] = float((ranks.of(y) == majority).mean())
    if levels is not None:
        means, figures, samples = level_figures(levels, y, drawn)
        for name, each in means.items():
            figures[name], samples[name] = float(each.mean()), mean_samples(each, drawn)
        out |= figures
        out |= {f"{name}_interval": interval(each) for name, each in samples.items()}
    return out


def as_text(row: Mapping[str, Any], model: str) -> str:
    """A row in a few lines. model: what stands beside ridge."""
    parts = [f"{row['data']}, n = {row['n']}"]
    for key in FIGURES:
        for who, prefix in ((model, ""), ("ridge", "ridge_")):
            if prefix + key in row:
                ends = row.get(f"{prefix}{key}_interval")
                between = f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else ""
                name = NAMES.get(key, key)
                parts.append(f"  {name:16} {who:8} {row[prefix + key]:.3f}{between}")
    for key, name in (("median_mae", "MAE"), ("majority_accuracy", "accuracy")):
        if key in row:
            parts.append(f"  {name:16} {key.partition('_')[0]:8} {row[key]:.3f}")
    if "bands" in row:
        cells = (f"{each['band']} {each['mae']:.1f} ({each['n']})" for each in row["bands"])
        parts.append(f"  MAE by true age: {', '.join(cells)}")
    low, high = row["gain_interval"]
    ridge = f"  ({row['ridge']})" if "ridge" in row else ""
    parts.append(f"  SRCC of {model} less ridge, paired: [{low:+.3f}, {high:+.3f}]{ridge}")
    return "\n".join(parts)


def mean_lines(found: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Rows of all models and data sets -> one table in Markdown, one part a data set.

    found: (kind of model, name) as "adapter tiny-age", and its row. Of several models of a kind
    their mean follows, with the standard deviation over them in brackets.
    """
    lines: list[str] = []
    for title in dict.fromkeys(row["data"] for _, row in found):
        own = [(name, row) for name, row in found if row["data"] == title]
        used = [key for key in FIGURES if any(key in row for _, row in own)]
        heads = [NAMES.get(key, key) for key in used]
        lines += ["", f"{title}, n = {own[0][1]['n']}", ""]
        lines += [f"| model | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(used)}"]
        for name, row in own:
            lines.append(_cells(name, [row], used))
        by_kind: dict[str, list[Mapping[str, Any]]] = {}
        for name, row in own:
            by_kind.setdefault(name.partition(" ")[0], []).append(row)
        for kind, rows in by_kind.items():
            if len(rows) > 1:
                lines.append(_cells(f"{kind}, mean (SD) of {len(rows)}", rows, used))
        one = own[0][1]
        for name, prefix in (("ridge", "ridge_"), ("median, majority", "")):
            keys = {key: f"{prefix}{key}" for key in used}
            if not prefix:
                keys = {"mae": "median_mae", "accuracy": "majority_accuracy"}
            known = {key: one[keys[key]] for key in used if keys.get(key) in one}
            lines.append(_cells(name, [known], used))
    return lines


def _cells(name: str, rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> str:
    cells = []
    for key in keys:
        values = [row[key] for row in rows if key in row]
        text = f"{np.mean(values):.3f}" if values and len(values) == len(rows) else ""
        cells.append(f"{text} ({np.std(values, ddof=1):.3f})" if text and len(rows) > 1 else text)
    return f"| {name} | {' | '.join(cells)} |"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    return [round(v, 4) for v in value] if isinstance(value, tuple) else value
