"""Entries -> bundles: each family of files once, in the place of its best rank, with the folder it
goes to. What cannot be filed is found here, or when names are given (`claims.py`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imgrank.files.companions import Family
from imgrank.files.folders import Folder, Folders
from imgrank.files.naming import numbered
from imgrank.files.plan import Entry, Wish
from imgrank.images import Skip

__all__ = ["Bundle", "gather"]


@dataclass(slots=True)
class Bundle:
    """A family that is filed as one.

    folder: it lies in.   typed: that folder, as the user typed it.
    into: the folder it goes to.   below: that one, as the user would type it.
    wished: stem that its names are to have.
    rows: paths of rows by name; a file that was named by two paths has both.
    targets: its names in `into`, by name, once they are given.   there: those that lie there
    already.   refused: why it stays; "" if it goes.
    """

    number: int
    folder: Folder
    typed: Path
    family: Family
    into: Folder
    below: Path
    wished: str
    rows: dict[str, list[Path]] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)
    there: set[str] = field(default_factory=set)
    refused: str = ""

    @property
    def names(self) -> list[str]:
        """Pictures of rows first."""
        names = self.family.names
        return [n for n in names if n in self.rows] + [n for n in names if n not in self.rows]

    def skips(self) -> list[Skip]:
        """Its rows, if it is refused."""
        paths = [path for same in self.rows.values() for path in same]
        return [Skip(path, self.refused) for path in paths] if self.refused else []


def gather(
    entries: Sequence[Entry], wish: Wish, folders: Folders
) -> tuple[list[Bundle], list[Skip]]:
    """In order of rank; and the rows that are not there any more or have nowhere to go.

    Raises UsageError if the target cannot be a folder.
    """
    root = None if wish.target is None else folders.target(wish.target)
    whereabouts = _Whereabouts(entries, wish, folders, root)
    width = len(str(max((entry.rank for entry in entries), default=0)))
    known: dict[tuple[int, str], Bundle] = {}  # by folder and name
    bundles: list[Bundle] = []
    skips: list[Skip] = []
    for entry in entries:
        parent, name = os.path.split(str(entry.path))
        folder = folders.source(parent)
        family = folder.family(name) if folder else None
        if folder is None or family is None:
            skips.append(Skip(entry.path, "no such file any more"))
            continue
        bundle = known.get((id(folder), name))
        if bundle is None:
            into, below = whereabouts.of(entry, folder)
            if into is None:
                skips.append(Skip(entry.path, f"{below} is a file, not a folder"))
                continue
            wished = _numbered(family, entry.rank, width) if wish.numbered else family.stem
            typed = entry.path.parent
            bundle = Bundle(len(bundles), folder, typed, family, into, below, wished)
            bundles.append(bundle)
            known |= dict.fromkeys(((id(folder), each) for each in family.names), bundle)
        bundle.rows.setdefault(name, []).append(entry.path)
    return bundles, skips


def _numbered(family: Family, rank: int, width: int) -> str:
    """Its stem with the rank; by a whole name, since that of 001__.jpg has nothing after 001__."""
    rest = family.rests[0]
    name = numbered(family.stem + rest, rank, width)
    return name[: len(name) - len(rest)]


class _Whereabouts:
    """Which folder an entry goes to."""

    def __init__(
        self, entries: Sequence[Entry], wish: Wish, folders: Folders, root: Folder | None
    ) -> None:
        self.wish = wish
        self.folders = folders
        self.root = root
        self.common = ""
        if root is not None and any(entry.folder is not None for entry in entries):
            parents = dict.fromkeys(os.path.split(entry.path)[0] for entry in entries)
            found = [folder.path for parent in parents if (folder := folders.source(parent))]
            self.common = os.path.commonpath(found) if found else ""

    def of(self, entry: Entry, folder: Folder) -> tuple[Folder | None, Path]:
        """And its path as the user would type it; None if a file is in the way there."""
        if self.root is None or self.wish.target is None:
            return folder, entry.path.parent
        parts: list[str] = []
        if entry.folder is not None:
            parts += folder.path.relative_to(self.common).parts
        if entry.group is not None:
            parts.append(entry.group)
        into, below = self.root, self.wish.target
        for part in parts:
            child = self.folders.child(into, part)
            if child is None:
                return None, below / part
            into, below = child[0], below / child[1]
        return into, below
