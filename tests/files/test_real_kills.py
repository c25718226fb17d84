"""A process is killed half way, really; `imgrank undo` in another one has the tree as it was."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import Fault, Trouble
from promises import Place, crosses, nothing_lost, place, same, undo
from trees import Case, Node

from imgrank.files.operation import carry_out
from imgrank.files.planning import make_plan

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")

PICTURES = (
    Node("src/line\nbreak.jpg", "large"),
    Node("src/-rf.jpg", "large", mode=0o600),
    Node("src/\udcff\udcfe.NEF", "large", mode=0o444),
    Node("src/\udcff\udcfe.xmp"),
    Node("src/sub/a.jpg", "large"),
    Node("src/a.jpg", "same"),
    Node("src/a.jpg.json"),
    Node("src/linked.jpg", "link", "sub/a.jpg"),
    Node("src/twin.png", "twin", "src/a.jpg"),
    Node("out/a.jpg"),
    *(Node(f"src/sub/{number}.jpg", "large") for number in range(12)),
)
ROWS = tuple(
    node.path
    for node in PICTURES
    if node.path.startswith("src/") and node.path.endswith((".jpg", ".NEF", ".png"))
)
WISHES = (
    Case(PICTURES, ROWS, "move", "out"),
    Case(PICTURES, ROWS, "move", "out", far=True, numbered=True),
    Case(PICTURES, ROWS, "copy", "out"),
    Case(PICTURES, ROWS, "rename"),
    Case(PICTURES, ROWS, "link", "out", hard=True),
)


@pytest.fixture(scope="module")
def home_and_away() -> Iterator[Place]:
    with place() as folders:
        yield folders


def doomed(how: str, case: Case, folders: Place) -> subprocess.Popen[bytes]:
    """Starts it; it is ready to change things when this returns."""
    target = case.target and str((folders.far if case.far else folders.near) / case.target)
    asked = {"verb": case.verb, "target": target, "hard": case.hard, "numbered": case.numbered}
    asked["numbered"] = asked["numbered"] or case.verb == "rename"
    script = [sys.executable, str(Path(__file__).with_name("doomed.py")), how]
    process = subprocess.Popen(
        [*script, str(folders.near), str(folders.journals)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({**asked, "rows": case.rows}).encode())
    process.stdin.close()
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize("number", range(20))
def test_a_killed_operation_is_taken_back(number: int, home_and_away: Place) -> None:
    folders = Place(
        home_and_away.near, home_and_away.far, home_and_away.journals.parent / "data/operations"
    )
    folders.clear()
    choice, case = random.Random(number), WISHES[number % len(WISHES)]
    grown = case.grow(folders.near, folders.far)
    old, plan = grown.look(), make_plan(grown.entries(), grown.wish())
    across = crosses(plan)
    started = time.perf_counter()
    with Trouble(Fault("none"), folders.journals) as counted:
        carry_out(plan, folders.journals, "imgrank sort")
    seconds = time.perf_counter() - started
    undo(folders)
    same(old, grown.look(), across)
    folders.clear()
    old = case.grow(folders.near, folders.far).look()

    if number % 4 == 3:
        process = doomed("wait", case, folders)
        time.sleep(choice.random() * seconds)
        process.send_signal(signal.SIGKILL)
    else:
        process = doomed(
            f"{choice.randrange(len(counted.calls))}{choice.choice('t ')}", case, folders
        )
    status = process.wait()
    assert process.stdout is not None
    process.stdout.close()
    assert status == -signal.SIGKILL or (number % 4 == 3 and status == 0)
    nothing_lost(plan, old, grown.look(), across)

    command = [sys.executable, "-m", "imgrank", "undo"]
    env = {**os.environ, "IMGRANK_HOME": str(folders.journals.parents[1])}
    done = subprocess.run(command, capture_output=True, env=env, text=True, check=False)
    same(old, grown.look(), across)
    assert done.returncode == 0 or "nothing" in done.stderr.lower(), done.stderr
    assert "Traceback" not in done.stderr
