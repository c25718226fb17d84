"""`imgrank models list` and `imgrank models info`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from imgrank.results.output import visible

if TYPE_CHECKING:
    from rich.console import Console

    from imgrank.models.catalogue import Known

LIST_EXAMPLES = """\b
Examples:
  imgrank models list
  imgrank models list --here --json
"""
INFO_EXAMPLES = """\b
Examples:
  imgrank models info tiny-quality
  imgrank models info vit-b-32-256
"""
GROUPS = (  # kind ("": all others), heading, title of the last column
    ("", "Trained for a task", "answers"),
    ("retrieval", "Tuned for search: they answer anything in words, as backbones do", "good for"),
    (
        "backbone",
        "Backbones: they answer anything in words (zero-shot) and carry the models above",
        "good for",
    ),
    (
        "vlm",
        "Vision-language models: they look at several pictures at once, and RARL trains them",
        "good for",
    ),
    ("detector", "Face detectors: they answer nothing themselves", "good for"),
)
COLUMNS = ("model", "size", "licence", "state")
LEAST = (19, 7, 10, 11)  # characters, so that both tables are one
STYLES = {"embedded": "green", "here": "green", "damaged": "bold red", "no backbone": "bold red"}
WIDE, ROOM = 100, 20  # characters of a terminal, of the last column: with fewer it is left out


@click.command("list", short_help="All models: here, to pull, unpublished.", epilog=LIST_EXAMPLES)
@click.option("--here", is_flag=True, help="Only those on this machine.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_models(here: bool, as_json: bool) -> None:
    """List all models that are known: what each answers, its size, its licence, where it stands.

    A table on a terminal, tab-separated values in a pipe. Sizes with a ~ are about what a pull
    fetches. Opens no socket.
    """
    from imgrank.models.catalogue import catalogue, unfinished
    from imgrank.settings import load_settings

    settings = load_settings()
    found = [known for known in catalogue(settings) if known.folder or not here]
    if as_json:
        click.echo(json.dumps([row(known) for known in found], indent=2))
    elif sys.stdout.isatty():
        from rich.console import Console

        show_tables(found, Console(highlight=False))
    else:
        write_tsv(found)
    for name, count in unfinished(settings).items():
        click.echo(visible(_unfinished(name, count)), err=True)


@click.command(short_help="What is known of one model.", epilog=INFO_EXAMPLES)
@click.argument("name")
@click.option("--card", is_flag=True, help="Only its model card, as it is.")
@click.option("--json", "as_json", is_flag=True, help="All that is known, as JSON.")
def info(name: str, card: bool, as_json: bool) -> int:
    """Show what is known of a model: origin, licence, tasks, units, measured quality, next step.

    NAME is one that `imgrank models list` shows, the path of a folder, or, once it was pulled,
    hf:OWNER/REPOSITORY[@REVISION] or open_clip:ARCHITECTURE/TAG.
    """
    from imgrank.models.catalogue import describe
    from imgrank.settings import load_settings

    known = describe(name, load_settings())
    if card:
        return _show_card(known)
    if as_json:
        from imgrank.models.checkpoint import read_config

        none = ("backbone", "vlm", "detector", "damaged")  # none of these is a checkpoint
        own = known.folder is not None and known.kind not in none
        config = read_config(known.folder) if known.folder and own else {}
        click.echo(json.dumps({**row(known), "config": config}, indent=2))
        return 0
    for line in described(known):
        click.echo("\n".join(_wrapped(visible(line))))
    return 0


def _wrapped(line: str) -> list[str]:
    """A line as the terminal holds it; in a pipe, and of commands to copy, it stays one."""
    import shutil
    import textwrap

    if not sys.stdout.isatty() or line.startswith(("next: ", "model card: ")):
        return [line]
    width = max(40, shutil.get_terminal_size().columns)
    start = len(line) - len(line.lstrip())
    return textwrap.wrap(
        line,
        width,
        subsequent_indent=" " * (start + 2),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]


# ---- list ----------------------------------------------------------------------------------------


def _unfinished(name: str, count: int) -> str:
    from imgrank.models.registry import listed, size_text

    line = f"imgrank models pull {name}" if name in listed() else "the same pull"
    return (
        f"{name}: its pull is not finished, {size_text(count)} are kept; {line} goes on, "
        f"imgrank models remove {name} deletes it"
    )


def row(known: Known) -> dict[str, Any]:
    """The fields of one model in JSON and TSV."""
    return {
        "name": known.name,
        "kind": known.kind,
        "state": known.state,
        "answers": answers(known),
        "tasks": list(known.tasks),
        "bytes": known.bytes or None,
        "licence": known.licence,
        "research_only": known.research_only,
        "default_for": list(known.default_for),
        "origin": known.origin,
        "revision": known.revision,
        "pinned": known.pinned,
        "backbone": known.backbone,
        "problem": known.problem,
        "folder": str(known.folder or ""),
    }


def answers(known: Known) -> str:
    """What a model is asked for, in a few words."""
    return known.use or ", ".join(known.tasks) or "anything in words"


def standing(known: Known) -> str:
    """Its state with what a user should know beside it: "here, default for quality"."""
    parts: list[str] = [known.state]
    if known.pinned == "unpinned":
        parts.append("unpinned")
    if "*" in known.default_for:
        parts.append("default")
    if named := [task for task in known.default_for if task != "*"]:
        parts.append(f"default for {', '.join(named)}")
    return ", ".join(parts)


def write_tsv(found: Iterable[Known]) -> None:
    """One line a model, with a header; lists are joined by commas."""
    for i, known in enumerate(found):
        fields = row(known)
        if i == 0:
            click.echo("\t".join(fields))
        click.echo("\t".join(_cell(value) for value in fields.values()))


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = ",".join(value) if isinstance(value, list) else "" if value is None else str(value)
    return visible(text)


def show_tables(found: Sequence[Known], console: Console) -> None:
    """For people: a table a group, then how to go on."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    kinds = {kind for kind, _, _ in GROUPS}
    groups = [
        [each for each in found if kind == (each.kind if each.kind in kinds else "")]
        for kind, _, _ in GROUPS
    ]
    needed = max(sum(_widths(rows, narrow=False)) for rows in groups) + 11 + ROOM
    narrow = console.width < max(WIDE, needed)
    for (_, heading, purpose), rows in zip(GROUPS, groups, strict=True):
        if not rows:
            continue
        widths = _widths(rows, narrow=narrow)
        if narrow:  # nothing is cut: a state that is too long, then a name, takes a second line
            for column, least in ((-1, LEAST[-1]), (0, LEAST[0])):
                over = max(0, sum(widths) + 8 - console.width)
                widths[column] = max(least, widths[column] - over)
        cells = {known.name: _cells(known, narrow=narrow) for known in rows}
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for title, width in zip(COLUMNS, widths, strict=True):
            justify: Any = "right" if title == "size" else "left"
            table.add_column(title, justify=justify, width=width, overflow="fold")
        if not narrow:
            rest = console.width - sum(widths) - 11  # between the columns
            table.add_column(purpose, max_width=rest)
        for known in rows:
            name, much, licence, state = cells[known.name]
            last = [] if narrow else [_purpose(known)]
            table.add_row(
                Text(name, style="bold" if known.here else ""),
                Text(much),
                Text(licence, style="" if known.licence else "dim"),
                Text(state, style=STYLES.get(known.state, "dim")),
                *last,
            )
        console.print(Text(heading, style="bold"))
        console.print(table)
    console.print("imgrank models info NAME tells more; imgrank models pull NAME fetches one.")


