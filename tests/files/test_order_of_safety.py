"""What is safe only in one order, and what may have changed between a plan, its doing, its undo."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from promises import Place, go_on, nothing_lost, place, same, undo
from trees import Case, Grown, Node

from imgrank.files import disk
from imgrank.files.journal import operations
from imgrank.files.operation import Outcome, carry_out
from imgrank.files.plan import Plan, Step
from imgrank.files.planning import make_plan
from imgrank.files.undoing import take_back

PICTURES = (Node("src/a.jpg"), Node("src/a.xmp"), Node("src/b.jpg"), Node("src/c.jpg"))
ROWS = ("src/a.jpg", "src/b.jpg", "src/c.jpg")
Events = list[tuple[str, object]]


@pytest.fixture
def folders() -> Iterator[Place]:
    with place() as found:
        yield found


def grown(case: Case, folders: Place) -> tuple[Grown, Plan]:
    tree = case.grow(folders.near, folders.far)
    return tree, make_plan(tree.entries(), tree.wish())


def do(plan: Plan, folders: Place) -> Outcome:
    return carry_out(plan, folders.journals, "imgrank sort")


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    """What is synced (by inode), made, named and removed (by path), in this order."""
    seen: Events = []

    def told(name: str, real: Callable[..., Any], what: Callable[..., object]) -> None:
        def call(*args: Any, **kwargs: Any) -> Any:
            seen.append((name, what(*args)))
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    told("fsync", os.fsync, lambda file: os.fstat(file).st_ino)
    told("mkdir", os.mkdir, lambda path, *_: Path(path))
    told("unlink", os.unlink, lambda path, *_: Path(path))
    if (real := disk._renameat2) is not None:

        def rename(_: int, source: bytes, __: int, target: bytes, flags: int) -> int:
            seen.append(("rename", Path(os.fsdecode(target))))
            code = real(-100, source, -100, target, flags)
            ctypes.set_errno(ctypes.get_errno())
            return int(code)

        monkeypatch.setattr(disk, "_renameat2", rename)
    return seen


def test_the_plan_is_on_the_drive_before_the_first_change(folders: Place, events: Events) -> None:
    _, plan = grown(Case(PICTURES, ROWS, "move", "new"), folders)
    events.clear()
    assert do(plan, folders).failed == []
    (journal,) = folders.journals.glob("*.jsonl")
    first = events.index(("mkdir", folders.near / "new"))
    assert events.index(("fsync", folders.journals.parent.stat().st_ino)) < first
    assert events.index(("fsync", journal.stat().st_ino)) < first
    assert events.index(("fsync", folders.journals.stat().st_ino)) < first


@pytest.mark.skipif(disk._renameat2 is None, reason="looks at the rename of Linux")
def test_an_original_goes_only_when_its_copy_is_on_the_drive(
    folders: Place, events: Events
) -> None:
    if not folders.two:
        pytest.skip("there is but one file system")
    _, plan = grown(Case(PICTURES[2:3], ROWS[1:2], "move", "new", far=True), folders)
    events.clear()
    assert do(plan, folders).failed == []
    target = folders.far / "new/b.jpg"
    named = max(i for i, event in enumerate(events) if event == ("rename", target))
    removed = events.index(("unlink", folders.near / "src/b.jpg"))
    assert events.index(("fsync", target.stat().st_ino)) < named
    assert named < events.index(("fsync", target.parent.stat().st_ino)) < removed


def test_an_original_goes_only_when_the_folders_of_its_copy_are_on_the_drive(
    folders: Place, events: Events
) -> None:
    """Else the power could fail, and the copy would lie in a folder that has no name yet."""
    if not folders.two:
        pytest.skip("there is but one file system")
    source, target = folders.near / "src" / "b.jpg", folders.far / "new" / "group" / "b.jpg"
    source.parent.mkdir(parents=True)
    folders.far.mkdir(exist_ok=True)
    source.write_bytes(b"a picture")
    made = [target.parent.parent, target.parent]
    plan = Plan("move", made[0], made, [Step("move", source, target, 0)])
    assert do(plan, folders).failed == []
    removed = events.index(("unlink", source))
    for folder in made:
        synced = events.index(("fsync", folder.parent.stat().st_ino))
        assert events.index(("mkdir", folder)) < synced < removed
    source.parent.rename(folders.near / "renamed")
    events.clear()
    undo(folders)
    removed = events.index(("unlink", target))
    assert events.index(("fsync", source.parent.parent.stat().st_ino)) < removed


@pytest.mark.parametrize("far", [False, True])
def test_a_file_that_came_meanwhile_is_not_overwritten(far: bool, folders: Place) -> None:
    tree, plan = grown(Case(PICTURES, ROWS, "move", "new", far=far), folders)
    target = (folders.far if far else folders.near) / "new"
    target.mkdir(exist_ok=True)
    (target / plan.steps[1].target.name).write_bytes(b"a stranger")
    old = tree.look()
    outcome = do(plan, folders)
    failed = {step.source.name: reason for step, reason in outcome.failed}
    assert failed == {"a.jpg": "stays with a.xmp", "a.xmp": "the name is taken by now"}
    assert not (folders.near / "src/b.jpg").exists()
    assert (folders.near / "src/a.jpg").read_bytes() == b"content of src/a.jpg"
    nothing_lost(plan, old, tree.look(), 0)
    undo(folders)
    same(old, tree.look(), far)


def test_a_picture_that_changed_since_the_plan_stays(folders: Place) -> None:
    tree, plan = grown(Case(PICTURES, ROWS, "move", "new"), folders)
    (folders.near / "src/b.jpg").write_bytes(b"edited meanwhile")
    (folders.near / "src/c.jpg").unlink()
    seen = {step.source.name: reason for step, reason in do(plan, folders).failed}
    assert seen.keys() == {"c.jpg"} or seen == {"b.jpg": "it has changed meanwhile"} | seen
    assert "gone" in seen["c.jpg"] or "could not be read" in seen["c.jpg"]
    undo(folders)
    assert tree.look()["near/src/b.jpg"].content == b"edited meanwhile"


def test_lines_that_say_more_than_was_done(folders: Place) -> None:
    """The power failed: the journal reached the drive, the renames after its last sync did not."""
    tree, plan = grown(Case(PICTURES, ROWS, "move", "new"), folders)
    old = tree.look()
    assert do(plan, folders).failed == []
    for step in plan.steps[2:]:
        step.target.rename(step.source)
    undo(folders)
    same(old, tree.look(), False)


def test_what_was_refused_is_taken_back_once_it_can_be(folders: Place) -> None:
    tree, plan = grown(Case(PICTURES, ROWS, "move", "new"), folders)
    old = tree.look()
    do(plan, folders)
    in_the_way = folders.near / "src/b.jpg"
    in_the_way.write_bytes(b"another picture of that name")
    (operation,) = operations(folders.journals)
    taken = take_back(operation)
    assert [step.source for step, _ in taken.refused] == [in_the_way]
    assert "there is another file" in taken.refused[0][1]
    assert (folders.near / "new/b.jpg").exists()
    in_the_way.rename(in_the_way.with_name("b2.jpg"))
    (operation,) = operations(folders.journals)
    assert operation.state == "partly taken back"
    assert take_back(operation).refused == []
    (folders.near / "src/b2.jpg").unlink()
    same(old, tree.look(), False)


def test_an_operation_that_is_whole_has_nothing_to_finish(folders: Place) -> None:
    tree, plan = grown(Case(PICTURES, ROWS, "copy", "new"), folders)
    do(plan, folders)
    whole = tree.look()
    go_on(folders)
    same(whole, tree.look(), False)
