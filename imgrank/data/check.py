"""Whether a data set is here and complete, and what is in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgrank.data.catalogue import about, place, read, reader
from imgrank.data.labelled import Labelled, Labels, ReadOptions
from imgrank.errors import DataError, UsageError
from imgrank.images.decode import decode
from imgrank.images.reading import Unreadable, read_file

__all__ = ["Checked", "Summary", "check", "unreadable_pictures"]

SIDE = 224  # pictures are decoded for a view of this size, as for training
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """One query: how many pictures have a value, and which there are."""

    labels: Labels
    labelled: int
    lowest: float
    highest: float
    different: int  # values


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found of a data set.

    folder: None if it has none, being drawn.
    data: as far as it could be read; None: not at all.   problem: what is wrong, "" if nothing.
    notes: what its reader reports.   unreadable: (path, reason), if the pictures were tried.
    """

    name: str
    folder: Path | None
    data: Labelled | None
    problem: str
    notes: tuple[str, ...] = ()
    unreadable: tuple[tuple[Path, str], ...] = ()

    @property
    def usable(self) -> bool:
        """Whether nothing is wrong with what is here."""
        return not self.problem and not self.unreadable

    @property
    def published(self) -> int:
        """Pictures of the whole set, if those that are listed here are fewer; else 0."""
        data = self.data
        return data.published if data is not None and len(data) < data.published else 0

    @property
    def complete(self) -> bool:
        return self.usable and not self.published

    @property
    def parts(self) -> dict[str, int]:
        """Pictures of each part."""
        parts = self.data.parts if self.data else ()
        return {part: parts.count(part) for part in ("train", "validation", "test")}

    @property
    def queries(self) -> list[Summary]:
        return [_summary(labels) for labels in (self.data.labels if self.data else ())]


def check(
    name: str,
    root: Path,
    fold: int | None = None,
    pictures: bool = False,
    threads: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Checked:
    """Reads a data set and, with `pictures`, decodes every file of it in `threads` threads.

    Raises UsageError for an unknown name and a fold that the set does not have.
    """
    folder = place(name, root) if reader(name).files else None
    _check_fold(name, fold)
    notes: list[str] = []
    problem = ""
    data: Labelled | None = None
    try:
        data = read(name, root, ReadOptions(fold or 0, report=notes.append))
    except DataError as error:
        problem = str(error)
        notes.clear()
        data = _what_is_there(name, root, ReadOptions(fold or 0, True, notes.append))
    bad: list[tuple[Path, str]] = []
    if data is not None and pictures and folder is not None:
        bad = unreadable_pictures(list(dict.fromkeys(data.paths)), threads, progress)
    return Checked(name, folder, data, problem, tuple(notes), tuple(bad))


def unreadable_pictures(
    paths: Sequence[Path], threads: int | None = None, progress: Progress = lambda done, total: None
) -> list[tuple[Path, str]]:
    """Those that cannot be decoded, in order, and why.   progress(done, total), after each."""
    bad = []
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        # Ctrl-C in this loop drops the iterator, which cancels all that is queued.
        for done, reason in enumerate(pool.map(_reason, paths)):
            if reason:
                bad.append((paths[done], reason))
            progress(done + 1, len(paths))
    return bad


def _check_fold(name: str, fold: int | None) -> None:
    folds = about(name).folds
    if fold is not None and not 0 <= fold < folds:
        there = f"folds 0 to {folds - 1}" if folds else "one split and no folds"
        raise UsageError(f"{name} has {there}; --fold {fold} is not one of them.")


def _what_is_there(name: str, root: Path, options: ReadOptions) -> Labelled | None:
    try:
        return read(name, root, options)
    except DataError:
        return None


def _reason(path: Path) -> str:
    """Why a picture cannot be used; "" if it can."""
    try:
        decode(read_file(path), SIDE)
    except Unreadable as error:
        return str(error)
    return ""


def _summary(labels: Labels) -> Summary:
    values = labels.values[~np.isnan(labels.values)]
    if not len(values):
        return Summary(labels, 0, np.nan, np.nan, 0)
    different = len(np.unique(values))
    return Summary(labels, len(values), float(values.min()), float(values.max()), different)
