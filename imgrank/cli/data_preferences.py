"""`imgrank data preferences`: the construction is `imgrank/train/preferences.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgrank.cli import options as shared
from imgrank.cli.llm import llm_options, refuse_rephrasing, rephrased_all
from imgrank.errors import DataError, UsageError

if TYPE_CHECKING:
    from imgrank.data.labelled import ReadOptions
    from imgrank.data.preferences import Preferences
    from imgrank.data.split import Part
    from imgrank.settings import Settings
    from imgrank.train.preferences import Request

__all__ = ["preferences"]

EXAMPLES = """\b
Examples:
  imgrank data preferences --pool examples/photos --query "a cat" --out preferences.jsonl
  imgrank data preferences --pool flickr8k --root data --out p.jsonl  # needs a folder of yours
"""
NAMES = ("top", "stride", "rows", "columns")
WHICH = (
    click.option(
        "--pool",
        "pools",
        multiple=True,
        required=True,
        metavar="NAME|FOLDER",
        help="Where pictures are looked for: a data set, or a folder of yours; repeatable.",
    ),
    click.option(
        "--root",
        type=click.Path(path_type=Path),
        help="Where the data sets lie.  [the data folder]",
    ),
    click.option(
        "--part",
        type=click.Choice(("train", "validation", "test")),
        default="train",
        show_default=True,
        help="Of the data sets: whose pictures, captions and themes.",
    ),
    click.option("--partial", is_flag=True, help="Go on without the pictures that are missing."),
)
QUERIES = (
    click.option("--query", "typed", multiple=True, metavar="TEXT", help="A query; repeatable."),
    click.option(
        "--queries",
        "file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Queries, one a line.",
    ),
    click.option(
        "--queries-from",
        "askers",
        multiple=True,
        metavar="NAME",
        help="A data set whose captions (or themes: oasis) are the queries; repeatable.  [those of "
        "--pool, unless queries are given]",
    ),
    click.option(
        "--short",
        type=click.IntRange(1),
        metavar="N",
        help="Of a caption only the first N words, as people search with few.  [all]",
    ),
    click.option(
        "--limit", type=click.IntRange(1), metavar="N", help="N of the queries, drawn.  [all]"
    ),
    click.option(
        "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of --limit."
    ),
)
HOW = (
    click.option(
        "--rerank",
        metavar="aesthetic|MODEL",
        default="aesthetic",
        show_default=True,
        help="Whose score sorts the rows.",
    ),
    click.option(
        "--rerank-weight",
        "weight",
        type=click.FloatRange(0),
        metavar="WEIGHT",
        help="Sort rows by cosine + WEIGHT x score, both standardised.  [by the score alone]",
    ),
    click.option(
        "--top",
        type=click.IntRange(2),
        default=400,
        show_default=True,
        help="K: how many of the best pictures are looked at.",
    ),
    click.option(
        "--stride",
        type=click.IntRange(1),
        default=10,
        show_default=True,
        help="Of these every so many-th is taken.",
    ),
    click.option(
        "--rows",
        type=click.IntRange(1),
        default=5,
        show_default=True,
        help="Of a matrix; 1: the order of beauty alone.",
    ),
    click.option(
        "--columns",
        type=click.IntRange(1),
        default=5,
        show_default=True,
        help="Of a matrix; 1: the order of relevance alone.",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path, dir_okay=False),
        required=True,
        metavar="FILE.jsonl",
        help="A new file.",
    ),
    click.option(
        "--model",
        metavar="MODEL",
        help="Whose cosines look pictures up: a backbone, or a retrieval checkpoint.  [that of "
        "`imgrank search`]",
    ),
    click.option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps.  [auto]"),
    click.option("--precision", metavar="PRECISION", help="Of the image models.  [auto]"),
    click.option("--threads", type=click.IntRange(1), help="Decoding threads.  [the cores]"),
    click.option("--offline", is_flag=True, default=None, help="Never open a socket."),
    click.option("-q", "--quiet", is_flag=True, help="No notices or progress, only errors."),
)


def options(command: shared.Command) -> shared.Command:
    """All of the command's own."""
    return shared.stack(command, *WHICH, *QUERIES, *HOW)


