"""Whether a set for text-to-image search is here and complete, and what is in it.

What `check.py` is for sets with values: these hold captions, classes or groups of pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imgrank.data.captions import CAPTIONED, Captioned, read_captioned
from imgrank.data.catalogue import place, read_groups
from imgrank.data.check import Progress, unreadable_pictures
from imgrank.data.classes import Classed
from imgrank.data.labelled import ReadOptions
from imgrank.errors import DataError

__all__ = ["Held", "check_search"]

Found = tuple[list[Path], Sequence[str], dict[str, int], int]


@dataclass(frozen=True, slots=True)
class Held:
    """What was found of a set.

    parts: pictures of each part; {} where there is nothing.   counts: of what else it holds.
    problem: what is wrong, "" if nothing.   notes: what its reader reports.
    unreadable: (path, reason), if the pictures were tried.
    published: pictures of the whole set, if those that are listed here are fewer; else 0.
    """

    name: str
    folder: Path
    problem: str
    paths: tuple[Path, ...] = ()
    parts: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unreadable: tuple[tuple[Path, str], ...] = ()
    published: int = 0

    @property
    def usable(self) -> bool:
        """Whether nothing is wrong with what is here."""
        return not self.problem and not self.unreadable

    @property
    def complete(self) -> bool:
        return self.usable and not self.published


def check_search(
    name: str,
    root: Path,
    pictures: bool = False,
    threads: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Held:
    """Reads a set of `catalogue.RETRIEVAL` and, with `pictures`, decodes every file of it."""
    notes: list[str] = []
    problem = ""
    found: Found | None
    try:
        found = _read(name, root, ReadOptions(report=notes.append))
    except DataError as error:
        problem = str(error)
        notes.clear()
        found = _what_is_there(name, root, ReadOptions(partial=True, report=notes.append))
    folder = place(name, root)
    if found is None:
        return Held(name, folder, problem, notes=tuple(notes))
    paths, parts, counts, whole = found
    bad = unreadable_pictures(paths, threads, progress) if pictures else []
    return Held(
        name,
        folder,
        problem,
        tuple(paths),
        {part: parts.count(part) for part in ("train", "validation", "test")},
        counts,
        tuple(notes),
        tuple(bad),
        whole if len(paths) < whole else 0,
    )


def _read(name: str, root: Path, options: ReadOptions) -> Found:
    """Pictures, each once, their parts, what else there is, and how many pictures the whole has."""
    if name in (*CAPTIONED, "coco-captions"):
        data: Captioned = read_captioned(name, root, options)
        captions = sum(map(len, data.captions))
        return list(data.paths), data.parts, {"captions": captions}, data.published
    other = read_groups(name, root, options)
    if isinstance(other, Classed):
        paths = list(other.paths)
        counts = {"classes": len(other.names)}
    else:
        paths = [path for each in other for group in each.pictures for path in group]
        counts = {"queries": len(other)}
    paths = list(dict.fromkeys(paths))
    return paths, ["test"] * len(paths), counts, 0


def _what_is_there(name: str, root: Path, options: ReadOptions) -> Found | None:
    try:
        return _read(name, root, options)
    except DataError:
        return None
