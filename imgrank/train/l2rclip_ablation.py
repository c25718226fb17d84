"""What RankFormer, L_cop and L_scop do: Table 5 of paper 000 on a data set that is here.

Eight rows, each part switched on and off, and beside them texts of other methods without the losses
that teach an order: vanilla templates, context vectors (CoOp), interpolated ranks (OrdinalCLIP).
Where the recipe has texts of its own (`text.way`), they are a row too. Every row is trained for
each seed by both stages of the recipe (`l2rclip.fit`); all else is the recipe's.

Figures, mean and standard deviation over the seeds: MAE of the expected value, accuracy of the
likeliest rank, SRCC, all on the test part, and the ordinality score of the ranks (OS).
Probabilities are as trained: a temperature is fitted on the validation part for each row, or rows
would differ by how sharp they are.

Run:  python -m imgrank.train.l2rclip_ablation --data oldnyc --root DATA --cache CACHE --out OUT
`OUT/rows.jsonl` keeps what is done; the same line goes on after Ctrl-C. It takes minutes on `tiny`
where the tower is frozen, on two CPU cores; a tuned tower, hours.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imgrank.data import catalogue
from imgrank.data.labelled import ReadOptions
from imgrank.data.split import Part
from imgrank.errors import DataError, ImgrankError
from imgrank.evaluate.calibration import fit_calibration
from imgrank.models.backbone import Backbone
from imgrank.models.rank_text import Way
from imgrank.models.registry import EMBEDDED
from imgrank.train.l2rclip import Fitted, fit
from imgrank.train.l2rclip_data import Problem, embedded, figures, problem_of
from imgrank.train.l2rclip_recipe import (
    Baseline,
    Config,
    baseline,
    load_recipe,
    override,
    recipe_of,
)
from imgrank.train.recipe_file import assignment, joined
from imgrank.train.run import require_extras, silent

__all__ = ["ablation", "measured", "rows_of", "table"]

Report = Callable[[str], None]
Row = Mapping[str, Any]
BASELINES: dict[str, Baseline] = {
    "vanilla templates": "vanilla",
    "CoOp (context only)": "context",
    "OrdinalCLIP (interpolation)": "interpolation",
}
FIGURES = ("mae", "accuracy", "srcc", "OS")
LOG = "rows.jsonl"


def rows_of(config: Config) -> Iterator[tuple[str, Config]]:
    """The rows' names and recipes: the table's eight, the recipe's own texts, the baselines."""
    parts = [(way, cop, scop) for way in (0, 1) for cop in (0, 1) for scop in (0, 1)]
    for way, cop, scop in sorted(parts, key=sum):
        named = zip(("RankFormer", "L_cop", "L_scop"), (way, cop, scop), strict=True)
        name = " + ".join(part for part, on in named if on) or "neither"
        yield name, _switched(config, "rankformer" if way else "templates", cop, scop)
    if config.text.way not in ("rankformer", "templates"):
        yield f"{config.text.way} + L_cop + L_scop", config
    for name, texts in BASELINES.items():
        yield name, baseline(config, texts)


def _switched(config: Config, way: Way, cop: int, scop: int) -> Config:
    return replace(
        config,
        text=replace(config.text, way=way),
        stage1=replace(config.stage1, cop=cop * config.stage1.cop),
        stage2=replace(config.stage2, scop=scop * config.stage2.scop),
    )


def measured(problem: Problem, found: Fitted) -> dict[str, float]:
    """`FIGURES` on the test part, after a temperature that was fitted on the validation part.

    Raises DataError for a set that lacks one of them.
    """
    found_in = {}
    parts: tuple[Part, ...] = ("validation", "test")
    for part in parts:
        rows = problem.data.rows(part, problem.labels)
        if not len(rows):
            raise DataError(f"{problem.data.name} has no {part} part to measure on.")
        found_in[part] = rows, embedded(found.images, rows)
    rows, v = found_in["validation"]
    logits = problem.scale * (v @ found.r.T).double().cpu().numpy()
    fitted = fit_calibration(logits, problem.labels.values[rows], problem.ranks, "validation")
    rows, v = found_in["test"]
    tested = replace(problem, watched=rows, scale=problem.scale / fitted.temperature)
    named = figures(tested, v, found.r)
    return {key: named[f"{problem.data.name} {key}"] for key in FIGURES}


