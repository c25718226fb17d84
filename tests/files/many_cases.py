"""Thousands of random cases of what `test_nothing_is_lost.py` promises, with the figures.

    python tests/files/many_cases.py [--cases 2000] [--seed 0]

Each case is a random tree and wish with one trouble during the operation and perhaps a second one
during `undo` or `finish`. Ends with status 1 and the smallest case found if a promise is broken.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from faults import KINDS
from hypothesis import HealthCheck, Phase, given, seed, settings
from promises import Lived, Story, live, place, stories


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    figures: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    started = time.perf_counter()

    with place() as folders:

        @seed(asked.seed)
        @settings(
            max_examples=asked.cases,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(stories(KINDS, ("undo", "finish")))
        def every(story: Story) -> None:
            count(figures, sizes, story, live(story, folders))

        two = "two file systems" if folders.two else "one file system"
        try:
            every()
        except BaseException:
            print(
                f"seed {asked.seed}: a promise was broken after {figures['cases']} cases",
                flush=True,
            )
            raise
    seconds = time.perf_counter() - started
    print(f"seed {asked.seed}, {two}: {figures['cases']:,} cases in {seconds:.0f} s, no loss")
    for name, number in sorted(figures.items()):
        print(f"  {name}: {number:,}")
    print("  plans by steps: " + ", ".join(f"{size}: {n:,}" for size, n in sorted(sizes.items())))
    return 0


def count(figures: Counter[str], sizes: Counter[str], story: Story, lived: Lived) -> None:
    figures["cases"] += 1
    figures["calls of the undisturbed runs"] += lived.calls
    figures["files that failed undisturbed"] += lived.failed
    figures["plans across file systems"] += lived.across
    sizes["none" if not lived.steps else "1-3" if lived.steps < 4 else "4 and more"] += 1
    if lived.hit:
        figures[f"first trouble: {story.fault.kind}"] += 1
    if lived.second_hit:
        figures[f"second trouble, in {story.then}: {story.second.kind}"] += 1


if __name__ == "__main__":
    sys.exit(main())
