"""`imgrank aesthetic`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from imgrank.cli import levels
from imgrank.cli import options as shared
from imgrank.cli.after import After, file_options, into_levels, look_options

EPILOG = """\b
Examples:
  imgrank aesthetic examples/photos
  imgrank aesthetic examples/photos --format json
"""


@click.command(epilog=EPILOG)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@file_options
@into_levels
@look_options
@shared.output_options
@shared.scan_options
@shared.model_options
def aesthetic(
    paths: tuple[str, ...],
    into_groups: bool,
    format_: str | None,
    output: Path | None,
    strict: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Estimate the aesthetic level of pictures: one row a picture, in path order.

    PATH is a folder (with all below it), a picture, or '-' for paths on standard input. The levels
    are unacceptable, flawed, ordinary, professional and exceptional. A row has the likeliest level
    and the probability of each, the smallest set of levels that holds the truth in about 80 of 100
    cases, and the place on the scale of the ratings with an interval.

    The embedded model's levels are fifths of the ratings of OASIS (how beautiful people found its
    photographs), not what their names say of a photographer. To order pictures, use
    `imgrank sort PATH "by aesthetics"`.
    """
    from imgrank.estimates.levels import aesthetic as estimate

    after = After.of(given, into_groups=into_groups)
    with shared.Reporter(quiet) as reporter, shared.Output(output, format_) as out:
        named, options = shared.build_options(paths, reporter, leave_out=after.target, **given)
        found = estimate(named, options=options)
        return levels.write(
            found, after, reporter, out, into_groups, nul=given["nul"], strict=strict
        )
