"""-0 everywhere: every command that reads or prints paths takes it, with names as odd as can be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from imgrank.cli import cli, main

NAMES = [b"a\nb.png", b" c .png", b"--d.png", b"\xff\xfe.png", b"'e' \"f\".png"]


def leaves(command: click.Command, path: str = "") -> dict[str, click.Command]:
    if not isinstance(command, click.Group):
        return {path.strip(): command}
    ctx = click.Context(command)
    found: dict[str, click.Command] = {}
    for name in command.list_commands(ctx):
        below = command.get_command(ctx, name)
        assert below is not None
        found |= leaves(below, f"{path} {name}")
    return found


COMMANDS = leaves(cli)


def takes_paths(command: click.Command) -> bool:
    """Reads a list of paths ('-'), or prints one (--format paths)."""
    return any(
        parameter.name in ("paths", "arguments")
        or (isinstance(parameter.type, click.Choice) and "paths" in parameter.type.choices)
        for parameter in command.params
    )


WITH_PATHS = {name for name, command in COMMANDS.items() if takes_paths(command)}


def test_these_commands_read_or_print_paths() -> None:
    known = {"sort", "search", "score", "compare", "age", "decade", "aesthetic", "index", "undo"}
    assert known <= WITH_PATHS


@pytest.mark.parametrize("name", sorted(WITH_PATHS))
def test_each_has_both_spellings(name: str) -> None:
    options = [parameter.opts for parameter in COMMANDS[name].params]
    assert ["-0", "--null"] in options


# ---- through real pipes --------------------------------------------------------------------------


@pytest.fixture
def greys(tmp_path: Path) -> list[Path]:
    """Grey pictures of odd names, the brightest first."""
    folder = tmp_path / "grey\nones"
    folder.mkdir()
    paths = [folder / os.fsdecode(name) for name in NAMES]
    for n, path in enumerate(paths):
        Image.new("RGB", (16, 16), (200 - 30 * n,) * 3).save(path)
    return paths


def piped(command: str, folder: Path) -> list[Path]:
    """`find FOLDER -print0 | imgrank COMMAND | xargs -0 ...`: the arguments that xargs gave."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    line = f'set -o pipefail; find "$1" -type f -print0 | {command} | xargs -0 printf "%s\\0"'
    done = subprocess.run(
        ["bash", "-c", line, "bash", str(folder)],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        check=True,
    )
    return [Path(os.fsdecode(name)) for name in done.stdout.split(b"\0")[:-1]]


def test_sort_between_find_and_xargs(greys: list[Path]) -> None:
    command = 'imgrank sort - "by brightness" -0 -q --format paths'
    assert piped(command, greys[0].parent) == greys


def test_score_between_find_and_xargs(greys: list[Path]) -> None:
    command = "imgrank score - brightness -0 -q --format paths"
    assert piped(command, greys[0].parent) == sorted(greys)


def test_moved_and_taken_back(greys: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "best\nones"
    command = f'imgrank sort - "by brightness" -0 -q --top 3 --move-to "{target}" --format paths'
    moved = piped(command, greys[0].parent)
    assert moved == [target / path.name for path in greys[:3]]
    assert sorted(target.iterdir()) == sorted(moved)
    back = piped("{ cat >/dev/null; imgrank undo -0 -q --format paths; }", greys[0].parent)
    assert sorted(back) == sorted(greys[:3])
    assert sorted(greys[0].parent.iterdir()) == sorted(greys)


# ---- within this process: torch is imported once -------------------------------------------------


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, stdin: bytes = b"") -> Result:
    monkeypatch.setattr(sys, "argv", ["imgrank", *arguments])
    return CliRunner().invoke(click.Command("imgrank", callback=main), [], input=stdin)


def test_compare(greys: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    two = map(str, greys[:2])
    done = run(monkeypatch, "compare", *two, "brightness", "-0", "-f", "paths")
    assert (done.exit_code, done.stdout_bytes) == (0, os.fsencode(greys[0]) + b"\0")


def test_index(greys: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    listed = b"".join(os.fsencode(path) + b"\0" for path in greys)
    done = run(monkeypatch, "index", "-", "-0", "--strict", stdin=listed)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "5 pictures in " in done.stderr


@pytest.mark.parametrize("command", ["age", "decade", "aesthetic"])
def test_estimates(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their rows: which of them have an estimate is the models' matter."""
    photo = tmp_path / "a\nphoto.jpg"
    shutil.copy(Path(__file__).parents[1] / "examples" / "photos" / "photographer.jpg", photo)
    stdin = os.fsencode(photo) + b"\0"
    done = run(monkeypatch, command, "-", "-0", "--format", "json", stdin=stdin)
    assert done.exit_code == 0
    assert {row["path"] for row in json.loads(done.stdout)["images"]} == {str(photo)}
