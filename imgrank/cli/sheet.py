"""Tables of figures for people: what the measuring commands print on a terminal."""

from __future__ import annotations

import io
from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["drawn", "printed"]


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
