"""What a journal says, read: the steps of the plan with what their sources were, and what became of
each. The lines are described in `journal.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast, get_args

from imgrank.errors import DataError
from imgrank.files.identity import Seen, look
from imgrank.files.plan import Action, Step, Verb

__all__ = ["FORMAT", "Planned", "Record", "header", "planned", "read"]

FORMAT = 1
WRONG = (ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError)
"""What a line that is no such line raises."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A step and what its source was.

    seen: the file itself for a move, what a link leads to for the other actions; None if it was not
    there.   text: of the symbolic link that is made, or that a moved one becomes; None if it keeps
    its own.   first: no earlier step brings the file to where this one takes it from.   last: no
    later step takes it on (in a cycle of renames one file goes by way of a name of its own).
    """

    step: Step
    seen: Seen | None
    text: str | None = None
    first: bool = True
    last: bool = True

    @property
    def arrived(self) -> Seen | None:
        """What a move makes of `seen`."""
        return self.seen if self.seen is None or self.text is None else _led(self.seen, self.text)


@dataclass(slots=True)
class Record:
    """A journal. Steps and folders by their numbers.

    complete: the plan is whole.   uses: see `journal.Uses`.   undone, taken_back: by an undo.
    ended: every change up to now has its line; what has none was not done.   stopped: why, if it
    was; None if all was tried.
    """

    folders: list[Path] = field(default_factory=list)
    steps: list[Planned] = field(default_factory=list)
    complete: bool = False
    uses: set[str] = field(default_factory=set)
    made: set[int] = field(default_factory=set)
    done: dict[int, Seen] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    undone: set[int] = field(default_factory=set)
    ended: bool = False
    stopped: str | None = None
    taken_back: int | None = None


def planned(steps: Sequence[Step]) -> list[Planned]:
    """The steps with what their sources are now."""
    found: list[Planned] = []
    makers: dict[Path, int] = {}  # of what an earlier step moved there
    for i, step in enumerate(steps):
        maker = makers.pop(step.source, None)
        if maker is not None and step.action == "move":
            found[maker] = replace(found[maker], last=False)
            seen = found[maker].arrived
        else:
            seen = _looked(step)
        found.append(Planned(step, seen, _text(step, seen), first=maker is None))
        if step.action == "move":
            makers[step.target] = i
    return found


def _looked(step: Step) -> Seen | None:
    try:
        return look(step.source, follow=step.action != "move")
    except OSError:
        return None  # the step will fail, and say why


def _text(step: Step, seen: Seen | None) -> str | None:
    if step.action == "symlink":
        return os.path.realpath(step.source)
    if step.action != "move" or seen is None or seen.text is None:
        return None
    if Path(seen.text).is_absolute() or step.source.parent == step.target.parent:
        return None
    # The folder is resolved, the last name is not: it may be a link itself.
    led = os.path.join(os.path.realpath(step.source.parent), seen.text)  # noqa: PTH118
    folder, name = os.path.split(led)
    if name in ("", ".", ".."):
        return os.path.realpath(led)
    base = os.path.realpath(step.target.parent)
    text = os.path.join(os.path.relpath(os.path.realpath(folder), base), name)  # noqa: PTH118
    text = text.removeprefix(os.curdir + os.sep)
    return None if text == seen.text else text


def _led(seen: Seen, text: str) -> Seen:
    return replace(seen, text=text, size=len(os.fsencode(text)))


def read(path: Path) -> Record:
    """Raises DataError if the plan is damaged, or of a later version; OSError."""
    record = Record()
    with path.open("rb") as stream:
        header(stream.readline(), path)
        for line in stream:
            try:
                _take(json.loads(line), record)
            except WRONG as error:
                if not record.complete:
                    raise DataError(f"{path} is damaged in its plan ({error!r}).") from error
    if not record.complete:
        raise DataError(f"{path} ends within its plan: the operation was never begun.")
    return record


def header(line: bytes, path: Path) -> Mapping[str, Any]:
    """The first line. Raises DataError."""
    try:
        head = json.loads(line)
        version = head["format"]
        if version == FORMAT:
            texts = [head[name] for name in ("id", "command", "cwd")] + [head["target"] or ""]
            if not all(isinstance(text, str) for text in texts):
                raise TypeError(texts)
            if datetime.fromisoformat(head["time"]).tzinfo is None:
                raise ValueError(head["time"])
            if head["verb"] not in get_args(Verb):
                raise ValueError(head["verb"])
    except WRONG as error:
        raise DataError(f"{path} is not a journal of imgrank ({error!r}).") from error
    if version != FORMAT:
        raise DataError(
            f"{path} has format {version!r}, this imgrank reads {FORMAT}. Upgrade imgrank."
        )
    return cast(Mapping[str, Any], head)


def _take(line: Mapping[str, Any], record: Record) -> None:
    """Raises one of `WRONG` for what is no such line."""
    kind, value = next(iter(line.items()))
    if not record.complete:
        _take_plan(kind, line, record)
        return
    if kind in ("done", "failed", "put_back", "undone", "made"):
        known = record.folders if kind == "made" else record.steps
        if value not in range(len(known)):
            raise ValueError(value)
    if kind == "done":
        record.done[value] = _seen(line["seen"])
    elif kind == "failed":
        record.failed[value] = line["reason"]
    elif kind == "put_back":
        record.done.pop(value, None)
    elif kind == "end":
        record.ended, record.stopped = True, value
    elif kind == "goes_on":
        record.ended, record.stopped = False, None
    elif kind == "taken_back":
        record.taken_back = value
    elif kind in ("uses", "made", "undone"):
        getattr(record, kind).add(value)


def _seen(values: Sequence[Any]) -> Seen:
    if not all(isinstance(number, int) for number in values[:-1]):
        raise TypeError(values)
    return Seen(*values)


def _path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute() or "\0" in text:
        raise ValueError(text)
    return path


def _take_plan(kind: str, line: Mapping[str, Any], record: Record) -> None:
    if kind == "folder":
        record.folders.append(_path(line["path"]))
    elif kind == "step":
        names = _path(line["source"]), _path(line["target"])
        if line["action"] not in get_args(Action):
            raise ValueError(line["action"])
        step = Step(line["action"], *names, line["members"], line["picture"])
        seen = None if line["seen"] is None else _seen(line["seen"])
        record.steps.append(Planned(step, seen, line["text"], line["first"], line["last"]))
    elif kind == "planned" and line[kind] == len(record.steps):
        record.complete = True
    else:
        raise ValueError(kind)
