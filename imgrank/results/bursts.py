"""Near-duplicates as an order shows them (`sort --near-duplicates`): plain values, no numpy.

Which pictures are near-duplicates of which better one is found by `alike.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imgrank.errors import UsageError

__all__ = ["ALIKE", "Bursts", "Near", "bursts_of", "parse_near"]

ALIKE = 0.65
"""Least detail of near-duplicates, by `imgrank/evaluate/bursts.py`: 0.6 was as good on the choosing
half, but joined five times as many different scans of prints on mounts (OldNYC)."""

LOWEST = 0.5  # below, the gate before detail would decide, not the level


@dataclass(frozen=True, slots=True)
class Near:
    """keep_best: only the best of each group is shown.   alike: see `ALIKE`."""

    keep_best: bool
    alike: float = ALIKE


@dataclass(frozen=True, slots=True)
class Bursts:
    """number: of the group that a picture is in, 1 for the one with the best best; single pictures
    have none.   others: of each best picture, best first.
    """

    keep_best: bool
    number: Mapping[Path, int]
    others: Mapping[Path, tuple[Path, ...]]

    def hides(self, path: Path) -> bool:
        """True if a better one stands for it."""
        return self.keep_best and path in self.number and path not in self.others

    @property
    def count(self) -> int:
        """Of pictures that are not the best of their group."""
        return sum(map(len, self.others.values()))


def parse_near(text: str) -> Near:
    """ "keep-best", "group", "group:0.7" -> Near. Raises UsageError on anything else."""
    match = re.fullmatch(r"(keep-best|group)(?::([01](?:\.[0-9]{1,9})?))?", text.strip())
    alike = float(match[2]) if match and match[2] else ALIKE
    if match is None or not LOWEST <= alike <= 1:
        raise UsageError(
            f"--near-duplicates {text!r} is not 'keep-best' or 'group', or one of these with "
            f"':LEVEL', {LOWEST:g} to 1 ({ALIKE:g} if it is left out; higher joins less)."
        )
    return Near(match[1] == "keep-best", alike)


def bursts_of(best: Mapping[Path, Path], near: Near) -> Bursts:
    """best: for each picture the one that stands for it, itself perhaps; in order, best first."""
    others: dict[Path, list[Path]] = {}
    for path, better in best.items():
        if path != better:
            others.setdefault(better, []).append(path)
    order = [path for path in best if path in others]
    places = {path: place for place, path in enumerate(order, start=1)}
    number = {path: places[better] for path, better in best.items() if better in places}
    return Bursts(near.keep_best, number, {path: tuple(others[path]) for path in order})
