"""How good is a quality adapter, beside ridge on the same frozen features? One table.

    agiqa3k test      human opinion (MOS) of AI-generated pictures whose prompts were not trained on
    distortions test  graded distortions of OASIS and Flickr8k photographs that were not trained on
    coco              graded distortions of COCO photographs, a set that nothing was trained on

SRCC is over all rows of a set; pair accuracy is over versions of one photograph. Intervals: 95 %,
bootstrap over prompts or photographs. For the latter two the truth is the grade of the distortion,
which only approaches the quality of real photographs. Each ridge is fitted for its own data set
alone (coco: that of the distortions), feature set and penalty chosen on the validation part; the
adapter is one for all.

Run:  python -m imgrank.evaluate.quality --root DATA --cache TOKENS [--checkpoint DIR] [--write]
`--write` records the figures in the checkpoint's config and card.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from imgrank.data import catalogue
from imgrank.data.features import TokenSet
from imgrank.data.tokens import Tokens
from imgrank.errors import ImgrankError
from imgrank.evaluate.metrics import bootstrap, pair_accuracy, srcc
from imgrank.evaluate.record import QUALITY, card_rows
from imgrank.evaluate.ridge import pooled_features, strongest_ridge
from imgrank.evaluate.scoring import score_rows
from imgrank.models.adapter import load_adapter
from imgrank.models.backbone import Backbone
from imgrank.models.card import with_measured
from imgrank.models.checkpoint import CARD, load_tensors, read_config, save_checkpoint

__all__ = ["measure", "measured_row", "record"]

Report = Callable[[str], None]
WEIGHTS = Path(__file__).parents[1] / "weights"
TITLES = {
    "agiqa3k": "AGIQA-3k, test split by prompt",
    "distortions": "graded distortions, test split by photograph",
    "coco-distorted": "graded distortions of COCO photographs, none trained on",
}


def measured_row(
    data: TokenSet,
    rows: npt.NDArray[np.intp],
    scores: npt.NDArray[np.floating],
    ridge: npt.NDArray[np.floating],
    rounds: int = 1000,
) -> dict[str, Any]:
    """Figures of one data set, as they stand in `measured` of a checkpoint's config.

    Pair accuracy is left out where groups are not versions of one photograph (agiqa3k).
    """
    y, groups = data.targets[rows], np.asarray(data.groups)[rows].tolist()
    row: dict[str, Any] = {"data": TITLES.get(data.name, data.name), "n": len(rows)}
    for prefix, values in (("", scores), ("ridge_", ridge)):
        row[f"{prefix}srcc"] = srcc(y, values)
        row[f"{prefix}srcc_interval"] = bootstrap(srcc, y, values, groups, rounds=rounds)
        if data.name != "agiqa3k":
            row[f"{prefix}pairs"] = pair_accuracy(y, values, groups)
            row[f"{prefix}pairs_interval"] = bootstrap(
                pair_accuracy, y, values, groups, by_group=True, rounds=rounds
            )
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
) -> list[dict[str, Any]]:
    """The rows of the table, one a data set. Raises DataError, CheckpointError."""
    config = read_config(checkpoint, "adapter")
    adapter = load_adapter(checkpoint)
    tower = Backbone(backbone)

    def progress(what: str, done: int, total: int) -> None:
        report(f"{what}: {done} of {total}")

    tokens = Tokens(cache, tower, progress)
    sets = [tokens.of(catalogue.read(name, root)) for name in TITLES]
    text = tower.text_tokens([config["tasks"]["quality"]["prompt"]])[0].clone()
    tower.drop()
    ridges = {data.name: strongest_ridge(data) for data in sets if len(data.rows("train"))}
    found = []
    for data in sets:
        rows = data.rows("test")
        ridge = ridges.get(data.name, ridges["distortions"])
        predicted = ridge.predict(pooled_features(data, rows)[ridge.features])
        row = measured_row(data, rows, score_rows(adapter, data, rows, text), predicted)
        row["ridge"] = f"{ridge.features}, penalty {ridge.penalty:.3g}"
        found.append(row)
    return found


def record(checkpoint: Path, rows: list[dict[str, Any]]) -> None:
    """Write the figures into the checkpoint's config and card; the weights stay as they are.

    Those that were written so before are replaced, those of `imgrank eval` stay.
    """
    config = read_config(checkpoint, "adapter")
    facts = config["tasks"]["quality"]
    facts["measured"] = rows + [row for row in facts.get("measured") or () if "by" in row]
    card = (checkpoint / CARD).read_text(encoding="utf-8")
    card = with_measured(card, card_rows(config), QUALITY)
    save_checkpoint(checkpoint, config, load_tensors(checkpoint, as_stored=True), card)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    return [round(v, 4) for v in value] if isinstance(value, tuple) else value


def _line(row: dict[str, Any]) -> str:
    parts = [f"{row['data']}, n = {row['n']}"]
    for name, key in (("SRCC", "srcc"), ("pairs within a photograph", "pairs")):
        if key in row:
            for who, prefix in (("adapter", ""), ("ridge", "ridge_")):
                low, high = row[f"{prefix}{key}_interval"]
                parts.append(f"  {name:26} {who:8} {row[prefix + key]:.3f} [{low:.3f}, {high:.3f}]")
    low, high = row["gain_interval"]
    parts.append(
        f"  SRCC of adapter less ridge, paired: [{low:+.3f}, {high:+.3f}]  ({row['ridge']})"
    )
    return "\n".join(parts)


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description="Measure a quality adapter beside ridge.")
    parser.add_argument("--root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the token caches")
    parser.add_argument("--checkpoint", type=Path, default=WEIGHTS / "tiny-quality")
    parser.add_argument("--backbone", type=Path, default=WEIGHTS / "tiny")
    parser.add_argument("--write", action="store_true", help="record the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(
        options.checkpoint,
        options.backbone,
        options.root,
        options.cache,
        lambda line: print(line, flush=True),
    )
    for row in rows:
        print(_line(row))
    if options.write:
        record(options.checkpoint, rows)


if __name__ == "__main__":
    try:
        main()
    except ImgrankError as error:
        sys.exit(f"imgrank: {error}")
