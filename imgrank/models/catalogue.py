"""What is known of every model, here or not, joined for people to read. No torch, no network.

Three places know something: the folder on this machine (`registry.Entry`), the package's list
(`registry.Listed`) and the lock file, which says what an unpinned name stands for.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from imgrank.errors import CheckpointError, ModelUnavailable
from imgrank.models.checkpoint import RARL, RETRIEVAL
from imgrank.models.lock import Locked, locked
from imgrank.models.origin import COMMIT
from imgrank.models.registry import (
    DEFAULT_BACKBONE,
    DETECTOR,
    EMBEDDED,
    PREFIX,
    VLM,
    Entry,
    Listed,
    entries,
    find,
    listed,
    listed_as,
    refuse_kind,
)
from imgrank.models.resting import lacking, way_to
from imgrank.models.spec import read_spec
from imgrank.models.terms import licence_said, limits
from imgrank.settings import Settings
from imgrank.tasks import tasks

__all__ = [
    "Known",
    "Pinned",
    "State",
    "catalogue",
    "describe",
    "example",
    "sort_line",
    "unfinished",
]

State = Literal["embedded", "here", "not here", "unpublished", "damaged", "no backbone"]
Pinned = Literal[
    "",
    "by the package",
    "by the lock file",
    "by its commit",
    "by its origin.json",
    "imported",
    "unpinned",
]
EMBEDDED_LICENCE = "Apache-2.0; NOTICE names the terms of what it was trained on"


@dataclass(frozen=True, slots=True)
class Known:
    """A model as `imgrank models` shows it.

    call: what `--model` takes: the name, or the path of a folder that is elsewhere.
    state: where it stands.   pinned: by what its revision is fixed, "" if it has no origin.
    measured: of one without tasks, a table a data set.
    bytes: on disk, or about what a pull fetches; 0 if unknown.   default_for: tasks that it answers
    by the user's wish, and "*" for all else that is not measured.
    image_size: side of the input in pixels, 0 if unknown or (of a model here) not looked up.
    problem: of a damaged one, of one whose backbone is gone, or why it is unpublished.
    way: how to get that backbone.   source: the folder that an imported one was copied from.
    folder: None if it is not here.
    """

    name: str
    call: str
    kind: str
    state: State
    tasks: Mapping[str, Any] = field(default_factory=dict)
    measured: tuple[Mapping[str, Any], ...] = ()
    use: str = ""
    bytes: int = 0
    licence: str = ""
    research_only: bool = False
    origin: str = ""
    revision: str = ""
    pinned: Pinned = ""
    backbone: str = ""
    architecture: str = ""
    image_size: int = 0
    default_for: tuple[str, ...] = ()
    problem: str = ""
    way: str = ""
    source: str = ""
    folder: Path | None = None

    @property
    def here(self) -> bool:
        """Whether it can be used: by a sort, or, if it finds faces, by `imgrank age`."""
        return self.state in ("embedded", "here")


def catalogue(settings: Settings) -> list[Known]:
    """All models: those on this machine first, then the ones known by name, in their order."""
    locks = _locks(settings)
    here = [_of_entry(entry, settings, locks) for entry in entries(settings.models_dir)]
    taken = {known.name for known in here}
    rest = [_of_listed(each, locks) for each in listed().values() if each.name not in taken]
    return [*here, *rest]


def describe(name: str, settings: Settings) -> Known:
    """One model by any name that `find` takes, or one of the package's list that is not here.

    Raises ModelUnavailable, CheckpointError, UsageError for `rarl:` before one of another kind.
    """
    locks = _locks(settings)
    try:
        entry = find(name, settings.models_dir)
        size = read_spec(entry.folder).image_size if entry.kind == "backbone" else 0
        return replace(_of_entry(entry, settings, locks), image_size=size)
    except ModelUnavailable:
        known = listed_as(name.removeprefix(PREFIX))
        if known is None:
            raise
        refuse_kind(name, known.kind)
        return _of_listed(known, locks)


def unfinished(settings: Settings) -> Mapping[str, int]:
    """Pulls that were interrupted, or that go on just now: name -> bytes of them on disk."""
    start, found = ".pull-", {}
    for folder in sorted(settings.models_dir.glob(f"{start}*")):
        if folder.is_dir():
            name = folder.name.removeprefix(start)
            found[name] = 0
            for path in folder.rglob("*"):
                with suppress(OSError):  # a pull that goes on takes files away
                    found[name] += path.lstat().st_size * path.is_file()
    return found


def example(kind: str, own: Mapping[str, Any]) -> str:
    """An instruction that a model of this kind answers: "by image quality", "a cat".

    own: its tasks, as its config has them.
    """
    from imgrank.listwise.rules import as_asked

    for task, facts in (as_asked(own) if kind == RARL else own).items():
        if task == "count":
            wish = f"by the number of {next(iter(facts.get('subjects') or ['cats']))}"
        elif task in tasks():
            phrases = tasks()[task].phrases[: 1 if kind == RARL else 2]  # an age in years
            wish = f"by {max(phrases, key=len)}"
        else:
            wish = str(facts.get("prompt") or task)
        # It is printed within quotes, to be copied into a shell, and others wrote it.
        if wish.isprintable() and not set(wish) & set('"$`\\!'):
            return wish
    return "a cat"


def sort_line(known: Known) -> str:
    """A command that uses a model that is here: a sort, or what else it is made for."""
    if known.kind == DETECTOR:
        return "imgrank age PHOTOS"
    wish = example(known.kind, known.tasks)
    if known.kind == RETRIEVAL:
        return f'imgrank search PHOTOS "{wish}" --model {shlex.quote(known.call)}'
    model = f"{PREFIX}{known.call}" if known.kind in (RARL, VLM) else known.call
    return f'imgrank sort PHOTOS "{wish}" --model {shlex.quote(model)}'


def _of_entry(entry: Entry, settings: Settings, locks: Mapping[str, Locked]) -> Known:
    origin = entry.origin
    known = listed().get(entry.name)
    if known is not None and (origin is None or origin.repository != known.repository):
        known = None  # the user's own model of that name
    said = licence_said(entry.folder) if entry.kind in ("backbone", VLM) else ""
    licence = entry.config.get("licence") or (origin and origin.licence)
    if not licence and entry.where == "embedded":
        licence = EMBEDDED_LICENCE
    licence = str(licence or (known.licence if known else "") or said)
    places = (EMBEDDED, settings.models_dir)
    state: State = "embedded" if entry.where == "embedded" else "here"
    imported = origin is not None and origin.origin == "imported"
    lacks = lacking(entry, settings)
    if entry.problem or lacks:
        state = "damaged" if entry.problem else "no backbone"
    return Known(
        name=entry.name,
        call=entry.name if entry.folder.parent in places else str(entry.folder),
        kind=entry.kind,
        state=state,
        tasks=entry.tasks,
        measured=_measured(entry),
        use=_use(entry, known),
        bytes=entry.size,
        licence=licence,
        research_only=bool(limits(licence, entry.config, known)),
        origin=origin.origin if origin else "",
        revision=origin.revision if origin else "",
        pinned=_pinned(origin.origin, origin.asked, origin.revision, known, locks)
        if origin
        else "",
        backbone=entry.backbone,
        architecture=known.architecture if known else "",
        default_for=_default_for(entry, settings),
        problem=entry.problem or lacks,
        way=way_to(entry) if lacks else "",
        source=origin.asked if origin and imported else "",
        folder=entry.folder,
    )


def _use(entry: Entry, known: Listed | None) -> str:
    """Of a model of the list, of a face detector, or what all of its kind are good for."""
    if known or entry.kind == DETECTOR:
        return listed()[entry.name].use
    if entry.kind == VLM:
        return "any rule, in words"
    return listed()[RETRIEVAL].use if entry.kind == RETRIEVAL else ""


def _measured(entry: Entry) -> tuple[Mapping[str, Any], ...]:
    rows = entry.config.get("measured", ())
    return tuple(row for row in rows if isinstance(row, dict)) if isinstance(rows, list) else ()


def _of_listed(known: Listed, locks: Mapping[str, Locked]) -> Known:
    row = locks.get(known.origin)
    return Known(
        name=known.name,
        call=known.name,
        kind=known.kind,
        state="unpublished" if known.unpublished else "not here",
        use=known.use,
        bytes=known.bytes,
        licence=known.licence,
        research_only=known.research_only,
        origin=known.origin,
        revision=known.revision or (row.revision if row else ""),
        pinned=_pinned(known.origin, "", known.revision, known, locks) if known.origin else "",
        backbone=known.backbone,
        architecture=known.architecture,
        image_size=known.image_size,
        problem=known.unpublished,
    )


def _pinned(
    origin: str, asked: str, revision: str, known: Listed | None, locks: Mapping[str, Locked]
) -> Pinned:
    """asked: what a model that is here was resolved from, "" for one that is not. A pull of the
    same wish keeps to the folder that is here, which may be copied from another machine."""
    if origin == "imported":
        return "imported"
    if known and revision and known.revision == revision:
        return "by the package"
    if COMMIT.fullmatch(asked):
        return "by its commit"
    if origin in locks or f"{origin}@{asked}" in locks:
        return "by the lock file"
    return "by its origin.json" if asked else "unpinned"


def _default_for(entry: Entry, settings: Settings) -> tuple[str, ...]:
    """The user's defaults; the embedded backbone is the one of everything else."""
    wishes = {**settings.models, "*": settings.model or DEFAULT_BACKBONE}
    names = {entry.name, str(entry.folder)}
    if entry.origin is not None:
        names |= {entry.origin.origin, f"hf:{entry.origin.repository}"}
    return tuple(task for task, wish in wishes.items() if wish in names)


def _locks(settings: Settings) -> Mapping[str, Locked]:
    try:
        return locked(settings)
    except CheckpointError:
        return {}  # a pull will say so; reading what is here needs no lock file
