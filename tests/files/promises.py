"""What imgrank promises of files, as one function: a case, a trouble, and what must hold after it.

    live(story, place)   raises AssertionError for the first promise that is not kept

1. Whatever stops an operation wherever: nothing is lost, and nothing is there twice but one file
   under way between file systems. Originals of copies and links are untouched.
2. `take_back` restores the tree to the byte, and so it does after a death of its own half way.
3. `finish` leaves what an operation that was never stopped leaves, and can be taken back after.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from faults import Fault, Trouble
from hypothesis import strategies as st
from trees import Case, Grown, Seen, cases, contents, links

from imgrank.errors import UsageError
from imgrank.files.journal import operations
from imgrank.files.operation import carry_out, finish
from imgrank.files.plan import Plan, Step
from imgrank.files.planning import make_plan
from imgrank.files.undoing import take_back

Look = dict[str, Seen]


NONE = Fault("none")


@dataclass(frozen=True)
class Story:
    """A case and what goes wrong.

    fault: during the operation.   lost: share of the lines that the journal had not synced that
    the power took with it.   then: what the user does next.   second: what goes wrong in that.
    exclusive: whether the file systems know a rename that overwrites nothing.
    Faults count from 0 and go round: 1000 of 7 calls is the sixth.
    """

    case: Case
    fault: Fault
    lost: float = 0
    then: Literal["undo", "finish"] = "undo"
    second: Fault = NONE
    exclusive: bool = True


@dataclass(frozen=True)
class Place:
    """Folders to play in: `near` and `far` on two file systems if the machine has two."""

    near: Path
    far: Path
    journals: Path

    @property
    def two(self) -> bool:
        """Whether `far` is another file system."""
        return self.near.parent.stat().st_dev != self.far.parent.stat().st_dev

    def clear(self) -> None:
        os.chdir(self.near.parent)
        for folder in (self.near, self.far, self.journals):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def in_memory(folder: Path, size: str) -> Iterator[bool]:
    """A file system of its own at `folder`, where that may be made (Linux, as root)."""
    mount = shutil.which("mount") if sys.platform == "linux" and os.getuid() == 0 else None
    options = ["-t", "tmpfs", "-o", f"size={size}", "imgrank", str(folder)]
    made = mount and not subprocess.run([mount, *options], capture_output=True).returncode
    try:
        yield bool(made)
    finally:
        if made:
            subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def place() -> Iterator[Place]:
    """In memory where that is possible, else with the disk as the other file system."""
    before = Path.cwd()
    memory = Path("/dev/shm")
    above = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="imgrank-near-", dir=above) as near,
        tempfile.TemporaryDirectory(prefix="imgrank-far-") as far,
        in_memory(Path(far), "100m"),
    ):
        home = Path(near)
        try:
            yield Place(home / "near", Path(far) / "far", home / "operations")
        finally:
            os.chdir(before)


@dataclass(frozen=True)
class Lived:
    """For the figures: number of steps of the plan, of calls, whether the fault came at all."""

    steps: int
    calls: int
    hit: bool
    second_hit: bool
    across: bool
    failed: int


def live(story: Story, place: Place) -> Lived:
    """Plays a story three times over the same tree: undisturbed, disturbed, and its aftermath."""
    try:
        grown, old, plan = begin(story.case, place)
    except UsageError as error:
        assert str(error)  # such as a target that is a file
        place.clear()
        return Lived(0, 0, False, False, False, 0)
    exclusive = story.exclusive
    led = {step.source: os.path.realpath(step.source) for step in plan.steps}
    with Trouble(NONE, place.journals, exclusive=exclusive) as first:
        outcome = carry_out(plan, place.journals, "imgrank sort")
    reraise(first)
    whole = grown.look()
    across = crosses(plan)
    nothing_lost(plan, old, whole, 0)
    assert outcome.stopped is None, outcome.stopped
    assert all(reason for _, reason in outcome.failed)
    as_promised(plan, outcome.failed)
    assert all(step.action == "hardlink" for step, _ in outcome.failed)  # to another file system
    for step in outcome.done:
        leads_where_it_did(step, led[step.source])
    os.chdir(place.near.parent)
    with Trouble(NONE, place.journals, exclusive=exclusive) as undoing:
        undo(place)
    reraise(undoing)
    same(old, grown.look(), across)

    grown, _, plan = begin(story.case, place)
    with Trouble(turned(story.fault, first), place.journals, exclusive=exclusive) as trouble:
        carry_out(plan, place.journals, "imgrank sort")
    expected_error(trouble)
    if trouble.died:
        trouble.power_loss(story.lost)
    os.chdir(place.near.parent)
    under_way = across or not exclusive
    nothing_lost(plan, old, grown.look(), under_way)
    if not operations(place.journals):
        same(old, grown.look(), across)
        place.clear()
        return Lived(len(plan.steps), len(first.calls), True, False, across, len(outcome.failed))

    action, counted = (undo, undoing) if story.then == "undo" else (go_on, first)
    second = Trouble(
        turned(story.second, counted),
        place.journals,
        synced=trouble.synced,
        exclusive=exclusive,
    )
    with second:
        action(place)
    expected_error(second)
    if second.died:
        second.power_loss(story.lost)
    nothing_lost(plan, old, grown.look(), under_way)
    if not operations(place.journals):  # the power took a journal that had not begun
        same(old, grown.look(), across)
    elif story.then == "finish":
        go_on(place)
        if story.fault.kind in STOPS and story.second.kind in ("none", *STOPS):
            same(whole, grown.look(), across)
        nothing_lost(plan, old, grown.look(), 0)
    undo(place)
    same(old, grown.look(), across)
    hit = (trouble.hit, second.hit)
    place.clear()
    return Lived(len(plan.steps), len(first.calls), *hit, across, len(outcome.failed))


STOPS = ("death", "torn", "interrupt", "interrupts")
"""Faults after which a whole operation can still be had: no file as such failed."""


def begin(case: Case, place: Place) -> tuple[Grown, Look, Plan]:
    place.clear()
    grown = case.grow(place.near, place.far)
    if case.relative:
        os.chdir(place.near)
    old = grown.look()
    plan = make_plan(grown.entries(), grown.wish())
    assert grown.look() == old  # a plan changes nothing
    can_be_done(plan)
    return grown, old, plan


def can_be_done(plan: Plan) -> None:
    """Each target is free when its step comes, each source there, each folder made before."""
    there: dict[Path, bool] = {}
    for folder in plan.folders:
        assert not os.path.lexists(folder), folder
        assert there.get(folder.parent, folder.parent.is_dir()), folder
        there[folder] = True
    for step in plan.steps:
        assert step.source.is_absolute()
        assert step.target.is_absolute()
        assert there.get(step.source, os.path.lexists(step.source)), step
        assert not there.get(step.target, os.path.lexists(step.target)), step
        assert there.get(step.target.parent, step.target.parent.is_dir()), step
        assert len(os.fsencode(step.target.name)) <= 255, step
        there |= {step.source: step.action != "move", step.target: True}


def undo(place: Place) -> None:
    """Until nothing is left to take back, as a user would; nothing may be refused."""
    for operation in operations(place.journals):
        taken = take_back(operation)
        assert not taken.refused, [(step, reason) for step, reason in taken.refused]


def go_on(place: Place) -> None:
    for operation in operations(place.journals):
        outcome = finish(operation)
        assert outcome.stopped is None, outcome.stopped
        assert all(reason for _, reason in outcome.failed)


def turned(fault: Fault, counted: Trouble) -> Fault:
    return replace(fault, at=fault.at % max(1, len(counted.calls)))


def reraise(trouble: Trouble) -> None:
    if trouble.error is not None:
        raise trouble.error


def expected_error(trouble: Trouble) -> None:
    """An error is let through only if it says what is wrong; never a failed assertion of ours."""
    if isinstance(trouble.error, AssertionError) and not trouble.hit:
        raise trouble.error
    allowed = (OSError, UsageError, KeyboardInterrupt, AssertionError)
    if isinstance(trouble.error, Exception) and not isinstance(trouble.error, allowed):
        from imgrank.errors import ImgrankError

        if not isinstance(trouble.error, ImgrankError):
            raise trouble.error


def crosses(plan: Plan) -> bool:
    return any(step.action == "move" and far_apart(step.source, step.target) for step in plan.steps)


def far_apart(source: Path, target: Path) -> bool:
    folder = target.parent
    while not folder.is_dir():
        folder = folder.parent
    return folder.stat().st_dev != source.parent.stat().st_dev


def nothing_lost(plan: Plan, old: Look, new: Look, under_way: int) -> None:
    """Promise 1.

    under_way: how many files may be at two places (a move across file systems was stopped) or be
    empty, only to keep a name for another one.
    """
    if plan.verb in ("copy", "link"):
        for path, seen in old.items():
            assert same_file(seen, new.get(path)), f"{path!r} was {seen}, is {new.get(path)}"
        return
    whole = {path: seen for path, seen in new.items() if not is_part(path)}
    gone = contents(old) - contents(whole)
    assert not gone, f"lost: {list(gone)}"
    doubled = contents(whole) - contents(old)
    assert doubled.total() <= under_way, f"there twice: {list(doubled)}"
    assert not doubled.keys() - contents(old).keys() - {b""}
    lost_links = links(old) - links(whole)
    assert lost_links <= 0, "a symbolic link is lost"
    assert -lost_links <= 1, "symbolic links too many"


def same_file(old: Seen, new: Seen | None) -> bool:
    """The same but for hard links, which others may have made to it."""
    return new is not None and replace(new, twins=()) == replace(old, twins=())


def is_part(path: str) -> bool:
    name = Path(path).name
    return name.startswith(".") and name.endswith(".part")


def as_promised(plan: Plan, failed: Any) -> None:
    """Each step's target is there now, but those that failed."""
    sets = {step.members for step, _ in failed}
    for step in plan.steps:
        if step.members not in sets:
            later = any(step.target == other.source for other in plan.steps)
            assert os.path.lexists(step.target) or later, step
    for source, target in plan.places.items():
        assert target.name and source.name