def _widths(found: Sequence[Known], *, narrow: bool) -> list[int]:
    """Characters of each column but the last."""
    rows = [LEAST, *(tuple(map(len, _cells(known, narrow=narrow))) for known in found)]
    return [max(column) for column in zip(*rows, strict=True)]


def _cells(known: Known, *, narrow: bool) -> tuple[str, str, str, str]:
    """Of all columns but the last. narrow: with as few words as can be."""
    state = standing(known)
    if narrow:
        state = state.removeprefix("here, ").replace("default for ", "default: ")
    return visible(known.name), size(known), _short_licence(known), state


def _short_licence(known: Known) -> str:
    """The licence's name; what it says beyond that is for `info`."""
    text = visible(known.licence.partition(";")[0])
    return (text if len(text) <= 14 else f"{text[:13]}…") or "unknown"


def _purpose(known: Known) -> Any:
    from rich.text import Text

    from imgrank.models.licence import restricted

    broken = known.state in ("damaged", "no backbone")
    text = known.problem if broken else answers(known)
    limit = "research only: " if known.research_only else ""
    if not limit and restricted(known.licence):
        limit = "limited use: "
    return Text.assemble((limit, "yellow"), visible(text))


def size(known: Known) -> str:
    """ "19.2 MB" on disk, "~605 MB" to fetch, "?" if nobody has said."""
    from imgrank.models.registry import size_text

    if not known.bytes:
        return "?"
    return size_text(known.bytes) if known.folder else f"~{size_text(known.bytes)}"


