"""Writes what was measured of search into a checkpoint's config and card, beside its backbone's."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from imgrank.errors import UsageError
from imgrank.evaluate.searched import Asked
from imgrank.models import retrieval_checkpoint
from imgrank.models.checkpoint import RETRIEVAL, read_config
from imgrank.models.registry import Entry

__all__ = ["check", "measured_rows", "record"]


def check(entry: Entry) -> None:
    """Raises UsageError if figures of search cannot be written down in this model's folder."""
    if entry.kind != RETRIEVAL:
        raise UsageError(
            f"--write records figures of search in a checkpoint of kind {RETRIEVAL}, and "
            f"{entry.name} is of kind {entry.kind}. Name the checkpoint last, or leave it out."
        )
    if entry.where == "pulled":
        raise UsageError(
            f"{entry.name} was pulled and stays as it was published. Copy its folder without "
            "origin.json and name the copy, or leave --write out."
        )


def record(entry: Entry, asked: Asked, table: Mapping[str, Any]) -> None:
    """Figures of the last model, in place of those of the same data. Raises CheckpointError."""
    config = read_config(entry.folder, RETRIEVAL)
    new = measured_rows(table, _command(asked, entry.name))
    kept = [
        row
        for row in config.get("measured") or ()
        if not str(row.get("data", "")).startswith(_prefix(table))
    ]
    retrieval_checkpoint.record(entry.folder, [*kept, *new])


def measured_rows(table: Mapping[str, Any], command: str) -> list[dict[str, Any]]:
    """A row a sheet: the last model's figures, the first's as `before`, what was gained."""
    rows = []
    for sheet in table["tables"]:
        models = [row for row in sheet["rows"] if row["kind"] == "model"]
        first, last = models[0], models[-1]
        over = f" over {sheet['pool']}" if sheet["pool"] else ""
        row: dict[str, Any] = {
            "data": f"{_prefix(table)} {sheet['queries']}{over}",
            "n": sheet["n"],
        }
        gains = _gains(sheet["rows"], last["model"], first["model"]) if len(models) > 1 else {}
        for name, figure in last["figures"].items():
            row[name] = figure["value"]
            row[f"{name}_interval"] = figure["interval"]
            if len(models) > 1:
                row[f"{name}_before"] = first["figures"][name]["value"]
            if name in gains:
                row[f"{name}_gain"] = gains[name]["value"]
                row[f"{name}_gain_interval"] = gains[name]["interval"]
        rows.append({**row, "by": command})
    return rows


def _prefix(table: Mapping[str, Any]) -> str:
    return f"{table['data']}, {table['part']} part:"


def _gains(rows: Sequence[Mapping[str, Any]], last: str, first: str) -> Mapping[str, Any]:
    name = f"{last} less {first}"
    found = (row["figures"] for row in rows if row["kind"] == "difference" and row["model"] == name)
    return next(found, {})


def _command(asked: Asked, name: str) -> str:
    """The line that measures the same again, without paths of this machine."""
    words = ["imgrank", "eval", "--data", asked.data, "--root", "DATA"]
    for model in asked.models[:-1]:
        words += ["--model", _placeless(model)]
    words += ["--model", name]
    words += ["--part", asked.part] if asked.part != "test" else []
    words += ["--partial"] * asked.partial
    usual = Asked(asked.data, asked.root)
    for flag, field in (
        ("--top", "top"),
        ("--rerank", "rerank"),
        ("--rerank-first", "first"),
        ("--rerank-weight", "weight"),
        ("--rounds", "rounds"),
        ("--seed", "seed"),
    ):
        value = getattr(asked, field)
        words += [flag, _placeless(value)] if value != getattr(usual, field) else []
    for pool in asked.pool:
        words += ["--pool", _placeless(pool)]
    for template in asked.templates:
        words += ["--template", template]
    return shlex.join(words)


def _placeless(value: object) -> str:
    """A name as it is, of a path its last part."""
    return str(value).rstrip("/").rpartition("/")[2]
