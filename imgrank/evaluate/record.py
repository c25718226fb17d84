"""Writes what was measured into a checkpoint's config and card. The weights stay as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imgrank.data.split import Part
from imgrank.errors import CheckpointError, UsageError
from imgrank.evaluate.groups import measured
from imgrank.evaluate.measure import FIGURES, means
from imgrank.evaluate.runs import Evaluated, Run
from imgrank.evaluate.tables import mean_row, query_row
from imgrank.models.atomic import write_bytes, write_json
from imgrank.models.card import with_measured
from imgrank.models.checkpoint import CARD, CONFIG, read_config
from imgrank.models.registry import Entry

__all__ = ["BESIDE_RIDGE", "card_rows", "check", "measured_rows", "record"]

NAMED = 5  # queries that are named one by one
BESIDE_RIDGE = "python -m imgrank.evaluate.embedded"  # wrote the rows that do not say who did


def check(entry: Entry) -> None:
    """Raises UsageError if the figures of this model cannot be written down in its folder."""
    if entry.kind == "backbone" or not entry.config.get("tasks"):
        raise UsageError(f"{entry.name} has no tasks to record figures of; leave --write out.")
    if entry.where == "pulled":
        raise UsageError(
            f"{entry.name} was pulled and stays as it was published. Copy its folder without "
            "origin.json and name the copy, or leave --write out."
        )


def record(folder: Path, found: Evaluated, command: str) -> None:
    """Figures of the first model go to `measured` of its tasks and to its card.

    Rows of the same data, part and queries are replaced, others stay. Raises CheckpointError if
    the folder cannot be written or its card has no place for figures.
    """
    config = read_config(folder)
    for task, rows in measured_rows(found, command).items():
        if task not in config["tasks"]:
            continue
        facts = config["tasks"][task]
        new = {row["data"] for row in rows}
        kept = [row for row in facts.get("measured") or () if row["data"] not in new]
        facts["measured"] = [*kept, *rows]
    try:
        card = (folder / CARD).read_text(encoding="utf-8")
        card = with_measured(card, card_rows(config), command)
        write_bytes(folder / CARD, card.encode())
        write_json(folder / CONFIG, config)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"figures cannot be written into {folder}: {error}.") from error


def measured_rows(found: Evaluated, command: str) -> dict[str, list[dict[str, Any]]]:
    """Task -> rows: that of its query, or of several queries the means."""
    run, table = found.runs[0], found.table
    part: Part = table["part"]
    keys: dict[str, list[str]] = {}
    for query in run.answers.queries:
        keys.setdefault(query.labels.task, []).append(query.labels.key)
    out: dict[str, list[dict[str, Any]]] = {}
    for task, own in keys.items():
        if len(own) == 1:
            (answered,) = (q for q in run.answers.queries if q.labels.key == own[0])
            rows = [query_row(run, answered, part)]
        else:
            several = means({key: run.queries[key] for key in own})
            rows = [mean_row(key, mean, run, part) for key, mean in several.items()]
        part_of = _part_of(run, task, own)
        out[task] = [_short(row, run, table, part_of, command) for row in rows]
        out[task][-1] |= _of_orders(run, table, own)
    return out


def _of_orders(run: Run, table: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Kendall's tau of the groups of some queries, by size, and the shares of good answers."""
    out: dict[str, Any] = {}
    for size, ordered in run.orders.items():
        mask = np.array([group.query in keys for group in ordered.groups], dtype=bool)
        found = measured(ordered, table["rounds"], table["seed"], mask)
        for name, value in found.table().items():
            if value is not None and not (size == 1 and name.startswith("tau")):
                figure, interval, _ = name.partition("_interval")
                ends = [_rounded(end) for end in value] if interval else _rounded(value)
                out[f"{figure}_{size}{interval}"] = ends
        out[f"groups_{size}"] = found.n
    return out


def _part_of(run: Run, task: str, keys: Sequence[str]) -> str:
    """Which of a task's queries these are, "" for all that the data set has."""
    known = [labels.key for labels in run.data.labels if labels.task == task]
    if len(keys) == len(known):
        return ""
    return ", ".join(keys) if len(keys) <= NAMED else f"{len(keys)} of {len(known)} queries"


def _short(
    row: Mapping[str, Any], run: Run, table: Mapping[str, Any], part_of: str, command: str
) -> dict[str, Any]:
    """What of a row goes into a config."""
    fold = "" if run.fold is None else f" of fold {run.fold}"
    split = str(table["split"]).partition(":")[0]
    data = f"{table['data']}, {table['part']} part{fold}" + (f" ({split})" if split else "")
    data += ", pictures missing" if table["partial"] else ""
    data += f", {part_of}" if part_of else ""
    out: dict[str, Any] = {"data": data, "n": row["n"]}
    if "queries" in row:
        out["queries"] = row["queries"]
        if row["query"] != "mean":
            out["data"] += f", {row['query']}"
    for name in FIGURES:
        if row.get(name) is not None:
            out[name] = round(row[name], 4)
            if f"{name}_interval" in row:  # that of a model's own figure has none
                out[f"{name}_interval"] = [_rounded(end) for end in row[f"{name}_interval"]]
    if "bands" in row:
        out["bands"] = row["bands"]
    for figure, name in (("mae", "median_mae"), ("accuracy", "majority_accuracy")):
        if figure in out and row["baseline"].get(figure) is not None:
            out[name] = _rounded(row["baseline"][figure])
    return {**out, "rounds": table["rounds"], "seed": table["seed"], "by": command}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def card_rows(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The figures of all tasks as `card.with_measured` takes them."""
    rows = []
    for task, facts in config["tasks"].items():
        for row in facts.get("measured") or ():
            old = "by" not in row and "gain_interval" in row
            rows.append({"by": BESIDE_RIDGE, **row} if old else {"task": task, **row})
    return rows
