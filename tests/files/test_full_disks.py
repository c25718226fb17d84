"""Real disks that are full or read-only, folders that nobody may change. Linux, mostly as root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from promises import Place as Folders
from promises import go_on, in_memory, nothing_lost, same, undo
from trees import Case, Grown, Node

from imgrank.errors import ImgrankError, UsageError
from imgrank.files.checking import check
from imgrank.files.operation import Outcome, carry_out
from imgrank.files.plan import Plan
from imgrank.files.planning import make_plan

PICTURES = tuple(Node(f"src/{number}.jpg", "large") for number in range(20))
ROWS = tuple(node.path for node in PICTURES)  # 4 MB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    with in_memory(folder, "2m") as made:
        if not made:
            pytest.skip("no file system may be mounted here")
        yield folder


def start(case: Case, tmp_path: Path, small: Path) -> tuple[Folders, Grown, Plan]:
    folders = Folders(tmp_path / "near", small / "far", tmp_path / "operations")
    grown = case.grow(folders.near, folders.far)
    return folders, grown, make_plan(grown.entries(), grown.wish())


def test_too_little_room_is_said_before_anything_changes(tmp_path: Path, small_disk: Path) -> None:
    case = Case(PICTURES, ROWS, "copy", "new", far=True)
    _, grown, plan = start(case, tmp_path, small_disk)
    old = grown.look()
    with pytest.raises(UsageError, match=r"need 4\.0 MB, but .* has 2\.\d MB free"):
        check(plan)
    same(old, grown.look(), False)


@pytest.mark.parametrize("verb", ["copy", "move"])
def test_a_disk_that_fills_up(verb: str, tmp_path: Path, small_disk: Path) -> None:
    case = Case(PICTURES, ROWS, verb, "new", far=True)  # type: ignore[arg-type]
    folders, grown, plan = start(case, tmp_path, small_disk)
    old = grown.look()
    outcome = carry_out(plan, folders.journals, "imgrank sort")
    assert outcome.stopped
    assert "space" in outcome.stopped.lower()
    arrived = [step for step in plan.steps if step.target.exists()]
    assert 5 <= len(arrived) < 12
    assert all(step.target.stat().st_size > 200_000 for step in arrived)
    nothing_lost(plan, old, grown.look(), 0)
    undo(folders)
    same(old, grown.look(), True)


def test_finish_goes_on_once_there_is_room(tmp_path: Path, small_disk: Path) -> None:
    case = Case(PICTURES, ROWS, "move", "new", far=True)
    folders, grown, plan = start(case, tmp_path, small_disk)
    old = grown.look()
    assert carry_out(plan, folders.journals, "imgrank sort").stopped
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    go_on(folders)
    assert not any(os.path.lexists(step.source) for step in plan.steps)
    nothing_lost(plan, old, grown.look(), 0)
    undo(folders)
    same(old, grown.look(), True)


@pytest.mark.parametrize("verb", ["copy", "link", "move"])
def test_a_read_only_target(verb: str, tmp_path: Path, small_disk: Path) -> None:
    case = Case(PICTURES[:3], ROWS[:3], verb, "out", far=True)  # type: ignore[arg-type]
    folders, grown, plan = start(case, tmp_path, small_disk)
    old = grown.look()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    said = stopped(plan, folders)
    assert "read-only" in said.lower()
    same(old, grown.look(), False)


def test_a_read_only_source_is_copied_but_not_moved(tmp_path: Path, small_disk: Path) -> None:
    folders = Folders(small_disk / "near", tmp_path / "far", tmp_path / "operations")
    grown = Case(PICTURES[:3], ROWS[:3], "move", "new", far=True).grow(folders.near, folders.far)
    old = grown.look()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert "read-only" in stopped(make_plan(grown.entries(), grown.wish()), folders).lower()
    undo(folders)
    same(old, grown.look(), True)
    copies = Case(PICTURES[:3], ROWS[:3], "copy", "new", far=True)
    plan = make_plan(grown.entries(), Grown(copies, folders.near, folders.far).wish())
    outcome = carry_out(plan, folders.journals, "imgrank sort")
    assert (outcome.stopped, outcome.failed) == (None, [])
    assert all(step.target.is_file() for step in plan.steps)
    undo(folders)
    same(old, grown.look(), True)


@pytest.mark.parametrize("room", ["4k", "16k"])
def test_no_room_for_the_journal(tmp_path: Path, small_disk: Path, room: str) -> None:
    """Not even the plan can be written, or the plan but not all that was done."""
    near = tmp_path / "near"
    folders = Folders(near, tmp_path / "far", small_disk / "operations")
    grown = Case(PICTURES, ROWS, "move", "out").grow(near, folders.far)
    old, plan = grown.look(), make_plan(grown.entries(), grown.wish())
    subprocess.run(["mount", "-o", f"remount,size={room}", small_disk], check=True)
    stopped(plan, folders)
    nothing_lost(plan, old, grown.look(), 0)
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    undo(folders)
    same(old, grown.look(), False)


def stopped(plan: Plan, folders: Folders) -> str:
    """What was said when it could not go on, by an error or by the outcome."""
    try:
        outcome: Outcome = carry_out(plan, folders.journals, "imgrank sort")
    except ImgrankError as error:
        return str(error)
    return outcome.stopped or " ".join(reason for _, reason in outcome.failed)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder with pictures that nothing can be moved out of, whoever asks."""
    folder = tmp_path / "near/src/sub"
    yield folder
    if os.getuid() == 0 and shutil.which("chattr"):
        subprocess.run(["chattr", "-i", folder], capture_output=True, check=False)
    folder.chmod(0o755)


def test_a_folder_that_may_not_be_changed(tmp_path: Path, locked: Path) -> None:
    nodes = (Node("src/a.jpg"), Node("src/sub/b.jpg"), Node("src/sub/b.xmp"), Node("src/c.jpg"))
    case = Case(nodes, ("src/a.jpg", "src/sub/b.jpg", "src/c.jpg"), "move", "new")
    folders = Folders(tmp_path / "near", tmp_path / "far", tmp_path / "operations")
    grown = case.grow(folders.near, folders.far)
    old, plan = grown.look(), make_plan(grown.entries(), grown.wish())
    if os.getuid() == 0:  # to whom permissions do not apply
        chattr = shutil.which("chattr")
        if not chattr or subprocess.run([chattr, "+i", locked], capture_output=True).returncode:
            pytest.skip("this file system knows no folders that nobody may change")
    else:
        locked.chmod(0o555)
    outcome = carry_out(plan, folders.journals, "imgrank sort")
    assert outcome.stopped is None
    failed = {step.source.name: reason for step, reason in outcome.failed}
    assert failed.keys() == {"b.jpg", "b.xmp"}
    assert "permi" in failed["b.jpg"]
    assert failed["b.xmp"] == "stays with b.jpg"
    assert {path.name for path in locked.iterdir()} == {"b.jpg", "b.xmp", "deep"}
    assert {path.name for path in (folders.near / "new").iterdir()} == {"a.jpg", "c.jpg"}
    undo(folders)
    if os.getuid():
        locked.chmod(0o755)
    same(old, grown.look(), False)
