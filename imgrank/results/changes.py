"""What is done to files, a row a file, in every format: by a plan, or by an undo.

action  from  to  note
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO

from imgrank.results.sink import (
    Format,
    Sink,
    table_width,
    write_document,
    write_lines,
    write_table,
)

__all__ = ["Change", "write_changes"]


class Change(NamedTuple):
    """One file. source: where it is, `from` in the output.   target: "" if it goes nowhere."""

    action: str
    source: str
    target: str
    note: str


NAMES = ["action", "from", "to", "note"]


def write_changes(
    head: str,
    described: object,
    rows: Iterable[Change],
    paths: Iterable[Path],
    format: Format,
    stream: BinaryIO | TextIO,
    *,
    nul: bool = False,
    width: int | None = None,
) -> None:
    """In one of `FORMATS`.

    head, described: of the JSON, as in `write_document`.   paths: what `paths` prints.
    """
    sink = Sink(stream)
    if format == "paths":
        sink.paths(paths, nul)
    elif format == "table":
        body = [[text or "-" for text in row[:3]] + [row.note] for row in rows]
        write_table(NAMES, body, sink, table_width(stream, width), left=NAMES)
    elif format == "json" or format == "jsonl":
        write_document(head, described, map(_json, rows), format, sink, ())
    else:
        write_lines(NAMES, rows, format, sink)


def _json(row: Sequence[str]) -> str:
    values = (row[0], row[1], row[2] or None, row[3])
    members = zip(NAMES, values, strict=True)
    return ", ".join(f'"{name}": {json.dumps(value)}' for name, value in members)
