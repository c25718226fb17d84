"""Carries a wish for the files out, or plans it, and tells people what came of it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from imgrank.cli import complain
from imgrank.cli.after import Filed
from imgrank.cli.options import LISTED, Reporter
from imgrank.files.checking import check
from imgrank.files.operation import Outcome
from imgrank.files.operation import carry_out as operate
from imgrank.files.plan import Entry, Plan, Step, Verb, Wish
from imgrank.files.planning import make_plan
from imgrank.images import Skip
from imgrank.settings import load_settings

__all__ = ["carry_out"]

INTERRUPTED = 130  # exit status
DONE: dict[Verb, str] = {
    "copy": "copied",
    "link": "linked",
    "move": "moved",
    "rename": "renamed",
}


def carry_out(wish: Wish, entries: Sequence[Entry], dry_run: bool, reporter: Reporter) -> Filed:
    """What became of the files. What could not be done is said also under --quiet.

    Raises UsageError, before anything has changed, if it cannot be done at all.
    """
    plan = make_plan(entries, wish)
    check(plan)
    for note in plan.notes:
        reporter.notify(note)
    _complain([f"{skip.path} stays: {skip.reason}" for skip in plan.refused])
    status = 1 if plan.refused else 0
    if dry_run:
        reporter.notify(f"would have {_done(plan, plan.changes())}; nothing was changed")
        return Filed(plan.places, plan, status)
    command = shlex.join(["imgrank", *sys.argv[1:]])
    outcome = operate(plan, load_settings().operations_dir, command, reporter.progress)
    reporter.stop()
    _say(plan, outcome, reporter)
    done = {plan.shown(step.target) for step in (*outcome.done, *plan.there)}
    places = {path: place for path, place in plan.places.items() if place in done}
    if outcome.interrupted:
        status = INTERRUPTED
    elif outcome.failed or outcome.stopped is not None:
        status = 1
    return Filed(places, status=status)


def _say(plan: Plan, outcome: Outcome, reporter: Reporter) -> None:
    failed = [Skip(plan.shown(step.source), why) for step, why in outcome.failed]
    _complain([f"not {DONE[plan.verb]}: {skip.path}: {skip.reason}" for skip in failed])
    if outcome.stopped is not None:
        complain(
            f"imgrank: stopped: {outcome.stopped}. {_done(plan, outcome.done)}, of "
            f"{len(plan.changes())} files in all. `imgrank undo {outcome.id} --finish` goes on, "
            f"`imgrank undo {outcome.id}` takes it back."
        )
    elif outcome.done:
        reporter.notify(f"{_done(plan, outcome.done)}; `imgrank undo` takes it back")
    elif plan.there and not failed:
        reporter.notify(f"nothing to do: {_there(plan)}")
    elif not failed and not plan.refused:
        reporter.notify(f"nothing to do: no pictures are shown, so none were {DONE[plan.verb]}")


def _complain(lines: Sequence[str]) -> None:
    for line in lines[:LISTED]:
        complain(line)
    if len(lines) > LISTED:
        complain(f"and {len(lines) - LISTED} more")


def _done(plan: Plan, steps: Sequence[Step]) -> str:
    """ "copied 50 pictures (12 companions) to best; 3 pictures were there already"."""
    where = "" if plan.target is None else f" to {plan.target}"
    said = f"{DONE[plan.verb]} {_counted(steps)}{where}"
    return f"{said}; {_there(plan)}" if plan.there else said


def _there(plan: Plan) -> str:
    """ "3 pictures were there already"."""
    if plan.verb == "rename":
        return f"{_counted(plan.there)} had the right name already"
    return f"{_counted(plan.there)} {'was' if len(plan.there) == 1 else 'were'} there already"


def _counted(steps: Sequence[Step]) -> str:
    """ "1 picture", "50 pictures (12 companions)", "2 companions"."""
    pictures = sum(step.picture for step in steps)
    others = len(steps) - pictures
    said = "1 picture" if pictures == 1 else f"{pictures} pictures"
    more = "1 companion" if others == 1 else f"{others} companions"
    if others and not pictures:
        return more
    return f"{said} ({more})" if others else said
