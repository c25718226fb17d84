"""Trees by a line each, their plans, and what becomes of them; for the tests of planning."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from imgrank.files.plan import Entry, Plan, Step, Wish
from imgrank.files.planning import make_plan

COPY, MOVE, LINK = (Wish(verb, Path("to")) for verb in ("copy", "move", "link"))
NUMBERED = Wish("copy", Path("to"), numbered=True)
RENAME = Wish("rename", numbered=True)


def make(*names: str, text: str | None = None) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(os.fsencode(name if text is None else text))


def plan(wish: Wish, *names: str) -> Plan:
    return make_plan([Entry(Path(name), rank) for rank, name in enumerate(names, 1)], wish)


def pairs(found: Plan, steps: Sequence[Step] | None = None) -> list[tuple[str, str]]:
    steps = found.changes() if steps is None else steps
    return [(str(found.shown(step.source)), str(found.shown(step.target))) for step in steps]


def do(found: Plan) -> None:
    """Carries it out in the order of its steps; a taken name or a missing file is an error."""
    for folder in found.folders:
        folder.mkdir()
    for step in found.steps:
        assert not os.path.lexists(step.target), step
        if step.action == "move":
            step.source.rename(step.target)
        elif step.action == "copy":
            step.target.write_bytes(step.source.read_bytes())
        elif step.action == "hardlink":
            step.target.hardlink_to(step.source.resolve(strict=True))
        else:
            step.target.symlink_to(step.source.resolve(strict=True))


def files(folder: str = ".") -> dict[str, str]:
    found = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): os.fsdecode(path.read_bytes()) for path in found}
