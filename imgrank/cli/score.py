"""`imgrank score`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from imgrank.cli import options as shared
from imgrank.cli.after import After, look_options

EPILOG = """\b
Examples:
  imgrank score examples/photos "by image quality" brightness
  imgrank score examples/photos "a cat" --format json
"""


@click.command(epilog=EPILOG)
@click.argument("arguments", nargs=-1, required=True, metavar="PATH... INSTRUCTION...")
@click.option(
    "--by",
    multiple=True,
    metavar="TEXT[=WEIGHT]",
    help="An instruction; repeatable. Then every argument is a path.",
)
@look_options
@shared.output_options
@shared.scan_options
@shared.model_options
@shared.slow_option
def score(
    arguments: tuple[str, ...],
    by: tuple[str, ...],
    format_: str | None,
    output: Path | None,
    strict: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Score pictures: one row a picture in path order, one column an INSTRUCTION.

    The leading arguments that exist (or are '-') are paths, the others are instructions. Scores of
    --model rarl:NAME depend on which other pictures there are, see `imgrank sort`.
    """
    from imgrank import api
    from imgrank.results import output as writer

    after = After.of(given)
    paths, wishes = shared.split_arguments(arguments, by, several=True)
    with shared.Reporter(quiet) as reporter, shared.Output(output, format_) as out:
        named, options = shared.build_options(paths, reporter, **given)
        found = api.score(named, *wishes, by=by, options=options)
        reporter.stop()
        write = partial(
            writer.write_scores,
            found.paths,
            found.columns,
            found.scores,
            nul=given["nul"],
            skipped=found.skips,
        )
        after.run(write, list, out, reporter, nul=given["nul"])
        return reporter.finish(
            found.skips, computed=found.computed, known=found.known, strict=strict
        )
