"""How good are the embedded models, beside ridge on the same frozen features? One table.

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

Of a model with ranks (L2RCLIP) there is more: `evaluate/levels.py`; and where one of them is
measured, accuracies of the others tell how often the rank of their estimate is the true one.

Run:  python -m imgrank.evaluate.embedded --root DATA --cache TOKENS [--checkpoint DIR]... [--write]
Adapters are measured on the token caches, models with ranks as `imgrank eval` does, on features
that are kept in `--cache` too. Several checkpoints (seeds): their means too. `--write` records the
figures in config and card.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from imgrank.data import catalogue
from imgrank.data.features import TokenSet
from imgrank.data.tokens import Tokens
from imgrank.errors import CheckpointError, ImgrankError
from imgrank.evaluate.answers import answers_of, jobs_for
from imgrank.evaluate.beside_ridge import Vector, as_text, mean_lines, measured_row
from imgrank.evaluate.levels import Levels
from imgrank.evaluate.record import BESIDE_RIDGE, card_rows
from imgrank.evaluate.ridge import pooled_features, strongest_ridge
from imgrank.evaluate.scoring import score_rows
from imgrank.models.adapter import load_adapter
from imgrank.models.backbone import Backbone
from imgrank.models.card import with_measured
from imgrank.models.checkpoint import CARD, CONFIG, load_tensors, read_config, save_checkpoint
from imgrank.models.ranks import Ranks
from imgrank.settings import load_settings

__all__ = ["Bench", "measure", "record"]

Report = Callable[[str], None]
Rows = dict[str, list[dict[str, Any]]]
WEIGHTS = Path(__file__).parents[1] / "weights"
SETS = {
    "quality": ("agiqa3k", "distortions", "coco-distorted"),
    "aesthetics": ("oasis",),
    "age": ("utkface",),
    "decade": ("oldnyc",),
}
KINDS = ("l2rclip", "adapter")  # models with ranks first: they tell the others the ranks


@dataclass
class Bench:
    """What several checkpoints share: tokens, ridges, and the ranks of tasks (by task)."""

    root: Path
    tokens: Tokens
    ranks: dict[str, Ranks] = field(default_factory=dict)
    _sets: dict[str, TokenSet] = field(default_factory=dict)
    _ridges: dict[str, tuple[Vector, str]] = field(default_factory=dict)

    def set_of(self, name: str) -> TokenSet:
        """Raises DataError."""
        if name not in self._sets:
            self._sets[name] = self.tokens.of(catalogue.read(name, self.root))
        return self._sets[name]

    def ridge(self, name: str) -> tuple[Vector, str]:
        """Ridge's estimates for the test part, and what it is."""
        if name not in self._ridges:
            data = self.set_of(name)
            fitted = strongest_ridge(
                data if len(data.rows("train")) else self.set_of("distortions")
            )
            rows = data.rows("test", data.data.labels[0])
            predicted = fitted.predict(pooled_features(data, rows)[fitted.features])
            self._ridges[name] = predicted, f"{fitted.features}, penalty {fitted.penalty:.3g}"
        return self._ridges[name]


def measure(checkpoint: Path, bench: Bench) -> Rows:
    """Task -> its rows of the table, one a data set. Raises DataError, CheckpointError."""
    config = read_config(checkpoint)
    if config["kind"] not in KINDS:
        raise CheckpointError(
            f"{checkpoint} is of kind {config['kind']}, which is not measured here."
        )
    out: Rows = {}
    for task, facts in config["tasks"].items():
        ranks = Ranks.from_dict(facts["ranks"]) if "ranks" in facts else bench.ranks.get(task)
        for name in SETS[task]:
            data = bench.set_of(name)
            rows = data.rows("test", data.data.labels[0])
            levels: Levels | None = None
            if config["kind"] == "adapter":
                scores = _by_adapter(checkpoint, facts, data, bench.tokens.backbone)
            else:
                bench.ranks[task] = Ranks.from_dict(facts["ranks"])
                scores, levels = _by_ranks(checkpoint, data, bench)
            ridge, said = bench.ridge(name)
            row = measured_row(data, rows, scores, ridge, levels=levels, ranks=ranks)
            out.setdefault(task, []).append({**row, "ridge": said})
    return out


def _by_adapter(
    checkpoint: Path, facts: Mapping[str, Any], data: TokenSet, tower: Backbone
) -> Vector:
    """Estimates for the test part, on cached tokens."""
    rows = data.rows("test", data.data.labels[0])
    text = tower.text_tokens([facts["prompt"]])[0].clone()
    scores = score_rows(load_adapter(checkpoint), data, rows, text)
    found: Vector = facts.get("offset", 0.0) + facts.get("scale", 1.0) * scores
    return found


def _by_ranks(checkpoint: Path, data: TokenSet, bench: Bench) -> tuple[Vector, Levels | None]:
    """Estimates and probabilities for the test part, as `imgrank eval` has them."""
    settings = load_settings(cache_dir=bench.tokens.cache / "features", threads=1)
    asked = jobs_for(data.data.labels[:1], str(checkpoint), settings)
    found = answers_of(data.data, "test", asked, settings, _say)
    (query,) = found.queries
    if found.skips:
        raise CheckpointError(f"{found.skips[0].path} cannot be read: {found.skips[0].reason}")
    return query.scores, query.levels


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def record(checkpoint: Path, found: Mapping[str, Sequence[dict[str, Any]]]) -> None:
    """Write the figures into the checkpoint's config and card; the weights stay as they are.

    Those that were written so before are replaced, those of `imgrank eval` stay.
    """
    config = read_config(checkpoint)
    for task, rows in found.items():
        facts = config["tasks"][task]
        facts["measured"] = [*rows, *(row for row in facts.get("measured") or () if "by" in row)]
    card = (checkpoint / CARD).read_text(encoding="utf-8")
    card = with_measured(card, card_rows(config), BESIDE_RIDGE)
    save_checkpoint(checkpoint, config, load_tensors(checkpoint, as_stored=True), card)


def _measurable(folders: Sequence[Path]) -> list[Path]:
    """Those of a kind that is measured here, models with ranks first."""
    kinds = {folder: read_config(folder)["kind"] for folder in folders}
    return sorted((f for f in folders if kinds[f] in KINDS), key=lambda f: KINDS.index(kinds[f]))


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description="Measure embedded models beside ridge.")
    parser.add_argument("--root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the token caches")
    parser.add_argument("--checkpoint", type=Path, action="append", help="default: all embedded")
    parser.add_argument("--backbone", type=Path, default=WEIGHTS / "tiny")
    parser.add_argument("--write", action="store_true", help="record the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    embedded = sorted(path.parent for path in WEIGHTS.glob(f"*/{CONFIG}"))

    def progress(what: str, done: int, total: int) -> None:
        _say(f"{what}: {done} of {total}")

    bench = Bench(options.root, Tokens(options.cache, Backbone(options.backbone), progress))
    table: list[tuple[str, Mapping[str, Any]]] = []
    for folder in _measurable(options.checkpoint or embedded):
        kind = read_config(folder)["kind"]
        print(folder.name, flush=True)
        found = measure(folder, bench)
        for rows in found.values():
            print("\n".join(as_text(row, kind) for row in rows), flush=True)
            table += [(f"{kind} {folder.name}", row) for row in rows]
        if options.write:
            record(folder, found)
    print("\n".join(mean_lines(table)))


if __name__ == "__main__":
    try:
        main()
    except ImgrankError as error:
        sys.exit(f"imgrank: {error}")
