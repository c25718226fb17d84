"""How good are the embedded adapters, beside ridge on the same frozen features? One table.

    agiqa3k         human opinion (MOS) of AI-generated pictures whose prompts were not trained on
    distortions     graded distortions of OASIS and Flickr8k photographs that were not trained on
    coco-distorted  graded distortions of COCO photographs, a set that nothing was trained on
    oasis           human ratings of beauty, themes that were not trained on
    utkface         ages of faces, collected in minutes that were not trained on
    oldnyc          years of photographs, sheets that were not trained on

All on the test part. SRCC and MAE are over all rows of a set, pair accuracy over versions of one
photograph. Intervals: 95 %, bootstrap over relatives (prompts, photographs, themes, ...). Where
pictures are distorted the truth is the grade, which only approaches the quality of real
photographs. Each ridge is fitted for its own data set alone (coco-distorted: that of the
distortions), feature set and penalty chosen on the validation part.

Run:  python -m imgrank.evaluate.embedded --root DATA --cache TOKENS [--checkpoint DIR]... [--write]
Several checkpoints (seeds): their means too. `--write` records the figures in config and card.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from imgrank.data import catalogue
from imgrank.data.features import TokenSet
from imgrank.data.tokens import Tokens
from imgrank.errors import ImgrankError
from imgrank.evaluate.metrics import bootstrap, mae, pair_accuracy, plcc, srcc
from imgrank.evaluate.record import BESIDE_RIDGE, card_rows
from imgrank.evaluate.ridge import pooled_features, strongest_ridge
from imgrank.evaluate.scoring import score_rows
from imgrank.models.adapter import load_adapter
from imgrank.models.backbone import Backbone
from imgrank.models.card import with_measured
from imgrank.models.checkpoint import CARD, CONFIG, load_tensors, read_config, save_checkpoint

__all__ = ["measure", "measured_row", "record"]

Report = Callable[[str], None]
WEIGHTS = Path(__file__).parents[1] / "weights"
TITLES = {
    "agiqa3k": "AGIQA-3k, test split by prompt",
    "distortions": "graded distortions, test split by photograph",
    "coco-distorted": "graded distortions of COCO photographs, none trained on",
    "oasis": "OASIS, test split by theme",
    "utkface": "UTKFace, test split by minute of collection",
    "oldnyc": "OldNYC, test split by sheet",
}
SETS = {
    "quality": ("agiqa3k", "distortions", "coco-distorted"),
    "aesthetics": ("oasis",),
    "age": ("utkface",),
    "decade": ("oldnyc",),
}
GRADED = ("distortions", "coco-distorted")
FIGURES = ("srcc", "plcc", "mae", "pairs")


def measured_row(
    data: TokenSet,
    rows: npt.NDArray[np.intp],
    scores: npt.NDArray[np.floating],
    ridge: npt.NDArray[np.floating],
    rounds: int = 1000,
) -> dict[str, Any]:
    """Figures of one data set, as they stand in `measured` of a checkpoint's config.

    Pair accuracy is given where groups are versions of one photograph, PLCC and MAE elsewhere: a
    grade is no opinion on the scale.
    """
    y, groups = data.targets[rows], np.asarray(data.groups)[rows].tolist()
    row: dict[str, Any] = {"data": TITLES.get(data.name, data.name), "n": len(rows)}
    graded = data.name in GRADED
    for prefix, values in (("", scores), ("ridge_", ridge)):
        row[f"{prefix}srcc"] = srcc(y, values)
        row[f"{prefix}srcc_interval"] = bootstrap(srcc, y, values, groups, rounds=rounds)
        if graded:
            row[f"{prefix}pairs"] = pair_accuracy(y, values, groups)
            row[f"{prefix}pairs_interval"] = bootstrap(
                pair_accuracy, y, values, groups, by_group=True, rounds=rounds
            )
        else:
            row[f"{prefix}plcc"] = plcc(y, values)
            row[f"{prefix}mae"] = mae(y, values)
            row[f"{prefix}mae_interval"] = bootstrap(mae, y, values, groups, rounds=rounds)
    if not graded:
        train = data.rows("train", data.data.labels[0])
        median = np.median(data.targets[train]) if len(train) else np.nan
        row["median_mae"] = mae(y, np.full(len(y), median))
    row["gain_interval"] = bootstrap(
        lambda truth, index: (
            srcc(truth, scores[index.astype(int)]) - srcc(truth, ridge[index.astype(int)])
        ),
        y,
        np.arange(len(y)),
        groups,
        rounds=rounds,
    )
    return {key: _rounded(value) for key, value in row.items()}


def measure(
    checkpoint: Path, backbone: Path, root: Path, cache: Path, report: Report
) -> dict[str, list[dict[str, Any]]]:
    """Task -> its rows of the table, one a data set. Raises DataError, CheckpointError."""
    config = read_config(checkpoint, "adapter")
    adapter = load_adapter(checkpoint)
    tower = Backbone(backbone)

    def progress(what: str, done: int, total: int) -> None:
        report(f"{what}: {done} of {total}")

    tokens = Tokens(cache, tower, progress)
    out: dict[str, list[dict[str, Any]]] = {}
    for task, facts in config["tasks"].items():
        sets = [tokens.of(catalogue.read(name, root)) for name in SETS[task]]
        text = tower.text_tokens([facts["prompt"]])[0].clone()
        ridges = {data.name: strongest_ridge(data) for data in sets if len(data.rows("train"))}
        for data in sets:
            rows = data.rows("test", data.data.labels[0])
            ridge = ridges.get(data.name, ridges.get("distortions"))
            assert ridge is not None
            predicted = ridge.predict(pooled_features(data, rows)[ridge.features])
            scores = score_rows(adapter, data, rows, text)
            scores = facts.get("offset", 0.0) + facts.get("scale", 1.0) * scores
            row = measured_row(data, rows, scores, predicted)
            row["ridge"] = f"{ridge.features}, penalty {ridge.penalty:.3g}"
            out.setdefault(task, []).append(row)
    return out


def record(checkpoint: Path, found: Mapping[str, Sequence[dict[str, Any]]]) -> None:
    """Write the figures into the checkpoint's config and card; the weights stay as they are.

    Those that were written so before are replaced, those of `imgrank eval` stay.
    """
    config = read_config(checkpoint, "adapter")
    for task, rows in found.items():
        facts = config["tasks"][task]
        facts["measured"] = [*rows, *(row for row in facts.get("measured") or () if "by" in row)]
    card = (checkpoint / CARD).read_text(encoding="utf-8")
    card = with_measured(card, card_rows(config), BESIDE_RIDGE)
    save_checkpoint(checkpoint, config, load_tensors(checkpoint, as_stored=True), card)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    return [round(v, 4) for v in value] if isinstance(value, tuple) else value


def _line(row: Mapping[str, Any]) -> str:
    parts = [f"{row['data']}, n = {row['n']}"]
    for key in FIGURES:
        for who, prefix in (("adapter", ""), ("ridge", "ridge_")):
            if key in row:
                ends = row.get(f"{prefix}{key}_interval")
                interval = f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else ""
                parts.append(f"  {key.upper():6} {who:8} {row[prefix + key]:.3f}{interval}")
    if "median_mae" in row:
        parts.append(f"  MAE    median   {row['median_mae']:.3f}")
    low, high = row["gain_interval"]
    parts.append(
        f"  SRCC of adapter less ridge, paired: [{low:+.3f}, {high:+.3f}]  ({row['ridge']})"
    )
    return "\n".join(parts)


def _means(runs: Sequence[Mapping[str, Sequence[Mapping[str, Any]]]]) -> list[str]:
    """A line for each data set: mean and standard deviation of the figures over checkpoints."""
    lines = []
    for task, rows in runs[0].items():
        for n, row in enumerate(rows):
            said = []
            for key in FIGURES:
                if key in row:
                    values = [run[task][n][key] for run in runs]
                    said.append(f"{key.upper()} {np.mean(values):.3f} ({np.std(values):.3f})")
            lines.append(f"{row['data']}, mean of {len(runs)}: {', '.join(said)}")
    return lines


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description="Measure embedded adapters beside ridge.")
    parser.add_argument("--root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the token caches")
    parser.add_argument("--checkpoint", type=Path, action="append", help="default: all embedded")
    parser.add_argument("--backbone", type=Path, default=WEIGHTS / "tiny")
    parser.add_argument("--write", action="store_true", help="record the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folders = options.checkpoint or sorted(path.parent for path in WEIGHTS.glob(f"*/{CONFIG}"))
    runs = []
    for folder in folders:
        print(folder.name, flush=True)
        found = measure(folder, options.backbone, options.root, options.cache, _say)
        for rows in found.values():
            print("\n".join(map(_line, rows)), flush=True)
        if options.write:
            record(folder, found)
        runs.append(found)
    if options.checkpoint and len(runs) > 1 and len({tuple(run) for run in runs}) == 1:
        print("\n".join(_means(runs)))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except ImgrankError as error:
        sys.exit(f"imgrank: {error}")
