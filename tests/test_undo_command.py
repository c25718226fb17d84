"""`imgrank undo` as a user meets it: streams, formats, exit statuses."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Run, command_line

from imgrank.files.journal import operations
from imgrank.files.operation import carry_out
from imgrank.files.plan import Action, Plan, Step, Verb

Do = Callable[..., str]
NAMES = ("a.jpg", "b.jpg", "line\nbreak.jpg")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return command_line(monkeypatch, "undo")


@pytest.fixture
def src(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def journals(home: Path) -> Path:
    return home / "data" / "operations"


@pytest.fixture
def do(src: Path, journals: Path) -> Do:
    """Files the photographs of `src` and returns the operation's ID."""

    def call(verb: Verb, action: Action) -> str:
        out = src.with_name(verb)
        steps = [Step(action, src / name, out / name, i) for i, name in enumerate(NAMES)]
        steps[1:2] = [Step(action, src / NAMES[1], out / NAMES[1], 1, picture=False)]
        return carry_out(Plan(verb, out, [out], steps), journals, f"imgrank sort {verb}").id

    return call


def listed(run: Run) -> list[str]:
    return [row["state"] for row in json.loads(run("--list", "-f", "json").stdout)]


def test_one_after_another(run: Run, do: Do, src: Path) -> None:
    do("copy", "copy")
    do("link", "symlink")
    do("move", "move")
    said = [run() for _ in range(4)]
    assert [result.exit_code for result in said] == [0, 0, 0, 0]
    assert [result.stdout for result in said] == ["", "", "", ""]
    where = src.parent
    assert [result.stderr for result in said] == [
        f"moved 3 files back from {where / 'move'}\n",
        f"removed 3 links from {where / 'link'}\n",
        f"removed 3 copies from {where / 'copy'}\n",
        "there is nothing to take back\n",
    ]
    assert sorted(path.name for path in src.iterdir()) == sorted(NAMES)
    assert sorted(path.name for path in where.iterdir()) == ["imgrank-home", "src"]


def test_the_list_has_the_last_one_first(run: Run, do: Do, src: Path) -> None:
    ids = [do("copy", "copy"), do("move", "move")]
    run()
    rows = list(csv.DictReader(run("--list").stdout.splitlines(), delimiter="\t"))
    assert [row["id"] for row in rows] == ids[::-1]
    assert [(row["what"], row["files"], row["state"]) for row in rows] == [
        ("move", "3", "taken back"),
        ("copy", "3", "done"),
    ]
    assert rows[1]["target"] == str(src.with_name("copy"))
    assert rows[1]["command"] == "imgrank sort copy"
    table = run("--list", "-f", "table").stdout
    assert table.splitlines()[0].split() == [*rows[0]]
    assert len(table.splitlines()) == 3


def test_by_id(run: Run, do: Do, src: Path) -> None:
    first = do("copy", "copy")
    do("link", "symlink")
    assert run(first).exit_code == 0
    assert listed(run) == ["done", "taken back"]
    assert run(first).stderr == f"{first} was taken back already\n"
    missing = run("20200101-000000-abcd")
    assert missing.exit_code == 2
    assert "`imgrank undo --list` shows them" in missing.stderr


def test_dry_run_prints_a_row_a_file(run: Run, do: Do, src: Path) -> None:
    do("move", "move")
    out = src.with_name("move")
    result = run("--dry-run", "-f", "json")
    assert result.exit_code == 0
    assert "nothing was changed" in result.stderr
    assert sorted(path.name for path in out.iterdir()) == sorted(NAMES)
    assert json.loads(result.stdout)["images"] == [
        {
            "action": "move",
            "from": str(out / name),
            "to": str(src / name),
            "note": "companion" if name == "b.jpg" else "",
        }
        for name in NAMES
    ]
    assert run("--dry-run", "-f", "paths", "-0").stdout.split("\0") == [
        *(str(src / name) for name in NAMES),
        "",
    ]
    assert len(run("--dry-run").stdout.splitlines()) == 4


def test_what_is_refused_is_said_and_is_status_1(run: Run, do: Do, src: Path) -> None:
    name = do("copy", "copy")
    copy = src.with_name("copy") / "a.jpg"
    copy.write_text("edited")
    result = run("-q", "-f", "jsonl")
    assert result.exit_code == 1
    assert result.stderr == f"left as it is: {copy}: it has changed since it was copied\n"
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["action"] for row in rows] == ["remove", "remove", "leave"]
    assert rows[2]["undo"]["id"] == name
    assert listed(run) == ["partly taken back"]
    again = run()
    assert again.exit_code == 1
    assert f"`imgrank undo {name}` tries again" in again.stderr
    assert copy.read_text() == "edited"


def test_finish(run: Run, do: Do, src: Path, journals: Path) -> None:
    name = do("copy", "copy")
    assert "nothing is left to do" in run(name, "--finish").stderr
    journal = journals / f"{name}.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(line for line in lines if line[:6] not in (b'{"done', b'{"end"')))
    (src.with_name("copy") / "a.jpg").unlink()
    assert operations(journals)[0].state == "cut off"
    result = run("--finish")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("copied 3 files to ")
    assert (src.with_name("copy") / "a.jpg").read_text() == "a.jpg"
    assert listed(run) == ["done"]
    assert run().exit_code == 0
    refused = run(name, "--finish")
    assert refused.exit_code == 0
    assert not src.with_name("copy").exists()


@pytest.mark.parametrize(
    "arguments",
    [("--list", "--finish"), ("--list", "--dry-run"), ("--finish", "--dry-run"), ("x", "--list")],
)
def test_what_does_not_go_together(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_without_any_operation(run: Run, home: Path) -> None:
    assert run().stderr == "there is nothing to take back\n"
    assert json.loads(run("--list", "-f", "json").stdout) == []
    assert not home.exists()


def test_an_operation_of_a_later_imgrank_is_not_passed_over(
    run: Run, do: Do, src: Path, journals: Path
) -> None:
    earlier = do("copy", "copy")
    later = "29991231-235959-abcd"
    lines = (journals / f"{earlier}.jsonl").read_bytes().replace(b'"format": 1', b'"format": 2', 1)
    (journals / f"{later}.jsonl").write_bytes(lines)
    for refused in (run(), run(later)):
        assert refused.exit_code == 3
        assert "Upgrade imgrank" in refused.stderr
    result = run("--list")
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 2)
    assert result.stderr.startswith("left out: ")
    assert run(earlier).exit_code == 0
    assert not src.with_name("copy").exists()


def test_copies_that_are_gone_already_are_not_counted(run: Run, do: Do, src: Path) -> None:
    name = do("copy", "copy")
    for copy in src.with_name("copy").iterdir():
        copy.unlink()
    assert run("--dry-run").stderr == f"nothing is left to take back of {name}\n"
    assert run().stderr == f"nothing is left to take back of {name}\n"
    assert listed(run) == ["taken back"]
    assert not src.with_name("copy").exists()
