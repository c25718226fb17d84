"""What an undo refuses, and what it puts right by looking at the files."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from imgrank.errors import DataError, UsageError
from imgrank.files import disk
from imgrank.files.journal import Journal, Operation, operations
from imgrank.files.operation import carry_out, finish
from imgrank.files.plan import Action, Plan, Step, Verb
from imgrank.files.undoing import take_back

VERBS: dict[Action, Verb] = {"copy": "copy", "symlink": "link", "hardlink": "link", "move": "move"}


class Place:
    """Three photographs in `src`, and what is done to them."""

    def __init__(self, root: Path) -> None:
        self.root, self.src, self.out = root, root / "src", root / "out"
        self.journals = root / "operations"
        self.src.mkdir()
        for name in "abc":
            (self.src / name).write_text(f"photograph {name}")
            os.utime(self.src / name, ns=(1, 1_600_000_000_123_456_789))

    def do(self, action: Action, names: str = "abc", out: Path | None = None) -> Operation:
        out = out or self.out
        steps = [Step(action, self.src / name, out / name, i) for i, name in enumerate(names)]
        return self.carry_out(Plan(VERBS[action], out, [out], steps))

    def carry_out(self, plan: Plan) -> Operation:
        outcome = carry_out(plan, self.journals, "imgrank sort")
        assert (outcome.failed, outcome.stopped) == ([], None)
        return self.operation()

    def operation(self) -> Operation:
        return operations(self.journals)[-1]

    def look(self) -> dict[str, object]:
        return {
            str(path.relative_to(self.root)): path.readlink()
            if path.is_symlink()
            else path.is_dir() or (path.read_bytes(), path.stat().st_mtime_ns)
            for path in sorted(self.root.rglob("*"))
            if self.journals not in (path, path.parent)
        }


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def forget(operation: Operation, *kinds: str) -> None:
    """Takes lines out of a journal, as a loss of power can."""
    starts = tuple(f'{{"{kind}"'.encode() for kind in (*kinds, "end"))
    lines = operation.path.read_bytes().splitlines(keepends=True)
    operation.path.write_bytes(b"".join(line for line in lines if not line.startswith(starts)))


ACTIONS: list[Action] = ["copy", "symlink", "hardlink", "move"]


@pytest.mark.parametrize("lost", [(), ("done",), ("done", "made")])
@pytest.mark.parametrize("action", ACTIONS)
def test_the_old_tree_comes_back(place: Place, action: Action, lost: tuple[str, ...]) -> None:
    before = place.look()
    operation = place.do(action)
    after = place.look()
    if lost:
        forget(operation, *lost)
    would = take_back(operation, dry_run=True)
    assert place.look() == after
    found = take_back(operation)
    assert place.look() == before
    assert (found.undone, found.refused) == (would.undone, would.refused)
    assert [step.target.name for step in found.undone] == ["a", "b", "c"]
    assert place.operation().state == "taken back"


def test_a_second_undo_does_nothing(place: Place) -> None:
    operation = place.do("move")
    take_back(operation)
    before = place.look()
    assert take_back(operation).undone == []
    assert place.look() == before


@pytest.mark.parametrize(
    ("action", "change", "why"),
    [
        ("copy", lambda p: (p.out / "a").write_text("edited"), "it has changed since"),
        ("copy", lambda p: (p.src / "a").unlink(), "this may be the only one left"),
        ("copy", lambda p: (p.src / "a").write_text("edited"), "it differs from its original"),
        ("hardlink", lambda p: (p.src / "a").unlink(), "this may be the only one left"),
        ("move", lambda p: (p.out / "a").write_text("edited"), "it has changed since"),
        ("move", lambda p: (p.out / "a").unlink(), "it is neither at"),
        ("move", lambda p: (p.src / "a").write_text("new"), "there is another file at"),
    ],
)
def test_what_has_changed_is_left(
    place: Place, action: Action, change: Callable[[Place], object], why: str
) -> None:
    operation = place.do(action)
    change(place)
    before = {name: kept for name, kept in place.look().items() if name[-2:] == "/a"}
    would = take_back(operation, dry_run=True)
    found = take_back(operation)
    assert [(step.target.name, why in said) for step, said in found.refused] == [("a", True)]
    assert would.refused == found.refused
    assert [step.target.name for step in found.undone] == ["b", "c"]
    assert {name: kept for name, kept in place.look().items() if name[-2:] == "/a"} == before
    assert place.operation().state == "partly taken back"


def test_a_link_that_leads_elsewhere_is_left(place: Place) -> None:
    operation = place.do("symlink")
    (place.out / "a").unlink()
    (place.out / "a").symlink_to("elsewhere")
    found = take_back(operation)
    assert [why for _, why in found.refused] == ["it is not the link any more that was made"]
    assert (place.out / "a").readlink() == Path("elsewhere")


@pytest.mark.parametrize("action", ["copy", "hardlink"])
def test_the_only_file_is_left_though_its_original_seems_there(
    place: Place, action: Action
) -> None:
    operation = place.do(action)
    shutil.rmtree(place.src)
    place.src.symlink_to(place.out)
    found = take_back(operation)
    assert (len(found.undone), len(found.refused)) == (0, 3)
    assert sorted(path.name for path in place.out.iterdir()) == ["a", "b", "c"]


def test_an_original_that_was_only_touched_is_still_one(place: Place) -> None:
    operation = place.do("copy")
    os.utime(place.src / "a")
    (place.out / "b").chmod(0o600)
    assert take_back(operation).refused == []
    assert not place.out.exists()


def test_what_was_refused_can_be_tried_again(place: Place) -> None:
    before = place.look()
    operation = place.do("move")
    (place.src / "b").write_text("in the way")
    assert len(take_back(operation).refused) == 1
    (place.src / "b").unlink()
    assert take_back(operation).refused == []
    assert place.look() == before


def test_what_the_user_moved_back_is_there_already(place: Place) -> None:
    before = place.look()
    operation = place.do("move")
    shutil.copy2(place.out / "a", place.src / "a")  # as over another file system: a new inode
    (place.out / "a").unlink()
    found = take_back(operation)
    assert ([step.target.name for step in found.undone], found.refused) == (["b", "c"], [])
    assert place.look() == before


def test_a_folder_that_is_gone_is_made_again(place: Place) -> None:
    before = place.look()
    operation = place.do("move")
    place.src.rmdir()
    assert take_back(operation).folders == [place.src]
    assert place.look() == before


@pytest.mark.parametrize("lost", [(), ("done",)])
def test_a_cycle_of_renames(place: Place, lost: tuple[str, ...]) -> None:
    before = place.look()
    a, b, between = place.src / "a", place.src / "b", place.src / ".between"
    steps = [Step("move", a, between, 0), Step("move", b, a, 1), Step("move", between, b, 0)]
    operation = place.carry_out(Plan("rename", None, (), steps))
    assert (a.read_text(), b.read_text()) == ("photograph b", "photograph a")
    assert operation.files == 2
    if lost:
        forget(operation, *lost)
    would = take_back(operation, dry_run=True)
    found = take_back(operation)
    assert place.look() == before
    assert found.undone == would.undone == [Step("move", a, b, 0), Step("move", b, a, 1)]


@pytest.mark.parametrize("lost", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_a_cycle_is_back_though_lines_of_its_undo_are_missing(
    place: Place, lost: tuple[int, ...]
) -> None:
    before = place.look()
    a, b, between = place.src / "a", place.src / "b", place.src / ".between"
    steps = [Step("move", a, between, 0), Step("move", b, a, 1), Step("move", between, b, 0)]
    operation = place.carry_out(Plan("rename", None, (), steps))
    take_back(operation)
    kept = [
        line
        for line in operation.path.read_text().splitlines(keepends=True)
        if json.loads(line).get("undone") not in lost and "taken_back" not in line
    ]
    operation.path.write_text("".join(kept))
    found = take_back(operation)
    assert (found.undone, found.refused) == ([], [])
    assert place.look() == before


def test_a_name_claimed_for_a_cycle_is_given_up(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerFailure(BaseException):
        """Between the claim of a name and the rename that would replace it."""

    def fail(*_: object) -> None:
        raise PowerFailure

    before = place.look()
    a, b, between = place.src / "a", place.src / "b", place.src / ".between"
    steps = [Step("move", a, between, 0), Step("move", b, a, 1), Step("move", between, b, 0)]
    monkeypatch.setattr(disk, "_rename_exclusive", lambda *_: errno.EINVAL)  # as on NFS
    with monkeypatch.context() as power:
        power.setattr(disk, "_check", fail)
        with pytest.raises(PowerFailure):
            carry_out(Plan("rename", None, (), steps), place.journals, "imgrank sort")
    assert between.read_bytes() == b""
    assert take_back(place.operation()).refused == []
    assert place.look() == before


# ---- across file systems -------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [(), ("done",)])
def test_across_file_systems(place: Place, far: Path, lost: tuple[str, ...]) -> None:
    before = place.look()
    operation = place.do("move", out=far / "out")
    assert sorted(path.name for path in (far / "out").iterdir()) == ["a", "b", "c"]
    if lost:
        forget(operation, *lost)
    assert take_back(operation).refused == []
    assert place.look() == before
    assert [*far.iterdir()] == []


def test_a_file_at_both_places_is_one_again(place: Place, far: Path) -> None:
    """The process died between giving the copy its name and removing the original."""
    before = place.look()
    operation = place.do("move", out=far / "out")
    forget(operation, "done")
    shutil.copy2(far / "out" / "b", place.src / "b")
    assert take_back(operation).refused == []
    assert place.look() == before
    assert [*far.iterdir()] == []


# ---- after a crash -------------------------------------------------------------------------------


def test_a_part_is_removed_while_its_original_is_there(place: Place) -> None:
    before = place.look()
    operation = place.do("copy", "ab")
    forget(operation, "done")
    part = place.out / f".b.{operation.id}.part"
    (place.out / "b").rename(part)
    assert take_back(operation).refused == []
    assert place.look() == before


def test_a_part_stays_if_it_may_be_all_that_is_left(place: Place) -> None:
    operation = place.do("copy", "ab")
    forget(operation, "done")
    part = place.out / f".b.{operation.id}.part"
    (place.out / "b").rename(part)
    (place.src / "b").unlink()
    found = take_back(operation)
    assert [step.target.name for step, _ in found.refused] == ["b"]
    assert part.read_text() == "photograph b"


def test_somebody_elses_file_is_not_taken_for_a_copy(place: Place) -> None:
    operation = place.do("copy", "ab")
    forget(operation, "done")
    (place.out / "b").write_text("mine")
    found = take_back(operation)
    assert [step.target.name for step, _ in found.refused] == ["b"]
    assert (place.out / "b").read_text() == "mine"


@pytest.mark.parametrize("action", ACTIONS)
def test_finish_after_lost_lines(place: Place, action: Action) -> None:
    before = place.look()
    operation = place.do(action)
    after = place.look()
    forget(operation, "done", "made")
    assert operations(place.journals)[-1].state == "cut off"
    outcome = finish(operation)
    assert (len(outcome.done), outcome.failed, outcome.stopped) == (3, [], None)
    assert place.look() == after
    assert take_back(operation).refused == []
    assert place.look() == before


def test_what_was_taken_back_is_not_finished(place: Place) -> None:
    operation = place.do("copy")
    take_back(operation)
    with pytest.raises(UsageError, match="taken back"):
        finish(operation)


# ---- the journal ---------------------------------------------------------------------------------


def test_a_torn_line_is_passed_over_and_what_follows_is_read(place: Place) -> None:
    before = place.look()
    operation = place.do("copy")
    forget(operation)
    content = operation.path.read_bytes()
    operation.path.write_bytes(content[:-7])
    outcome = finish(operation)
    assert (len(outcome.done), outcome.failed) == (3, [])
    assert place.operation().state == "done"
    take_back(operation)
    assert place.look() == before


def test_an_operation_at_work_is_left_alone(place: Place) -> None:
    operation = place.do("copy")
    with Journal.reopen(operation):
        assert place.operation().state == "running"
        with pytest.raises(UsageError, match="is at work on"):
            take_back(operation)
    assert place.operation().state == "done"


def test_a_plan_that_ends_half_way_was_never_begun(place: Place) -> None:
    operation = place.do("copy")
    lines = operation.path.read_bytes().splitlines(keepends=True)
    operation.path.write_bytes(b"".join(lines[:3]))
    assert operations(place.journals) == []
    with pytest.raises(DataError, match="never begun"):
        take_back(operation)


def test_a_journal_of_a_later_version(place: Place) -> None:
    operation = place.do("copy")
    content = operation.path.read_bytes()
    operation.path.write_bytes(content.replace(b'"format": 1', b'"format": 2', 1))
    assert operations(place.journals) == []
    with pytest.raises(DataError, match="Upgrade"):
        take_back(operation)


def test_names_that_are_not_utf_8(place: Place) -> None:
    name = os.fsdecode(b"\xff\n\xfe")
    (place.src / name).write_text("photograph")
    before = place.look()
    step = Step("move", place.src / name, place.out / name, 0)
    operation = place.carry_out(Plan("move", place.out, [place.out], [step]))
    assert operation.path.read_bytes().isascii()
    assert take_back(operation).undone == [step]
    assert place.look() == before
