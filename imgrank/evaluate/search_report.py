"""What `imgrank eval` prints of a measure of search: a line a figure in a pipe, sheets for people.

In a sheet a row is a model or a difference, a column a figure; in a cell the value, below it the
95 % interval over queries, and below that of differences the wide one (queries and pictures).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["COLUMNS", "heading", "notes", "rows", "sheets", "tsv"]

COLUMNS = (
    *("data", "part", "kind", "model", "queries", "pool", "n", "pictures", "figure", "value"),
    *("low", "high", "wide_low", "wide_high"),
)
NO_FIGURES = {"paper", "table", "method", "own", "of", "setting", "note"}
Row = Mapping[str, Any]


def rows(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One a figure; the papers' last."""
    common = {"data": table["data"], "part": table["part"]}
    for sheet in table["tables"]:
        where = {key: sheet[key] for key in ("queries", "pool", "n", "pictures")}
        for row in sheet["rows"]:
            named = {**common, "kind": row["kind"], "model": row["model"], **where}
            for name, figure in row["figures"].items():
                low, high = figure.get("interval", (None, None))
                wide = dict(zip(("wide_low", "wide_high"), figure.get("wide", ()), strict=False))
                ends = {"low": low, "high": high, **wide}
                yield {**named, "figure": name, "value": figure["value"], **ends}
    for row in table["paper"]:
        named = {**common, "kind": "paper", "model": _paper(row), "queries": row["of"]}
        for name in (name for name in row if name not in NO_FIGURES):
            yield {**named, "figure": name, "value": row[name]}


def tsv(table: Mapping[str, Any]) -> list[list[str]]:
    """Heading and rows for a pipe: every column, always."""
    return [list(COLUMNS), *([_text(row.get(name)) for name in COLUMNS] for row in rows(table))]


def heading(table: Mapping[str, Any]) -> str:
    """One line above all sheets."""
    models = " and ".join(dict.fromkeys(model["model"] for model in table["models"]))
    return f"{table['data']}, {table['part']} part, by {models}"


def sheets(table: Mapping[str, Any]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """(title, headings, rows of cells) of each sheet; what the papers print below it."""
    for sheet in table["tables"]:
        names = list(dict.fromkeys(name for row in sheet["rows"] for name in row["figures"]))
        over = f" over {sheet['pool']}" if sheet["pool"] else ""
        title = f"{sheet['queries']}{over}: {_count(sheet['n'], 'query', 'queries')}, "
        title += _count(sheet["pictures"], "picture", "pictures")
        body = [
            [row["model"], *(_cell(row, row["figures"].get(name)) for name in names)]
            for row in sheet["rows"]
        ]
        for row in table["paper"]:
            if row["of"] == sheet["queries"] and "setting" not in row:
                cells = (f"{row[name]:.3f}" if name in row else "" for name in names)
                body.append([_paper(row), *cells])
        yield title, ["", *names], body


def notes(table: Mapping[str, Any]) -> Iterator[str]:
    """What the sheets do not say, a line each."""
    yield (
        f"In brackets: 95 % intervals, {table['rounds']} bootstrap rounds over queries, seed "
        f"{table['seed']}; below them, of differences, over queries and pictures."
        if any("wide" in figure for figure in _figures(table))
        else f"In brackets: 95 % intervals, {table['rounds']} bootstrap rounds, seed "
        f"{table['seed']}."
    )
    if table["split"]:
        yield f"Split: {table['split']}."
    yield from table["notes"]
    if table["paper"]:
        note = f"; {table['paper_note']}, so they cannot be compared" if table["paper_note"] else ""
        yield f"Figures of a paper are the paper's own{note}."


def _paper(row: Row) -> str:
    setting = f", {row['setting']}" if "setting" in row else ""
    return f"paper {row['paper']}, table {row['table']}: {row['method']}{setting}"


def _figures(table: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for sheet in table["tables"]:
        for row in sheet["rows"]:
            yield from row["figures"].values()


def _cell(row: Row, figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return ""
    sign = "+" if row["kind"] == "difference" else ""
    lines = [f"{figure['value']:{sign}.3f}"]
    for key in ("interval", "wide") if sign else ("interval",):
        ends: Sequence[float | None] = figure.get(key, ())
        if len(ends) == 2 and None not in ends:
            lines.append(f"[{', '.join(_brief(end, sign) for end in ends if end is not None)}]")
    return "\n".join(lines)


def _brief(value: float, sign: str) -> str:
    """An end of an interval, narrow: ".666", "-.050", "5.213"."""
    text = f"{value:{sign}.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def _count(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
