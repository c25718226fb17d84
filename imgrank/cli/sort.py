"""`imgrank sort`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgrank.cli import options as shared
from imgrank.cli.after import After, file_options, look_options

if TYPE_CHECKING:
    from imgrank.api import Ranking

EPILOG = """\b
Examples:
  imgrank sort examples/photos "by image quality"
  imgrank sort examples/photos "least colourful first" --top 3 --format paths
"""


@click.command(epilog=EPILOG)
@click.argument("arguments", nargs=-1, required=True, metavar="PATH... INSTRUCTION")
@click.option(
    "--by",
    multiple=True,
    metavar="TEXT[=WEIGHT]",
    help="A criterion; repeatable, then they are combined. Replaces INSTRUCTION.",
)
@click.option("--top", metavar="N|N%", help="Only the first N, or N per cent.")
@click.option("--min", "minimum", type=float, metavar="SCORE", help="Only scores at least this.")
@click.option("--max", "maximum", type=float, metavar="SCORE", help="Only scores at most this.")
@click.option("--reverse", is_flag=True, help="Turn the order round.")
@click.option("--per-folder", is_flag=True, help="An order of its own for every folder.")
@click.option(
    "--refine",
    metavar="pairs[:K]",
    help="Compare the first K pictures (50) pair by pair, and order them by how many of these they "
    "win; needs an adapter with a pairwise head.",
)
@click.option(
    "--near-duplicates",
    metavar="keep-best|group[:LEVEL]",
    help="Find near-duplicates, see above. keep-best: show only the first of each group by "
    "INSTRUCTION. group: show all, in rank order, with the group's number (burst).",
)
@file_options
@click.option(
    "--into-groups",
    metavar="KIND",
    help="With --copy-to, --link-to, --move-to: into a folder for each group, below DIR: decades, "
    "age-groups, or quantiles[:N] of the order (4).",
)
@look_options
@shared.output_options
@shared.scan_options
@shared.model_options
@shared.slow_option
def sort(
    arguments: tuple[str, ...],
    by: tuple[str, ...],
    format_: str | None,
    output: Path | None,
    strict: bool,
    quiet: bool,
    top: str | None,
    minimum: float | None,
    maximum: float | None,
    reverse: bool,
    per_folder: bool,
    refine: str | None,
    near_duplicates: str | None,
    into_groups: str | None,
    **given: Any,
) -> int:
    """Order pictures by INSTRUCTION, best first.

    PATH is a folder (with all below it), a picture, or '-' for paths on standard input.
    INSTRUCTION is plain English: "by image quality", "oldest first", "least colourful first",
    "a cat", "by the number of dogs", "closest to 3 dogs". Which model answers is said on standard
    error. Several --by are scored in one pass over the pictures: --by quality=2 --by "a cat".

    Near-duplicates are copies, crops, small shifts, another exposure or size of a picture, and, of
    one camera within 3 seconds by EXIF, whatever looks much the same. LEVEL, 0.5 to 1, says how
    alike they must be: keep-best:0.75 leaves out less than the usual 0.65. A picture is only left
    out for a better one that it is itself near, and its file stays where it is. --reverse, --min,
    --max and --top come after.

    With --model rarl:NAME a vision-language model looks at windows of 8 pictures, in two rounds,
    and their values are fitted to one scale: scores depend on which other pictures there are. On a
    CPU that is minutes a window, which is told before. Every answer is kept: after Ctrl-C the same
    command goes on. A picture that no answer gives a value has no place in the order: it is named,
    and its file stays where it is.

    The pictures shown can be copied, linked, moved or renamed. Sidecars (.xmp, ...) and the RAW of
    a JPEG go along; nothing is ever overwritten (a name that is taken gets a -2); `imgrank undo`
    takes it back. Below DIR nothing is sorted, unless it is PATH itself.
    """
    from imgrank import api
    from imgrank.results import groups
    from imgrank.results import output as writer

    after = After.of(given, into_groups=into_groups)
    grouping = groups.parse_grouping(into_groups) if into_groups is not None else None
    paths, wishes = shared.split_arguments(arguments, by, several=False)
    with shared.Reporter(quiet) as reporter, shared.Output(output, format_) as out:
        named, options = shared.build_options(paths, reporter, leave_out=after.target, **given)
        ranking = api.sort(
            named,
            wishes[0] if wishes else None,
            by=by,
            top=top,
            minimum=minimum,
            maximum=maximum,
            reverse=reverse,
            per_folder=per_folder,
            refine=refine,
            near_duplicates=near_duplicates,
            options=options,
        )
        reporter.stop()
        write = partial(
            writer.write,
            ranking.rows,
            ranking.columns,
            nul=given["nul"],
            skipped=ranking.skips,
            reverse=ranking.reverse,
            near=ranking.near,
        )
        entries = partial(groups.entries, ranking.rows, ranking.columns, grouping)
        status = after.run(write, entries, out, reporter, nul=given["nul"])
        read = reporter.finish(
            ranking.skips,
            computed=ranking.computed,
            known=ranking.known,
            strict=strict,
            lacking=_counted(ranking),
        )
        return max(status, read)


def _counted(ranking: Ranking) -> int:
    """How many of the pictures without a place are counted and not named: those that have no such
    property. That a model's answers leave one out is the model's failure, so these are named."""
    from imgrank.rankers.base import WINDOWED

    named = any(column.method in WINDOWED for column in ranking.columns)
    return 0 if named else ranking.lacking
