"""REFERENCE.md, generated: the help of every command, formats, statuses, settings, files.

    python -m imgrank.cli.reference > REFERENCE.md

Everything in it is written somewhere else: in the commands' help, in the docstrings of the modules
that do it (`results/output.py`, `results/estimates.py`, `results/plans.py`, `settings.py`,
`errors.py`) and in `SUMMARY`. No line of it depends on the machine or on the version of click. Man
pages by click-man were tried: it does not see commands that are loaded when they are called.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path, PurePosixPath
from types import ModuleType

import click

__all__ = ["reference"]

HEAD = """\
# imgrank: reference

Made from the help of the commands by `python -m imgrank.cli.reference > REFERENCE.md`; do not edit
it by hand. `imgrank COMMAND --help` prints the same. What the program is for and how one begins is
in the [README](README.md).
"""
# What of Settings no key of that name sets.
NO_KEYS = ("home", "config", "offline_by", "models", "llm_key_for")


def reference() -> str:
    """The whole page, with a newline at its end."""
    from imgrank import cli as package
    from imgrank.results import estimates, operations, output, plans

    root = click.Context(package.cli, info_name="imgrank")
    commands = [*_commands(package.cli, root)]
    parts = [HEAD, _contents(commands, package.SUMMARY), "## Commands\n"]
    parts += [_command(command, ctx) for command, ctx in commands]
    parts += ["## Output\n", _rows("sort and score", output)]
    parts += [_rows("age, decade and aesthetic", estimates), _rows("--dry-run", plans)]
    parts += [_rows("undo", operations)]
    parts += ["## Exit status\n", _statuses(package), "## Settings\n", _settings(), _files()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def _commands(
    command: click.Command, ctx: click.Context
) -> Iterator[tuple[click.Command, click.Context]]:
    """Every command and group below, in the order of the help."""
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            below = command.get_command(ctx, name)
            assert below is not None
            inner = click.Context(below, info_name=name, parent=ctx)
            yield below, inner
            yield from _commands(below, inner)


def _contents(
    commands: list[tuple[click.Command, click.Context]], summary: Mapping[str, str]
) -> str:
    lines = []
    for _, ctx in commands:
        path = ctx.command_path
        short = summary.get(path.removeprefix("imgrank "), "")
        depth = "  " * (path.count(" ") - 1)
        lines.append(f"{depth}* [{path}](#{path.replace(' ', '-')})" + f": {short}" * bool(short))
    others = ("Output", "Exit status", "Settings", "Files")
    lines += [f"* [{name}](#{name.lower().replace(' ', '-')})" for name in others]
    return "\n".join(lines) + "\n"


# ---- a command -----------------------------------------------------------------------------------


def _command(command: click.Command, ctx: click.Context) -> str:
    options = [each for each in command.params if isinstance(each, click.Option)]
    arguments = [each.metavar or (each.name or "").upper() for each in command.params
                 if isinstance(each, click.Argument)]  # fmt: skip
    optional = [each for each in command.params if isinstance(each, click.Argument)]
    words = [
        word if each.required or word.startswith("[") else f"[{word}]"
        for word, each in zip(arguments, optional, strict=True)
    ]
    if isinstance(command, click.Group):
        words.append("COMMAND")
    usage = " ".join([ctx.command_path, *["[OPTIONS]"] * bool(options), *words])
    lines = [f"### {ctx.command_path}\n", f"```\n{usage}\n```\n", _prose(command.help or "")]
    shown = [_option(option) for option in options if not option.hidden]
    if shown:
        lines += ["| option | |\n| --- | --- |", *shown, ""]
    return "\n".join([*lines, _prose(command.epilog or "", "sh")])


def _option(option: click.Option) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    text = option.help or ""
    if option.show_default and not option.is_flag:
        text += f"  [{option.default}]"
    return f"| `{_cell(names + _value(option))}` | {_cell(_escaped(text))} |"


def _value(option: click.Option) -> str:
    """What follows the name: " DIR", " json|text"; "" for a switch."""
    if option.is_flag or option.count:
        return ""
    if option.metavar:
        return f" {option.metavar}"
    if isinstance(option.type, click.Choice):
        return " " + "|".join(map(str, option.type.choices))
    if isinstance(option.type, click.Path):
        return " PATH" if option.type.file_okay else " DIR"
    numbers = (click.types.IntParamType, click.types.FloatParamType)
    return " N" if isinstance(option.type, numbers) else " TEXT"


def _prose(text: str, language: str = "") -> str:
    """Help as Markdown: what it keeps as it stands (after a \\b) is a block of code."""
    found = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        lines = paragraph.split("\n")
        if lines[0].strip() != "\b":
            found.append(_escaped(paragraph))
            continue
        heading = f"{lines[1].strip()}\n\n" if lines[1].rstrip().endswith(":") else ""
        body = inspect.cleandoc("\n".join(["", *lines[2 if heading else 1 :]]))
        found.append(f"{heading}```{language}\n{body}\n```")
    return "\n\n".join(found) + "\n"


def _escaped(text: str, characters: str = r"[*_<\\]") -> str:
    """With backslashes before what Markdown would take for its own; code stays as it is."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(
        piece if n % 2 else re.sub(characters, r"\\\g<0>", piece) for n, piece in enumerate(pieces)
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


