"""`imgrank compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgrank.cli import options as shared

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
@click.option("-f", "--format", "format_", type=click.Choice(["text", "json"]), default="text")
@click.option("-q", "--quiet", is_flag=True, help="No notices, only errors.")
@shared.model_options
def compare(
    first: Path, second: Path, instruction: str, format_: str, quiet: bool, **given: Any
) -> int:
    """Say which of two pictures comes first by INSTRUCTION.

    Prints the winner's path. With an adapter, the probability comes from its pairwise head, which
    sees both pictures at once; other rankers only compare their scores.
    """
    from imgrank import api

    with shared.Reporter(quiet) as reporter:
        _, options = shared.build_options([], reporter, **given)
        found = api.compare(first, second, instruction, options=options)
        reporter.stop()
        if format_ == "json":
            click.echo(json.dumps(_as_dict(found), indent=2))
            return 0
        for path, value in zip((found.first, found.second), found.scores, strict=True):
            reporter.notify(f"{value:.4g} {found.column.unit}\t{shared.display(path)}")
        if found.probability is not None:
            reporter.notify(f"first above second with probability {found.probability:.2f}")
        if found.winner is None:
            reporter.notify("neither: they score the same")
        else:
            click.echo(str(found.winner))
        return 0


def _as_dict(found: Comparison) -> dict[str, Any]:
    column = found.column
    return {
        "first": str(found.first),
        "second": str(found.second),
        "winner": None if found.winner is None else str(found.winner),
        "probability": found.probability,
        "scores": list(found.scores),
        "instruction": column.instruction,
        "method": column.method,
        "model": column.model,
        "revision": column.revision,
        "prompt": column.prompt,
        "unit": column.unit,
        "direction": column.direction,
    }
