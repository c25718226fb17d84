"""UTKFace: aligned crops of faces with the age in the name of the file.

Zhang, Song, Qi, Age progression/regression by conditional adversarial autoencoder (CVPR 2017).
Layout as published: `UTKFace/AGE_GENDER_RACE_DATE.jpg.chip.jpg`; in some names a field is missing,
but never the age. Only the age is used.

The paper follows Kuprashevich & Tolstykh (MiVOLO, 2023), who train and measure on the lists that
Cao, Mirjalili, Raschka published with CORAL: `utk_train.csv` and `utk_test.csv`, ages 21 to 60,
columns `file` and `age` (a class, age - 21, which is not used here). If both lie in the folder,
they are the split, and pictures that they do not name are left out. Else it is ours, of all ages.

Relatives are pictures that were collected in the same minute, as their names say: many of them are
faces out of one photograph, or one person found by one search. A few (about 1.7 %, seen by
comparing all pictures) were collected twice at different times, mostly with two different ages.
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

__all__ = ["ABOUT", "PUBLISHED", "read"]

PUBLISHED = 23_708  # pictures of the whole set
LISTS = ("utk_train.csv", "utk_test.csv")
NAME = re.compile(r"(?P<age>\d{1,3})_.*?(?P<stamp>\d{12})?\d*\.?jpg", re.IGNORECASE)
ABOUT = About(
    title="UTKFace: aligned crops of faces with their age",
    paper="Zhang, Song, Qi, Age progression/regression by conditional adversarial autoencoder, "
    "CVPR 2017",
    source="susanqq.github.io/UTKFace (the aligned and cropped faces)",
    licence="non-commercial research only",
    layout="UTKFace/*.jpg.chip.jpg\n"
    "utk_train.csv, utk_test.csv (optional: the paper's split, of "
    "github.com/Raschka-research-group/coral-cnn)",
    split="ours, by the minute a picture was collected in: 80 % training, 10 % validation, 10 % "
    "test; CORAL's, of the ages 21 to 60, if its two lists are there",
    queries="age (years, 0 to 116)",
)


def read(root: Path, options: ReadOptions) -> Labelled:
    """The age of all pictures.

    Raises DataError if there is no picture, if one of the lists is there without the other or
    names a picture that is not there (unless `options.partial`), or has no column `file`.
    """
    folder = root / "UTKFace" if (root / "UTKFace").is_dir() else root
    given = [name for name in LISTS if (root / name).is_file()]
    if len(given) == 1:
        other = next(name for name in LISTS if name not in given)
        raise DataError(f"{root} holds {given[0]} but not {other}: the split needs both, or none.")
    if given:
        names, parts = _listed(root)
        paths = [folder / name for name in names]
        kept = present("utkface", paths, options)
        paths, parts = [paths[n] for n in kept], [parts[n] for n in kept]
    else:
        paths = _found(folder, options)
        parts = []
    groups = tuple(_minute(path.name) for path in paths)
    ages = np.array([_age(path.name) for path in paths], dtype=np.float32)
    prompt = "sort images by the person's age group."
    return Labelled(
        "utkface",
        paths=tuple(paths),
        keys=tuple(f"utkface/{path.name}" for path in paths),
        parts=tuple(_with_validation(parts, groups) if given else _ours(groups)),
        groups=groups,
        labels=(Labels("age", "age", prompt, ages, unit="years", range=(0, 116)),),
        published=0 if given else PUBLISHED,
    )


def _found(folder: Path, options: ReadOptions) -> list[Path]:
    """The pictures of a folder; a file whose name is not one of the set's is reported."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".jpg")
    paths = [path for path in files if NAME.match(path.name)]
    for path in files:
        if not NAME.match(path.name):
            options.report(f"left out: {path}: its name does not begin with an age")
    if not paths:
        raise DataError(
            f"{folder} holds no picture of UTKFace, such as 26_1_0_20170116…jpg.chip.jpg. Unpack "
            "the aligned and cropped faces as published and name their folder."
        )
    if len(paths) < PUBLISHED:
        options.report(f"utkface: {len(paths)} of the {PUBLISHED} published pictures")
    return paths


def _listed(root: Path) -> tuple[list[str], list[Part]]:
    """Names and parts (training or test) of the two lists. Raises DataError."""
    names: list[str] = []
    parts: list[Part] = []
    for name, part in zip(LISTS, ("train", "test"), strict=True):
        with (root / name).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if "file" not in (reader.fieldnames or ()):
                raise DataError(f"{root / name} has no column file; is it CORAL's?")
            rows = [row["file"] for row in reader]
        if wrong := [row for row in rows if not NAME.match(row)]:
            raise DataError(f"{root / name} names {wrong[0]}, which does not begin with an age.")
        names += rows
        parts += [part] * len(rows)  # type: ignore[list-item]
    return names, parts


def _ours(groups: Sequence[str]) -> list[Part]:
    return split_by_name(groups, "utkface|0")


def _with_validation(parts: Sequence[Part], groups: Sequence[str]) -> list[Part]:
    """A tenth of the training groups becomes the validation part, which the lists do not have."""
    drawn = split_by_name(groups, "utkface|0", test=0)
    return [own if part == "train" else part for part, own in zip(parts, drawn, strict=True)]


def _age(name: str) -> int:
    found = NAME.match(name)
    assert found is not None
    return int(found["age"])


def _minute(name: str) -> str:
    """The minute in which a picture was collected, "201701162327"; else its whole name."""
    found = NAME.match(name)
    assert found is not None
    return found["stamp"] or name