# ---- what is said in docstrings ------------------------------------------------------------------


def _doc(thing: object) -> str:
    """A docstring without its first paragraph, which says what the module does, for us."""
    return inspect.cleandoc(thing.__doc__ or "").partition("\n\n")[2]


def _rows(commands: str, module: ModuleType) -> str:
    """What a module of rows says of its fields; it is Markdown but for its backslashes."""
    text = _escaped(_doc(module), r"\\")
    link = "[Rows of sort and score](#rows-of-sort-and-score)"
    return f"### Rows of {commands}\n\n{text.replace('`output.py`', link)}\n"


def _statuses(package: ModuleType) -> str:
    said = re.search(r"Exit statuses: (.*?)\.\n", package.__doc__ or "", re.DOTALL)
    assert said is not None
    each = re.split(r",\s+(?=\d)", said[1])
    rows = [f"| {number} | {text} |" for number, text in (one.split(maxsplit=1) for one in each)]
    return "\n".join(["| status | |\n| --- | --- |", *(row.replace("\n", " ") for row in rows), ""])


def _settings() -> str:
    from imgrank import settings

    meaning: dict[str, str] = {}
    said = inspect.cleandoc(settings.Settings.__doc__ or "")
    entry = r"(?:^|\n|  )(\w+(?:, \w+)*): (.*?)(?=\n\w+(?:, \w+)*: |  \w+(?:, \w+)*: |$)"
    for names, text in re.findall(entry, said, re.DOTALL):
        meaning |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    rows = ["| key | environment | default | |\n| --- | --- | --- | --- |"]
    for field in fields(settings.Settings):
        if field.name not in NO_KEYS:
            usual = "" if field.default in (MISSING, None) else f"`{field.default}`"
            key = "models.default" if field.name == "model" else field.name
            name = f"`IMGRANK_{field.name.upper()}`"
            rows.append(f"| `{key}` | {name} | {usual} | {_cell(meaning[field.name])} |")
    title = inspect.cleandoc(settings.__doc__ or "").partition("\n\n")[0]
    return "\n\n".join([title, _doc(settings), "\n".join(rows)]) + "\n"


def _files() -> str:
    from imgrank.settings import Settings

    example = Settings(Path("CACHE"), Path("DATA"), Path("config.toml"))
    rows = ["| file or folder | |\n| --- | --- |", "| `config.toml` | Settings, see above. |"]
    for name, found in inspect.getmembers(Settings, lambda member: isinstance(member, property)):
        path = PurePosixPath(*getattr(example, name).parts)
        text = " ".join(inspect.cleandoc(found.__doc__ or "").split())
        rows.append(f"| `{path}` | {_cell(text)} |")
    said = "CACHE is `cache_dir`, DATA `data_dir`; `imgrank doctor` says where they are."
    return "\n".join(["## Files\n", f"{said}\n", *rows, ""])


if __name__ == "__main__":
    sys.stdout.buffer.write(reference().encode())
