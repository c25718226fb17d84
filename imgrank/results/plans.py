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

from collections.abc import Iterator
from typing import BinaryIO, TextIO

from imgrank.files.plan import Plan, Step
from imgrank.results.changes import Change, write_changes
from imgrank.results.sink import Format

__all__ = ["write_plan"]


def write_plan(
    plan: Plan,
    format: Format,
    stream: BinaryIO | TextIO,
    *,
    nul: bool = False,
    width: int | None = None,
) -> None:
    """In one of `FORMATS`: what would be done, then what is there already, then what stays."""
    described = {
        "verb": plan.verb,
        "target": None if plan.target is None else str(plan.target),
        "folders": [str(folder) for folder in plan.folders],
    }
    paths = (plan.shown(step.target) for step in (*plan.changes(), *plan.there))
    write_changes("plan", described, _rows(plan), paths, format, stream, nul=nul, width=width)


def _rows(plan: Plan) -> Iterator[Change]:
    def row(step: Step, *notes: str) -> Change:
        said = ", ".join([*([] if step.picture else ["companion"]), *notes])
        return Change(step.action, str(plan.shown(step.source)), str(plan.shown(step.target)), said)

    for step in plan.changes():
        yield row(step)
    for step in plan.there:
        yield row(step, "there already")
    for skip in plan.refused:
        yield Change("stay", str(skip.path), "", skip.reason)
