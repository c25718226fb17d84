"""`imgrank data`: which data sets can be trained on and measured, and whether they are here."""

from __future__ import annotations

import json
import math
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgrank.cli.data_preferences import preferences
from imgrank.results.output import visible

if TYPE_CHECKING:
    from imgrank.data.check import Checked, Summary
    from imgrank.data.check_search import Held

EXAMPLES = """\b
Examples:
  imgrank data list
  imgrank data check photographs --root examples/photos
"""
LIST_EXAMPLES = """\b
Examples:
  imgrank data list
  imgrank data list koniq
"""
CHECK_EXAMPLES = """\b
Examples:
  imgrank data check photographs --root examples/photos --pictures
  imgrank data check koniq --root ./koniq  # needs a folder of yours
"""
FIELDS = ("name", "what", "queries", "source", "licence", "layout", "split", "folder", "here")
SHORT = ("what", "queries", "source", "licence", "layout", "split")
LONG = (
    "what",
    "queries",
    "paper",
    "source",
    "licence",
    "split",
    "note",
    "folder",
    "layout",
    "next",
)
WIDTH = 100  # characters of a line of text


@click.group(epilog=EXAMPLES)
def data() -> None:
    """List the data sets that models are trained and measured on, check their folders, and make
    preference data of them.

    imgrank downloads none of them: each is fetched by you from where it is published.
    """


data.add_command(preferences)


# ---- list ----------------------------------------------------------------------------------------


@data.command("list", epilog=LIST_EXAMPLES)
@click.argument("name", required=False)
@click.option(
    "-f",
    "--format",
    "format_",
    type=click.Choice(("text", "tsv", "json")),
    help="Of the output.  [text on a terminal, tsv in a pipe]",
)
def list_sets(name: str | None, format_: str | None) -> None:
    """List all data sets: what each is, its queries, source, licence, layout and split.

    NAME prints one in full, with the folder where it is looked for and the commands that use it.
    Folders are looked for in the data folder of imgrank; --root of other commands names another.
    """
    from imgrank.data.catalogue import CATALOGUE, RETRIEVAL, reader

    if name is not None:
        reader(name)
        _show_one(row(name), format_ == "json")
        return
    rows = [row(each) for each in (*CATALOGUE, *RETRIEVAL)]
    if format_ == "json":
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif format_ == "text" or (format_ is None and sys.stdout.isatty()):
        click.echo("\n\n".join(_text(each, SHORT) for each in rows))
    else:
        click.echo("\t".join(FIELDS))
        for each in rows:
            click.echo("\t".join(_cell(each[field]) for field in FIELDS))


def row(name: str) -> dict[str, Any]:
    """All that is known of one data set. Raises UsageError for an unknown name."""
    from imgrank.data.catalogue import about, reader
    from imgrank.settings import load_settings

    known, found = about(name), reader(name)
    root = load_settings().data_dir
    places = [root / each for each in found.of or (name,)]
    return {
        "name": name,
        "what": known.title,
        "queries": known.queries,
        "source": known.source,
        "licence": known.licence,
        "layout": known.layout.split("\n"),
        "split": known.split,
        "folds": known.folds,
        "paper": known.paper,
        "note": known.note,
        "made_of": list(found.of),
        "folder": str(places[0] if len(places) == 1 else root) if found.files else "",
        "here": not found.files or all(each.exists() for each in places),
    }


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return visible("; ".join(value) if isinstance(value, list) else str(value))


