"""A plan -> table, TSV, CSV, JSON, JSON lines or bare paths, on a stream: what `--dry-run` prints.

What `output.py` says of names, escapes and streams holds here too. A row is a file, companions of
pictures too; its fields are the same in every format:

    action  from  to  note

* `action` is copy, symlink, hardlink, move, or stay, for a picture that cannot be filed.
* `note` says "companion" of a file that is no picture of the rows but goes with one, "there
  already" where nothing is left to do, or why a picture stays.
* JSON is one object: `plan` (verb, target, folders to be made), `images` (the rows). JSON lines
  are the rows, each with `plan` in it.
* `paths` are the targets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, TextIO

from imgrank.files.plan import Plan, Step
from imgrank.results.sink import (
    Format,
    Sink,
    table_width,
    write_document,
    write_lines,
    write_table,
)

__all__ = ["write_plan"]

NAMES = ["action", "from", "to", "note"]


def write_plan(
    plan: Plan,
    format: Format,
    stream: BinaryIO | TextIO,
    *,
    nul: bool = False,
    width: int | None = None,
) -> None:
    """In one of `FORMATS`: what would be done, then what is there already, then what stays."""
    sink = Sink(stream)
    rows = _rows(plan)
    if format == "paths":
        targets = (step.target for step in (*plan.changes(), *plan.there))
        sink.paths(map(plan.shown, targets), nul)
    elif format == "table":
        body = [[text or "-" for text in row[:3]] + [row.note] for row in rows]
        write_table(NAMES, body, sink, table_width(stream, width), left=NAMES)
    elif format == "json" or format == "jsonl":
        described = {
            "verb": plan.verb,
            "target": None if plan.target is None else str(plan.target),
            "folders": [str(folder) for folder in plan.folders],
        }
        write_document("plan", described, map(_json, rows), format, sink, ())
    else:
        write_lines(NAMES, rows, format, sink)


class _Row(NamedTuple):
    action: str
    source: str
    target: str
    note: str


def _rows(plan: Plan) -> Iterator[_Row]:
    def row(step: Step, *notes: str) -> _Row:
        said = ", ".join([*([] if step.picture else ["companion"]), *notes])
        return _Row(step.action, str(plan.shown(step.source)), str(plan.shown(step.target)), said)

    for step in plan.changes():
        yield row(step)
    for step in plan.there:
        yield row(step, "there already")
    for skip in plan.refused:
        yield _Row("stay", str(skip.path), "", skip.reason)


def _json(row: _Row) -> str:
    values = (row.action, row.source, row.target or None, row.note)
    members = zip(NAMES, values, strict=True)
    return ", ".join(f'"{name}": {json.dumps(value)}' for name, value in members)
