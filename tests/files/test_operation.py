"""Carrying plans out: sets are done wholly or not at all, trouble stops or does not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from imgrank.errors import UsageError
from imgrank.files import disk
from imgrank.files.journal import operations
from imgrank.files.operation import carry_out, finish
from imgrank.files.plan import Plan, Step
from imgrank.files.undoing import take_back


@pytest.fixture
def src(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    for name in ("a.jpg", "a.xmp", "b.jpg", "b.xmp", "c.jpg"):
        (folder / name).write_text(f"content of {name}")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def journals(tmp_path: Path) -> Path:
    return tmp_path / "operations"


def moves(src: Path, out: Path) -> Plan:
    """Two pictures with a companion each, and one without."""
    names = {"a.jpg": 0, "a.xmp": 0, "b.jpg": 1, "b.xmp": 1, "c.jpg": 2}
    steps = [
        Step("move", src / name, out / name, members, picture=name.endswith("jpg"))
        for name, members in names.items()
    ]
    return Plan("move", out, [out], steps)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_all_goes_well(src: Path, out: Path, journals: Path) -> None:
    seen: list[tuple[int, int]] = []
    outcome = carry_out(moves(src, out), journals, "x", lambda *counts: seen.append(counts))
    assert (len(outcome.done), outcome.failed, outcome.stopped) == (5, [], None)
    assert (names(src), len(names(out))) == ([], 5)
    assert seen == [(0, 5), (1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    assert [(o.id, o.state, o.files) for o in operations(journals)] == [(outcome.id, "done", 5)]


def test_nothing_to_do_leaves_no_journal(journals: Path) -> None:
    assert carry_out(Plan("copy", None), journals, "x").id == ""
    assert not journals.exists()


@pytest.mark.parametrize("spoil", ["taken", "changed", "gone"])
def test_a_set_that_fails_is_put_back_and_the_others_go_on(
    src: Path, out: Path, journals: Path, spoil: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = disk.move

    def move(source: Path, target: Path, *rest: object) -> None:
        real(source, target, *rest)  # type: ignore[arg-type]
        if target == out / "b.jpg":  # and before its companion comes
            if spoil == "taken":
                (out / "b.xmp").write_text("somebody else's")
            elif spoil == "changed":
                (src / "b.xmp").write_text("an edit")
            else:
                (src / "b.xmp").unlink()

    monkeypatch.setattr(disk, "move", move)
    outcome = carry_out(moves(src, out), journals, "x")
    whys = {
        "taken": "the name is taken by now",
        "changed": "it has changed meanwhile",
        "gone": "it is gone",
    }
    said = [(step.source.name, why) for step, why in outcome.failed]
    assert said == [("b.jpg", "stays with b.xmp"), ("b.xmp", whys[spoil])]
    assert [step.target.name for step in outcome.done] == ["a.jpg", "a.xmp", "c.jpg"]
    assert names(src) == (["b.jpg"] if spoil == "gone" else ["b.jpg", "b.xmp"])
    assert outcome.stopped is None
    assert take_back(operations(journals)[0]).refused == []
    if spoil == "taken":
        assert names(out) == ["b.xmp"]


def test_a_folder_that_was_made_for_nothing_goes(src: Path, out: Path, journals: Path) -> None:
    plan = Plan("move", out, [out], [Step("move", src / "none", out / "none", 0)])
    outcome = carry_out(plan, journals, "x")
    assert [why for _, why in outcome.failed] == ["it is gone"]
    assert not out.exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_trouble_stops_and_can_be_finished_or_taken_back(
    src: Path, out: Path, journals: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = disk.move

    def move(source: Path, target: Path, *rest: object) -> None:
        if source == src / "b.xmp":
            raise OSError(code, os.strerror(code), str(target))
        real(source, target, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(disk, "move", move)
        outcome = carry_out(moves(src, out), journals, "x")
    assert outcome.stopped is not None
    assert outcome.stopped.startswith(f"{out / 'b.xmp'}: ")
    assert (names(out), outcome.failed) == (["a.jpg", "a.xmp"], [])
    operation = operations(journals)[0]
    assert (operation.state, operation.why) == ("cut off", outcome.stopped)
    finished = finish(operation)
    assert (len(finished.done), finished.stopped) == (5, None)
    assert len(names(out)) == 5
    take_back(operation)
    assert (len(names(src)), out.exists()) == (5, False)


def test_an_interrupt_is_an_outcome(
    src: Path, out: Path, journals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = disk.move

    def move(source: Path, target: Path, *rest: object) -> None:
        real(source, target, *rest)  # type: ignore[arg-type]
        if target == out / "b.xmp":
            raise KeyboardInterrupt

    monkeypatch.setattr(disk, "move", move)
    outcome = carry_out(moves(src, out), journals, "x")
    assert outcome.interrupted
    assert names(out) == ["a.jpg", "a.xmp"]
    assert names(src) == ["b.jpg", "b.xmp", "c.jpg"]


def test_a_cycle_that_fails_goes_back_with_all_that_took_its_places(
    src: Path, journals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, between = src / "a.jpg", src / "b.jpg", src / ".between"
    steps = [Step("move", a, between, 0), Step("move", b, a, 1), Step("move", between, b, 0)]
    real = disk.move

    def move(source: Path, target: Path, *rest: object) -> None:
        if (source, target) == (between, b):
            raise PermissionError(errno.EACCES, "Permission denied")
        real(source, target, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(disk, "move", move)
    outcome = carry_out(Plan("rename", None, (), steps), journals, "x")
    assert (a.read_text(), b.read_text()) == ("content of a.jpg", "content of b.jpg")
    assert not between.exists()
    assert sorted(step.source.name for step, _ in outcome.failed) == ["a.jpg", "b.jpg"]


def test_a_set_whose_failure_was_half_written_stays_together(
    src: Path, out: Path, journals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process died between the lines that say that the picture and its companion failed."""
    real = disk.move

    def move(source: Path, target: Path, *rest: object) -> None:
        if source == src / "a.xmp":
            raise PermissionError(errno.EACCES, "Permission denied")
        real(source, target, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(disk, "move", move)
        carry_out(moves(src, out), journals, "x")
    operation = operations(journals)[0]
    lines = operation.path.read_bytes().splitlines(keepends=True)
    cut = next(i for i, line in enumerate(lines) if line.startswith(b'{"failed": 1'))
    operation.path.write_bytes(b"".join(lines[:cut]))
    take_back(operation, dry_run=True)
    outcome = finish(operation)
    assert sorted(step.source.name for step, _ in outcome.failed) == ["a.jpg", "a.xmp"]
    assert {"a.jpg", "a.xmp"} <= {*names(src)}


def test_links_that_move_lead_to_the_same_file(src: Path, out: Path, journals: Path) -> None:
    (src / "relative").symlink_to("c.jpg")
    (src / "absolute").symlink_to(src / "c.jpg")
    steps = [Step("move", src / name, out / name, 0) for name in ("relative", "absolute")]
    carry_out(Plan("move", out, [out], steps), journals, "x")
    assert (out / "relative").readlink() == Path("../src/c.jpg")
    assert (out / "absolute").readlink() == src / "c.jpg"
    take_back(operations(journals)[0])
    assert (src / "relative").readlink() == Path("c.jpg")
    assert (src / "absolute").readlink() == src / "c.jpg"


def test_no_journal_no_change(src: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="changes no file without keeping how to take it back"):
        carry_out(moves(src, out), tmp_path / "file" / "operations", "x")
    assert (len(names(src)), out.exists()) == (5, False)
