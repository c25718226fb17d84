"""`imgrank models`: which models can answer, and what is known of each."""

from __future__ import annotations

import json
from typing import Any

import click

EXAMPLES = """\b
Examples:
  imgrank models list
  imgrank models info tiny-quality
"""
LIST_EXAMPLES = """\b
Examples:
  imgrank models list
  imgrank models list --json
"""
INFO_EXAMPLES = """\b
Examples:
  imgrank models info tiny-quality
  imgrank models info tiny --json
"""


@click.group(epilog=EXAMPLES)
def models() -> None:
    """Show the models that can answer: those in the package and those in your data folder."""


@models.command("list", epilog=LIST_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_models(as_json: bool) -> None:
    """List the models on this machine: name, kind, tasks, size, where."""
    from imgrank.models.registry import entries
    from imgrank.settings import load_settings

    rows = [_row(e) for e in entries(load_settings().models_dir)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        if row["problem"]:
            click.echo(f"{row['name']:16} damaged: {row['problem']}")
            continue
        tasks = ", ".join(row["tasks"]) or "anything in words (zero-shot)"
        size = f"{row['bytes'] / 1e6:.1f} MB"
        click.echo(f"{row['name']:16} {row['kind']:9} {size:>8}  {row['where']:9} {tasks}")


@models.command(epilog=INFO_EXAMPLES)
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Its whole config, as JSON.")
def info(name: str, as_json: bool) -> None:
    """Show what is known of a model: tasks, units, measured quality, licence, model card."""
    from imgrank.models.registry import find
    from imgrank.settings import load_settings

    entry = find(name, load_settings().models_dir)
    if as_json:
        click.echo(json.dumps({**_row(entry), "config": dict(entry.config)}, indent=2))
        return
    click.echo(f"{entry.name} ({entry.kind}, {entry.where})\n{entry.folder}\n")
    for task, facts in entry.tasks.items():
        click.echo(f"task {task}: {facts['unit']} {facts.get('range') or ''}".rstrip())
        for figure in facts.get("measured", ()):
            click.echo(f"  {_figure(figure)}")
    card = entry.folder / "README.md"
    if card.is_file():
        click.echo("\n" + card.read_text(encoding="utf-8").strip())


def _row(entry: Any) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "tasks": list(entry.tasks),
        "bytes": entry.size,
        "where": entry.where,
        "problem": entry.problem,
        "folder": str(entry.folder),
    }


def _figure(figure: dict[str, Any]) -> str:
    """{"data": ..., "n": 190, "srcc": 0.8, "interval": [a, b], "seed": 0} -> one line."""
    rest = {k: v for k, v in figure.items() if k not in ("data", "n", "interval")}
    text = ", ".join(f"{k} {v}" for k, v in rest.items())
    interval = figure.get("interval")
    if interval:
        text += f" (95 %: {interval[0]} to {interval[1]})"
    return f"{figure['data']} (n = {figure['n']}): {text}"
