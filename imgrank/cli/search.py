"""`imgrank search`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgrank.cli import options as shared
from imgrank.cli.after import After, file_options, look_options
from imgrank.cli.llm import llm_options, refuse_rephrasing, rephrased, rephrased_by
from imgrank.errors import UsageError

if TYPE_CHECKING:
    from imgrank.api import Options

EPILOG = """\b
Examples:
  imgrank search examples/photos "a cat"
  imgrank search examples/photos --like examples/photos/coffee.jpg --top 3 --format paths
"""


@click.command(epilog=EPILOG)
@click.argument("arguments", nargs=-1, required=True, metavar="PATH... [QUERY]")
@click.option(
    "--like",
    multiple=True,
    metavar="IMAGE[=WEIGHT]",
    help="A picture, wherever it lies, that others are to be like; repeatable.",
)
@click.option("--plus", multiple=True, metavar="TEXT[=WEIGHT]", help="More of this; repeatable.")
@click.option("--minus", multiple=True, metavar="TEXT[=WEIGHT]", help="Less of this; repeatable.")
@click.option(
    "--top",
    metavar="N|N%",
    default="20",
    show_default=True,
    help="Only the first N, or N per cent; 100% for all.",
)
@click.option(
    "--min",
    "minimum",
    type=float,
    metavar="COSINE",
    help="Only pictures whose cosine is at least this; comes before --rerank.",
)
@click.option(
    "--rerank",
    metavar="aesthetic|MODEL",
    help="Order the first pictures anew, by their cosine and what a model says of them, see above.",
)
@click.option(
    "--rerank-first",
    type=click.IntRange(1),
    metavar="K",
    default=100,
    show_default=True,
    help="With --rerank: how many.",
)
@click.option(
    "--rerank-weight",
    type=click.FloatRange(0),
    metavar="WEIGHT",
    default=1.25,
    show_default=True,
    help="With --rerank: what its score counts; the cosine counts 1.",
)
@llm_options
@click.option(
    "--approximate",
    is_flag=True,
    help="Look the nearest pictures up in an index, which may miss some: for far more than 100,000 "
    "pictures. Needs pip install 'imgrank[approximate]'.",
)
@file_options
@look_options
@shared.output_options
@shared.scan_options
@click.option(
    "--model",
    metavar="MODEL",
    help="Who turns words into a vector: a backbone or a model tuned for search, by name, folder "
    "or, once it was pulled, hf:OWNER/REPOSITORY[@REVISION] or open_clip:ARCHITECTURE/TAG.  [your "
    "default, else tiny]",
)
@shared.run_options
@shared.slow_option
def search(
    arguments: tuple[str, ...],
    like: tuple[str, ...],
    plus: tuple[str, ...],
    minus: tuple[str, ...],
    top: str,
    minimum: float | None,
    rerank: str | None,
    rerank_first: int,
    rerank_weight: float,
    approximate: bool,
    format_: str | None,
    output: Path | None,
    strict: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Find the pictures that fit QUERY, best first.

    PATH is a folder (with all below it), a picture, or '-' for paths on standard input. QUERY says
    what is to be seen: "a dog on a beach". It goes to the model as it stands. The score is the
    cosine between what the model makes of it and of a picture: it puts pictures in order and means
    nothing else. What the model makes of a picture is kept, so later searches are instant;
    `imgrank index PATH` does it beforehand.

    --like finds what resembles a picture, with QUERY or without; if that picture is in PATH, it is
    found too, first. QUERY, --plus and --like count 1 each, and --minus takes 1 away, unless a
    WEIGHT is given: "a dog" --plus "at night=0.5" --minus "a leash=0.3".

    --rerank aesthetic shows the first K pictures by cosine in the order of cosine + WEIGHT x
    beauty, both standardised over these K, and no others; --rerank MODEL takes what that model was
    trained to say ('aesthetic' is whoever answers "by aesthetics" here).

    --rephrase asks with a longer QUERY, which is shown, and goes to a language model only if --llm
    names one.

    The pictures shown can be copied, linked, moved or renamed as by `imgrank sort`; `imgrank undo`
    takes it back.
    """
    from imgrank import api
    from imgrank.results import groups
    from imgrank.results import output as writer

    after = After.of(given)
    if rerank is None:
        shared.refuse_without("--rerank", "rerank_first", "rerank_weight")
    if given["rephrase"] is None:
        refuse_rephrasing()
    paths, query = split(arguments, optional=bool(like or plus))
    with shared.Reporter(quiet) as reporter, shared.Output(output, format_) as out:
        named, options = shared.build_options(paths, reporter, leave_out=after.target, **given)
        text, how = _rephrased(query, named, given, options)
        found = api.search(
            named,
            query,
            like=like,
            plus=plus,
            minus=minus,
            top=top,
            minimum=minimum,
            rerank=rerank,
            rerank_first=rerank_first,
            rerank_weight=rerank_weight,
            rephrased=text,
            rephrased_by=how,
            approximate=approximate,
            options=options,
        )
        reporter.stop()
        write = partial(
            writer.write,
            found.rows,
            found.columns,
            nul=given["nul"],
            skipped=found.skips,
            asked=found.asked,
        )
        entries = partial(groups.entries, found.rows, found.columns)
        status = after.run(write, entries, out, reporter, nul=given["nul"])
        read = reporter.finish(
            found.skips,
            computed=found.computed,
            known=found.known,
            strict=strict,
            lacking=found.lacking,
        )
        return max(status, read)


def split(arguments: Sequence[str], *, optional: bool) -> tuple[list[str], str | None]:
    """PATH... QUERY -> both. optional: there may be none; then the last argument exists.

    Raises UsageError if a path or the query is missing, or the query looks like a path.
    """
    *paths, query = arguments
    exists = query == "-" or os.path.lexists(query)
    if exists and optional:
        return [*paths, query], None
    if exists and not paths:
        raise UsageError(
            f'what is to be found in {query}? Give a QUERY after it, such as "a cat", or --like '
            "IMAGE."
        )
    if exists:
        raise UsageError(
            f"'{query}' is a path, but what to look for is expected there, such as \"a cat\". "
            "(Words that are also the name of a file can be given with --plus.)"
        )
    if shared.looks_like_path(query):
        raise UsageError(
            f"'{query}' looks like a path, but there is no such file. Words that really look so "
            "can be given with --plus, a picture that others are to be like with --like."
        )
    if not paths:
        raise UsageError("no folder or picture was given; '-' reads paths from standard input.")
    return paths, query


def _rephrased(
    query: str | None, paths: Sequence[Path], given: dict[str, Any], options: Options
) -> tuple[str | None, str]:
    """What is asked in place of the query, and how that came about; (None, "") if nothing is."""
    if given["rephrase"] is None:
        return None, ""
    if query is None:
        raise UsageError("--rephrase needs a QUERY.")
    from imgrank.images.scan import require
    from imgrank.settings import load_settings

    for path in paths:  # before somebody is asked
        require(path)
    settings = options.settings or load_settings()
    text = rephrased(given, query, settings, options.notify)
    return (None, "") if text == query else (text, rephrased_by(given, settings))
