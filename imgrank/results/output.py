r"""Rows -> table, TSV, CSV, JSON, JSON lines or bare paths, on a stream.

Standard output is data only, in every format; rows are written one by one as they are formatted.

The fields of a ranked row, the same in every format:

    rank  score  unit  percentile  low  high  direction  method  model
    [strength]  [burst]  [others]  [folder]  [criteria]  [to]  path

* `strength` is there when the first rows were compared pair by pair (`--refine`), and empty for
  those that were not: the mean probability of a higher score than another one of them, 0 to 1.
* `burst` and `others` are there when near-duplicates were looked for. `burst` is the number of the
  picture's group, empty for one on its own; `others`, where only the best of each group is shown
  (`keep-best`), how many it stands for; in JSON their paths.
* `folder` is there when the order was made per folder; `criteria` are the single scores when
  several were combined: one column a criterion, named by its instruction; `scores` in JSON.
* `to` is there when the pictures were copied, linked, moved or renamed: where each is now; empty
  for one that stayed where it was. `paths` are the new places then.
* `low` and `high` are the interval, empty where the model has none; JSON has `interval`, a pair
  or null, instead.
* JSON is one object: `criteria` (instruction, task, method, model, revision, prompt, unit,
  direction, reference, weight, range, refined, zero_shot), `images` (the rows), `skipped` (path,
  reason). JSON lines are the rows, each with `criteria` in it, so that a line stands on its own.
* A search has its `search` beside `criteria`: query, rephrased and rephrased_by (what was asked in
  its place), terms (text or picture, weight), approximate, stages, and of two first (K) and weight.
  Its score is a cosine; of two stages z(cosine) + weight z(score) over the K, which are then the
  `criteria`.
* Numbers: six significant digits, or all digits before the point if there are more (dates in
  seconds, sizes in bytes); the same text in every format, never by locale.
* Nothing is lost of a strange file name. TSV writes backslash, tab, newline and carriage return
  as \\ \t \n \r. TSV, CSV and paths carry bytes that are not UTF-8 as they are; JSON is ASCII and
  has them as lone surrogates (\udcXX), which `os.fsencode(json.loads(line)["path"])` turns back
  into the bytes. Only the table, made for eyes, shows control and direction characters as \xXX.
* The table prints dates ("s since 1970") as dates in UTC and folds a long path inside its column.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, TextIO

from imgrank.images import Skip
from imgrank.results.bursts import Near
from imgrank.results.ranking import Cell, Column, Row
from imgrank.results.retrieved import Asked
from imgrank.results.sink import (
    FORMATS,
    Format,
    Places,
    Sink,
    Value,
    interval,
    place,
    table_width,
    there,
    write_document,
    write_lines,
    write_table,
)
from imgrank.results.text import number, shown, visible

__all__ = ["FORMATS", "Format", "number", "visible", "write", "write_scores"]


def write(
    rows: Iterable[Row],
    columns: Sequence[Column],
    format: Format,
    stream: BinaryIO | TextIO,
    *,
    nul: bool = False,
    skipped: Sequence[Skip] = (),
    reverse: bool = False,
    places: Places = None,
    near: Near | None = None,
    asked: Asked | None = None,
    width: int | None = None,
) -> None:
    """A ranked order in one of `FORMATS`.

    reverse: the rows were turned round, so their direction is the other one.
    nul: `paths` ends each name with NUL instead of newline.
    skipped: printed by JSON alone.
    places: the value of `to`; without it there is no such field.
    near: near-duplicates were looked for.
    asked: of a search; its scores are cosines, or the sum of two criteria.
    width: cells of the table; by default the terminal's, and no folding where there is none.
    Errors of the stream (a closed pipe) go to the caller.
    """
    sink = Sink(stream)
    rows = iter(rows)
    first = next(rows, None)
    rows = rows if first is None else chain([first], rows)
    per_folder = first is not None and first.folder is not None
    fields = _Fields(columns, per_folder, reverse, places, near)
    if format == "paths":
        sink.paths(there((row.path for row in rows), places), nul)
    elif format == "table":
        body = [fields.cells(row) for row in rows]
        write_table(fields.headings(), body, sink, table_width(stream, width))
    elif format == "json" or format == "jsonl":
        more = {} if asked is None else {"search": asked.described()}
        _write_json(map(fields.json, rows), columns, format, sink, skipped, more)
    else:
        write_lines(fields.names, map(fields.values, rows), format, sink)


def write_scores(
    paths: Sequence[Path],
    columns: Sequence[Column],
    scores: Sequence[Sequence[Cell]],
    format: Format,
    stream: BinaryIO | TextIO,
    *,
    nul: bool = False,
    skipped: Sequence[Skip] = (),
    width: int | None = None,
) -> None:
    """The wide form: one row a picture, in the order given, one column an instruction.

    Fields: the instructions, with "(low)" and "(high)" after those that have an interval anywhere,
    then path; JSON has `scores` (by criterion: instruction, score, interval) and path. A picture
    that an instruction has no score for has an empty field, null in JSON; `paths` lists pictures
    with at least one score. Options as for `write`.
    """
    sink = Sink(stream)
    table = list(zip(paths, scores, strict=True))
    if format == "paths":
        sink.paths((path for path, cells in table if any(cells)), nul)
    elif format == "table":
        head = [*(column.titled(column.instruction) for column in columns), "path"]
        body = [[*map(shown, cells, (c.unit for c in columns)), str(path)] for path, cells in table]
        write_table(head, body, sink, table_width(stream, width))
    elif format == "json" or format == "jsonl":
        texts = (
            f'"scores": {_by_criterion(cells, columns)}, "path": {json.dumps(str(path))}'
            for path, cells in table
        )
        _write_json(texts, columns, format, sink, skipped)
    else:
        spread = [
            any(_flat(c[i], True)[1] is not None for c in scores) for i in range(len(columns))
        ]
        head = [
            column.instruction + end
            for column, wide in zip(columns, spread, strict=True)
            for end in (("", " (low)", " (high)") if wide else ("",))
        ]
        lines = (
            [
                *(v for c, wide in zip(cells, spread, strict=True) for v in _flat(c, wide)),
                str(path),
            ]
            for path, cells in table
        )
        write_lines([*head, "path"], lines, format, sink)


def _flat(cell: Cell, spread: bool) -> Sequence[float | None]:
    values = cell or (None, None, None)
    return values if spread else values[:1]


class _Fields:
    """The fields of a ranked row, defined here for every format."""

    def __init__(
        self,
        columns: Sequence[Column],
        per_folder: bool,
        reverse: bool,
        places: Places,
        near: Near | None,
    ) -> None:
        self.columns = columns
        self.bursts, self.others = near is not None, near is not None and near.keep_best
        self.places = places
        self.several = len(columns) > 1
        self.per_folder = per_folder
        self.refined = any(column.refined for column in columns)
        # What all rows share. Combined scores have no unit and always run best first.
        self.unit = "" if self.several else columns[0].unit
        descending = self.several or columns[0].direction == "descending"
        self.direction = "descending" if descending != reverse else "ascending"
        self.method = "+".join(dict.fromkeys(column.method for column in columns))
        self.model = "+".join(dict.fromkeys(column.model for column in columns))
        self.grouped = ["burst"] * self.bursts + ["others"] * self.others
        self.extra = ["strength"] * self.refined + self.grouped + ["folder"] * per_folder
        self.extra += [c.instruction for c in columns if self.several]
        self.extra += ["to"] * (places is not None)
        fixed = ["rank", "score", "unit", "percentile", "low", "high", "direction"]
        self.names = [*fixed, "method", "model", *self.extra, "path"]

    def values(self, row: Row) -> list[Value]:
        """In the order of `names`."""
        rank, path, score, percentile, low, high, cells, folder, strength, burst, others = row
        values: list[Value] = [rank, score, self.unit, percentile, low, high]
        values += [self.direction, self.method, self.model]
        if self.refined:
            values.append(strength)
        if self.bursts:
            values += [burst, len(others)] if self.others else [burst]
        if self.per_folder:
            values.append(str(folder))
        if self.several:
            values += [cell[0] if cell else None for cell in cells]
        if self.places is not None:
            values.append(place(path, self.places))
        values.append(str(path))
        return values

    def json(self, row: Row) -> str:
        """The members of a JSON object, without its braces."""
        members = [
            f'"rank": {row.rank}, "score": {number(row.score)}, "unit": {json.dumps(self.unit)}',
            f'"percentile": {number(row.percentile)}, "interval": {interval(row.low, row.high)}',
            f'"direction": "{self.direction}", "method": {json.dumps(self.method)}',
            f'"model": {json.dumps(self.model)}',
        ]
        if self.refined:
            known = "null" if row.strength is None else number(row.strength)
            members.append(f'"strength": {known}')
        if self.bursts:
            members.append(f'"burst": {json.dumps(row.burst)}')
        if self.others:
            members.append(f'"others": {json.dumps([str(path) for path in row.others])}')
        if self.per_folder:
            members.append(f'"folder": {json.dumps(str(row.folder))}')
        if self.several:
            members.append(f'"scores": {_by_criterion(row.scores, self.columns)}')
        if self.places is not None:
            members.append(f'"to": {json.dumps(place(row.path, self.places))}')
        members.append(f'"path": {json.dumps(str(row.path))}')
        return ", ".join(members)

    def headings(self) -> list[str]:
        """Of the table."""
        score = "score" if self.several else self.columns[0].titled("score")
        criteria = [column.titled(column.instruction) for column in self.columns if self.several]
        strength, folder = ["strength"] * self.refined, ["folder"] * self.per_folder
        strength += self.grouped
        to = ["to"] * (self.places is not None)
        return ["rank", score, "percentile", *strength, *folder, *criteria, *to, "path"]

    def cells(self, row: Row) -> list[str]:
        """What the table shows of it."""
        texts = [str(row.rank), shown((row.score, row.low, row.high), self.unit)]
        texts.append(f"{row.percentile:.1f}")
        if self.refined:
            texts.append("-" if row.strength is None else f"{row.strength:.3f}")
        if self.bursts:
            texts += [str(row.burst or "-"), str(len(row.others) or "-")][: len(self.grouped)]
        if self.per_folder:
            texts.append(str(row.folder))
        if self.several:
            texts += map(shown, row.scores, (column.unit for column in self.columns))
        if self.places is not None:
            texts.append(place(row.path, self.places) or "-")
        return [*texts, str(row.path)]


def _by_criterion(cells: Sequence[Cell], columns: Sequence[Column]) -> str:
    parts = (
        f'{{"instruction": {json.dumps(column.instruction)}, "score": '
        + ('null, "interval": null}' if cell is None else "")
        + (f'{number(cell[0])}, "interval": {interval(*cell[1:])}}}' if cell else "")
        for cell, column in zip(cells, columns, strict=True)
    )
    return f"[{', '.join(parts)}]"


def _write_json(
    images: Iterable[str],
    columns: Sequence[Column],
    format: Format,
    sink: Sink,
    skipped: Sequence[Skip],
    more: Mapping[str, object] = MappingProxyType({}),
) -> None:
    described = [
        {
            "instruction": column.instruction,
            "task": column.task,
            "method": column.method,
            "model": column.model,
            "revision": column.revision,
            "prompt": column.prompt,
            "unit": column.unit,
            "direction": column.direction,
            "reference": column.reference,
            "weight": column.weight,
            "range": column.range,
            "refined": column.refined,
            "zero_shot": column.zero_shot,
        }
        for column in columns
    ]
    write_document("criteria", described, images, format, sink, skipped, more)
