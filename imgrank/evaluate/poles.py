"""How well do pairs of poles order pictures, with nothing trained? Age and beauty, by SRCC.

    UTKFace   apparent age in years, from the file names; 1,500 crops drawn with seed 0
    OASIS     mean human rating of beauty, 1 to 7

Beside each task's poles (tasks.toml) stands its bare instruction, which says next to nothing: most
of a cosine is what the picture shows. The pairs of poles were chosen on these pictures, so the
figures are somewhat flattering. Intervals: 95 %, bootstrap over pictures.

Run:  python -m imgrank.evaluate.poles --root DATA [--backbone NAME|FOLDER]
with DATA/utkface/UTKFace/ and DATA/oasis/{labels.csv,images/}.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from imgrank.errors import DataError, ImgrankError
from imgrank.evaluate.metrics import bootstrap, srcc
from imgrank.images.reading import read_file
from imgrank.instruction import parse
from imgrank.rankers.load import load_source
from imgrank.rankers.prompts import PromptRanker
from imgrank.settings import load_settings

__all__ = ["main", "measure", "read_ages", "read_beauty"]

Labelled = list[tuple[Path, float]]
FACES, BATCH = 1500, 64


def read_ages(root: Path) -> Labelled:
    """UTKFace as published: `UTKFace/AGE_GENDER_RACE_DATE.jpg.chip.jpg`; `FACES` drawn of them."""
    paths = sorted((root / "UTKFace").glob("*.jpg"))
    ages = [(p, float(p.name.split("_")[0])) for p in paths if p.name.split("_")[0].isdecimal()]
    if not ages:
        raise DataError(f"{root / 'UTKFace'} holds no UTKFace crops. Unpack the set there.")
    return sorted(random.Random(0).sample(ages, min(FACES, len(ages))))


def read_beauty(root: Path) -> Labelled:
    """OASIS: labels.csv with filepath and beauty_mean, pictures below the same folder."""
    table = root / "labels.csv"
    if not table.is_file():
        raise DataError(f"{table} is missing. Unpack OASIS with its ratings there.")
    with table.open(encoding="utf-8", newline="") as file:
        return [(root / r["filepath"], float(r["beauty_mean"])) for r in csv.DictReader(file)]


def measure(ranker: PromptRanker, instruction: str, data: Labelled) -> list[str]:
    """One line for the task's poles and one for its bare instruction."""
    query = parse(instruction)
    queries = [query, replace(query, task=None)]
    scores: list[list[float]] = []
    for start in range(0, len(data), BATCH):
        part = [ranker.source.prepare(read_file(path)) for path, _ in data[start : start + BATCH]]
        rows = ranker.score(ranker.source.compute(part), queries)
        scores += [[cell.value for cell in row if cell] for row in rows]
    truth = np.array([value for _, value in data])
    lines = []
    for name, column in zip(("poles", "bare instruction"), np.array(scores).T, strict=True):
        low, high = bootstrap(srcc, truth, column)
        lines.append(
            f"{instruction:14} {name:17} n = {len(data)}  "
            f"SRCC {srcc(truth, column):.3f} [{low:.3f}, {high:.3f}]"
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Measure zero-shot orders by pairs of poles.")
    parser.add_argument("--root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--backbone", default=None, help="name or folder; the embedded one")
    given = parser.parse_args(arguments)
    ranker = PromptRanker(load_source(given.backbone, load_settings()))
    for instruction, data in (
        ("by age", read_ages(given.root / "utkface")),
        ("by beauty", read_beauty(given.root / "oasis")),
    ):
        print("\n".join(measure(ranker, instruction, data)))


if __name__ == "__main__":
    try:
        main()
    except ImgrankError as error:
        sys.exit(f"imgrank: {error}")
