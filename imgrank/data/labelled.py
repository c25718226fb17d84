"""A data set as the rest of imgrank sees it: pictures, the part each belongs to, and true values.

A reader (one file a data set in this folder) brings a published folder into this form. It has an
`ABOUT` for people and a `read(root, options) -> Labelled`, which opens no picture but makes sure
that they are there, so that a wrong or partial folder is an error before any work.

A set may have several queries ("the number of cats", "of dogs"), each with its own `Labels`: one
value a picture, NaN where that picture has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from imgrank.data.split import Part
from imgrank.errors import DataError
from imgrank.images.decode import decode, to_square
from imgrank.images.reading import Unreadable, read_file

__all__ = ["About", "Labelled", "Labels", "ReadOptions", "present", "read_picture"]

Pixels = npt.NDArray[np.uint8]
SHOWN = 5  # missing pictures named in an error


@dataclass(frozen=True, slots=True)
class About:
    """What people are told of a data set by `imgrank data list` and by errors.

    layout: the files that must be below the data set's folder, one a line.
    licence: the terms as its publisher gives them; "" if they were not seen.
    split: whose split it is, one line.   folds: how many there are; 0: one fixed split.
    """

    title: str
    paper: str
    source: str
    licence: str
    layout: str
    split: str
    queries: str
    folds: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """fold: which one is the test part, for a set that is published in folds.
    partial: pictures that are listed but not there are left out and reported, not an error.
    report: takes a line for people."""

    fold: int = 0
    partial: bool = False
    report: Callable[[str], None] = lambda line: None


@dataclass(frozen=True, eq=False, slots=True)
class Labels:
    """The truth of one query.

    key: names it within the set ("mos", "cats").   task: key of the known tasks (tasks.toml).
    subject: what the task is about ("cats"), "" if nothing.   prompt: what the text tower is given.
    values: float32 [N], higher is further up the scale; NaN: not labelled.
    unit, range: of the values; range None: open.
    classes: names of the class indices 0, 1, ... if the values are such; then accuracy is a figure.
    """

    key: str
    task: str
    prompt: str
    values: npt.NDArray[np.float32]
    subject: str = ""
    unit: str = ""
    range: tuple[float, float] | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pictures with their parts and labels: row n of everything is picture n.

    keys: name the content of each picture within the set, whatever machine it lies on.
    parts: None: of none, left out on purpose (see `fewer.py`).
    groups: relatives (one prompt, one photograph) that a split keeps together, and within which a
    label may be strictly comparable.   render: (index, S) -> uint8 [S, S, 3] of a picture that is
    made and not read; None: the file, upright, squashed without cropping.
    mirrored: whether a mirror image has the same labels and is worth its tokens.
    published: pictures of the whole set where that is known, to tell a part of it; 0: not known.
    """

    name: str
    paths: tuple[Path, ...]
    keys: tuple[str, ...]
    parts: tuple[Part | None, ...]
    groups: tuple[str, ...]
    labels: tuple[Labels, ...]
    render: Callable[[int, int], Pixels] | None = None
    mirrored: bool = True
    published: int = 0

    def __post_init__(self) -> None:
        sizes = {len(self.paths), len(self.keys), len(self.parts), len(self.groups)}
        sizes |= {len(labels.values) for labels in self.labels}
        if len(sizes) != 1 or not self.labels:
            raise ValueError(f"{self.name}: columns of different lengths, or no labels: {sizes}")

    def __len__(self) -> int:
        return len(self.paths)

    def pixels(self, index: int, size: int) -> Pixels:
        """uint8 [S, S, 3]: the whole picture squashed. Raises DataError, which names the file."""
        if self.render is not None:
            return self.render(index, size)
        return to_square(read_picture(self.paths[index], size), size)

    def rows(self, part: Part, labels: Labels | None = None) -> npt.NDArray[np.intp]:
        """Indices of one part; with `labels`, of those that it has a value for."""
        chosen = np.array([own == part for own in self.parts], dtype=bool)
        if labels is not None:
            chosen &= ~np.isnan(labels.values)
        return np.flatnonzero(chosen)


def read_picture(path: Path, size: int | None = None) -> Image.Image:
    """The picture at `path`, as `decode` gives it. Raises DataError, which names the file."""
    try:
        return decode(read_file(path), size)
    except Unreadable as error:
        raise DataError(f"{path} of the data set cannot be used: {error}") from error


def present(name: str, paths: Sequence[Path], options: ReadOptions) -> list[int]:
    """Indices of the listed pictures that are there.

    Raises DataError if one is missing, unless `options.partial`; and if all are.
    """
    there = [n for n, path in enumerate(paths) if path.is_file()]
    if len(there) == len(paths) and paths:
        return there
    kept = set(there)
    gone = [str(path) for n, path in enumerate(paths) if n not in kept]
    if not there:
        first = f", not even {gone[0]}" if gone else ""
        raise DataError(f"{name}: none of its {len(paths)} pictures is there{first}.")
    if not options.partial:
        listed = "".join(f"\n  {path}" for path in gone[:SHOWN])
        more = f"\n  and {len(gone) - SHOWN} more" if len(gone) > SHOWN else ""
        raise DataError(
            f"{name}: {len(gone)} of {len(paths)} pictures are missing:{listed}{more}\n"
            "Unpack it again, or go on with those that are there: --partial."
        )
    options.report(f"{name}: {len(gone)} of {len(paths)} pictures are missing and left out")
    return there
