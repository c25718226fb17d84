"""`imgrank compare`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgrank.cli import options as shared
from imgrank.rankers.base import WINDOWED
from imgrank.results.output import number, visible

if TYPE_CHECKING:
    from imgrank.api import Comparison

EPILOG = """\b
Examples:
  imgrank compare examples/photos/coffee.jpg examples/photos/cat.jpg "by image quality"
  imgrank compare examples/photos/cat.jpg examples/photos/coffee.jpg brightness --format json
"""


@click.command(epilog=EPILOG)
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.argument("instruction")
@click.option(
    "-f",
    "--format",
    "format_",
    type=click.Choice(["tsv", "json", "paths"]),
    default="tsv",
    show_default=True,
    help="paths: the winner's path alone.",
)
@click.option("-0", "--null", "nul", is_flag=True, help="NUL ends the winner's path.")
@click.option("-q", "--quiet", is_flag=True, help="No notices, only errors.")
@shared.model_options
def compare(
    first: Path,
    second: Path,
    instruction: str,
    format_: str,
    nul: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Say which of two pictures comes first by INSTRUCTION, and how surely.

    With an adapter, the winner and the probability that FIRST comes before SECOND are those of its
    pairwise head, which sees both pictures at once; other rankers compare their scores and give
    no probability, nor does any for "closest to 3 dogs" unless it was trained for closeness. No
    winner: both score the same. No score is kept or looked up, except for --model rarl:NAME, which
    sees both pictures at once too.
    """
    from imgrank import api

    with shared.Reporter(quiet) as reporter:
        _, options = shared.build_options([], reporter, **given)
        found = api.compare(first, second, instruction, options=options)
        facts = _facts(found)
        if why := _no_probability(found):
            reporter.notify(why)
        reporter.stop()
        if format_ == "json":
            click.echo(json.dumps(facts, indent=2))
        elif format_ == "paths":
            if facts["winner"] is not None:
                end = b"\0" if nul else b"\n"
                sys.stdout.buffer.write(os.fsencode(facts["winner"]) + end)
        else:
            click.echo("\t".join(facts))
            click.echo("\t".join(_text(value) for value in facts.values()))
        return 0


def _facts(found: Comparison) -> dict[str, Any]:
    column = found.column
    return {
        "winner": None if found.winner is None else str(found.winner),
        "probability": found.probability,
        "first_score": found.scores[0],
        "second_score": found.scores[1],
        "unit": column.unit,
        "direction": column.direction,
        "method": column.method,
        "model": column.model,
        "revision": column.revision,
        "prompt": column.prompt,
        "first": str(found.first),
        "second": str(found.second),
    }


def _no_probability(found: Comparison) -> str:
    """Why a model gave none, "" if it did or nobody would expect one (measured properties)."""
    column = found.column
    if found.probability is not None or column.method == "measured":
        return ""
    if column.reference is not None:
        return "  no probability: none is known for the distance to a number"
    if column.method in WINDOWED:
        return f"  no probability: {column.model} gives both a value and says nothing of how surely"
    return (
        f"  no probability: {column.method} {column.model} scores each picture on its own; only a "
        "head that was trained on pairs gives one"
    )


def _text(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    return "" if value is None else visible(str(value))
