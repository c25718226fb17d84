"""OASIS: photographs of objects, people, animals and scenes, with human ratings of their beauty.

Kurdi, Lozano, Banaji, Introducing the Open Affective Standardized Image Set (Behavior Research
Methods 2017); beauty by Brielmann & Pelli, Intense beauty requires intense pleasure (Frontiers in
Psychology 2019), scale 1 to 7. Two layouts are read:

* as published: the pictures of OASIS in `images/` ("Alcohol 1.jpg"), and from the raters' own
  repository `means_per_image.csv` (Theme "Alcohol1", beauty_mean, ...), which knows no blanks;
* `images/` ("Alcohol_1.jpg") and `labels.csv` (filepath, beauty_mean, ...).

Split once, by theme ("Alcohol"), and by the theme's name alone: whoever has another part of the set
has the same theme in the same part. Everything that is trained on OASIS uses this split.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from imgrank.data.labelled import About, Labelled, Labels, ReadOptions, present
from imgrank.data.split import Part, split_by_name
from imgrank.errors import DataError

__all__ = ["ABOUT", "parts_of", "read", "theme"]

TABLES = {"labels.csv": "filepath", "means_per_image.csv": "Theme"}  # and its picture's column
BEAUTY = "beauty_mean"
ABOUT = About(
    title="OASIS: photographs with human ratings of their beauty",
    paper="Kurdi, Lozano, Banaji, Introducing the Open Affective Standardized Image Set, 2017; "
    "ratings: Brielmann, Pelli, Intense beauty requires intense pleasure, 2019",
    source="osf.io/6pnd7 (pictures), github.com/aenneb/OASIS-beauty (means_per_image.csv)",
    licence="free use in research, say its authors",
    layout="images/*.jpg\nmeans_per_image.csv (or labels.csv: filepath, beauty_mean)",
    split="ours, by theme: 80 % training, 10 % validation, 10 % test of the themes",
    queries="beauty (1 to 7)",
    note="Some pictures show injuries, death or nudity.",
)


def read(root: Path, options: ReadOptions) -> Labelled:
    """The beauty of all pictures.

    Raises DataError if the table, one of its columns, a number or (unless `options.partial`) a
    picture is missing.
    """
    table = next((root / name for name in TABLES if (root / name).is_file()), None)
    if table is None:
        raise DataError(f"{root} holds neither {' nor '.join(TABLES)}: where are the ratings?")
    names, values = _rows(table)
    images = _images(root)
    there = {_folded(path.stem): path for path in images.iterdir()} if images.is_dir() else {}
    paths = [there.get(_folded(name), images / f"{name}.jpg") for name in names]
    kept = present("oasis", paths, options)
    themes = tuple(theme(names[n]) for n in kept)
    beauty = np.array([values[n] for n in kept], dtype=np.float32)
    prompt = "sort images by the aesthetic quality of MOS"
    return Labelled(
        "oasis",
        paths=tuple(paths[n] for n in kept),
        keys=tuple(f"oasis/{paths[n].name}" for n in kept),
        parts=tuple(split_by_name(themes, "oasis|0")),
        groups=themes,
        labels=(Labels("beauty", "aesthetics", prompt, beauty, unit="MOS", range=(1, 7)),),
    )


def theme(name: str) -> str:
    """The theme of a picture by its name: "Angry_face_1", "Angry face 1" and "Angryface1", without
    a suffix, are of the theme "angryface"."""
    return _folded(re.sub(r"[\s_]*\d+\s*$", "", name))


def parts_of(pictures: Sequence[Path]) -> list[Part]:
    """The parts of these pictures of OASIS by their names, for those who use their pixels alone."""
    return split_by_name([theme(path.stem) for path in pictures], "oasis|0")


def _rows(table: Path) -> tuple[list[str], list[float]]:
    """Names of pictures, without suffix, and mean ratings. Raises DataError."""
    column = TABLES[table.name]
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in (column, BEAUTY) if name not in (reader.fieldnames or ())]:
            raise DataError(f"{table} has no column {', '.join(missing)}; is it OASIS's?")
        rows = list(reader)
    names, values = [], []
    for number, row in enumerate(rows, start=2):
        try:
            values.append(float(row[BEAUTY]))
        except (TypeError, ValueError) as error:
            raise DataError(f"{table}, row {number}: {error}") from error
        name = row[column].strip()
        names.append(Path(name).stem if column == "filepath" else name)
    return names, values


def _images(root: Path) -> Path:
    """The folder of the pictures: the publisher's archive has it with a capital."""
    return root / "Images" if (root / "Images").is_dir() else root / "images"


def _folded(name: str) -> str:
    """A name without case, blanks and underscores."""
    return re.sub(r"[\s_]", "", name).lower()
