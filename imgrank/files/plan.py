"""What is to be done with which files, as plain values. Nothing here touches a disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from imgrank.images import Skip

__all__ = ["Action", "Entry", "Plan", "Step", "Verb", "Wish"]

Verb = Literal["copy", "link", "move", "rename"]
"""What the user asked for."""

Action = Literal["copy", "symlink", "hardlink", "move"]
"""What is done to one file. A rename is a move within its folder."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture to be filed, in its place in the order.

    path: as the row has it.   rank: 1 is first.   group: name of its folder below the target, None
    without groups.   folder: that it was ranked in (`--per-folder`), None if all were one set.
    """

    path: Path
    rank: int
    group: str | None = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for, checked.

    target: the folder that `copy`, `link` and `move` go to, None for `rename` in place.
    hard: links are hard links.   numbered: names get the rank as a prefix (always for `rename`).
    """

    verb: Verb
    target: Path | None = None
    hard: bool = False
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One change to one file. Paths are absolute and not resolved: a link is a file of its own.

    members: number of the set it belongs to. A set (a picture and its companions) is done wholly or
    not at all.
    picture: the file is a row's picture, not only a companion of one.
    """

    action: Action
    source: Path
    target: Path
    members: int
    picture: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is to be done, in the order of doing.

    folders: to be made, parents first.   steps: in this order each target is free when its step
    comes (a cycle of renames goes by way of a name of its own: two steps of one file).
    there: steps that need not be done, since the very same is there already.
    refused: pictures that stay as they are, and why (a name that would be too long, say).
    places: where each picture of the rows ends up, by its path as the row has it; those of `there`
    too, not those `refused`. As the user would type it: below the target as it was given.
    typed: the folders of all these files, absolute -> as the user would type them.
    notes: what a person should know of it besides, a line each.
    """

    verb: Verb
    target: Path | None
    folders: Sequence[Path] = ()
    steps: Sequence[Step] = ()
    there: Sequence[Step] = ()
    refused: Sequence[Skip] = ()
    places: Mapping[Path, Path] = field(default_factory=lambda: MappingProxyType({}))
    typed: Mapping[Path, Path] = field(default_factory=lambda: MappingProxyType({}))
    notes: Sequence[str] = ()

    def changes(self) -> list[Step]:
        """The steps, each file once: those by way of a name in between as one, from end to end."""
        first: dict[Path, Step] = {}
        for step in self.steps:
            start = first.pop(step.source, step) if step.action == "move" else step
            first[step.target] = replace(step, source=start.source)
        return list(first.values())

    def shown(self, path: Path) -> Path:
        """One of its files as the user would type it."""
        folder = self.typed.get(path.parent)
        return path if folder is None else folder / path.name
