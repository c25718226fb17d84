"""Your own data: a plain CSV file, one value of one picture for one instruction a line.

    path,instruction,value,split,group
    photos/1.jpg,by image quality,3.5,train,beach
    photos/1.jpg,by the number of dogs,2,train,beach
    photos/2.jpg,how cosy it looks,0.25,test,kitchen

path: relative to the CSV file, or absolute.
instruction: as for `imgrank sort`; several of them are several queries. One that is not a known
    task is a query of its own, which the model is given as it was typed first.
value: higher is further up the scale of the instruction; in the unit of the task, if it has one.
split: train, validation or test. Without the column the split is ours: 80, 10 and 10 % of the
    groups, drawn at random; another set of groups is another draw.
group: relatives, which our split keeps together. Without the column each picture is its own.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np

from imgrank.data.labelled import About, Labelled, Labels, ReadOptions, present
from imgrank.data.layout import number, read_table
from imgrank.data.split import Part, split_by_group
from imgrank.errors import DataError, InstructionError
from imgrank.instruction import Query, parse
from imgrank.tasks import tasks

__all__ = ["ABOUT", "read"]

NEEDED, OPTIONAL = ("path", "instruction", "value"), ("split", "group")
PARTS = get_args(Part)
LONGEST = 60  # characters of a key
ABOUT = About(
    title="your own pictures, with values in a CSV file",
    paper="",
    source="you: --root FILE.csv",
    licence="",
    layout="FILE.csv: path,instruction,value[,split][,group]",
    split="its column split (train, validation, test), else ours: 80, 10 and 10 % of its groups",
    queries="its instructions",
    note="Values are in the unit of the task; paths are relative to the CSV file.",
)


@dataclass(slots=True)
class _Picture:
    """What the lines say of one picture, and where each was said first."""

    path: Path
    name: str
    part: str = ""
    group: str = ""
    values: dict[str, tuple[float, str]] = field(default_factory=dict)  # query -> value, where


def read(root: Path, options: ReadOptions) -> Labelled:
    """All queries of the CSV file `root`, or of the only one in the folder `root`.

    Raises DataError, with the line, for a header, row or value that is not of the form above, an
    instruction that cannot be read, and two lines that contradict or repeat each other; and if a
    picture is missing (unless `options.partial`).
    """
    file = _file(root)
    rows = read_table(file, NEEDED)
    _check_header(file, list(rows[0][1]))
    pictures: dict[Path, _Picture] = {}
    queries: dict[str, Query] = {}
    keys: dict[str, str] = {}
    for where, row in rows:
        if any(cell is None for cell in row.values()) or None in row:
            raise DataError(f"{where}: too many or too few cells. Quote cells that have commas.")
        typed = row["instruction"].strip()
        if typed not in keys:
            query = _query(typed, where)
            keys[typed] = _key(query)
            queries.setdefault(keys[typed], query)
        _add(pictures, file, row, keys[typed], where)
    found = list(pictures.values())
    kept = present("csv", [picture.path for picture in found], options)
    return _labelled([found[n] for n in kept], queries)


def _file(root: Path) -> Path:
    if root.is_file():
        return root
    tables = sorted(root.glob("*.csv"))
    if len(tables) != 1:
        raise DataError(f"{root} holds {len(tables)} CSV files. Name the one: --root FILE.csv.")
    return tables[0]


def _check_header(file: Path, header: list[str]) -> None:
    if unknown := [str(name) for name in header if name not in (*NEEDED, *OPTIONAL, None)]:
        raise DataError(
            f"{file} has a column {', '.join(unknown)}; there are {', '.join(NEEDED + OPTIONAL)}."
        )


def _query(typed: str, where: str) -> Query:
    """An instruction that names a scale, and nothing else. Raises DataError."""
    try:
        query = parse(typed)
    except InstructionError as error:
        raise DataError(f"{where}: {error}") from error
    natural = query.task is None or tasks()[query.task].descending
    if query.reference is not None or query.descending != natural:
        raise DataError(
            f"{where}: {typed!r} says what comes first. Name the scale alone, as in 'by image "
            "quality'; a higher value is further up."
        )
    return query


def _key(query: Query) -> str:
    """Names a query: a known task by its key, a number of things and free text by their words."""
    if query.task == "count":
        return f"number-of-{_slug(query.subject)}"
    if query.task is not None:
        return query.task
    slug = _slug(query.subject)
    return f"text-{slug}" if slug in tasks() else slug


def _slug(text: str) -> str:
    slug = re.sub(r"\W+", "-", text.lower()).strip("-")
    if slug and len(slug) <= LONGEST:
        return slug
    return f"{slug[: LONGEST - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("-")


def _add(
    pictures: dict[Path, _Picture], file: Path, row: dict[str, str], key: str, where: str
) -> None:
    """Take a row into its picture. Raises DataError if it contradicts or repeats another."""
    name = row["path"].strip()
    if not name:
        raise DataError(f"{where}: no path.")
    path = Path(os.path.normpath(file.parent / name))
    part, group = row.get("split", "").strip(), row.get("group", "").strip()
    if "split" in row and part not in PARTS:
        raise DataError(f"{where}: split is {part!r}, none of {', '.join(PARTS)}.")
    if "group" in row and not group:
        raise DataError(f"{where}: no group.")
    picture = pictures.setdefault(path, _Picture(path, name, part, group))
    for what, said, before in (("split", part, picture.part), ("group", group, picture.group)):
        if said != before:
            raise DataError(f"{where}: the {what} of {name} is {said!r}, and {before!r} before.")
    value = number(row["value"], where, "value")
    if key in picture.values:
        raise DataError(
            f"{where}: {name} has a value for {row['instruction'].strip()!r} already, see "
            f"{picture.values[key][1].rpartition(', ')[2]}."
        )
    picture.values[key] = (value, where)


def _labelled(pictures: list[_Picture], queries: dict[str, Query]) -> Labelled:
    groups = tuple(picture.group or picture.name for picture in pictures)
    given = any(picture.part for picture in pictures)
    parts: list[Part] = [part for p in pictures for part in PARTS if part == p.part]
    labels = []
    for key, query in queries.items():
        values = [picture.values.get(key, (np.nan, ""))[0] for picture in pictures]
        if np.isnan(values).all():
            continue  # all of its pictures are missing
        task = query.task or key
        unit = tasks()[task].unit if query.task else ""
        prompt = query.prompt if query.task else query.text.strip()
        column = np.array(values, dtype=np.float32)
        subject = query.subject if query.task else ""
        labels.append(Labels(key, task, prompt, column, subject=subject, unit=unit))
    return Labelled(
        "csv",
        paths=tuple(picture.path for picture in pictures),
        keys=tuple(_content(picture) for picture in pictures),
        parts=tuple(parts if given else split_by_group(groups)),
        groups=groups,
        labels=tuple(labels),
    )


def _content(picture: _Picture) -> str:
    """A key that changes with the file: names such as "1.jpg" are in many a folder."""
    about = picture.path.stat()
    return f"csv/{picture.name}|{about.st_size}|{about.st_mtime_ns}"