def _show_one(row: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        facts = {**row, "commands": _commands(row)}
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        click.echo(_text(row, LONG))


def _text(row: Mapping[str, Any], shown: Sequence[str]) -> str:
    """The name, and below it what is known, a heading a fact."""
    folds = f"; --fold 0 to {row['folds'] - 1}" if row["folds"] else ""
    facts = {
        **{name: [str(row[name])] for name in ("what", "queries", "paper", "source", "note")},
        "licence": [str(row["licence"]) or "not seen"],
        "split": [row["split"] + folds],
        "folder": [row["folder"] + ("" if row["here"] else " (not there)")],
        "layout": row["layout"],
        "next": _commands(row),
    }
    lines = [click.style(row["name"], bold=True)]
    for name in shown:
        head = f"  {name:9}"
        for line in filter(None, facts[name]):
            lines += _wrapped(visible(line), head, name in ("folder", "layout", "next"))
            head = " " * len(head)
    return "\n".join(lines)


def _wrapped(text: str, head: str, as_it_is: bool) -> list[str]:
    """head and text; broken between words only, and not at all what may be copied."""
    if as_it_is:
        return [head + text]
    indent = " " * len(head)
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=head,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _commands(row: Mapping[str, Any]) -> list[str]:
    """What to type next; each line can be copied."""
    from imgrank.data.catalogue import RETRIEVAL

    name = row["name"]
    if name in RETRIEVAL:
        return _commands_of_search(name, row["split"] != "all test")
    lines = [f"imgrank data check {name}"]
    if row["split"] != "all test":
        lines.append(f"imgrank train adapter --data {name} --name {name} --out runs/{name}")
    if row["split"] != "training only":
        lines.append(f"imgrank eval --data {name} --model runs/{name}/{name}")
    return lines


def _commands_of_search(name: str, trained_on: bool) -> list[str]:
    """Of a set with captions, classes or groups."""
    lines = [f"imgrank data check {name}"]
    if trained_on:
        pool = "coco" if name == "coco-captions" else name
        lines += [
            f"imgrank data preferences --pool {pool} --out {name}.jsonl",
            f"imgrank train retrieval --preferences {name}.jsonl --captions {pool} "
            f"--out runs/{name}",
        ]
    return [*lines, f"imgrank eval --data {name} --model tiny"]


# ---- check ---------------------------------------------------------------------------------------


@data.command("check", epilog=CHECK_EXAMPLES)
@click.argument("name")
@click.option("--root", type=click.Path(path_type=Path), help="Its folder.  [in the data folder]")
@click.option("--fold", type=click.IntRange(0), help="Of a set that has folds.  [0]")
@click.option("--pictures", is_flag=True, help="Also decode every picture.")
@click.option("--threads", type=click.IntRange(1), help="For --pictures.  [the cores]")
@click.option(
    "-f", "--format", "format_", type=click.Choice(("text", "json")), default="text", help="[text]"
)
@click.option("-q", "--quiet", is_flag=True, help="No notices or progress, only the result.")
def check(
    name: str,
    root: Path | None,
    fold: int | None,
    pictures: bool,
    threads: int | None,
    format_: str,
    quiet: bool,
) -> int:
    """Say whether a data set is complete, or what is missing; and what is in it.

    ROOT is the set's folder or the one that holds it under its NAME. Reads the labels and makes
    sure that every picture is there. A part of a set whose published size is known is told as such
    and is no error. Exit status: 0 nothing is missing, 3 incomplete, 2 an unknown NAME.
    """
    from imgrank.cli.options import Notices
    from imgrank.data.catalogue import RETRIEVAL
    from imgrank.data.check import check as find_out
    from imgrank.settings import load_settings

    settings = load_settings(threads=threads)
    root = root or settings.data_dir
    if name in RETRIEVAL:
        return _check_search(name, root, fold, pictures, settings.threads, format_, quiet)
    with Notices(quiet) as notices:
        found = find_out(name, root, fold, pictures, settings.threads, notices.progress)
        for note in found.notes:
            notices.notify(note)
    if format_ == "json":
        click.echo(json.dumps(_facts(found), indent=2, ensure_ascii=False))
    else:
        for line in _lines(found):
            click.echo(visible(line))
    return 0 if found.usable else 3


def _check_search(
    name: str,
    root: Path,
    fold: int | None,
    pictures: bool,
    threads: int | None,
    format_: str,
    quiet: bool,
) -> int:
    """The same of a set for search."""
    from imgrank.cli.options import Notices
    from imgrank.data.check_search import check_search
    from imgrank.errors import UsageError

    if fold is not None:
        raise UsageError(f"{name} has one split and no folds; --fold {fold} is not one of them.")
    with Notices(quiet) as notices:
        found = check_search(name, root, pictures, threads, notices.progress)
        for note in found.notes:
            notices.notify(note)
    if format_ == "json":
        facts = {
            "name": name,
            "folder": str(found.folder),
            "complete": found.complete,
            "usable": found.usable,
            "problem": found.problem,
            "notes": list(found.notes),
            "pictures": found.parts,
            "counts": found.counts,
            "unreadable": [{"path": str(p), "reason": reason} for p, reason in found.unreadable],
        }
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        for line in _state(found, len(found.paths), found.parts):
            click.echo(visible(line))
        for what, count in found.counts.items():
            click.echo(f"{what}: {count}")
    return 0 if found.usable else 3


def _facts(found: Checked) -> dict[str, Any]:
    """The result as JSON has it; values that are not there are null."""
    return {
        "name": found.name,
        "folder": str(found.folder) if found.folder else None,
        "complete": found.complete,
        "usable": found.usable,
        "problem": found.problem,
        "notes": list(found.notes),
        "pictures": found.parts,
        "queries": [
            {
                "key": each.labels.key,
                "task": each.labels.task,
                "prompt": each.labels.prompt,
                "unit": each.labels.unit,
                "labelled": each.labelled,
                "lowest": None if math.isnan(each.lowest) else each.lowest,
                "highest": None if math.isnan(each.highest) else each.highest,
                "values": each.different,
                "classes": list(each.labels.classes),
            }
            for each in found.queries
        ],
        "unreadable": [{"path": str(p), "reason": reason} for p, reason in found.unreadable],
    }


def _lines(found: Checked) -> list[str]:
    lines = _state(found, len(found.data or ()), found.parts if found.data else {})
    if found.data is None:
        return lines
    head = ("query", "labelled", "lowest", "highest", "values", "unit")
    rows = [head, *(_row(each) for each in found.queries)]
    widths = [max(len(cells[n]) for cells in rows) for n in range(len(head))]
    for cells in rows:
        first = cells[0].ljust(widths[0])
        numbers = [cell.rjust(width) for cell, width in zip(cells[1:5], widths[1:5], strict=True)]
        lines.append("  ".join([first, *numbers, cells[5]]).rstrip())
    return lines


def _state(found: Checked | Held, pictures: int, parts: Mapping[str, int]) -> list[str]:
    """How complete a set is, what is wrong with it, its folder and its parts."""
    state = "complete" if found.complete else "incomplete"
    if found.usable and found.published:
        state = f"incomplete against the {found.published} published pictures; usable as a part"
    lines = [f"{found.name}: {state}"]
    lines += found.problem.split("\n") if found.problem else []
    lines += [f"unreadable: {path}: {reason}" for path, reason in found.unreadable]
    if parts:
        lines += [f"folder: {found.folder}"] if found.folder else []
        counted = ", ".join(f"{count} {part}" for part, count in parts.items())
        lines.append(f"pictures: {pictures} ({counted})")
    return lines


def _row(query: Summary) -> tuple[str, ...]:
    labels = query.labels
    ends = ["" if math.isnan(end) else f"{end:.6g}" for end in (query.lowest, query.highest)]
    unit = f"{len(labels.classes)} classes" if labels.classes else labels.unit
    return (labels.key, str(query.labelled), *ends, str(query.different), unit)
