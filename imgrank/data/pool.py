"""The pictures that a search looks in and the part of each: data sets, and folders of yours.

A set's parts are the same wherever it is used for search: captioned sets by picture, those with
values (`oasis`: by theme) as their reader splits them. All of COCO's pictures count, also those
without a caption. A folder of yours is named by its own name, and all of it is training part.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgrank.data import catalogue, coco
from imgrank.data.captions import CAPTIONED, TEST, VALIDATION, read_captioned
from imgrank.data.labelled import ReadOptions
from imgrank.data.split import Part, split_by_name
from imgrank.errors import DataError, UsageError
from imgrank.images import ImageFile
from imgrank.images.scan import scan

__all__ = ["Pool", "find_pictures", "read_pool"]


@dataclass(frozen=True, eq=False)
class Pool:
    """Row n of everything is picture n.

    keys: name each picture, whatever machine it lies on: "oasis/Cat_1.jpg", "holiday/day 1/2.jpg".
    of: the set of each, or the name of the folder.   folders: the names that are folders.
    """

    paths: tuple[Path, ...]
    keys: tuple[str, ...]
    parts: tuple[Part, ...]
    of: tuple[str, ...]
    folders: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, part: Part) -> npt.NDArray[np.intp]:
        """Indices of one part."""
        return np.flatnonzero(np.array([own == part for own in self.parts], dtype=bool))

    def select(self, rows: Sequence[int] | npt.NDArray[np.intp]) -> Pool:
        """Only these pictures, in the order given."""
        return Pool(
            tuple(self.paths[n] for n in rows),
            tuple(self.keys[n] for n in rows),
            tuple(self.parts[n] for n in rows),
            tuple(self.of[n] for n in rows),
            self.folders,
        )

    def part(self, part: Part) -> Pool:
        """The pictures of one part."""
        return self.select(self.rows(part))


def read_pool(names: Sequence[str | Path], root: Path, options: ReadOptions | None = None) -> Pool:
    """The pictures of several sets and folders, in that order.

    names: of sets below `root` (those of the catalogue that have pictures), or paths of folders.
    Raises UsageError for what is neither and for two of one name, DataError as the sets' readers do
    and for a folder without pictures.
    """
    options = options or ReadOptions()
    pools, seen = list[Pool](), set[str]()
    for name in names:
        found = _one(name, root, options)
        own = found.of[0]
        if own in seen:
            raise UsageError(f"two of the pool are called {own}: leave one out, or rename it.")
        seen.add(own)
        pools.append(found)
    if not pools:
        raise UsageError("a pool of nothing: name a data set or a folder.")
    return Pool(
        tuple(path for pool in pools for path in pool.paths),
        tuple(key for pool in pools for key in pool.keys),
        tuple(part for pool in pools for part in pool.parts),
        tuple(own for pool in pools for own in pool.of),
        frozenset().union(*(pool.folders for pool in pools)),
    )


def find_pictures(folder: Path, options: ReadOptions | None = None, name: str = "") -> Pool:
    """All pictures below a folder of yours, as a sort finds them; what cannot be used is reported.

    name: what it is called, if not as it is named. Raises DataError if there is none.
    """
    options = options or ReadOptions()
    name = name or Path(os.path.abspath(folder)).name  # noqa: PTH100 a link keeps its own name
    paths = []
    for each in sorted(scan([folder]), key=lambda item: item.path.as_posix()):
        if isinstance(each, ImageFile):
            paths.append(each.path)
        else:
            options.report(f"{each.path} is left out: {each.reason}")
    if not paths:
        raise DataError(f"{folder} holds no picture.")
    keys = tuple(f"{name}/{path.relative_to(folder).as_posix()}" for path in paths)
    parts: list[Part] = ["train"] * len(paths)
    return Pool(tuple(paths), keys, tuple(parts), (name,) * len(paths), frozenset({name}))


def _one(name: str | Path, root: Path, options: ReadOptions) -> Pool:
    if name == "coco":
        return _coco(root, options)
    if name in CAPTIONED:
        found = read_captioned(str(name), root, options)
        return Pool(found.paths, found.keys, found.parts, (found.name,) * len(found))
    if str(name) in catalogue.CATALOGUE:
        return _labelled(str(name), root, options)
    if Path(name).is_dir():
        return find_pictures(Path(name), options)
    raise UsageError(
        f"there is neither a data set nor a folder {name}. `imgrank data list` names the sets."
    )


def _labelled(name: str, root: Path, options: ReadOptions) -> Pool:
    """A set whose pictures have values. Raises UsageError for one whose pictures are made."""
    drawn = not catalogue.reader(name).files
    data = None if drawn else catalogue.read(name, root, options)
    if data is None or data.render is not None:
        raise UsageError(f"the pictures of {name} are made, not files: they are in no pool.")
    rows = [n for n, part in enumerate(data.parts) if part is not None]
    return Pool(
        tuple(data.paths[n] for n in rows),
        tuple(data.keys[n] for n in rows),
        tuple(part for part in data.parts if part is not None),
        (name,) * len(rows),
    )


def _coco(root: Path, options: ReadOptions) -> Pool:
    """COCO with captions; and, of a part of the set, the pictures without one that have counts."""
    found = read_captioned("coco", root, options)
    folder = catalogue.place("coco", root)
    more = list[Path]()
    if not (folder / "annotations").is_dir() and (folder / "labels.csv").is_file():
        known = set(found.keys)
        labelled = coco.read(folder, options)
        pairs = zip(labelled.paths, labelled.keys, strict=True)
        more = [path for path, key in pairs if key not in known]
    names = [path.name for path in more]
    return Pool(
        found.paths + tuple(more),
        found.keys + tuple(f"coco/{name}" for name in names),
        found.parts + tuple(split_by_name(names, coco.SALT, VALIDATION, TEST)),
        ("coco",) * (len(found) + len(more)),
    )
