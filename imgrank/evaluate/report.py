"""What `imgrank eval` prints, row by row: the same rows in the table and in a pipe.

A row is {column: value}; what does not apply is absent. `kind` says what it is: "query", "band" (of
the ages of a query), "mean", "models" (mean over models), "difference" (of two models), "paper". In
a table for people bands, and figures that only models with ranks have, are lines below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imgrank.evaluate.levels import FIGURES as LEVEL_FIGURES
from imgrank.evaluate.measure import FIGURES

__all__ = ["COLUMNS", "TITLES", "cell", "cells", "notes", "rows", "shown", "tsv"]

Row = Mapping[str, Any]
TITLES = {
    "srcc": "SRCC",
    "plcc": "PLCC",
    "mae": "MAE",
    "class_mae": "MAE, rounded",
    "accuracy": "accuracy",
    "pair_accuracy": "pair accuracy",
}
BASELINES = {"median_mae": "MAE of median", "majority_accuracy": "of majority"}
COLUMNS = (
    *("data", "part", "kind", "model", "query", "n", "unit"),
    *(column for name in FIGURES for column in (name, f"{name}_low", f"{name}_high", f"{name}_sd")),
    *BASELINES,
)


def rows(table: Mapping[str, Any], own: bool = True) -> Iterator[dict[str, Any]]:
    """All rows of what `evaluate` found.

    own: of the papers' figures only those of their own models, trained on all there is.
    """
    common = {"data": table["data"], "part": table["part"]}
    several = len(table["models"]) > 1
    for model in table["models"]:
        fold = "" if model["fold"] is None or not several else f", fold {model['fold']}"
        for kind in ("query", "mean"):
            for each in model["queries" if kind == "query" else "means"]:
                yield {**common, "kind": kind, "model": model["model"] + fold, **_row(each)}
                for band in each.get("bands", ()):
                    own_row = {**band, "query": f"{each['query']} {band['band']}"}
                    named = {"kind": "band", "model": model["model"] + fold}
                    yield {**common, **named, **_row({**own_row, "unit": each["unit"]})}
    for each in table["over_models"]:
        name = f"mean over {each['models']} models"
        yield {**common, "kind": "models", "model": name, **_row(each)}
    for each in table["differences"]:
        name = f"{each['first']} less {each['second']}"
        yield {**common, "kind": "difference", "model": name, **_row(each)}
    for each in table["paper"]:
        if (each.get("own") and "setting" not in each) or not own:
            name = f"paper {each['paper']}, table {each['table']}: {each['method']}"
            name += f", {each['setting']}" if "setting" in each else ""
            yield {**common, "kind": "paper", "model": name, **_row({"query": each["of"], **each})}


def notes(table: Mapping[str, Any]) -> Iterator[str]:
    """What the rows do not say, a line each."""
    over = " or ".join(dict.fromkeys(model["intervals_over"] for model in table["models"]))
    yield (
        f"In brackets: 95 % intervals, {table['rounds']} bootstrap rounds over {over}, seed "
        f"{table['seed']}. Split: {table['split'] or 'the only one'}."
    )
    yield from _of_ranks(table)
    for model in table["models"]:
        for mean in model["means"]:
            if mean["left_out"]:
                yield (
                    f"{model['model']}, {mean['query']}: over {mean['queries']} queries; without "
                    f"{', '.join(mean['left_out'])}, where a figure is undefined (all values equal)"
                )
    blind = [query["baseline"] for model in table["models"] for query in model["queries"]]
    if elsewhere := [each["from"] for each in blind if each["from"] != "train"]:
        yield f"Median and majority are those of the {elsewhere[0]} part: none is for training."
    yield "A constant orders half of the pairs rightly (pair accuracy 0.5) and has no correlation."
    if table["paper"]:
        note = f"; {table['paper_note']}, so they cannot be compared" if table["paper_note"] else ""
        yield f"Figures of a paper are the paper's own{note}."


def shown(found: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of a table for people, without columns that are empty throughout.

    Without the model's, too, if there is but one. See the top of this module for what is left to
    `notes`.
    """
    found = [row for row in found if row["kind"] != "band"]
    names = [name for name in FIGURES if name not in LEVEL_FIGURES]
    used = [name for name in names if any(row.get(name) is not None for row in found)]
    blind = [name for name in BASELINES if any(row.get(name) is not None for row in found)]
    columns = [name for figure in used for name in (figure, *_of(figure, blind))]
    several = len({row["model"] for row in found}) > 1
    first = ["query", "model"] if several else ["query"]
    head = [*first, "n", *(TITLES.get(name) or BASELINES[name] for name in columns)]
    return head, [[*(row[name] for name in first), *cells(row, ["n", *columns])] for row in found]


