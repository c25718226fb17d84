"""A process that files pictures and does not live to the end of it.

    python doomed.py HOW FOLDER JOURNALS < {"verb": ..., "target": ..., "rows": [...]}

HOW: a number (SIGKILL instead of this call of the operating system), the same with `t` behind it
(in the middle of it, if it writes), or `wait` (it is killed from outside, any time after it has
printed "ready"). Paths are relative to FOLDER; an absolute target stays as it is.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from faults import Fault, Trouble

from imgrank.files.operation import carry_out
from imgrank.files.plan import Entry, Wish
from imgrank.files.planning import make_plan


class Killed(Trouble):
    """Dies really."""

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    how, folder, journals = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    asked = json.load(sys.stdin)
    target = folder / asked["target"] if asked["target"] else None
    wish = Wish(asked["verb"], target, asked["hard"], asked["numbered"])
    entries = [Entry(folder / row, rank) for rank, row in enumerate(asked["rows"], start=1)]
    plan = make_plan(entries, wish)
    print("ready", flush=True)
    if how == "wait":
        carry_out(plan, journals, "imgrank sort")
        return
    fault = Fault("torn" if how.endswith("t") else "death", int(how.rstrip("t")))
    with Killed(fault, journals):
        carry_out(plan, journals, "imgrank sort")


if __name__ == "__main__":
    main()
