"""The part of `imgrank eval` that measures search: recall, beauty, HPIR, classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgrank.cli import options as shared
from imgrank.cli.sheet import drawn, printed, rendered
from imgrank.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from imgrank.models.registry import Entry
    from imgrank.settings import Settings

MEASURES = {
    "beauty-search": "beauty_search",
    "captions": "captions",
    "flickr8k": "captions",
    "coco-captions": "captions",
    "hpir": "hpir",
    "classes": "classes",
}
"""Data -> the module of `imgrank.evaluate` that measures it."""

OWN = {
    "top": ("beauty-search",),
    "pool": ("beauty-search",),
    "rerank": ("beauty-search",),
    "first": ("beauty-search",),
    "weight": ("beauty-search",),
    "templates": ("classes",),
}
"""Options of these measures alone, each a field of `searched.Asked` -> the data that it is for."""

OTHERS = ("fold", "queries", "attributes", "scatter", "similarity", "sizes", "groups", "alone")
FLAGS = {
    "templates": "--template",
    "queries": "--query",
    "first": "--rerank-first",
    "weight": "--rerank-weight",
}


def search_options(command: shared.Command) -> shared.Command:
    """Of the measures of search alone; None where they were not given."""
    return shared.stack(
        command,
        click.option(
            "--top",
            type=click.IntRange(1),
            metavar="K",
            help="beauty-search: pictures that are shown.  [10]",
        ),
        click.option(
            "--pool",
            multiple=True,
            metavar="NAME",
            help="beauty-search: a set to search in; repeatable.  [flickr8k, coco, oasis]",
        ),
        click.option(
            "--rerank",
            metavar="MODEL",
            help="beauty-search: who predicts beauty.  [tiny-l2r-aesthetic]",
        ),
        click.option(
            "--rerank-first",
            "first",
            type=click.IntRange(1),
            metavar="K",
            help="beauty-search: pictures that two stages order anew.  [100]",
        ),
        click.option(
            "--rerank-weight",
            "weight",
            type=click.FloatRange(0),
            metavar="W",
            help="beauty-search: of beauty beside a cosine.  [1.25]",
        ),
        click.option(
            "--template",
            "templates",
            multiple=True,
            metavar="TEXT",
            help='classes: what is asked, {} for the class; repeatable.  ["a photo of a {}."]',
        ),
    )


def check(data: str, given: Mapping[str, Any]) -> None:
    """Raises UsageError for an option that has no meaning for this data."""
    for name, sets in OWN.items():
        if _given(given.get(name)) and data not in sets:
            raise UsageError(f"{_flag(name)} is for --data {' or '.join(sets)}, not for {data}.")
    if data in MEASURES:
        for name in OTHERS:
            if _given(given.get(name)):
                raise UsageError(f"{_flag(name)} has no meaning for --data {data}.")


def run(
    root: Path | None,
    models: Sequence[str],
    reporter: shared.Reporter,
    out: shared.Output,
    settings: Settings,
    write: bool = False,
    **given: Any,
) -> int:
    """Measures, and writes sheets or rows. Returns the exit status.

    write: also into the last model's config and card.
    """
    from importlib import import_module

    from imgrank.evaluate.searched import Asked

    wanted = {name: given[name] for name in OWN if _given(given[name])}
    asked = Asked(
        data=given["data"],
        root=root or settings.data_dir,
        models=tuple(models) or (None,),
        part=given["part"],
        rounds=given["rounds"],
        seed=given["seed"],
        partial=given["partial"],
        notify=reporter.notify,
        progress=reporter.progress,
        **wanted,
    )
    entry = _to_write(models, settings) if write else None
    module = import_module(f"imgrank.evaluate.{MEASURES[asked.data]}")
    found = module.evaluate(asked, settings)
    reporter.stop()
    out.stream.write(_rendered(found.table, out.format).encode())
    if entry is not None:
        from imgrank.evaluate.record_search import record

        record(entry, asked, found.table)
        reporter.notify(f"recorded in {entry.folder}")
    return reporter.finish(found.skips, computed=found.computed, known=found.known, strict=False)


def _to_write(models: Sequence[str], settings: Settings) -> Entry:
    from imgrank.evaluate.record_search import check as check_entry
    from imgrank.models.registry import find

    if not models:
        raise UsageError("--write records the figures of the last model; name it with --model.")
    entry = find(models[-1], settings.models_dir)
    check_entry(entry)
    return entry


def _given(value: object) -> bool:
    return value is not None and value is not False and value != ()


def _flag(name: str) -> str:
    return FLAGS.get(name, f"--{name.replace('_', '-')}")


def _rendered(table: Mapping[str, Any], format_: str) -> str:
    from imgrank.evaluate import search_report

    return rendered(table, format_, lambda: search_report.tsv(table), lambda: _for_people(table))


def _for_people(table: Mapping[str, Any]) -> str:
    from imgrank.evaluate import search_report

    parts: list[str | Table] = [search_report.heading(table)]
    for title, head, body in search_report.sheets(table):
        parts += ["", title, drawn(head, body, whole=range(1, len(head)))]
    return printed([*parts, *search_report.notes(table)])
