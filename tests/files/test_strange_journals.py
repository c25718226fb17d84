"""Journals that are not as we write them: of a later version, damaged, made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imgrank.errors import DataError
from imgrank.files.journal import Operation, operations
from imgrank.files.operation import carry_out
from imgrank.files.plan import Plan, Step
from imgrank.files.undoing import take_back


@pytest.fixture
def operation(tmp_path: Path) -> Operation:
    """A copy of two photographs."""
    src, out = tmp_path / "src", tmp_path / "out"
    src.mkdir()
    for name in "ab":
        (src / name).write_text(name)
    steps = [Step("copy", src / name, out / name, i) for i, name in enumerate("ab")]
    carry_out(Plan("copy", out, [out], steps), tmp_path / "operations", "imgrank sort")
    return operations(tmp_path / "operations")[0]


def change(operation: Operation, number: int, **members: Any) -> None:
    """Members of one line of the journal."""
    lines = operation.path.read_text().splitlines()
    lines[number] = json.dumps(json.loads(lines[number]) | members)
    operation.path.write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize(
    "members",
    [
        {"format": 2},
        {"format": None},
        {"time": "yesterday"},
        {"time": "2026-01-01T00:00:00"},
        {"time": 5},
        {"target": 5},
        {"verb": "destroy"},
        {"cwd": None},
    ],
)
def test_one_with_another_header_is_left_out_with_the_reason(
    operation: Operation, members: dict[str, object]
) -> None:
    change(operation, 0, **members)
    unread: dict[str, str] = {}
    assert operations(operation.path.parent, unread) == []
    assert list(unread) == [operation.id]
    assert str(operation.path) in unread[operation.id]
    with pytest.raises(DataError):
        take_back(operation)


@pytest.mark.parametrize("content", [b"", b'{"format": 1, "id"', b"\0" * 4096])
def test_one_that_was_never_written_is_passed_over(operation: Operation, content: bytes) -> None:
    operation.path.write_bytes(content)
    unread: dict[str, str] = {}
    assert (operations(operation.path.parent, unread), unread) == ([], {})


def test_what_is_no_journal_is_passed_over(operation: Operation) -> None:
    operation.path.with_name("notes.jsonl").write_text("buy milk\n")
    unread: dict[str, str] = {}
    assert operations(operation.path.parent, unread) == [operation]
    assert unread == {}


@pytest.mark.parametrize(
    "members",
    [
        {"action": "destroy"},
        {"target": "out/a"},
        {"source": "/a\0b"},
        {"seen": ["1", 2, 3, 4, 5, 6, None]},
        {"seen": [1, 2, 3]},
    ],
)
def test_a_plan_that_says_nonsense_is_not_taken_back(
    operation: Operation, members: dict[str, object]
) -> None:
    change(operation, 2, **members)
    with pytest.raises(DataError, match="is damaged in its plan"):
        take_back(operation)


@pytest.mark.parametrize(
    "line",
    [
        '{"done": 9, "seen": [1, 2, 3, 4, 5, 6, null]}',
        '{"done": 0, "seen": [1, 2, 3]}',
        '{"done": 0, "seen": ["1", 2, 3, 4, 5, 6, null]}',
        '{"undone": -1}',
        '{"undone": "x"}',
        '{"failed": [], "reason": ""}',
        '{"made": 7}',
        "{}",
        "[]",
        "[" * 100_000,
        "\ud800",
    ],
)
def test_lines_that_say_nonsense_are_passed_over(operation: Operation, line: str) -> None:
    with operation.path.open("ab") as stream:
        stream.write(line.encode("utf-8", "surrogatepass") + b"\n")
    assert take_back(operation).refused == []
    assert not (operation.path.parent.parent / "out").exists()
