"""The options of `imgrank eval` that have models put small groups of pictures in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from imgrank.cli import options as shared
from imgrank.cli.sheet import drawn, printed, rendered
from imgrank.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

__all__ = ["GROUPS", "OPTIONS", "check", "parse", "rendered_groups", "size_options", "words"]

OPTIONS = ("sizes", "groups", "alone")
GROUPS = 200
LARGEST = 1000


def size_options(command: shared.Command) -> shared.Command:
    """None where they were not given."""
    return shared.stack(
        command,
        click.option(
            "--sizes",
            metavar="N,N,...",
            help="Also Kendall's tau of groups of so many pictures; 1: single ones.  [1; of a "
            "model that looks at several pictures at once 1,2,4,8]",
        ),
        click.option(
            "--groups",
            type=click.IntRange(2),
            metavar="N",
            help="--sizes: groups of each size, over all queries.  [200]",
        ),
        click.option(
            "--alone",
            type=click.IntRange(2),
            metavar="N",
            help="At most so many single pictures, over all queries.  [all; of such a model 2000]",
        ),
        shared.slow_option,
    )


def parse(text: str | None) -> tuple[int, ...]:
    """ "1,2,4,8" -> (1, 2, 4, 8); () for None. Raises UsageError."""
    if text is None:
        return ()
    parts = [part.strip() for part in text.split(",")]
    sizes = tuple(int(part) for part in parts if part.isascii() and part.isdigit())
    if len(set(sizes)) != len(parts) or not all(1 <= size <= LARGEST for size in sizes):
        raise UsageError(
            f"--sizes {text!r} is no list of sizes: give different numbers from 1 to {LARGEST}, "
            "with commas, such as 1,2,4,8."
        )
    return tuple(sorted(sizes))


def check(text: str | None, others: Mapping[str, Any]) -> None:
    """Raises UsageError for options that need figures of single pictures, which are not asked for.

    others: option -> whether it was given.
    """
    sizes = parse(text)
    for name, given in others.items():
        if given and sizes and 1 not in sizes:
            raise UsageError(f"--{name} needs single pictures: have 1 among --sizes.")


def words(given: Mapping[str, Any]) -> list[str]:
    """These options as they were given, for the line that measures the same again."""
    return [
        word
        for name in OPTIONS
        if given[name] is not None
        for word in (f"--{name}", str(given[name]))
    ]


def rendered_groups(table: Mapping[str, Any], format_: str, heading: str) -> str:
    """The table of an evaluation that has groups."""
    from imgrank.evaluate import standing_report

    def people() -> str:
        parts: list[str | Table] = [heading]
        for papers in (False, True):
            head, body = standing_report.shown(table, papers)
            left = [n for n, title in enumerate(head) if title in ("query", "model", "paper")]
            if body:
                parts.append(drawn(head, body, left=left, whole=(0,) if papers else ()))
        return printed([*parts, *standing_report.notes(table)])

    def pipe() -> Sequence[Sequence[str]]:
        return standing_report.tsv(list(standing_report.rows(table)))

    return rendered(table, format_, pipe, people)
