"""AGIQA-3k: AI-generated pictures with a human mean opinion score of their quality.

Li et al., AGIQA-3K: An open database for AI-generated image quality assessment (TCSVT 2023).
Layout as published: `data.csv` with the columns name, prompt, adj1, adj2, style, mos_quality (0 to
5, higher is better), std_quality, mos_align, std_align; the pictures in `images/` or beside it.
"""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from imgrank.data.labelled import (
    About,
    Labelled,
    Labels,
    Pixels,
    ReadOptions,
    present,
    read_picture,
)
from imgrank.data.split import Part, split_by_group
from imgrank.errors import DataError
from imgrank.images.decode import to_square

__all__ = [
    "ABOUT",
    "VIEWS",
    "VIEWS_ABOUT",
    "Rated",
    "another_view",
    "read",
    "read_agiqa3k",
    "read_views",
]

VIEWS = 4  # of each training picture, in `read_views`
PROMPT = "sort images by the image quality of MOS"
ABOUT = About(
    title="AGIQA-3k: AI-generated pictures with human opinions of their quality",
    paper="Li et al., AGIQA-3K: An open database for AI-generated image quality assessment, 2023",
    source="github.com/lcysyzxdxc/AGIQA-3k-Database",
    licence="MIT, says its repository",
    layout="data.csv\nimages/*.jpg (or beside data.csv)",
    split="ours, by prompt: 80 % training, 10 % validation, 10 % test",
    queries="quality (MOS, 0 to 5)",
)
VIEWS_ABOUT = About(
    title=f"AGIQA-3k once more: {VIEWS} crops and smaller files of each training picture",
    paper=ABOUT.paper,
    source="made of agiqa3k",
    licence=ABOUT.licence,
    layout=ABOUT.layout,
    split="training only",
    queries="quality (MOS of the whole picture, 0 to 5)",
)

COLUMNS = ("name", "prompt", "mos_quality", "mos_align")


@dataclass(frozen=True, slots=True)
class Rated:
    """One generated picture and its ratings.

    subject: the prompt up to its first comma; what follows are the adjectives and the style that
    the data set varies. Pictures of one subject are relatives and belong in one part of a split.
    quality, alignment: mean opinion scores, 0 to 5.   part: of our split.
    """

    path: Path
    prompt: str
    subject: str
    quality: float
    alignment: float
    part: Part = "train"


def read_agiqa3k(root: Path, options: ReadOptions | None = None) -> list[Rated]:
    """All rows of `root`/data.csv, in its order.

    Raises DataError if the table, one of its columns, a number or (unless `options.partial`) a
    picture is missing. The split is that of the whole table, whatever is missing.
    """
    options = options or ReadOptions()
    table = root / "data.csv"
    if not table.is_file():
        raise DataError(f"{table} is missing. Unpack AGIQA-3k as published and name its folder.")
    images = root / "images" if (root / "images").is_dir() else root
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{table} has no column {', '.join(missing)}; is it AGIQA-3k's?")
        rated = [_rated(row, images, f"{table}, row {n}") for n, row in enumerate(reader, start=2)]
    parts = split_by_group([row.subject for row in rated])
    kept = present("agiqa3k", [row.path for row in rated], options)
    return [replace(rated[n], part=parts[n]) for n in kept]


def read(root: Path, options: ReadOptions) -> Labelled:
    """Quality of all pictures. Raises DataError as `read_agiqa3k` does."""
    rated = read_agiqa3k(root, options)
    subjects = tuple(row.subject for row in rated)
    return Labelled(
        "agiqa3k",
        paths=tuple(row.path for row in rated),
        keys=tuple(f"agiqa3k/{row.path.name}" for row in rated),
        parts=tuple(row.part for row in rated),
        groups=subjects,
        labels=(_quality([row.quality for row in rated]),),
    )


def read_views(root: Path, options: ReadOptions) -> Labelled:
    """`VIEWS` more views of each training picture: cropped, mirrored, smaller files, with the
    opinion of the whole picture. All rows are training rows."""
    rated = read_agiqa3k(root, options)
    seen = [row for row in rated if row.part == "train"]
    rows = [(row, n) for row in seen for n in range(VIEWS)]

    def picture(index: int, size: int) -> Pixels:
        image = read_picture(rows[index][0].path)
        return to_square(another_view(image, random.Random(index)), size)

    return Labelled(
        "agiqa3k-views",
        paths=tuple(row.path for row, _ in rows),
        keys=tuple(f"agiqa3k/{row.path.name}|view {n}" for row, n in rows),
        parts=tuple("train" for _ in rows),
        groups=tuple(row.subject for row, _ in rows),
        labels=(_quality([row.quality for row, _ in rows]),),
        render=picture,
        mirrored=False,
    )


def another_view(image: Image.Image, draw: random.Random) -> Image.Image:
    """At least 75 % of each side, mirrored half of the time, as a file of any size down to 224."""
    width, height = image.size
    w, h = (round(side * draw.uniform(0.75, 1)) for side in (width, height))
    left, top = draw.randint(0, width - w), draw.randint(0, height - h)
    image = image.crop((left, top, left + w, top + h))
    if draw.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    smaller = draw.uniform(min(1.0, 224 / min(w, h)), 1)
    return image.resize((round(w * smaller), round(h * smaller)), Image.Resampling.BICUBIC)


def _quality(values: list[float]) -> Labels:
    column = np.array(values, dtype=np.float32)
    return Labels("quality", "quality", PROMPT, column, unit="MOS", range=(0, 5))


def _rated(row: dict[str, str], images: Path, where: str) -> Rated:
    path = images / row["name"]
    try:
        quality, alignment = float(row["mos_quality"]), float(row["mos_align"])
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {error}") from error
    prompt = row["prompt"]
    subject = prompt.split(",")[0].strip().lower()
    return Rated(path, prompt, subject, quality, alignment)
