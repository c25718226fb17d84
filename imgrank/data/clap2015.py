"""CLAP2015: photographs of people with the age that others gave them.

ChaLearn Looking at People 2015: apparent age and cultural event recognition datasets and results
(ICCV 2015). At least ten people judged each picture (paper 000); the truth is their mean.

    total_2015.csv       filename, age, stdv, database: mean and standard deviation of the
                         judgements, and "train", "val" or "test"
    images/image_1.jpg   or train/, val/, test/

The table is the one that L2RCLIP publishes; its means are whole numbers. The split is the one of
the challenge: 2,476 pictures for training, 1,136 for validation, 1,079 for test. How the challenge
itself laid its files out was not seen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imgrank.data.labelled import About, Labelled, Labels, ReadOptions, present
from imgrank.data.layout import find, number, read_table
from imgrank.data.split import Part
from imgrank.errors import DataError

__all__ = ["ABOUT", "SIZES", "read"]

TABLE = "total_2015.csv"
COLUMNS = ("filename", "age", "stdv", "database")
PARTS: dict[str, Part] = {"train": "train", "val": "validation", "test": "test"}
SIZES: dict[Part, int] = {"train": 2_476, "validation": 1_136, "test": 1_079}
ABOUT = About(
    title="CLAP2015: photographs of people with the age that others gave them",
    paper="ChaLearn Looking at People 2015: apparent age and cultural event recognition datasets "
    "and results, 2015",
    source="chalearnlap.cvc.uab.cat (pictures), github.com/raywang335/L2RCLIP (total_2015.csv)",
    licence="",
    layout=f"{TABLE} (filename, age, stdv, database)\nimages/*.jpg (or train/, val/, test/)",
    split="the authors' 2,476 training, 1,136 validation and 1,079 test pictures",
    queries="age (years, the mean of what people said)",
    note="Apparent age: what others see, not what a document says.",
)


def read(root: Path, options: ReadOptions) -> Labelled:
    """The mean apparent age of all pictures.

    Raises DataError if the table, one of its columns, a number or (unless `options.partial`) a
    picture is missing, a part is none, or a picture is listed twice.
    """
    table = find(root, TABLE)
    names: list[str] = []
    ages: list[float] = []
    parts: list[Part] = []
    for where, row in read_table(table, COLUMNS):
        part = PARTS.get(row["database"].strip())
        if part is None:
            raise DataError(f"{where}: database is {row['database']!r}, not train, val or test.")
        names.append(row["filename"].strip())
        ages.append(number(row["age"], where, "age"))
        number(row["stdv"], where, "stdv")
        parts.append(part)
    if twice := len(names) - len(set(names)):
        raise DataError(f"{table} lists {twice} pictures twice.")
    for part, size in SIZES.items():
        if parts.count(part) != size:
            options.report(
                f"clap2015: {parts.count(part)} {part} pictures, where {size:,} are published"
            )
    paths = [_place(root, name, row) for name, row in zip(names, parts, strict=True)]
    kept = present("clap2015", paths, options)
    keys = tuple(f"clap2015/{names[n]}" for n in kept)
    values = np.array([ages[n] for n in kept], dtype=np.float32)
    prompt = "sort images by the person's age group."
    return Labelled(
        "clap2015",
        paths=tuple(paths[n] for n in kept),
        keys=keys,
        parts=tuple(parts[n] for n in kept),
        groups=keys,
        labels=(Labels("age", "age", prompt, values, unit="years", range=(0, 100)),),
        published=sum(SIZES.values()),
    )


def _place(root: Path, name: str, part: Part) -> Path:
    """Where a picture is, or where people look for it."""
    short = next(key for key, value in PARTS.items() if value == part)
    places = [root / folder / name for folder in ("images", short, part, "")]
    return next((place for place in places if place.is_file()), places[0])
