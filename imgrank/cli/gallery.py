"""`imgrank gallery`, and `--gallery` of the commands that print results."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imgrank.cli import options as shared
from imgrank.errors import UsageError

if TYPE_CHECKING:
    from imgrank.images import Skip
    from imgrank.results.documents import Results

EPILOG = """\b
Examples:
  imgrank gallery order.json -o photos.html  # needs a file of yours
  imgrank gallery sharpness.json ages.jsonl -o photos.html --title "June"  # needs a file of yours
"""
LISTED = 5  # pictures without a thumbnail that standard error names


@click.command(epilog=EPILOG)
@click.argument("results", nargs=-1, required=True, metavar="RESULTS.json...")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE.html",
    help="The page, which must not exist yet; '-' is standard output.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Folder that paths in the results start from: where the command ran.  [this folder]",
)
@click.option("--title", metavar="TEXT", help="Of the page.  [the instructions]")
@click.option(
    "--thumbnails",
    type=click.IntRange(64, 1280),
    metavar="PX",
    help="Their long side in pixels.  [480; 320 for more than 500 pictures, 256 for more than "
    "2,000, 192 for more than 5,000]",
)
@click.option("--threads", type=click.IntRange(1), help="Decoding threads.  [the cores]")
@click.option("-q", "--quiet", is_flag=True, help="No notices or progress, only errors.")
def gallery(
    results: tuple[str, ...],
    output: Path,
    root: Path,
    title: str | None,
    thumbnails: int | None,
    threads: int | None,
    quiet: bool,
) -> int:
    """Make one page for any browser of results that were kept.

    RESULTS.json is what sort, search, score, age, decade or aesthetic printed with --format json or
    jsonl; '-' reads it from standard input. Several results are joined by the pictures' paths, with
    their criteria side by side; a picture that is not in all of them has '-' there. Pictures are in
    the order of the first results; those of score, age, decade and aesthetic by their first value.

    The page needs nothing else: small pictures are in it, and the originals are opened from where
    they are now, found from the page's own folder. Of the first 200 pictures, those that browsers
    cannot show (HEIC, TIFF, RAW, ...) are in it at 1280 pixels. A picture that is gone, or cannot
    be read, is on the page without its picture.
    """
    from imgrank.results.gallery import files_of, join, there

    target = None if output == Path("-") else output
    if target is None and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError("a page is of no use on a terminal; name a file with --output FILE.html.")
    with shared.Reporter(quiet) as reporter, shared.Output(target, "json") as out:
        found, lacking = join(_read(results))
        files = files_of(found, root)
        if files and not any(map(there, files)):
            raise UsageError(
                f"none of the {len(files)} pictures is there ({files[0]} is not). Name the folder "
                "that their paths start from with --root."
            )
        if lacking:
            reporter.notify(f"{_counted(lacking)} lack some of the criteria; '-' stands there")
        _make(found, files, out, reporter, side=thumbnails, threads=threads, title=title)
    return 0


def write_page(document: object, path: Path, reporter: shared.Reporter) -> None:
    """The page of what a command printed, to a new file. Raises UsageError."""
    from imgrank.results.documents import read_document
    from imgrank.results.gallery import files_of

    with shared.Output(path, "json") as out:
        found = read_document(document, "what was printed")
        _make(found, files_of(found, Path()), out, reporter)


def _make(
    found: Results,
    files: Sequence[Path],
    out: shared.Output,
    reporter: shared.Reporter,
    *,
    side: int | None = None,
    threads: int | None = None,
    title: str | None = None,
) -> None:
    """Makes and writes the page, and says so."""
    from imgrank.pipeline import default_threads
    from imgrank.results import page
    from imgrank.results.gallery import make

    reporter.stop()
    made = make(
        found,
        files,
        out.path.parent if out.path else None,
        side=side,
        threads=threads or default_threads(),
        title=title,
        progress=reporter.progress,
    )
    reporter.stop()
    page.write_page(made.page, out.stream)
    _say(made.without, len(files), out.path, reporter)


def _say(without: Sequence[Skip], count: int, path: Path | None, reporter: shared.Reporter) -> None:
    for skip in without[:LISTED]:
        reporter.notify(f"no picture of {skip.path} on the page: {skip.reason}")
    if len(without) > LISTED:
        reporter.notify(f"nor of {len(without) - LISTED} more; the page says why of each")
    where = f"gallery of {_counted(count)}: {path or 'standard output'}"
    reporter.notify(f"{where} ({len(without)} without a picture)" if without else where)


def _read(names: Sequence[str]) -> list[Results]:
    """The results in all files. Raises UsageError."""
    from imgrank.results.documents import read

    if names.count("-") > 1:
        raise UsageError("'-' is standard input, which can be read once.")
    return [results for name in names for results in read(_bytes(name), _called(name))]


def _called(name: str) -> str:
    return "standard input" if name == "-" else name


def _bytes(name: str) -> bytes:
    try:
        if name != "-":
            return Path(name).read_bytes()
        if sys.stdin is None:
            raise UsageError("'-' reads results from standard input, which is closed.")
        return sys.stdin.buffer.read()
    except OSError as error:
        raise UsageError(f"cannot read {_called(name)}: {error.strerror}.") from None


def _counted(pictures: int) -> str:
    return "1 picture" if pictures == 1 else f"{pictures:,} pictures"
