"""Operations, and what an undo did -> table, TSV, CSV, JSON, JSON lines or bare paths, on a stream.

What `output.py` says of names, escapes and streams holds here too.

`imgrank undo --list`: a row an operation, in JSON an array of objects; `paths` are the journals.

    id  time  what  files  state  target  command

* `time` is local, with its offset in all formats but the table.
* `target` is absolute, empty for a rename in place.
* `what` is copy, link, move or rename; `files` counts those that it put in their places, also where
  they were taken back since.
* `state` is done, cut off, running, taken back, or partly taken back.

`imgrank undo`: a row a file, in JSON an object: `undo` (id, time, what, target), `images` (rows).

    action  from  to  note

* `action` is move (back), remove (a copy or link), or leave (what was refused).
* `from` is where the operation put the file, `to` where it is now, empty for what was removed.
* `note` says why a file was left, or "companion" of what is no picture of the rows.
* `paths` are those of `to`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, TextIO

from imgrank.files.journal import Operation
from imgrank.files.plan import Step
from imgrank.files.undoing import TakenBack
from imgrank.results.changes import Change, write_changes
from imgrank.results.sink import Format, Sink, Value, table_width, write_lines, write_table

__all__ = ["write_operations", "write_taken_back"]

LISTED = ["id", "time", "what", "files", "state", "target", "command"]


def write_operations(
    operations: Sequence[Operation],
    format: Format,
    stream: BinaryIO | TextIO,
    *,
    nul: bool = False,
    width: int | None = None,
) -> None:
    """In one of `FORMATS`, in the order given."""
    sink = Sink(stream)
    if format == "paths":
        sink.paths((operation.path for operation in operations), nul)
    elif format == "table":
        body = [
            ["-" if value is None else str(value) for value in _values(o, table=True)]
            for o in operations
        ]
        write_table(LISTED, body, sink, table_width(stream, width))
    elif format == "json" or format == "jsonl":
        rows = [json.dumps(dict(zip(LISTED, _values(o), strict=True))) for o in operations]
        sink.lines(rows if format == "jsonl" else ["[" + ",\n".join(rows) + "]"])
    else:
        write_lines(LISTED, map(_values, operations), format, sink)


def _values(operation: Operation, table: bool = False) -> list[Value]:
    time = operation.time
    if table:
        time = f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M:%S}"
    target = None if operation.target is None else str(operation.cwd / operation.target)
    first: list[Value] = [operation.id, time, operation.verb, operation.files]
    return [*first, operation.state, target, operation.command]


def write_taken_back(
    operation: Operation,
    found: TakenBack,
    format: Format,
    stream: BinaryIO | TextIO,
    *,
    nul: bool = False,
    width: int | None = None,
) -> None:
    """In one of `FORMATS`: what was taken back, then what was left."""
    described = {
        "id": operation.id,
        "time": operation.time,
        "what": operation.verb,
        "target": None if operation.target is None else str(operation.target),
    }
    rows = [_row(step) for step in found.undone]
    rows += [_row(step, why) for step, why in found.refused]
    paths = (Path(row.target) for row in rows if row.target)
    write_changes("undo", described, rows, paths, format, stream, nul=nul, width=width)


def _row(step: Step, why: str | None = None) -> Change:
    moved = step.action == "move"
    action = "leave" if why is not None else "move" if moved else "remove"
    to = str(step.source) if moved and why is None else ""
    return Change(action, str(step.target), to, why or ("" if step.picture else "companion"))