# ---- info ----------------------------------------------------------------------------------------


def described(known: Known) -> list[str]:
    """The lines of `imgrank models info`."""
    lines = [f"{known.name}: {known.kind}, {standing(known)}"]
    if known.use:
        lines.append(known.use)
    if known.problem:
        lines.append(known.problem)
    facts = {
        "folder": str(known.folder or ""),
        "origin": _origin(known),
        "revision": _revision(known),
        "licence": licence_line(known),
        "size": size(known) if known.bytes else "unknown",
        "rests on": known.backbone,
        "reads": f"{known.image_size} x {known.image_size} pixels" if known.image_size else "",
        "OpenCLIP": known.architecture,
    }
    lines += ["", *(f"{name:9} {fact}" for name, fact in facts.items() if fact)]
    for task, values in known.tasks.items():
        lines += ["", *_task(task, values)]
    if known.measured:
        from imgrank.models.retrieval_checkpoint import told

        lines += ["", "measured:", *(f"  {line}" for row in known.measured for line in told(row))]
    if known.folder and (known.folder / "README.md").is_file():
        lines += ["", f"model card: imgrank models info {known.call} --card"]
    lines += ["", f"next: {_next(known)}"] if _next(known) else []
    return lines


def _origin(known: Known) -> str:
    if known.state == "embedded":
        return "comes with imgrank"
    return f"imported from {known.source}" if known.source else known.origin


def _revision(known: Known) -> str:
    if not known.origin or known.origin == "imported":
        return ""
    if not known.revision:
        return "unpinned: the first pull finds the commit and keeps to it"
    return f"{known.revision} (pinned {known.pinned})"


def licence_line(known: Known) -> str:
    if not known.licence:
        return "unknown" if known.state != "unpublished" else ""
    said = not known.research_only or "research" in known.licence.lower()
    return known.licence if said else f"{known.licence}; for research only"


def _task(task: str, values: Mapping[str, Any]) -> list[str]:
    """A task with its unit, range, prompt, what it is limited to, and measured figures."""
    from imgrank.models.card import levels_of
    from imgrank.rankers.trained import subjects_of

    scale = values.get("range")
    unit = str(values.get("unit") or "no unit")
    head = f"{task}: {unit}, {scale[0]:g} to {scale[1]:g}" if scale else f"{task}: {unit}"
    lines = [head]
    if values.get("prompt"):
        lines.append(f'  prompt "{values["prompt"]}"')
    if values.get("closeness"):
        lines.append(f'  prompt "{values["closeness"]}" for being close to a number')
    if subjects := subjects_of(values):
        lines.append(f"  trained for {len(subjects)}: {', '.join(subjects)}")
    if classes := values.get("classes"):
        named = ", ".join(f"{index} {name}" for index, name in enumerate(classes))
        lines.append(f"  scores are classes: {named}")
    lines += [f"  {line}" for line in levels_of(values)]
    if values.get("note"):
        lines.append(f"  {values['note']}")
    figures = values.get("measured")
    rows = [row for row in figures if isinstance(row, dict)] if isinstance(figures, list) else []
    return [*lines, *(f"  {_figure(row)}" for row in rows)]


def _figure(figure: Mapping[str, Any]) -> str:
    """{"data": ..., "n": 190, "srcc": 0.8, "srcc_interval": [a, b]} -> one line."""
    parts = []
    for name in dict.fromkeys(key.removesuffix("_interval") for key in figure):
        if name in ("data", "n"):
            continue
        words = [name.replace("_", " ")]
        words += [str(figure[name])] if name in figure else []
        words += [str(figure[f"{name}_interval"])] if figure.get(f"{name}_interval") else []
        parts.append(" ".join(words))
    count = f" (n = {figure['n']})" if "n" in figure else ""
    return f"{figure.get('data', 'measured')}{count}: {'; '.join(parts)}"


def _next(known: Known) -> str:
    from imgrank.models.catalogue import sort_line

    if known.state == "not here":
        return f"imgrank models pull {known.name}"
    if known.state == "no backbone":
        return known.way
    if known.state == "unpublished":
        return "".join(re.findall(r"imgrank models import .*", known.problem))
    return sort_line(known) if known.here else ""


def _show_card(known: Known) -> int:
    from imgrank.errors import ModelUnavailable

    path = known.folder / "README.md" if known.folder else None
    if path is None or not path.is_file():
        raise ModelUnavailable(f"{known.name} has no model card on this machine.")
    text = path.read_text(encoding="utf-8").strip()
    click.echo("\n".join(visible(line) for line in text.split("\n")))
    return 0
