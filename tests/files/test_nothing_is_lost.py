"""Random plans on random trees, stopped at random calls: nothing is lost, all can be taken back.

What is promised is in `promises.py`; `many_cases.py` tries the same on thousands of cases.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from faults import KINDS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from promises import Place, Story, begin, crosses, live, place, same, stories
from trees import Case, cases, contents

from imgrank.errors import UsageError
from imgrank.files.journal import operations
from imgrank.files.operation import carry_out
from imgrank.files.plan import Entry, Step, Verb, Wish
from imgrank.files.planning import make_plan
from imgrank.files.undoing import take_back

random_cases = settings(
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    derandomize=True,  # the same ones every time; many_cases.py takes new ones
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
VERBS: tuple[Verb, ...] = ("copy", "link", "move", "move", "rename", "rename")
ENDS = ("death", "torn")


@pytest.fixture(scope="module")
def home_and_away() -> Iterator[Place]:
    with place() as folders:
        yield folders


@settings(random_cases, max_examples=80)
@given(stories(ENDS, ("undo",)))
def test_a_dead_operation_is_taken_back(home_and_away: Place, story: Story) -> None:
    live(story, home_and_away)


@settings(random_cases, max_examples=50)
@given(stories(ENDS, ("finish",)))
def test_a_dead_operation_is_finished(home_and_away: Place, story: Story) -> None:
    live(story, home_and_away)


@settings(random_cases, max_examples=80)
@given(stories(tuple(kind for kind in KINDS if kind not in ENDS), ("undo", "finish")))
def test_trouble_with_files_and_disks(home_and_away: Place, story: Story) -> None:
    live(story, home_and_away)


WISHES = st.lists(st.tuples(st.sampled_from(VERBS), st.booleans()), min_size=2, max_size=4)


@settings(random_cases, max_examples=30)
@given(cases(), WISHES)
def test_one_operation_after_the_other_is_taken_back(
    home_and_away: Place, case: Case, wishes: list[tuple[Verb, bool]]
) -> None:
    """Each files what the one before it left, where it left it; the last one goes back first."""
    try:
        grown, old, plan = begin(told_apart(case), home_and_away)
    except UsageError:
        return
    entries = grown.entries()
    for number, (verb, far) in enumerate([(case.verb, case.far), *wishes]):
        if number:
            home = home_and_away.far if far else home_and_away.near
            target = None if verb == "rename" else home / f"later{number % 2}"
            wish = Wish(verb, target, numbered=target is None or case.numbered)
            plan = make_plan(entries, wish)
        assert carry_out(plan, home_and_away.journals, "imgrank sort").failed == []
        places = [plan.places[entry.path] for entry in entries if entry.path in plan.places]
        entries = [Entry(path, rank) for rank, path in enumerate(reversed(places), start=1)]
    os.chdir(home_and_away.near.parent)
    for operation in reversed(operations(home_and_away.journals)):
        refused = take_back(operation).refused
        assert refused == [], [one.time for one in operations(home_and_away.journals)]
    same(old, grown.look(), across=True)


def told_apart(case: Case) -> Case:
    """Each file has a time of its own: inodes do not tell, once they have been used again."""
    nodes = [replace(node, time=node.time + i) for i, node in enumerate(case.nodes)]
    return replace(case, nodes=tuple(nodes), relative=False, hard=False)


CHANGES = (
    *("edit", "replace", "disguise", "delete", "folder", "take"),
    *("original", "disguised", "no original"),
)
OF_SEVERAL = {"edit", "original", "disguised", "no original"}
"""They may change more files than one: those that links lead to."""


@settings(random_cases, max_examples=60)
@given(cases(), st.lists(st.tuples(st.integers(0, 8), st.sampled_from(CHANGES)), max_size=3))
def test_what_the_user_changed_meanwhile_is_kept(
    home_and_away: Place, case: Case, changes: list[tuple[int, str]]
) -> None:
    try:
        grown, old, plan = begin(case, home_and_away)
    except UsageError:
        return
    outcome = carry_out(plan, home_and_away.journals, "imgrank sort")
    steps = [step for step in plan.steps if step not in [failed for failed, _ in outcome.failed]]
    os.chdir(home_and_away.near.parent)
    touched = {number % len(steps): what for number, what in changes} if steps else {}
    told = [steps[number] for number, what in touched.items() if change(steps[number], what)]
    before = grown.look()

    refused = undo_all(home_and_away)

    after = grown.look()
    assert not set(contents(before)) - set(contents(after)), "lost"
    if plan.verb in ("move", "rename"):
        assert contents(before) == contents(after)
    assert all(reason and "\n" not in reason for _, reason in refused)
    assert bool(refused) >= bool(told), "it has to say what it could not take back"
    if not OF_SEVERAL & set(touched.values()):
        sets = {steps[number].members for number in touched}
        assert {step.members for step, _ in refused} <= sets
    if not touched:
        same(old, after, crosses(plan))


def undo_all(folders: Place) -> list[tuple[Step, str]]:
    return [
        one for operation in operations(folders.journals) for one in take_back(operation).refused
    ]


def change(step: Step, what: str) -> bool:
    """Does something to what a step left; whether an undo must then refuse it."""
    at, copied = step.target, step.action != "move"
    match what:
        case "edit" if at.is_file() and not at.is_symlink():
            with at.open("ab") as stream:
                stream.write(b"edited")
            return step.action != "hardlink"
        case "replace" | "disguise" if os.path.lexists(at):
            status = at.lstat()
            at.unlink()
            at.write_bytes(f"other bytes in {at}".encode(errors="surrogateescape"))
            if what == "disguise" and at.stat().st_size <= status.st_size:
                os.truncate(at, status.st_size)
                os.utime(at, ns=(status.st_atime_ns, status.st_mtime_ns))
                return False  # a moved file may come back so; the bytes are there all the same
            return True
        case "delete" if os.path.lexists(at):
            at.unlink()  # the user wanted it so: for a copy there is nothing more to do
            return not copied
        case "folder" if os.path.lexists(at):
            at.unlink()
            at.mkdir()
            return True
        case "take" if not os.path.lexists(step.source):
            step.source.parent.mkdir(parents=True, exist_ok=True)
            step.source.write_bytes(b"a new picture of the same name")
            return True
        case "original" if copied and step.source.is_file() and step.action == "copy":
            step.source.chmod(0o644)
            step.source.write_bytes(b"the original has other bytes now")
            return True
        case "disguised" if copied and step.source.is_file() and step.action == "copy":
            status = step.source.stat()
            step.source.chmod(0o644)
            step.source.write_bytes(bytes(byte ^ 1 for byte in step.source.read_bytes()))
            os.utime(step.source, ns=(status.st_atime_ns, status.st_mtime_ns))
            return status.st_size > 0
        case "no original" if copied and os.path.lexists(step.source):
            step.source.unlink()
            return step.action != "symlink"
    return False
