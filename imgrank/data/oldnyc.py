"""OldNYC: photographs of New York, mostly of the 1920s to 1940s, with the year they were taken.

Pictures of the New York Public Library's "Photographic Views of New York City, 1870s-1970s", as the
project OldNYC cut them out of scanned sheets. Layout: `images/700440f-a.90.jpg` (sheet 700440,
picture a of it, turned by 90 degrees) and `labels.csv` (filepath, year).

Relatives are pictures of neighbouring sheets, ten numbers together: a sheet carries one date, the
sheets are ordered by place, and neighbours may show the same scene. The few pictures from before
1900 are dropped.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np

from imgrank.data.labelled import About, Labelled, Labels, ReadOptions, present
from imgrank.data.split import split_by_name
from imgrank.errors import DataError

__all__ = ["ABOUT", "FIRST", "read", "sheets"]

FIRST = 1900  # the first year that is kept
COLUMNS = ("filepath", "year")
ABOUT = About(
    title="OldNYC: photographs of New York with the year they were taken",
    paper="",
    source="oldnyc.org (Milstein Division, New York Public Library)",
    licence="",
    layout="images/*.jpg\nlabels.csv (filepath, year)",
    split="ours, by sheet (ten neighbouring ones together): 80 % training, 10 % validation, 10 % "
    "test",
    queries="year",
    note="Monochrome prints of one city, six of ten from the 1930s: a model of these alone says "
    "nothing of later decades.",
)


def read(root: Path, options: ReadOptions) -> Labelled:
    """The year of all pictures since `FIRST`.

    Raises DataError if the table, one of its columns, a number or (unless `options.partial`) a
    picture is missing.
    """
    table = root / "labels.csv"
    if not table.is_file():
        raise DataError(f"{table} is missing: where are the years?")
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
            raise DataError(f"{table} has no column {', '.join(missing)}; is it OldNYC's?")
        rows = [_row(row, f"{table}, row {n}") for n, row in enumerate(reader, start=2)]
    rows = [(name, year) for name, year in rows if year >= FIRST]
    kept = present("oldnyc", [root / name for name, _ in rows], options)
    rows = [rows[n] for n in kept]
    groups = tuple(sheets(Path(name).name) for name, _ in rows)
    years = np.array([year for _, year in rows], dtype=np.float32)
    prompt = "sort images by the taken date of the photo."
    return Labelled(
        "oldnyc",
        paths=tuple(root / name for name, _ in rows),
        keys=tuple(f"oldnyc/{Path(name).name}" for name, _ in rows),
        parts=tuple(split_by_name(groups, "oldnyc|0")),
        groups=groups,
        labels=(Labels("year", "decade", prompt, years, unit="year"),),
    )


def sheets(name: str) -> str:
    """The ten sheets that a picture is out of: "70044" for 700440f-a.90.jpg; else its name."""
    found = re.match(r"(\d+)\df", name)
    return found[1] if found else name


def _row(row: dict[str, str], where: str) -> tuple[str, int]:
    try:
        return row["filepath"].strip(), int(row["year"])
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {error}") from error