def leads_where_it_did(step: Step, led: str) -> None:
    """A link that was moved, and one that was made; a copy is one, with its mode and time."""
    if step.action == "copy":
        source, target = Path(led), step.target
        assert target.read_bytes() == source.read_bytes()
        assert not target.is_symlink()
        assert target.stat().st_mode == source.stat().st_mode
        assert target.stat().st_mtime_ns == source.stat().st_mtime_ns
    elif step.action == "hardlink":
        assert step.target.samefile(led)
    elif step.target.is_symlink() and os.path.lexists(led):
        assert os.path.realpath(step.target) == led, step


def same(old: Look, new: Look, across: bool) -> None:
    """Promise 2: equal to the byte. Hard links that went across file systems cannot be joined."""
    if across:
        old, new = ({path: replace(seen, twins=()) for path, seen in look.items()}
                    for look in (old, new))  # fmt: skip
    for path in old.keys() | new.keys():
        assert old.get(path) == new.get(path), f"{path!r} was {old.get(path)}, is {new.get(path)}"


def stories(kinds: tuple[str, ...], then: tuple[str, ...]) -> st.SearchStrategy[Story]:
    """Random stories with these kinds of faults."""
    faults = st.builds(Fault, st.sampled_from(kinds), st.integers(0, 1000))
    seconds = st.just(NONE) | st.builds(Fault, st.sampled_from(kinds), st.integers(0, 1000))
    return st.builds(
        Story,
        cases(),
        faults,
        st.sampled_from((0, 0.5, 1)),
        st.sampled_from(then),
        seconds,
        st.sampled_from((True, True, False)),
    )
