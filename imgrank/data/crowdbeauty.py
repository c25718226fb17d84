"""CrowdBeauty: Flickr photographs of four categories in five levels of beauty.

Schifanella, Redi, Aiello, An image is worth more than a thousand favorites (ICWSM 2015): animals,
nature, people and urban scenes, each judged by several people on a scale of 1 (unacceptable),
flawed, ordinary, professional, 5 (exceptional). Of some 15,000 listed photographs Flickr still has
about 13,900 (paper 000: 13,929). Two layouts:

* as published: `beauty-icwsm15-dataset.tsv` (columns `#flickr_photo_id`, `category`,
  `beauty_scores`, "3,4,4,2,3"). The level is the median of a picture's scores, rounded down, as
  loaders of the literature on ordinal regression have it. Five folds, ours: a fold is tested, of
  the others 10 % are for validation;
* with L2RCLIP's lists: `animals_train.txt`, `animals_test.txt`, and so of `nature`, `people`,
  `urban`: a picture a line, `3277456063.png`, tab, `4.0`. One split of 80 and 20 %: fold 0.

The pictures are in `images/` or `img_files/`, named by their id, with any suffix, or in a folder a
category in there. `read` gives all four categories, `read_animals` and so on one of them: the paper
measures each for itself.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from imgrank.data.labelled import About, Labelled, Labels, ReadOptions, present
from imgrank.data.layout import find, number, read_table, read_text
from imgrank.data.split import Part, fold_by_name, split_by_name
from imgrank.errors import DataError, UsageError
from imgrank.images.formats import SUFFIXES

__all__ = [
    "ABOUT",
    "CATEGORIES",
    "FOLDS",
    "LEVELS",
    "read",
    "read_animals",
    "read_nature",
    "read_people",
    "read_urban",
]

FOLDS = 5
LEVELS = ("unacceptable", "flawed", "ordinary", "professional", "exceptional")
CATEGORIES = ("animals", "nature", "people", "urban")
TABLE = "beauty-icwsm15-dataset.tsv"
COLUMNS = ("#flickr_photo_id", "category", "beauty_scores")
LISTS = tuple(f"{name}_{part}.txt" for name in CATEGORIES for part in ("train", "test"))
FOLDERS = ("images", "img_files")
ABOUT = About(
    title="CrowdBeauty: Flickr photographs of four categories in five levels of beauty",
    paper="Schifanella, Redi, Aiello, An image is worth more than a thousand favorites: surfacing "
    "the hidden beauty of Flickr pictures, 2015",
    source="CrowdBeauty's ratings: di.unito.it/~schifane/dataset/beauty-icwsm15; its pictures: "
    "Flickr, by their ids",
    licence="",
    layout=f"{TABLE} (or animals_train.txt, animals_test.txt, ... of "
    "github.com/raywang335/L2RCLIP)\nimages/ID.jpg (or img_files/; any suffix)",
    split="ours, in five folds by picture, or L2RCLIP's one split (fold 0); of the training part "
    "10 % validation, ours",
    queries="level (five classes, unacceptable to exceptional)",
    folds=FOLDS,
    note="Flickr no longer has some of the pictures: use --partial.",
)


class Rated(NamedTuple):
    """id: of the photograph.   level: 0 to 4.   tested: whether in the test part."""

    id: str
    category: str
    level: int
    tested: bool


def read(root: Path, options: ReadOptions) -> Labelled:
    """The level of all photographs.

    Raises UsageError for a fold that there is not; DataError if the table or a list is missing or
    damaged, or (unless `options.partial`) a picture is missing.
    """
    return _read(root, options, CATEGORIES, "crowdbeauty")


def read_animals(root: Path, options: ReadOptions) -> Labelled:
    """As `read`, of animals only."""
    return _read(root, options, ("animals",), "crowdbeauty-animals")


def read_nature(root: Path, options: ReadOptions) -> Labelled:
    """As `read`, of nature only."""
    return _read(root, options, ("nature",), "crowdbeauty-nature")


def read_people(root: Path, options: ReadOptions) -> Labelled:
    """As `read`, of people only."""
    return _read(root, options, ("people",), "crowdbeauty-people")


def read_urban(root: Path, options: ReadOptions) -> Labelled:
    """As `read`, of urban scenes only."""
    return _read(root, options, ("urban",), "crowdbeauty-urban")


def _read(root: Path, options: ReadOptions, categories: tuple[str, ...], name: str) -> Labelled:
    if not 0 <= options.fold < FOLDS:
        raise UsageError(f"{name} has the folds 0 to {FOLDS - 1}, not {options.fold}.")
    source = find(root, TABLE, *LISTS).name
    rated = _table(root / TABLE, options) if source == TABLE else _lists(root, options)
    rated = [row for row in rated if row.category in categories]
    there = _pictures(root)
    paths = [there.get(row.id, root / FOLDERS[0] / f"{row.id}.jpg") for row in rated]
    kept = present(name, paths, options)
    rated = [rated[n] for n in kept]
    drawn = split_by_name([row.id for row in rated], "crowdbeauty|0", test=0)
    parts: list[Part] = [
        "test" if row.tested else part for row, part in zip(rated, drawn, strict=True)
    ]
    levels = np.array([row.level for row in rated], dtype=np.float32)
    prompt = "sort images by the aesthetic quality of MOS"
    keys = tuple(f"crowdbeauty/{row.id}" for row in rated)
    labels = Labels(
        "level", "aesthetics", prompt, levels, unit="level", range=(0, 4), classes=LEVELS
    )
    return Labelled(
        name,
        paths=tuple(paths[n] for n in kept),
        keys=keys,
        parts=tuple(parts),
        groups=keys,
        labels=(labels,),
    )


def _table(path: Path, options: ReadOptions) -> list[Rated]:
    """The rows of the published table, in our folds. Raises DataError."""
    rows: dict[str, Rated] = {}
    for where, row in read_table(path, COLUMNS, delimiter="\t"):
        category = row["category"].strip()
        category = "animals" if category == "animal" else category
        if category not in CATEGORIES:
            raise DataError(f"{where}: category is {category!r}, not {', '.join(CATEGORIES)}.")
        scores = [number(cell, where, "beauty_scores") for cell in row["beauty_scores"].split(",")]
        own = row["#flickr_photo_id"].strip()
        if own in rows:
            raise DataError(f"{where}: {own} is listed before.")
        level = _level(median(scores), where)
        tested = fold_by_name(own, "crowdbeauty|fold", FOLDS) == options.fold
        rows[own] = Rated(own, category, level, tested)
    return list(rows.values())


def _lists(root: Path, options: ReadOptions) -> list[Rated]:
    """The rows of L2RCLIP's lists. Raises UsageError for another fold than 0; DataError."""
    if missing := [name for name in LISTS if not (root / name).is_file()]:
        raise DataError(f"{root} lacks the lists {', '.join(missing)}.")
    if options.fold:
        raise UsageError(
            f"L2RCLIP's lists of CrowdBeauty are one split, fold 0, so fold {options.fold} names "
            f"nothing. For five folds put {TABLE} beside them: it is taken first."
        )
    rows: dict[str, Rated] = {}
    for name in LISTS:
        category, _, part = Path(name).stem.partition("_")
        for line, text in enumerate(read_text(root / name).splitlines(), start=1):
            where = f"{root / name}, line {line}"
            picture, tab, level = text.strip().partition("\t")
            if not text.strip():
                continue
            if not tab:
                raise DataError(f"{where}: not a picture, a tab and its level.")
            own = Path(picture).stem
            if own in rows:
                raise DataError(f"{where}: {own} is listed before.")
            found = _level(number(level, where, "the level"), where)
            rows[own] = Rated(own, category, found, part == "test")
    return list(rows.values())


def _level(score: float, where: str) -> int:
    """A score of 1 to 5, rounded down -> 0 to 4. Raises DataError."""
    if not 1 <= score <= len(LEVELS):
        raise DataError(f"{where}: {score:g} is no level of 1 to {len(LEVELS)}.")
    return int(score) - 1


def _pictures(root: Path) -> dict[str, Path]:
    """All pictures by their name without suffix."""
    found: dict[str, Path] = {}
    for folder in (root / name for name in FOLDERS if (root / name).is_dir()):
        for place in (folder, *(folder / name for name in CATEGORIES)):
            if place.is_dir():
                found |= {p.stem: p for p in place.iterdir() if p.suffix.lower() in SUFFIXES}
    return found
