"""Estimates -> table, TSV, CSV, JSON, JSON lines or bare paths, on a stream.

What `output.py` says of names, numbers, escapes and streams holds here too. A row is a picture, or
one face of it; its fields are the same in every format:

    status  [face]  estimate  unit  low  high  level  probability  [likely]  [p(LEVEL) ...]
    [x  y  width  height  confidence  cropped]  source  method  model  reason  [to]  path

* `face` and the box (`x` ... `cropped`) are there where faces are looked for: `age`.
* `likely`, the names of the smallest set of levels, and a column for each level's probability are
  there where the levels are few enough to be told: `decade`, `aesthetic`.
* A row without an estimate (`status` no_face or out_of_range) has its `reason`, and empty fields.
* `to` is there where the pictures were copied, linked, moved or renamed, as in `output.py`.
* JSON is one object: `model` (task, name, revision, method, unit, levels, coverage), `images` (the
  rows), `skipped`. In a row `interval` is a pair or null, `levels` an object from name to
  probability, `likely` a list, `box` an object or null. JSON lines are the rows, each with `model`
  in it.
* `paths` are the pictures with an estimate, each once.
* The table, made for eyes, leaves out what is the same in every row; the command says the reasons
  on standard error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

from imgrank.images import Skip
from imgrank.results.estimate import Estimate
from imgrank.results.sink import (
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
from imgrank.results.text import number

__all__ = ["Estimator", "write_estimates"]

BOX = ("x", "y", "width", "height", "confidence", "cropped")


@dataclass(frozen=True, slots=True)
class Estimator:
    """Who estimated what; the `model` of the JSON, except for `faces`.

    task: key of a known task.   name, revision, method, unit: as in an `Answer`.
    levels: names of the levels that each row has probabilities of; () where it has none (ages).
    coverage: share of truths that interval and set were fitted to hold; None: they were not.
    faces: rows are faces.
    """

    task: str
    name: str
    revision: str
    method: str
    unit: str
    levels: tuple[str, ...] = ()
    coverage: float | None = None
    faces: bool = False


def write_estimates(
    rows: Sequence[Estimate],
    model: Estimator,
    format: Format,
    stream: BinaryIO | TextIO,
    *,
    nul: bool = False,
    skipped: Sequence[Skip] = (),
    places: Mapping[Path, Path] | None = None,
    width: int | None = None,
) -> None:
    """Rows in the order given, in one of `FORMATS`. Options as for `output.write`."""
    sink = Sink(stream)
    if format == "paths":
        paths = dict.fromkeys(row.path for row in rows if row.status == "ok")
        sink.paths(there(paths, places), nul)
    elif format == "table":
        head, body = _table(rows, model, places)
        write_table(head, body, sink, table_width(stream, width))
    elif format == "json" or format == "jsonl":
        described = {key: value for key, value in asdict(model).items() if key != "faces"}
        images = (_json(row, model, places) for row in rows)
        write_document("model", described, images, format, sink, skipped)
    else:
        values = (_values(row, model, places) for row in rows)
        write_lines(_names(model, places), values, format, sink)


def _names(model: Estimator, places: Places) -> list[str]:
    fixed = ["estimate", "unit", "low", "high", "level", "probability"]
    levels = ["likely", *(f"p({level})" for level in model.levels)] if model.levels else []
    face, box = (["face"], list(BOX)) if model.faces else ([], [])
    last = ["source", "method", "model", "reason", *(["to"] if places is not None else []), "path"]
    return ["status", *face, *fixed, *levels, *box, *last]


def _values(row: Estimate, model: Estimator, places: Places) -> list[Value]:
    """In the order of `_names`."""
    values: list[Value] = [row.status]
    if model.faces:
        values.append(row.face)
    values += [row.value, model.unit, row.low, row.high, row.level, row.probability]
    if model.levels:
        known = dict(row.levels)
        values += [", ".join(row.likely), *(known.get(level) for level in model.levels)]
    if model.faces and row.box:
        box = row.box
        values += [box.x, box.y, box.width, box.height, box.confidence]
        values.append("yes" if box.cropped else "no")
    elif model.faces:
        values += [None] * len(BOX)
    values += [row.source, model.method, model.name, row.reason]
    if places is not None:
        values.append(place(row.path, places))
    return [*values, str(row.path)]


def _json(row: Estimate, model: Estimator, places: Places) -> str:
    """The members of a JSON object, without its braces."""
    box = {key: _member(value) for key, value in asdict(row.box).items()} if row.box else None
    members = {
        "status": json.dumps(row.status),
        "face": json.dumps(row.face),
        "estimate": _number(row.value),
        "unit": json.dumps(model.unit),
        "interval": interval(row.low, row.high),
        "level": json.dumps(row.level or None),
        "probability": _number(row.probability),
        "likely": json.dumps(row.likely),
        "levels": _object({name: number(p) for name, p in row.levels}),
        "box": "null" if box is None else _object(box),
        "source": json.dumps(row.source),
        "reason": json.dumps(row.reason),
        "to": json.dumps(place(row.path, places or {})),
        "path": json.dumps(str(row.path)),
    }
    unused = {"face", "box"} if not model.faces else set[str]()
    unused |= {"likely", "levels"} if not model.levels else set()
    unused |= {"to"} if places is None else set()
    return ", ".join(f'"{key}": {text}' for key, text in members.items() if key not in unused)


def _object(members: dict[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(key)}: {text}" for key, text in members.items()) + "}"


def _member(value: float | bool) -> str:
    return json.dumps(value) if isinstance(value, bool) else number(value)


def _number(value: float | None) -> str:
    return "null" if value is None else number(value)


# ---- for eyes ------------------------------------------------------------------------------------


def _table(
    rows: Sequence[Estimate], model: Estimator, places: Places
) -> tuple[list[str], list[list[str]]]:
    """Headings and cells; the path is the last."""
    likely = any(row.likely for row in rows)
    head = ["face"] * model.faces + [model.task if model.levels else "group", "probability"]
    head += ["likely"] * likely + ["estimate"] + ["to"] * (places is not None) + ["path"]
    return head, [list(_cells(row, model, likely, places)) for row in rows]


def _cells(row: Estimate, model: Estimator, likely: bool, places: Places) -> Iterator[str]:
    if model.faces:
        yield "-" if row.face is None else str(row.face)
    yield row.level or "-"
    yield "-" if row.probability is None else f"{row.probability:.2f}"
    if likely:
        yield ", ".join(row.likely) or "-"
    yield _estimate(row, model.unit)
    if places is not None:
        yield place(row.path, places) or "-"
    yield str(row.path)


def _estimate(row: Estimate, unit: str) -> str:
    """ "34.2 (28 to 41) years", "1984 year, by EXIF", "no face"."""
    if row.value is None:
        return row.status.replace("_", " ")
    text = _brief(row.value)
    if row.low is not None and row.high is not None:
        text += f" ({_brief(row.low)} to {_brief(row.high)})"
    return f"{text} {unit}".rstrip() + (", by EXIF" if row.source == "exif" else "")


def _brief(value: float) -> str:
    """Three digits: more would say that the estimate is better than it is. All of a year."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
