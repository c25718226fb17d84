"""Speed of filing pictures, against `cp` on the same files in the same run.

    python tests/bench/files.py [--folder DIR] [--size 2GB] [--small 20000] [--entries 100000]
                                [--rounds 5]

* large: the apply phase (`carry_out`: journal, copies) of files of 2 to 12 MB, `--size` in all,
  against `cp -r`; seconds until the command returns, and until everything is on the disk as well
  (`sync`); the median of the rounds' ratios.
* small: `--small` files of 8 kB in 20 folders, in files a second.
* undo: `take_back` of these copies. It reads copy and original before it removes the copy.
* plan: `make_plan` for `--entries` pictures, every tenth with a sidecar.

The two take turns, the first one changing from round to round. Before each turn the earlier copies
are removed, the disk is synced and, as root, the page cache dropped (elsewhere the sources are read
once before each turn, so that both find them in memory). DIR must have room for twice the size; by
default it is the temporary folder.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from imgrank.files.journal import operations
from imgrank.files.operation import carry_out
from imgrank.files.plan import Entry, Wish
from imgrank.files.planning import make_plan
from imgrank.files.undoing import take_back
from imgrank.settings import parse_size

DROP = Path("/proc/sys/vm/drop_caches")


def large_files(folder: Path, size: int) -> list[Path]:
    """Files of 2 to 12 MB with bytes that no file system can fold together."""
    folder.mkdir()
    choice = random.Random(0)
    block = choice.randbytes(1 << 20)
    paths: list[Path] = []
    while size > 0:
        here = min(choice.randrange(2_000_000, 12_000_000), max(size, 2_000_000))
        path = folder / f"IMG_{len(paths):05d}.jpg"
        with path.open("wb") as stream:
            for at in range(0, here, len(block)):
                stream.write(at.to_bytes(8, "big") + os.urandom(8) + block[16 : here - at])
        paths.append(path)
        size -= here
    return paths


def small_files(folder: Path, count: int, size: int, sidecars: int = 0) -> list[Path]:
    """`count` pictures in 20 folders; every `sidecars`th has a sidecar."""
    paths = []
    for number in range(count):
        path = folder / f"{number % 20:02d}" / f"IMG_{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
        if sidecars and number % sidecars == 0:
            path.with_suffix(".xmp").write_bytes(b"<x/>")
        paths.append(path)
    return paths


def settle(sources: Path) -> None:
    """Brings both to the same state of the page cache."""
    os.sync()
    if os.access(DROP, os.W_OK):
        DROP.write_text("3")
        return
    for path in sources.rglob("*"):
        if path.is_file():
            path.read_bytes()


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds until it returns, and until all of it is on the disk."""
    started = time.perf_counter()
    work()
    returned = time.perf_counter()
    os.sync()
    return returned - started, time.perf_counter() - started


class Bench:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.target = home / "copies"
        self.journals = home / "operations"

    def ours(self, sources: Path, paths: list[Path]) -> tuple[float, float]:
        plan = make_plan(self.entries(paths, sources), Wish("copy", self.target))
        settle(sources)

        def work() -> None:
            outcome = carry_out(plan, self.journals, "bench")
            assert not outcome.failed, outcome.failed[:3]
            assert outcome.stopped is None, outcome.stopped

        return timed(work)

    def cp(self, sources: Path) -> tuple[float, float]:
        settle(sources)
        return timed(lambda: subprocess.run(["cp", "-r", sources, self.target], check=True))

    def plain(self, sources: Path, paths: list[Path]) -> tuple[float, float]:
        """What Python's own copy takes, to tell the language's share from ours."""
        settle(sources)

        def work() -> None:
            for path in paths:
                to = self.target / path.relative_to(sources)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, to)

        return timed(work)

    def entries(self, paths: list[Path], sources: Path) -> list[Entry]:
        flat = all(path.parent == sources for path in paths)
        return [
            Entry(path, rank, folder=None if flat else path.parent)
            for rank, path in enumerate(paths, start=1)
        ]

    def take_back(self) -> float:
        (operation,) = operations(self.journals)
        started = time.perf_counter()
        taken = take_back(operation)
        seconds = time.perf_counter() - started
        assert not taken.refused, taken.refused[:3]
        assert not self.target.exists()
        return seconds

    def clear(self) -> None:
        shutil.rmtree(self.target, ignore_errors=True)
        shutil.rmtree(self.journals, ignore_errors=True)

    def against(self, name: str, sources: Path, paths: list[Path], rounds: int) -> None:
        size = sum(path.stat().st_size for path in paths)
        print(f"{name}: {len(paths):,} files, {size / 1e9:.2f} GB")
        turns: dict[str, Callable[[], tuple[float, float]]] = {
            "imgrank": lambda: self.ours(sources, paths),
            "cp -r": lambda: self.cp(sources),
            "copy2": lambda: self.plain(sources, paths),
        }
        seconds: dict[str, list[tuple[float, float]]] = {turn: [] for turn in turns}
        undos = []
        for number in range(rounds):
            order = list(turns) if number % 2 == 0 else list(reversed(turns))
            for turn in order:
                seconds[turn].append(turns[turn]())
                if turn == "imgrank":
                    undos.append(self.take_back())
                self.clear()
            each = ", ".join(
                f"{turn} {seconds[turn][-1][0]:.2f} s ({seconds[turn][-1][1]:.2f} synced)"
                for turn in turns
            )
            print(f"  round {number + 1}: {each}; undo {undos[-1]:.2f} s")
        returned = {turn: statistics.median(one for one, _ in seconds[turn]) for turn in turns}
        for turn in turns:
            print(
                f"  {turn}: {len(paths) / returned[turn]:,.0f} files/s, "
                f"{size / 1e6 / returned[turn]:,.0f} MB/s (median of {rounds})"
            )
        for i, what in enumerate(("returned", "synced")):
            pairs = zip(seconds["imgrank"], seconds["cp -r"], strict=True)
            ratios = sorted(ours[i] / theirs[i] for ours, theirs in pairs)
            print(
                f"  {name}, imgrank against cp, until {what}: {statistics.median(ratios):.2f} "
                f"times ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            )
        print(f"  undo: {statistics.median(undos):.2f} s")


def planning(home: Path, count: int) -> None:
    folder = home / "many"
    paths = small_files(folder, count, 1, sidecars=10)
    entries = [Entry(path, rank) for rank, path in enumerate(paths, start=1)]
    for numbered in (False, True):
        started = time.perf_counter()
        plan = make_plan(entries, Wish("copy", home / "copies", numbered=numbered))
        seconds = time.perf_counter() - started
        named = "numbered" if numbered else "names kept"
        steps = f"{len(entries):,} pictures, {len(plan.steps):,} steps"
        print(f"plan, {named}: {steps}: {seconds:.1f} s")
    shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--size", type=parse_size, default=parse_size("2GB"))
    parser.add_argument("--small", type=int, default=20_000)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imgrank-bench-", dir=given.folder) as name:
        home = Path(name)
        bench = Bench(home)
        for kind, amount in (("large", given.size), ("small", given.small)):
            if not amount:
                continue
            sources = home / kind
            if kind == "large":
                paths = large_files(sources, amount)
            else:
                paths = small_files(sources, amount, 8_000)
            bench.against(kind, sources, paths, given.rounds)
            shutil.rmtree(sources)
        if given.entries:
            planning(home, given.entries)


if __name__ == "__main__":
    main()
