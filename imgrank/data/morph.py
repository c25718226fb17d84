"""MORPH II: police photographs of faces, several of each person over the years, with their ages.

Ricanek, Tesafaye, MORPH: A longitudinal image database of normal adult age-progression (2006).
The album of 2008 has 55,134 pictures of people of 16 to 77. A picture's name tells person, number,
sex and age: `070081_2F36.JPG` is person 070081 at the age of 36; only person and age are used.

    image/070081_2F36.JPG
    morph_C_00.txt .. morph_C_04.txt    a fold each: a path, of which the last part is the picture's
    morph_D_00.txt .. morph_D_04.txt    name, a blank, the age

The lists are those that L2RCLIP publishes (beside them or in their folders `settingC`, `settingD`):
five folds, of which one is tested and four are trained on, so 80 to 20 %. In those named C one
person is in several folds, in those named D all pictures of a person stand together (Lim et al.,
Order learning and its application to age estimation, 2020, name the two settings the other way
round). If both lie there, C is taken. The paper does not say which setting its figures are of;
there are smaller ones, of 5,492 pictures (Lim's A). Pictures above the age of 77 are left out, as
L2RCLIP's reader does.

Without lists the five folds are ours, by person. How the set's own publisher lays it out was not
seen; the names of the pictures are in the lists.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from imgrank.data.labelled import About, Labelled, Labels, ReadOptions, present
from imgrank.data.layout import read_text
from imgrank.data.split import Part, fold_by_name, split_by_name
from imgrank.errors import DataError, UsageError

__all__ = ["ABOUT", "FOLDS", "OLDEST", "YOUNGEST", "read"]

FOLDS = 5
PUBLISHED = 55_134  # pictures of the album
YOUNGEST, OLDEST = 16, 77
NAME = re.compile(r"(?P<person>\d+)_\d+[MF](?P<age>\d{1,3})\.jpe?g", re.IGNORECASE)
LISTS = (
    *("morph_C_{:02d}.txt", "settingC/morph_C_{:02d}.txt"),
    *("morph_D_{:02d}.txt", "settingD/morph_D_{:02d}.txt"),
)
FOLDERS = ("image", "images", "")
ABOUT = About(
    title="MORPH II: police photographs of faces, several of each person, with their ages",
    paper="Ricanek, Tesafaye, MORPH: A longitudinal image database of normal adult "
    "age-progression, 2006",
    source="University of North Carolina Wilmington, on request",
    licence="",
    layout="image/*.JPG, such as 070081_2F36.JPG\n"
    "morph_C_00.txt to morph_C_04.txt or morph_D_00.txt to morph_D_04.txt (optional: the folds of "
    "github.com/raywang335/L2RCLIP)",
    split="ours, in five folds by person (one is the test part), or those of morph_*.txt; of the "
    "others 10 % validation, ours",
    queries="age (years, 16 to 77)",
    folds=FOLDS,
    note="Photographs of people who were arrested.",
)
Row = tuple[str, str, int, int]  # picture, person, age, fold


def read(root: Path, options: ReadOptions) -> Labelled:
    """The age of all pictures; fold `options.fold` is the test part.

    Raises UsageError for a fold that there is not; DataError if there is no picture, a list is
    missing or damaged, (unless `options.partial`) names a picture that is not there, or if a
    picture is listed twice.
    """
    if not 0 <= options.fold < FOLDS:
        raise UsageError(f"morph has the folds 0 to {FOLDS - 1}, not {options.fold}.")
    pattern = next((each for each in LISTS if (root / each.format(0)).is_file()), "")
    if pattern:
        rows = _listed(root, pattern)
        folder = next((root / name for name in FOLDERS if (root / name).is_dir()), root)
        options.report(f"morph: {len(rows)} pictures of {Path(pattern.format(0)).stem[:-3]}_*")
    else:
        folder, rows = _found(root, options)
    if old := sum(age > OLDEST for _, _, age, _ in rows):
        rows = [row for row in rows if row[2] <= OLDEST]
        options.report(f"morph: {old} pictures above the age of {OLDEST} are left out")
    paths = [folder / name for name, _, _, _ in rows]
    kept = present("morph", paths, options)
    rows, paths = [rows[n] for n in kept], [paths[n] for n in kept]
    people = [person for _, person, _, _ in rows]
    # In the lists C people are on both sides of the split, so the validation part is like that too.
    relatives = [name for name, _, _, _ in rows] if "morph_C" in pattern else people
    ages = np.array([age for _, _, age, _ in rows], dtype=np.float32)
    prompt = "sort images by the person's age group."
    return Labelled(
        "morph",
        paths=tuple(paths),
        keys=tuple(f"morph/{name}" for name, _, _, _ in rows),
        parts=tuple(_parts(relatives, [fold for *_, fold in rows], options.fold)),
        groups=tuple(people),
        labels=(Labels("age", "age", prompt, ages, unit="years", range=(YOUNGEST, OLDEST)),),
        published=0 if pattern else PUBLISHED,
    )


def _listed(root: Path, pattern: str) -> list[Row]:
    """The rows of the five lists. Raises DataError."""
    rows: list[Row] = []
    for fold in range(FOLDS):
        path = root / pattern.format(fold)
        if not path.is_file():
            raise DataError(f"{path} is missing: the split needs the lists of all {FOLDS} folds.")
        for line, text in enumerate(read_text(path).splitlines(), start=1):
            if not text.strip():
                continue
            picture, _, age = text.strip().rpartition(" ")
            name = picture.replace("\\", "/").rpartition("/")[2]
            known = NAME.fullmatch(name)
            if known is None or not age.isdecimal():
                raise DataError(f"{path}, line {line}: not such as 070081_2F36.JPG 36.")
            rows.append((name, known["person"], int(age), fold))
    if not rows:
        raise DataError(f"{root / pattern.format(0)} and the other lists name no picture.")
    if twice := len(rows) - len({name for name, *_ in rows}):
        raise DataError(
            f"{root / pattern.format(0)} and the other lists name {twice} pictures twice."
        )
    return rows


def _found(root: Path, options: ReadOptions) -> tuple[Path, list[Row]]:
    """The folder of the pictures and their rows, by their names. Raises DataError."""
    for folder in (root / name for name in FOLDERS if (root / name).is_dir()):
        names = sorted(path.name for path in folder.iterdir() if NAME.fullmatch(path.name))
        if names:
            break
    else:
        raise DataError(
            f"{root} holds no picture of MORPH II, such as image/070081_2F36.JPG. Unpack it as "
            "published and name its folder."
        )
    if len(names) != PUBLISHED:
        options.report(f"morph: {len(names)} pictures, where {PUBLISHED} are published")
    rows = []
    for name in names:
        known = NAME.fullmatch(name)
        assert known is not None
        person = known["person"]
        rows.append((name, person, int(known["age"]), fold_by_name(person, "morph|0", FOLDS)))
    return folder, rows


def _parts(relatives: Sequence[str], folds: Sequence[int], tested: int) -> list[Part]:
    drawn = split_by_name(relatives, "morph|validation", test=0)
    return ["test" if fold == tested else part for fold, part in zip(folds, drawn, strict=True)]