@click.command(epilog=EXAMPLES)
@options
@llm_options
def preferences(
    pools: tuple[str, ...],
    root: Path | None,
    part: Part,
    out: Path,
    quiet: bool,
    **given: Any,
) -> int:
    """Make the preference data that `imgrank train retrieval` learns from.

    For each query the best K pictures of the pool are looked up, with the rephrased query if
    --rephrase is given. Of these every stride-th is taken until there are rows x columns; they
    are laid row by row into a matrix, so that the first row fits best, and each row is sorted by
    beauty (--rerank). All pairs within a row and within a column are preferences: 100 a query.

    The numbers are the paper's, for millions of pictures. Of a few thousand the 241st, which ends a
    matrix, has little to do with the query: --stride 2 stays nearer. A pool too small for them
    gets a smaller stride, then a smaller matrix, and this is said.

    Queries are the captions of the pool's data sets, tidied, and the names of OASIS's themes; or
    your own. Of data sets only the training part is used: what a model is measured on stays out.
    Embeddings, scores and rephrased queries are kept, so that a second run is quick.

    FILE.jsonl is text: a line of facts, a line a picture with the digest of its content, a line a
    query. It holds no path of this machine: training finds the pictures below its own --root, a
    folder of yours by its name.
    """
    if given["rephrase"] is None:
        refuse_rephrasing()
    with shared.Reporter(quiet) as reporter, shared.Output(out, "json") as target:
        made = _made(pools, root, part, given, reporter)
        reporter.stop()
        from imgrank.data.preferences import lines

        for line in lines(made):
            # Words that are no UTF-8 become escapes that JSON knows.
            target.stream.write(f"{line}\n".encode("utf-8", "backslashreplace"))
    reporter.notify(_summary(made, out))
    return 0


def _made(
    pools: Sequence[str],
    root: Path | None,
    part: Part,
    given: Mapping[str, Any],
    reporter: shared.Reporter,
) -> Preferences:
    """Reads pool and queries, has the queries rephrased, and builds."""
    from imgrank.data.labelled import ReadOptions
    from imgrank.data.pool import read_pool
    from imgrank.train.preferences import Said, build, check

    settings = shared.build_options((), reporter, **given)[1].settings
    assert settings is not None
    reading = ReadOptions(partial=given["partial"], report=reporter.notify)
    root = root or settings.data_dir
    pool = read_pool(pools, root, reading).part(part)
    if not len(pool):
        raise DataError(f"no picture of the pool is in the {part} part.")
    queries, source = _queries(pools, root, part, reading, given)
    reporter.notify(f"{_many(len(queries))}; a pool of {len(pool)} pictures ({part} part)")
    request = _request(given)
    check(pool, request, settings)
    texts = rephrased_all(given, queries, settings, reporter.notify, reporter.progress)
    reporter.stop()
    asked = [Said(query, text) for query, text in zip(queries, texts, strict=True)]
    plain = sum(said.query == said.rephrased for said in asked)
    facts = {"asked": source, "rephrase": _rephrase(given, settings, plain)}
    request = replace(request, facts=facts)
    return build(pool, asked, request, settings, reporter.notify, reporter.progress)


def _rephrase(given: Mapping[str, Any], settings: Settings, plain: int) -> dict[str, Any]:
    """What the file says of it. plain: how many queries are asked as they stand."""
    method = given["rephrase"]
    model = given["llm_model"] or settings.llm_model
    return {
        "method": method or "none",
        "words": given["words"] if method else None,
        "model": None if method in (None, "repeat") else model,
        "plain": plain,
    }


def _request(given: Mapping[str, Any]) -> Request:
    from imgrank.data.ordering import Grid
    from imgrank.train.preferences import Request

    return Request(
        model=given["model"],
        rerank=given["rerank"],
        weight=given["weight"],
        grid=Grid(**{name: given[name] for name in NAMES}),
    )


def _queries(
    pools: Sequence[str],
    root: Path,
    part: Part,
    reading: ReadOptions,
    given: Mapping[str, Any],
) -> tuple[list[str], dict[str, Any]]:
    """The queries, and what the file says of where they are from. Raises UsageError for none."""
    from imgrank.data.queries import distinct, drawn, read_queries, set_queries, sets_with_queries

    typed, file, askers = given["typed"], given["file"], given["askers"]
    if not all(text.strip() for text in typed):
        raise UsageError("--query: no words.")
    queries = [*typed, *(read_queries(file) if file else ())]
    if not queries and not askers:
        askers = sets_with_queries(pools)
        if not askers:
            raise UsageError(
                "which queries? This pool has no captions: --query TEXT, --queries FILE, or "
                "--queries-from NAME of a data set that has."
            )
    given_by_hand = len(queries)
    for name in askers:
        queries += set_queries(name, root, part, given["short"], reading)
    every = distinct(queries)
    source = {
        "given": given_by_hand,
        "sets": list(askers),
        "part": part if askers else None,
        "short": given["short"] if askers else None,
        "all": len(every),
        "seed": given["seed"] if given["limit"] and given["limit"] < len(every) else None,
    }
    return drawn(every, given["limit"], given["seed"]), source


def _many(queries: int) -> str:
    return f"{queries} {'query' if queries == 1 else 'queries'}"


def _summary(made: Preferences, out: Path) -> str:
    grid = f"{made.facts['rows']} x {made.facts['columns']}"
    size = out.stat().st_size / 1e6
    return (
        f"{_many(len(made))} of {grid} pictures, {made.facts['pairs']} pairs each, "
        f"{len(made.keys)} pictures in all: {out}, {size:.1f} MB"
    )
