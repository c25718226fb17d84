"""Tables of figures: what the measuring commands print."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["drawn", "printed", "rendered"]


def drawn(
    head: Sequence[str],
    body: Iterable[Sequence[str]],
    *,
    left: Container[int] = (0,),
    whole: Container[int] = (0,),
) -> Table:
    """A table. left: columns of words, the others are figures.   whole: those never wrapped."""
    from rich import box
    from rich.table import Table

    from imgrank.results.output import visible

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, title in enumerate(head):
        justify = "left" if number in left else "right"
        table.add_column(title, justify=justify, no_wrap=number in whole)  # type: ignore[arg-type]
    for row in body:
        table.add_row(*("\n".join(map(visible, cell.split("\n"))) for cell in row))
    return table


def printed(parts: Iterable[str | Table]) -> str:
    """Lines and tables as text, one below the other."""
    from rich.console import Console

    from imgrank.results.output import visible

    sink = io.StringIO()
    console = Console(file=sink, markup=False, highlight=False)
    for part in parts:
        console.print(visible(part) if isinstance(part, str) else part)
    return sink.getvalue()


def rendered(
    table: Mapping[str, Any],
    format_: str,
    tsv: Callable[[], Iterable[Sequence[str]]],
    people: Callable[[], str],
) -> str:
    """Figures as "json" (the table itself), as "tsv" (its rows), or else as people read them."""
    if format_ == "json":
        return json.dumps(table, indent=1, ensure_ascii=True, allow_nan=False) + "\n"
    if format_ == "tsv":
        return "".join("\t".join(row) + "\n" for row in tsv())
    return people()
