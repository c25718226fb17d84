"""Pictures in a folder a class, ROOT/CLASS/*.jpg: for zero-shot classification by the class's name.

A class is called as its folder is, with blanks for underscores ("hot_dog": "hot dog"). Where the
folders have codes ("n01440764"), `ROOT/classes.csv` gives the names:

    folder,name
    n01440764,tench

One layout serves ImageNet's validation part (in a folder a class), CIFAR, Caltech-101, your own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgrank.data.labelled import About, ReadOptions
from imgrank.data.layout import read_table
from imgrank.errors import DataError
from imgrank.images import ImageFile
from imgrank.images.scan import scan

__all__ = ["ABOUT", "Classed", "read"]

NAMES = "classes.csv"
ABOUT = About(
    title="pictures in a folder a class, told apart by the classes' names alone",
    paper="",
    source="you: --root FOLDER",
    licence="",
    layout="CLASS/*.jpg, a folder a class\nif need be classes.csv: folder,name",
    split="all test",
    queries="the class of a picture",
    note="Folders are called as their classes; underscores are blanks.",
)


@dataclass(frozen=True, eq=False, slots=True)
class Classed:
    """Pictures [N], and the number of the class of each.   names: of the classes."""

    paths: tuple[Path, ...]
    labels: npt.NDArray[np.intp]
    names: tuple[str, ...]


def read(root: Path, options: ReadOptions) -> Classed:
    """All pictures below the folders of `root`; a file that is no picture is reported.

    Raises DataError if there are not two classes with pictures, if two have one name, or if
    classes.csv names no folder that is here or leaves one out.
    """
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    given = _given(root)
    if given is not None:
        if unnamed := [path.name for path in folders if path.name not in given]:
            raise DataError(f"{root / NAMES} gives no name to the folder {unnamed[0]}.")
        if gone := sorted(given.keys() - {path.name for path in folders}):
            raise DataError(f"{root / NAMES} names a folder {gone[0]}, which is not here.")
    paths: list[Path] = []
    labels: list[int] = []
    names: list[str] = []
    for folder in folders:
        own = _pictures(folder, options)
        if not own:
            options.report(f"{folder} holds no picture and is left out")
            continue
        paths += own
        labels += [len(names)] * len(own)
        names.append((given or {}).get(folder.name, folder.name.replace("_", " ").strip()))
    if len(names) < 2:
        raise DataError(f"{root} holds {len(names)} folders with pictures; two classes are needed.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{root}: two classes are called {twice[0]!r}. Tell them apart in {NAMES}.")
    return Classed(tuple(paths), np.array(labels, np.intp), tuple(names))


def _given(root: Path) -> dict[str, str] | None:
    """Folder -> name, None without classes.csv."""
    if not (root / NAMES).is_file():
        return None
    found: dict[str, str] = {}
    for where, row in read_table(root / NAMES, ("folder", "name")):
        folder, name = row["folder"].strip(), row["name"].strip()
        if not folder or not name:
            raise DataError(f"{where}: no {'name' if folder else 'folder'}.")
        if folder in found:
            raise DataError(f"{where}: {folder} has a name already.")
        found[folder] = name
    return found


def _pictures(folder: Path, options: ReadOptions) -> list[Path]:
    found = []
    for each in scan([folder]):
        if isinstance(each, ImageFile):
            found.append(each.path)
        else:
            options.report(f"{each.path} is left out: {each.reason}")
    return sorted(found)