def ablation(
    config: Config,
    root: Path,
    out: Path,
    backbone: Path,
    cache: Path,
    seeds: Sequence[int],
    only: Sequence[str] = (),
    report: Report = lambda line: None,
) -> list[Row] | None:
    """Each row's figures for each seed; None if it was stopped.

    root: folder of the data sets.   cache: of what is kept of pictures.   out: of states and rows.
    only: names of rows; empty: all.   Raises what `l2rclip.run` raises.
    """
    require_extras("an ablation")
    tower = Backbone(backbone)
    data = catalogue.read(config.data, root, ReadOptions(config.fold, report=report))
    out.mkdir(parents=True, exist_ok=True)
    log = out / LOG
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    found: list[Row] = []
    for seed in seeds:
        for name, switched in rows_of(config):
            if only and name not in only:
                continue
            each = replace(switched, seed=seed)
            told = repr(each)
            row = next((row for row in done if row["recipe"] == told), None)
            if row is None:
                started = time.monotonic()
                problem = problem_of(each, data, tower)
                folder = out / f"{name.replace(' ', '')}-{seed}"
                folder.mkdir(exist_ok=True)
                trained = fit(each, problem, tower, cache, folder, silent)
                if trained is None:
                    return None
                seconds = round(time.monotonic() - started, 1)
                row = {"row": name, "seed": seed, **measured(problem, trained)}
                row |= {"seconds": seconds, "recipe": told}
                with log.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                said = ", ".join(f"{key} {row[key]:g}" for key in FIGURES)
                report(f"seed {seed}, {name}: {said}  ({seconds:.0f} s)")
            found.append(row)
    return found


def table(rows: Sequence[Row]) -> str:
    """Markdown: a line for each name, mean and (standard deviation) over the seeds."""
    names = list(dict.fromkeys(row["row"] for row in rows))
    lines = ["| | MAE | accuracy | SRCC | OS |", "| --- | ---: | ---: | ---: | ---: |"]
    for name in names:
        cells = []
        for key, form in zip(FIGURES, (".3f", ".3f", ".3f", ".1f"), strict=True):
            values = [row[key] for row in rows if row["row"] == name]
            spread = f" ({np.std(values):{form}})" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):{form}}{spread}")
        lines.append(f"| {' | '.join((name, *cells))} |")
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description="Table 5 of L2RCLIP on a data set that is here.")
    parser.add_argument("--data", required=True, help="data set, and its recipe")
    parser.add_argument("--root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--cache", type=Path, required=True, help="of what is kept of pictures")
    parser.add_argument("--out", type=Path, required=True, help="of states and rows")
    parser.add_argument("--backbone", type=Path, default=EMBEDDED / "tiny", help="its folder")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the recipe")
    parser.add_argument("--row", action="append", default=[], help="only rows of this name")
    options = parser.parse_args()
    torch.set_num_threads(1)
    values: dict[str, Any] = {}
    for text in options.set:
        values = joined(values, assignment(text))
    config = override(load_recipe(recipe_of(options.data), options.backbone.name), values)
    config = replace(config, backbone=options.backbone.name)
    seeds = range(options.first, options.first + options.seeds)
    started = time.monotonic()
    rows = ablation(
        config,
        options.root,
        options.out,
        options.backbone,
        options.cache,
        seeds,
        options.row,
        _say,
    )
    if rows is None:
        sys.exit("stopped; the same line goes on")
    print(table(rows))
    print(f"\n{len(seeds)} seeds, {(time.monotonic() - started) / 60:.0f} minutes")


if __name__ == "__main__":
    try:
        main()
    except ImgrankError as error:
        sys.exit(f"imgrank: {error}")
