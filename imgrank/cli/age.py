"""`imgrank age`."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgrank.cli import options as shared
from imgrank.cli.after import After, estimated, file_options, into_levels, look_options

if TYPE_CHECKING:
    from imgrank.estimates.age import Which
    from imgrank.estimates.found import Found

EPILOG = """\b
Examples:
  imgrank age examples/photos
  imgrank age examples/photos/astronaut.jpg --format json
"""


@click.command(epilog=EPILOG)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--faces",
    type=click.Choice(["all", "largest"]),
    default="all",
    show_default=True,
    help="Of each picture.",
)
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    metavar="P",
    default=0.5,
    show_default=True,
    help="Leave out faces that the detector is less sure of, 0 to 1.",
)
@file_options
@into_levels
@look_options
@shared.output_options
@shared.scan_options
@shared.model_options
def age(
    paths: tuple[str, ...],
    faces: Which,
    min_confidence: float,
    into_groups: bool,
    format_: str | None,
    output: Path | None,
    strict: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Estimate the apparent age of every face: one row a face, the largest first.

    PATH is a folder (with all below it), a picture, or '-' for paths on standard input. A row has
    the age in years with an interval that holds the truth in about 80 of 100 cases where the model
    gives one, the face's box in pixels of the upright picture, and the age group (0-9, 10-19, ...,
    80+) of that age with its probability. A picture without a face is a row `no_face`. One that
    is a crop of a face already is taken as it is (`cropped`).

    This is how old a face LOOKS to a small model, years off for most faces and more for some ages
    and some people than for others. `imgrank models info MODEL` tells what error was measured, on
    which faces. It is not for decisions about people.

    Faces are found by the extra: pip install 'imgrank[faces]'. Without it every picture is taken
    as the crop of one face. `imgrank models pull yunet` fetches another detector, which is then
    used. Ages of faces below about 50 pixels are worth little.

    Pictures are filed by their largest face; those without an estimate stay where they are.
    """
    from imgrank.estimates.age import age as estimate
    from imgrank.results.estimates import write_estimates

    after = After.of(given, into_groups=into_groups)
    with shared.Reporter(quiet) as reporter, shared.Output(output, format_) as out:
        named, options = shared.build_options(paths, reporter, leave_out=after.target, **given)
        found = estimate(named, faces=faces, min_confidence=min_confidence, options=options)
        reporter.stop()
        write = partial(
            write_estimates, found.rows, found.model, nul=given["nul"], skipped=found.skips
        )
        entries = partial(estimated, found.rows, into_groups, reporter)
        status = after.run(write, entries, out, reporter, nul=given["nul"])
        reporter.notify(_counted(found))
        read = reporter.finish(
            found.skips, computed=found.computed, known=found.known, strict=strict
        )
        return max(status, read)


def _counted(found: Found) -> str:
    """ "3 faces; 2 pictures without a face"."""
    status = Counter(row.status for row in found.rows)
    faces, none, unlike = status["ok"], status["no_face"], status["out_of_range"]
    said = "1 face" if faces == 1 else f"{faces} faces"
    if none:
        said += f"; {none} {'picture' if none == 1 else 'pictures'} without a face"
    if unlike:
        said += f"; {unlike} {'place' if unlike == 1 else 'places'} of which perhaps no face"
    return said
