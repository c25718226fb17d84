"""Fields -> lines, a table, a JSON document, on a stream: what all kinds of rows are written with.

How names, numbers and escapes look is said in `output.py`; it holds for every command.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Literal, TextIO, cast, get_args

from imgrank.images import Skip
from imgrank.results.text import number, visible

__all__ = [
    "FORMATS",
    "Format",
    "Places",
    "Sink",
    "Value",
    "interval",
    "place",
    "table_width",
    "there",
    "write_document",
    "write_lines",
    "write_table",
]

Format = Literal["table", "tsv", "csv", "json", "jsonl", "paths"]
FORMATS: tuple[Format, ...] = get_args(Format)
NARROWEST = 24  # a folded path column gets at least this many terminal cells

Value = str | int | float | None
Places = Mapping[Path, Path] | None
"""Where pictures were filed, by the path of their row; None if nobody asked for that."""


class Sink:
    """Text with undecodable file names in it -> a stream of bytes, or of text as it is.

    A text stream over bytes (standard output) is written underneath: its encoding may not know the
    names. Lines are gathered so that 10,000 rows are some dozen writes.
    """

    def __init__(self, stream: BinaryIO | TextIO) -> None:
        stream.flush()
        self._bytes: Callable[[bytes], object] | None = None
        if not isinstance(stream, io.TextIOBase):
            self._bytes = cast(BinaryIO, stream).write
        elif hasattr(stream, "buffer"):
            self._bytes = stream.buffer.write
        else:
            self._text = stream.write

    def write(self, text: str) -> None:
        if self._bytes:
            self._bytes(text.encode("utf-8", sys.getfilesystemencodeerrors()))
        else:
            self._text(text)

    def lines(self, lines: Iterable[str]) -> None:
        """Each with a newline."""
        lines = iter(lines)
        while chunk := list(islice(lines, 256)):
            self.write("\n".join([*chunk, ""]))

    def paths(self, paths: Iterable[Path], nul: bool) -> None:
        """Names exactly as the file system has them."""
        end = "\0" if nul else "\n"
        for path in paths:
            if self._bytes:
                self._bytes(os.fsencode(path) + end.encode())
            else:
                self._text(str(path) + end)


def write_lines(
    names: Sequence[str], rows: Iterable[Sequence[Value]], format: Format, sink: Sink
) -> None:
    """TSV or CSV with a heading."""
    texts = chain([names], ([v if type(v) is str else _text(v) for v in row] for row in rows))
    if format == "tsv":
        sink.lines(map(_tabbed, texts))
    else:
        line = csv.writer(cast(Any, sink), lineterminator="\n").writerow
        # Python up to 3.12 leaves a lone carriage return bare, and readers end the row at it.
        quoted = csv.writer(cast(Any, sink), lineterminator="\n", quoting=csv.QUOTE_ALL).writerow
        for text in texts:
            (quoted if any("\r" in field for field in text) else line)(text)


def _text(value: Value) -> str:
    if isinstance(value, float):
        return number(value)
    return "" if value is None else str(value)


_UNSAFE = re.compile(r"[\\\n\r]")
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _tabbed(texts: Sequence[str]) -> str:
    line = "\t".join(texts)
    if line.count("\t") == len(texts) - 1 and not _UNSAFE.search(line):
        return line
    return "\t".join(text.translate(_ESCAPES) for text in texts)


def place(path: Path, places: Mapping[Path, Path]) -> str | None:
    """The value of `to`: None where the picture stayed."""
    found = places.get(path)
    return None if found is None else str(found)


def there(paths: Iterable[Path], places: Places) -> Iterable[Path]:
    """What bare paths are of rows: the new places, if pictures were filed."""
    if places is None:
        return paths
    return (places[path] for path in paths if path in places)


def interval(low: float | None, high: float | None) -> str:
    """As JSON: a pair or null."""
    return "null" if low is None or high is None else f"[{number(low)}, {number(high)}]"


def write_document(
    head: str,
    described: object,
    images: Iterable[str],
    format: Format,
    sink: Sink,
    skipped: Sequence[Skip],
    more: Mapping[str, object] = MappingProxyType({}),
) -> None:
    """JSON (one object: `head`, images, skipped) or JSON lines (each image with `head` in it).

    described: the value of `head`.   images: the members of each row's object, without braces.
    more: what stands beside `head`, by name.
    """
    heads = [f'"{key}": {json.dumps(value)}' for key, value in {head: described, **more}.items()]
    if format == "jsonl":
        end = f", {', '.join(heads)}}}"
        sink.lines("{" + image + end for image in images)
        return
    sink.write("{\n" + ",\n".join(heads) + ',\n"images": [')
    before = "\n"
    for image in images:
        sink.write(f"{before}{{{image}}}")
        before = ",\n"
    left_out = [{"path": str(skip.path), "reason": skip.reason} for skip in skipped]
    sink.write(f'\n],\n"skipped": {json.dumps(left_out)}\n}}\n')


def table_width(stream: BinaryIO | TextIO, width: int | None) -> int | None:
    """The width asked for, else the terminal's; None where there is none: no folding."""
    if width is None and stream.isatty():
        return shutil.get_terminal_size().columns
    return width


def write_table(
    head: Sequence[str],
    body: Sequence[Sequence[str]],
    sink: Sink,
    width: int | None,
    left: Collection[str] = ("to",),
) -> None:
    """Columns two cells apart, the last to the left and folded, others to the right, as numbers
    are, but those whose headings are in `left`.

    rich measures the cells (wide characters); its own Table would lay out 10,000 rows in seconds.
    """
    from rich.cells import cell_len, chop_cells

    lines = [[visible(text) for text in line] for line in [head, *body]]
    widths = [max(map(cell_len, texts)) for texts in zip(*lines, strict=True)]
    used = sum(widths[:-1]) + 2 * (len(widths) - 1)
    room = widths[-1] if width is None else max(NARROWEST, width - used)
    to_left = [name in left for name in head]

    def laid_out() -> Iterator[str]:
        for *texts, path in lines:
            start = "".join(
                text + " " * (wide - cell_len(text) + 2)
                if flush
                else " " * (wide - cell_len(text)) + text + "  "
                for text, wide, flush in zip(texts, widths, to_left, strict=False)
            )
            folded = [path] if cell_len(path) <= room else chop_cells(path, room)
            yield start + folded[0]
            yield from (" " * used + piece for piece in folded[1:])

    sink.lines(laid_out())
