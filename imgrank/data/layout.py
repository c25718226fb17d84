"""Finding the files of a published data set, and saying in one sentence what is wrong with them."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path

from imgrank.errors import DataError

__all__ = ["find", "number", "read_table", "read_text", "under"]

TRIED = 100
LAYOUT = "`imgrank data list` says how to lay it out."


def find(root: Path, *places: str) -> Path:
    """The first of these files or folders, named from `root`, that is there.

    Raises DataError which names them; and the right folder, if they lie one above or one below.
    """
    for place in places:
        if (root / place).exists():
            return root / place
    above = any((root.parent / place).exists() for place in places)
    deeper = next(
        (folder for folder in _folders(root) if any((folder / p).exists() for p in places)), None
    )
    hint = f" It is in {deeper}: name that folder." if deeper else ""
    if above and not deeper:
        hint = f" It is one folder above: name {root.parent}."
    what = f"neither {' nor '.join(places)}" if places[1:] else f"no {places[0]}"
    raise DataError(f"{root} holds {what}.{hint or ' ' + LAYOUT}")


def under(root: Path, places: Sequence[str], names: Sequence[str]) -> Path:
    """The first of these folders that holds one of the first `TRIED` files of `names`.

    None does: the first that is there at all; none is there: the first, so that an error names the
    place that people look for.
    """
    folders = [root / place for place in places]
    holding = (
        folder for folder in folders if any((folder / name).is_file() for name in names[:TRIED])
    )
    there = (folder for folder in folders if folder.is_dir())
    return next(holding, None) or next(there, folders[0])


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark. Raises DataError."""
    try:
        data = path.read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: this is no UTF-8. Save it as UTF-8.") from error


def read_table(
    path: Path, columns: Sequence[str], delimiter: str = ","
) -> list[tuple[str, dict[str, str]]]:
    """(where, row) of each line of a table with a header; `where` is "PATH, line N", for errors.

    Raises DataError if a column is missing, a row has none of it, or there is no row at all.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
    rows: list[tuple[str, dict[str, str]]] = []
    try:
        header = reader.fieldnames or ()
        if missing := [name for name in columns if name not in header]:
            found = ", ".join(header) or "none, it is empty"
            hint = f" Cells are separated by {delimiter!r}." if len(header) == 1 else ""
            raise DataError(f"{path} has no column {', '.join(missing)}; it has {found}.{hint}")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if empty := [name for name in columns if row[name] is None]:
                raise DataError(f"{where}: the row ends before {', '.join(empty)}.")
            rows.append((where, row))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.reader.line_num}: {error}.") from error
    if not rows:
        raise DataError(f"{path} has no rows.")
    return rows


def number(text: str, where: str, column: str) -> float:
    """A finite number. Raises DataError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: {column} is {text!r}, which is no number.")
    return value


def _folders(root: Path) -> list[Path]:
    """The folders in `root` by name; quick, however many pictures lie between them."""
    if not root.is_dir():
        return []
    with os.scandir(root) as entries:
        return sorted(root / entry.name for entry in entries if entry.is_dir())
