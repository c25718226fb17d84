"""Pictures with captions: what a text-to-image search is trained, kept and measured on.

`read_captioned` reads three sets by name: `flickr8k` and `coco` (also called `coco-captions`), as
published or as a part of the set, and `captions`, any folder of yours. The form that all three know
is a folder with pictures and `captions.csv`, a line a caption:

    filepath,caption,split
    images/1.jpg,A girl going into a wooden building .,train
    images/1.jpg,A little girl climbs into a playhouse .,train

filepath: relative to the file, or absolute.   split: train, validation or test, of `captions` only;
without the column the split is ours, by the picture's name alone (`split_by_name`): whoever has
another part of a set has the same picture in the same part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import get_args

import numpy as np
import numpy.typing as npt

from imgrank.data.catalogue import how_to_get, place
from imgrank.data.labelled import About, ReadOptions, present
from imgrank.data.layout import read_table
from imgrank.data.split import Part, split_by_name
from imgrank.errors import DataError, UsageError

__all__ = [
    "CAPTIONED",
    "TEST",
    "VALIDATION",
    "Captioned",
    "Told",
    "captioned",
    "read",
    "read_captioned",
    "read_csv",
]

CAPTIONED = ("flickr8k", "coco", "captions")
MODULES = {"flickr8k": "flickr8k", "coco": "coco_captions", "captions": "captions"}
ENTRY = {"coco": "coco-captions"}  # in the catalogue, where coco is the set with counts
VALIDATION, TEST = 0.1, 0.2  # shares of the split that is ours
CSV = "captions.csv"
PARTS = get_args(Part)
ABOUT = About(
    title="your own pictures, with captions in a CSV file",
    paper="",
    source="you: --root FOLDER or FILE.csv",
    licence="",
    layout="captions.csv: filepath,caption[,split], a line a caption",
    split="its column split (train, validation, test), else ours, by picture: 70 % training, "
    "10 % validation, 20 % test",
    queries="a picture by one of its captions",
    note="Paths are relative to the CSV file.",
)


@dataclass(frozen=True, eq=False)
class Captioned:
    """Pictures and what people said of each: row n of everything is picture n.

    keys: name each picture within its set, whatever machine it lies on ("flickr8k/1.jpg").
    captions: at least one a picture, as published but for white space at both ends.
    published: pictures of the whole set where that is known, to tell a part of it; 0: not known.
    """

    name: str
    paths: tuple[Path, ...]
    keys: tuple[str, ...]
    parts: tuple[Part, ...]
    captions: tuple[tuple[str, ...], ...]
    published: int = 0

    def __post_init__(self) -> None:
        sizes = {len(self.paths), len(self.keys), len(self.parts), len(self.captions)}
        if len(sizes) != 1 or not all(self.captions):
            raise ValueError(f"{self.name}: columns of different lengths, or no caption: {sizes}")

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, part: Part) -> npt.NDArray[np.intp]:
        """Indices of one part."""
        return np.flatnonzero(np.array([own == part for own in self.parts], dtype=bool))


@dataclass(frozen=True, slots=True)
class Told:
    """One picture of a table: where it is, its name there, its captions, its part if told."""

    path: Path
    name: str
    captions: Sequence[str]
    part: str = ""


def read_captioned(name: str, root: Path, options: ReadOptions | None = None) -> Captioned:
    """A captioned set from its folder: `root`/NAME if that is there, else `root` itself.

    name: one of `CAPTIONED`, or "coco-captions", which is coco.
    Raises UsageError for another name, DataError if the folder or the captions are missing or
    damaged, or (unless `options.partial`) a picture is missing.
    """
    name = "coco" if name == "coco-captions" else name
    if name not in CAPTIONED:
        raise UsageError(f"{name} has no captions here; {', '.join(CAPTIONED)} have.")
    entry = ENTRY.get(name, name)
    folder = place(entry, root)
    if not folder.exists():
        raise DataError(f"{name}: there is no folder {root / name}.\n{how_to_get(entry)}")
    function: Callable[[Path, ReadOptions], Captioned]
    function = import_module(f"imgrank.data.{MODULES[name]}").read
    try:
        return function(folder, options or ReadOptions())
    except DataError as error:
        if folder == root:  # it was not found by its name: perhaps it is not here at all
            raise DataError(f"{error}\n{how_to_get(entry)}") from error
        raise DataError(f"{error}\n`imgrank data list {entry}` says how to lay it out.") from error


def read(root: Path, options: ReadOptions) -> Captioned:
    """The set `captions`: `root`/captions.csv, or the CSV file `root`. Raises DataError."""
    file = root if root.is_file() else root / CSV
    if not file.is_file():
        raise DataError(f"{root} holds no {CSV}: where are the captions?")
    told = read_csv(file)
    parts: Sequence[Part] = split_by_name([t.name for t in told], "captions|0", VALIDATION, TEST)
    if told[0].part:
        parts = [part for t in told for part in PARTS if part == t.part]
    return captioned("captions", told, parts, options)


def read_csv(file: Path) -> list[Told]:
    """The pictures of a captions.csv in order of their first line, see the head of this module.

    Raises DataError, with the line, for a column that is missing, an empty cell, a split that is
    none, and a picture in two parts.
    """
    found: dict[str, tuple[list[str], str]] = {}
    for where, row in read_table(file, ("filepath", "caption")):
        name, caption = row["filepath"].strip(), row["caption"].strip()
        part = (row.get("split") or "").strip()
        if None in row:
            raise DataError(f"{where}: too many cells. Quote captions that have commas.")
        if not name or not caption:
            raise DataError(f"{where}: no {'caption' if name else 'filepath'}.")
        if "split" in row and part not in PARTS:
            raise DataError(f"{where}: split is {part!r}, none of {', '.join(PARTS)}.")
        captions, before = found.setdefault(name, ([], part))
        if part != before:
            raise DataError(f"{where}: the split of {name} is {part!r}, and {before!r} before.")
        captions.append(caption)
    return [
        Told(file.parent / name, PurePosixPath(name).as_posix(), captions, part)
        for name, (captions, part) in found.items()
    ]


def captioned(
    name: str,
    told: Sequence[Told],
    parts: Sequence[Part],
    options: ReadOptions,
    published: int = 0,
) -> Captioned:
    """The pictures of `told` that are there, as one set. Raises DataError as `present` does."""
    kept = present(name, [each.path for each in told], options)
    return Captioned(
        name,
        paths=tuple(told[n].path for n in kept),
        keys=tuple(f"{name}/{told[n].name}" for n in kept),
        parts=tuple(parts[n] for n in kept),
        captions=tuple(tuple(told[n].captions) for n in kept),
        published=published,
    )
