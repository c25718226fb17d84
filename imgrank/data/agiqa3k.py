"""AGIQA-3k: AI-generated pictures with a human mean opinion score of their quality.

Li et al., AGIQA-3K: An open database for AI-generated image quality assessment (TCSVT 2023).
Layout as published: `data.csv` with the columns name, prompt, adj1, adj2, style, mos_quality (0 to
5, higher is better), std_quality, mos_align, std_align; the pictures in `images/` or beside it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from imgrank.errors import DataError

__all__ = ["Rated", "read_agiqa3k"]

COLUMNS = ("name", "prompt", "mos_quality", "mos_align")


@dataclass(frozen=True, slots=True)
class Rated:
    """One generated picture and its ratings.

    subject: the prompt up to its first comma; what follows are the adjectives and the style that
    the data set varies. Pictures of one subject are relatives and belong in one part of a split.
    quality, alignment: mean opinion scores, 0 to 5.
    """

    path: Path
    prompt: str
    subject: str
    quality: float
    alignment: float


def read_agiqa3k(root: Path) -> list[Rated]:
    """All rows of `root`/data.csv, in its order.

    Raises DataError if the table, one of its columns, a number or a picture is missing.
    """
    table = root / "data.csv"
    if not table.is_file():
        raise DataError(f"{table} is missing. Unpack AGIQA-3k as published and name its folder.")
    images = root / "images" if (root / "images").is_dir() else root
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{table} has no column {', '.join(missing)}; is it AGIQA-3k's?")
        return [_rated(row, images, f"{table}, row {n}") for n, row in enumerate(reader, start=2)]


def _rated(row: dict[str, str], images: Path, where: str) -> Rated:
    path = images / row["name"]
    if not path.is_file():
        raise DataError(f"{where}: the picture {path} is missing. Unpack the archive again.")
    try:
        quality, alignment = float(row["mos_quality"]), float(row["mos_align"])
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {error}") from error
    prompt = row["prompt"]
    subject = prompt.split(",")[0].strip().lower()
    return Rated(path, prompt, subject, quality, alignment)
