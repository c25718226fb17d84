"""REFERENCE.md is what the help says today, and holds every command and option."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from imgrank.cli import cli
from imgrank.cli.reference import reference

PAGE = Path(__file__).parents[1] / "REFERENCE.md"


def commands(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return [(path, command)]
    ctx = click.Context(command)
    found = [(path, command)]
    for name in command.list_commands(ctx):
        below = command.get_command(ctx, name)
        assert below is not None
        found += commands(below, f"{path} {name}")
    return found


ALL = commands(cli, "imgrank")[1:]


def section(path: str) -> str:
    text = PAGE.read_text("utf-8")
    assert text.count(f"\n### {path}\n") == 1
    return text.partition(f"\n### {path}\n")[2].partition("\n### ")[0]


def test_it_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == reference(), (
        "REFERENCE.md is stale: python -m imgrank.cli.reference > REFERENCE.md"
    )


@pytest.mark.parametrize(("path", "command"), ALL, ids=[path for path, _ in ALL])
def test_every_option_and_example_is_there(path: str, command: click.Command) -> None:
    text = section(path)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert all(f"{name}" in text for name in parameter.opts), parameter.opts
            assert (parameter.help or "")[:9].replace("_", "\\_") in text
    assert (command.help or "").split("\n")[0].replace("_", "\\_") in text
    for line in (command.epilog or "").split("\n")[2:]:
        assert line.strip() in text


def test_it_names_nothing_of_this_machine() -> None:
    text = PAGE.read_text("utf-8")
    assert str(PAGE.parent) not in text
    assert os.environ["IMGRANK_HOME"] not in text


def test_the_rest_of_the_page() -> None:
    text = PAGE.read_text("utf-8")
    for line in (
        "| 130 | interrupted |",
        "| `CACHE/imgrank.sqlite3` | The SQLite file of the store. |",
        "| `models.default` | `IMGRANK_MODEL` |  | for what is neither measured nor trained for. |",
        "### Rows of --dry-run",
    ):
        assert f"\n{line}\n" in text
    assert "row `no_face`" in text  # code is not escaped
    assert r"as \\\\ \\t \\n \\r" in text  # prose is
