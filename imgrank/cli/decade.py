"""`imgrank decade`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from imgrank.cli import levels
from imgrank.cli import options as shared
from imgrank.cli.after import After, file_options, into_levels, look_options

EPILOG = """\b
Examples:
  imgrank decade examples/photos
  imgrank decade examples/photos --exif --format json
"""


@click.command(epilog=EPILOG)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--exif",
    is_flag=True,
    help="Take the year of the EXIF date (DateTimeOriginal) where a file has one. That of a scan "
    "is often the day it was scanned.",
)
@file_options
@into_levels
@look_options
@shared.output_options
@shared.scan_options
@shared.model_options
def decade(
    paths: tuple[str, ...],
    exif: bool,
    into_groups: bool,
    format_: str | None,
    output: Path | None,
    strict: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Estimate the decade in which a photograph was taken, from its look: one row a picture.

    PATH is a folder (with all below it), a picture, or '-' for paths on standard input. A row has
    the likeliest decade and the probability of each, the smallest set of decades that holds the
    truth in about 80 of 100 cases, and the year with an interval.

    The embedded model knows monochrome photographs of one city and archive, nearly all of the
    1920s to 1940s. A colour photograph, or one that is unlike those, is a row `out_of_range` with
    a reason, not a decade. A few in a hundred of the right kind are refused too, and about one in
    twenty modern photographs made monochrome passes: do not trust its decade. A model for other
    photographs is trained by `imgrank train l2rclip` and named by --model.
    """
    from imgrank.estimates.levels import decade as estimate

    after = After.of(given, into_groups=into_groups)
    with shared.Reporter(quiet) as reporter, shared.Output(output, format_) as out:
        named, options = shared.build_options(paths, reporter, leave_out=after.target, **given)
        found = estimate(named, exif=exif, options=options)
        return levels.write(
            found, after, reporter, out, into_groups, nul=given["nul"], strict=strict
        )
