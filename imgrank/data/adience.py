"""Adience: faces from Flickr albums in eight age groups, in five folds.

Eidinger, Enbar, Hassner, Age and gender estimation of unfiltered faces (IEEE TIFS 2014). Layout as
published, one of each of the following:

    fold_0_data.txt .. fold_4_data.txt           a face a line, between tabs: user_id,
                                                 original_image, face_id, age, gender, x, ...
    fold_frontal_0_data.txt .. _4_data.txt       the same of nearly frontal faces only
    simplified_adience_0.txt .. 4.txt            USER/landmark_aligned_face.FACE.IMAGE CLASS:
                                                 L2RCLIP's lists of the first kind's faces; the
                                                 paper of the adapter follows L2RCLIP's split

    aligned/USER/landmark_aligned_face.FACE.IMAGE or faces/USER/coarse_tilt_aligned_face.FACE.IMAGE

The age of a line is one of the eight groups, or not quite: `GROUP_OF` lists what else there is and
where loaders of the set commonly put it: misprints of a group, and single ages, which go to the
nearest group. `None`, nothing, and (8, 23), which covers two groups, are no label: left out.
Exactly the eight groups, and nothing else, is what Levi and Hassner (CVPRW 2015) kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgrank.data.labelled import About, Labelled, Labels, ReadOptions, present
from imgrank.data.layout import find, read_table, read_text
from imgrank.data.split import Part, split_by_name
from imgrank.errors import DataError, UsageError

__all__ = ["ABOUT", "FOLDS", "GROUPS", "GROUP_OF", "Face", "read"]

FOLDS = 5
GROUPS = ("0-2", "4-6", "8-12", "15-20", "25-32", "38-43", "48-53", "60-100")
GROUP_OF = {
    **{f"({name.replace('-', ', ')})": n for n, name in enumerate(GROUPS)},
    **{"(25, 23)": 4, "(27, 32)": 4, "(38, 42)": 5, "(38, 48)": 5},
    **{"2": 0, "3": 0, "13": 2, "22": 3, "23": 4, "29": 4, "32": 4, "34": 4},
    **{"35": 5, "36": 5, "42": 5, "45": 5, "46": 6, "55": 6, "56": 6, "57": 7, "58": 7},
}
UNLABELLED = ("", "None", "(8, 23)")
LISTS = ("simplified_adience_{}.txt", "fold_{}_data.txt", "fold_frontal_{}_data.txt")
COLUMNS = ("user_id", "original_image", "face_id", "age")
PREFIXES = {"aligned": "landmark_aligned_face.", "faces": "coarse_tilt_aligned_face."}
ABOUT = About(
    title="Adience: faces from Flickr albums in eight age groups",
    paper="Eidinger, Enbar, Hassner, Age and gender estimation of unfiltered faces, 2014",
    source="talhassner.github.io/home/projects/Adience/Adience-data.html",
    licence="",
    layout="fold_0_data.txt to fold_4_data.txt (or fold_frontal_0_data.txt ..., or "
    "simplified_adience_0.txt ... of github.com/raywang335/L2RCLIP)\n"
    "aligned/USER/landmark_aligned_face.*.jpg (or faces/USER/coarse_tilt_aligned_face.*.jpg)",
    split="the authors' five folds; one is the test part; of the others 10 % of the users "
    "validation, ours",
    queries="age group (eight classes, 0-2 to 60-100)",
    folds=FOLDS,
)


@dataclass(frozen=True, slots=True)
class Face:
    """user: of Flickr, whose album it is.   file: FACE.IMAGE, without the alignment's prefix.
    group: index into GROUPS."""

    user: str
    file: str
    group: int
    fold: int


def read(root: Path, options: ReadOptions) -> Labelled:
    """The age group of all labelled faces; fold `options.fold` is the test part.

    Raises UsageError for a fold that there is not; DataError if a fold's list, one of its columns,
    the folder of the pictures or (unless `options.partial`) a picture is missing, or an age is
    neither in `GROUP_OF` nor in `UNLABELLED`.
    """
    if not 0 <= options.fold < FOLDS:
        raise UsageError(f"adience has the folds 0 to {FOLDS - 1}, not {options.fold}.")
    faces = _faces(root, options)
    folder = find(root, *PREFIXES)
    paths = [folder / face.user / f"{PREFIXES[folder.name]}{face.file}" for face in faces]
    kept = present("adience", paths, options)
    faces, paths = [faces[n] for n in kept], [paths[n] for n in kept]
    users = tuple(face.user for face in faces)
    groups = np.array([face.group for face in faces], dtype=np.float32)
    prompt = "sort images by the person's age group."
    labels = Labels("age", "age", prompt, groups, unit="age group", range=(0, 7), classes=GROUPS)
    return Labelled(
        "adience",
        paths=tuple(paths),
        keys=tuple(f"adience/{folder.name}/{path.parent.name}/{path.name}" for path in paths),
        parts=tuple(_parts(faces, options.fold)),
        groups=users,
        labels=(labels,),
    )


def _faces(root: Path, options: ReadOptions) -> list[Face]:
    """The labelled faces of all folds, in the order of the lists."""
    first = find(root, *(name.format(0) for name in LISTS)).name
    pattern = next(name for name in LISTS if name.format(0) == first)
    faces: list[Face] = []
    unlabelled = 0
    for fold in range(FOLDS):
        path = root / pattern.format(fold)
        if not path.is_file():
            raise DataError(f"{path} is missing: adience needs the lists of all {FOLDS} folds.")
        rows = _simplified(path) if pattern == LISTS[0] else _published(path)
        faces += [Face(user, file, group, fold) for user, file, group in rows if group is not None]
        unlabelled += sum(group is None for _, _, group in rows)
    options.report(f"adience: {len(faces)} faces of {pattern.format('*')}")
    if unlabelled:
        options.report(f"adience: {unlabelled} faces have no age group and are left out")
    if not faces:
        raise DataError(f"{root / first} and the other lists name no face with an age.")
    return faces


def _published(path: Path) -> list[tuple[str, str, int | None]]:
    """User, file and group of each line of a fold; None: not labelled."""
    rows: list[tuple[str, str, int | None]] = []
    for where, row in read_table(path, COLUMNS, delimiter="\t"):
        age = row["age"].strip()
        if age not in GROUP_OF and age not in UNLABELLED:
            raise DataError(f"{where}: {age!r} is no age of Adience, such as (25, 32).")
        file = f"{row['face_id']}.{row['original_image']}"
        rows.append((row["user_id"], file, GROUP_OF.get(age)))
    return rows


def _simplified(path: Path) -> list[tuple[str, str, int | None]]:
    """User, file and group of each line of one of L2RCLIP's lists."""
    rows: list[tuple[str, str, int | None]] = []
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        if not text.strip():
            continue
        picture, _, group = text.strip().rpartition(" ")
        user, _, file = picture.partition("/")
        if not file.startswith(PREFIXES["aligned"]) or group not in map(str, range(len(GROUPS))):
            raise DataError(f"{path}, line {line}: not USER/{PREFIXES['aligned']}FACE.IMAGE CLASS.")
        rows.append((user, file.removeprefix(PREFIXES["aligned"]), int(group)))
    return rows


def _parts(faces: list[Face], fold: int) -> list[Part]:
    drawn = split_by_name([face.user for face in faces], "adience|0", test=0)
    return ["test" if face.fold == fold else part for face, part in zip(faces, drawn, strict=True)]