def tsv(found: Sequence[Row]) -> list[list[str]]:
    """Heading and rows for a pipe: every column, always."""
    return [list(COLUMNS), *([cell(row.get(name)) for name in COLUMNS] for row in found)]


def _of_ranks(table: Mapping[str, Any]) -> Iterator[str]:
    """A line for each query of a model with ranks, one for the mean over models; errors by age."""
    several = len(table["models"]) > 1
    for model in table["models"]:
        for query in model["queries"]:
            name = f"{model['model']}, {query['query']}" if several else query["query"]
            if "levels" in query and "os" in query:
                yield f"{name}, by rank: {_ranked(query)}."
            if "bands" in query:
                cells = (
                    f"{band['band']} {band['mae']:.1f} ({band['n']})" for band in query["bands"]
                )
                yield f"{name}, MAE by true age (pictures): {', '.join(cells)}."
    for each in table["over_models"]:
        if "os" in each:
            who = f"Mean (SD) of {each['models']} models, {each['query']}"
            yield f"{who}, by rank: {_ranked(each)}."


def _ranked(each: Mapping[str, Any]) -> str:
    """each: of one query, or the mean over models, which does not know how many ranks there are."""

    def of(name: str, scale: float = 1, places: int = 1) -> str:
        text = f"{scale * each[name]:.{places}f}"
        spread = each.get(f"{name}_sd")
        return text if spread is None else f"{text} ({scale * spread:.{places}f})"

    level, ranks, unit = "", "", ""
    if "levels" in each:
        level = f"{100 * each['levels']['calibration']['level']:g} % "
        ranks = f" of {len(each['levels']['ranks'])}"
        unit = f" {each['truth_unit']}".rstrip()
    return (
        f"MAE of the likeliest {of('level_mae', places=2)}{unit}; the {level}interval holds "
        f"{of('coverage', 100)} % of the labels, the {level}set {of('set_coverage', 100)} % with "
        f"{of('set_size')}{ranks} ranks; ECE {of('ece', places=3)}; ordinality {of('os')}"
    )


def _row(each: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"query": each["query"], "n": each.get("n"), "unit": each.get("unit")}
    for name in FIGURES:
        out[name] = each.get(name)
        out[f"{name}_low"], out[f"{name}_high"] = each.get(f"{name}_interval") or (None, None)
        out[f"{name}_sd"] = each.get(f"{name}_sd")
    blind = each.get("baseline") or {}
    if "mae" in each:
        out["median_mae"] = blind.get("mae")
    if "accuracy" in each:
        out["majority_accuracy"] = blind.get("accuracy")
    return {name: value for name, value in out.items() if value is not None}


def _of(figure: str, blind: Sequence[str]) -> Sequence[str]:
    """The baseline that stands behind a figure's column."""
    name = {"mae": "median_mae", "accuracy": "majority_accuracy"}.get(figure, "")
    return (name,) if name in blind else ()


def cells(row: Row, names: Sequence[str]) -> Iterator[str]:
    """For people: a figure over its interval."""
    for name in names:
        value = row.get(name)
        if value is None or isinstance(value, int):
            yield "" if value is None else str(value)
        elif f"{name}_low" in row:
            sign = "+" if row["kind"] == "difference" else ""
            low, high = (_brief(row[f"{name}_{end}"], sign) for end in ("low", "high"))
            yield f"{value:{sign}.3f}\n[{low}, {high}]"
        elif f"{name}_sd" in row:
            yield f"{value:.3f}\n({_brief(row[f'{name}_sd'])})"
        else:
            yield f"{value:.3f}"


def _brief(value: float, sign: str = "") -> str:
    """An end of an interval, narrow: ".666", "-.05", "5.213", "12.35"."""
    text = f"{value:{sign}.3f}" if abs(value) < 10 else f"{value:{sign}.2f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def cell(value: Any) -> str:
    """For a pipe."""
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
