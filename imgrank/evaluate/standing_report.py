"""What `imgrank eval` prints of groups: as paper 002's tables, a row a model, a column a size.

In a pipe it is the rows of `report.py` and, for each size above 1, a row of kind "groups" (or
"difference", "paper") more, with the columns of `COLUMNS`; of size 1 there is such a row of a model
that gives answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imgrank.evaluate import report
from imgrank.evaluate.groups import FIGURES

__all__ = ["COLUMNS", "notes", "rows", "shown", "tsv"]

COLUMNS = (
    *report.COLUMNS,
    "images",
    *(column for name in FIGURES for column in (name, f"{name}_low", f"{name}_high")),
)
SINGLE = ("mae", "accuracy", "srcc")  # figures of single pictures that the paper prints
Row = Mapping[str, Any]


def rows(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All rows of what `evaluate` found about single pictures and about groups."""
    common = {"data": table["data"], "part": table["part"]}
    papers = [row for row in table["paper"] if "setting" not in row]
    single = {**table, "paper": [row for row in papers if _of_orders(row) or row.get("own")]}
    yield from report.rows(single, own=False)
    for model in table["models"]:
        for each in model["orders"]:
            yield {**common, "kind": "groups", "model": _name(table, model), **_row(each)}
    for each in table["order_differences"]:
        name = f"{each['first']} less {each['second']}"
        yield {**common, "kind": "difference", "model": name, **_row(each)}
    for each in filter(_of_orders, papers):
        name = f"paper {each['paper']}, table {each['table']}: {each['method']}"
        for size in table["sizes"]:
            if f"tau_{size}" in each:
                figures = {"images": size, "tau": each[f"tau_{size}"]}
                yield {**common, "kind": "paper", "model": name, "query": each["of"], **figures}


def tsv(found: Sequence[Row]) -> list[list[str]]:
    """Heading and rows for a pipe: every column, always."""
    return [list(COLUMNS), *([report.cell(row.get(name)) for name in COLUMNS] for row in found)]


def shown(table: Mapping[str, Any], papers: bool = False) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of a table for people: a line for each query and model.

    papers: of what papers print, else of what was measured.
    """
    found = [row for row in rows(table) if row["kind"] != "band"]
    found = [row for row in found if (row["kind"] == "paper") == papers]
    lines = _lines(found)
    sizes = [f"tau {size}" for size in table["sizes"] if size > 1]
    tasks = {query["task"] for model in table["models"] for query in model["queries"]}
    single = [name for name in SINGLE if any(row.get(name) is not None for row in found)]
    if tasks == {"age"}:  # of ranks that are years, of which none is often right
        single = [name for name in single if name != "accuracy"]
    several = [len({key[at] for key in lines}) > 1 for at in (1, 2)]  # queries, models
    several[0] |= not several[1]
    pictures, last = (["n"] if single and not papers else []), "paper" if papers else "model"
    head = [
        *(name for name, many in zip(("query", last), several, strict=True) if many),
        *(*pictures, *(report.TITLES[name] for name in single)),
        *(name.replace(" ", " of ") for name in sizes),
    ]
    body = []
    for key, line in lines.items():
        if any(name in line for name in (*single, *sizes)):
            names = key[1], key[2].removeprefix("paper ")
            first = [name for name, many in zip(names, several, strict=True) if many]
            cells = report.cells(line, [*pictures, *single, *sizes])
            body.append([*first, *(cell.replace(", ", ",\n") for cell in cells)])
    return head, body


def _lines(found: Sequence[Row]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """By kind, query and model: all figures of single pictures and of groups."""
    lines: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in found:
        kind = "query" if row["kind"] in ("groups", "mean") else row["kind"]
        line = lines.setdefault((kind, row["query"], row["model"]), {"kind": row["kind"]})
        if (size := row.get("images", 1)) > 1:
            ends = {f"tau {size}{end}": row.get(f"tau{end}") for end in ("", "_low", "_high")}
            line |= {name: value for name, value in ends.items() if value is not None}
        elif row["kind"] != "groups":
            line |= {name: value for name, value in row.items() if name not in ("kind", "query")}
    return lines


def notes(table: Mapping[str, Any]) -> Iterator[str]:
    """What the rows do not say, a line each; first that of single pictures."""
    sizes = [str(size) for size in table["sizes"] if size > 1]
    if 1 in table["sizes"]:
        yield from report.notes(table)
        yield from _blind(table)
    if sizes:
        yield (
            f"tau of N: mean of Kendall's tau-b of the order, over up to {table['groups']} groups "
            f"of {', '.join(sizes)} pictures (seed {table['seed']}), whose true values differ as "
            "far as they can; 95 % intervals over groups. A random order has 0."
        )
    for model in table["models"]:
        overall = _overall(model["orders"])
        if left := [row for row in overall if row["n"] == 0]:
            none = ", ".join(str(row["images"]) for row in left)
            yield f"{model['model']}: no group of {none} pictures was ordered."
        if wrote := [row for row in overall if "well_formed" in row]:
            cells = (
                f"{row['images']}: {100 * row['well_formed']:.1f} %, every picture in "
                f"{100 * row['complete']:.1f} %{_by_values(row)}"
                for row in wrote
            )
            yield f"{model['model']}, answers well formed, by pictures: {'; '.join(cells)}."
    if any(_of_orders(row) for row in table["paper"]):
        yield (
            "Paper 002 says neither which pictures it took nor how it drew groups, so that its "
            "figures and these are not of the same questions."
        )


def _blind(table: Mapping[str, Any]) -> Iterator[str]:
    """What the median and the majority come to, of the first model's queries or their mean."""
    model = table["models"][0]
    each: Row = next(iter([*model["means"][-1:], *model["queries"]]), {"baseline": {}})
    names = {"mae": "MAE {:.3f} (the median)", "accuracy": "accuracy {:.3f} (the majority)"}
    told = [
        text.format(each["baseline"][name])
        for name, text in names.items()
        if each.get(name) is not None and each["baseline"].get(name) is not None
    ]
    if told:
        yield f"Without a look at any picture: {', '.join(told)}."


def _overall(found: Sequence[Row]) -> list[Row]:
    """Of each size the row over all groups."""
    last = {row["images"]: row for row in found}  # that of the mean, where there is one
    return [last[size] for size in sorted(last)]


def _by_values(row: Row) -> str:
    return "" if row.get("tau_values") is None else f", tau of the values {row['tau_values']:.3f}"


def _of_orders(row: Row) -> bool:
    return any(name.startswith("tau_") for name in row)


def _name(table: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """As `report.rows` has it."""
    several = len(table["models"]) > 1 and model["fold"] is not None
    return f"{model['model']}, fold {model['fold']}" if several else str(model["model"])


def _row(each: Row) -> dict[str, Any]:
    out: dict[str, Any] = {"query": each["query"], "n": each["n"], "images": each["images"]}
    for name in FIGURES:
        out[name] = each.get(name)
        out[f"{name}_low"], out[f"{name}_high"] = each.get(f"{name}_interval") or (None, None)
    return {name: value for name, value in out.items() if value is not None}
