"""Entries and a wish -> the plan: which file goes where, in which order. Reads folders, changes
nothing.

    entries ── bundles.py: families of files ─► claims.py: their names ─► ordering.py ─► Plan

Each folder is listed once. Files are only opened where a name is taken, to see whether the very
same file is there already.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from imgrank.files.bundles import Bundle, gather
from imgrank.files.claims import give_names
from imgrank.files.folders import Folders
from imgrank.files.naming import clash_key, is_numbered
from imgrank.files.ordering import in_order
from imgrank.files.plan import Action, Entry, Plan, Step, Wish

__all__ = ["action_of", "make_plan"]


def make_plan(entries: Sequence[Entry], wish: Wish) -> Plan:
    """What is to be done, with all that travels along.

    entries: in order of rank (of each folder, if they were ranked per folder). One whose file
    another one has named already, or whose family has a better rank, goes with that one.
    Raises UsageError if the target cannot be a folder, OSError if a folder cannot be read.
    """
    action = action_of(wish)
    bundles, skips = gather(entries, wish, Folders())
    give_names(bundles, action)
    going = [bundle for bundle in bundles if not bundle.refused]
    steps: list[Step] = []
    for together in in_order(going) if action == "move" else [[bundle] for bundle in going]:
        steps += (
            _by_names_in_between(together) if len(together) > 1 else _steps(together[0], action)
        )
    there = [step for bundle in going for step in _steps(bundle, action, there=True)]
    typed = {bundle.folder.path: bundle.typed for bundle in reversed(bundles)}
    typed |= {bundle.into.path: bundle.below for bundle in reversed(bundles)}
    places = {
        path: typed[bundle.into.path] / bundle.targets[name]
        for bundle in going
        for name, paths in bundle.rows.items()
        for path in paths
    }
    return Plan(
        wish.verb,
        wish.target,
        _to_be_made({step.target.parent for step in steps}),
        steps,
        there,
        skips + [skip for bundle in bundles for skip in bundle.skips()],
        MappingProxyType(places),
        MappingProxyType(typed),
        list(_of_another_order(going, wish, typed)),
    )


def action_of(wish: Wish) -> Action:
    """What is done to each file."""
    if wish.verb == "copy":
        return "copy"
    if wish.verb == "link":
        return "hardlink" if wish.hard else "symlink"
    return "move"


def _steps(bundle: Bundle, action: Action, *, there: bool = False) -> Iterator[Step]:
    for name in bundle.names:
        if (name in bundle.there) == there:
            source, target = bundle.folder.path / name, bundle.into.path / bundle.targets[name]
            yield Step(action, source, target, bundle.number, name in bundle.rows)


def _by_names_in_between(together: Sequence[Bundle]) -> Iterator[Step]:
    """Moves of bundles that wait for each other: first all out of the way, then all in place."""
    members = min(bundle.number for bundle in together)
    later: list[Step] = []
    for bundle in together:
        for step in _steps(bundle, "move"):
            number = len(later)
            while clash_key(name := f".imgrank-{members}-{number}.tmp") in bundle.folder.names:
                number += 1000
            between = bundle.folder.path / name
            yield Step("move", step.source, between, members, step.picture)
            later.append(Step("move", between, step.target, members, step.picture))
    yield from later


def _to_be_made(folders: set[Path]) -> list[Path]:
    """Those that are not there, and what is missing above them; parents first."""
    missing: set[Path] = set()
    for folder in folders:
        while folder not in missing and not os.path.lexists(folder):
            missing.add(folder)
            folder = folder.parent
    return sorted(missing)


def _of_another_order(
    going: Sequence[Bundle], wish: Wish, typed: Mapping[Path, Path]
) -> Iterator[str]:
    """Names by an earlier run that this one leaves beside its own."""
    if not wish.numbered:
        return
    folders = {id(bundle.into): bundle.into for bundle in going}
    taken = {(id(bundle.into), name) for bundle in going for name in bundle.targets.values()}
    taken |= {(id(bundle.folder), name) for bundle in going for name in bundle.family.names}
    older = sorted(
        typed[folder.path] / name
        for folder in folders.values()
        for there in folder.names.values()
        for name in there
        if is_numbered(name) and (id(folder), name) not in taken
    )
    if len(older) == 1:
        yield f"{older[0]}, numbered by another order, stays beside these"
    elif older:
        yield f"{len(older)} files numbered by another order stay beside these: {older[0]} ..."
