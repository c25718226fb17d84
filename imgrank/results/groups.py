"""Which folder a picture goes to, and in which order: rows -> the entries of a plan.

Groups of a sort are of its order (quantiles) or of what a criterion measures (decades of years or
dates, age groups of years). Rows of `age`, `decade` and `aesthetic` have the name of their level.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from imgrank.errors import UsageError
from imgrank.files.naming import folder_name
from imgrank.files.plan import Entry
from imgrank.results.estimate import Estimate
from imgrank.results.ranking import Column, Row
from imgrank.results.text import SECONDS

__all__ = ["AGE_GROUPS", "Grouping", "age_group", "entries", "estimate_entries", "parse_grouping"]

AGE_GROUPS: tuple[tuple[int, str], ...] = (
    *((first, f"{first}-{first + 9}") for first in range(0, 80, 10)),
    (80, "80+"),
)
"""First whole year and name of each age group. A group starts half a year before its first year, as
an age of 29.6 is called 30."""

_STARTS = [first - 0.5 for first, _ in AGE_GROUPS]

UNITS = {"decades": ("year", SECONDS), "age-groups": ("years",)}
MOST = 1000  # quantiles


@dataclass(frozen=True, slots=True)
class Grouping:
    """What a sort is grouped by. parts: of "quantiles"."""

    kind: Literal["decades", "age-groups", "quantiles"]
    parts: int = 4


def parse_grouping(text: str) -> Grouping:
    """ "decades", "age-groups", "quantiles", "quantiles:10". Raises UsageError on anything else."""
    for plain in (Grouping("decades"), Grouping("age-groups"), Grouping("quantiles")):
        if text == plain.kind:
            return plain
    kind, _, number = text.partition(":")
    if kind == "quantiles":
        if re.fullmatch(r"[0-9]{1,4}", number) and 2 <= int(number) <= MOST:
            return Grouping("quantiles", int(number))
        raise UsageError(f"--into-groups {text!r}: quantiles:N needs a number from 2 to {MOST}.")
    if kind == "levels":
        raise UsageError(
            "--into-groups levels is not for sort, which has a score, not a level. `imgrank "
            "aesthetic PATH... --into-groups` and `imgrank decade PATH... --into-groups` file by "
            "level."
        )
    raise UsageError(
        f"--into-groups {text!r} is none of decades, age-groups, quantiles, quantiles:N."
    )


def entries(
    rows: Sequence[Row], columns: Sequence[Column], grouping: Grouping | None = None
) -> list[Entry]:
    """The rows of a sort, to be filed as they are ranked.

    Raises UsageError if no criterion has what is to be grouped by.
    """
    if grouping is None:
        names: list[str | None] = [None] * len(rows)
    elif grouping.kind == "quantiles":
        names = [_quantile(row.percentile, grouping.parts) for row in rows]
    else:
        chosen = _column(columns, grouping)
        cells = [row.scores[chosen] for row in rows]
        unit = columns[chosen].unit
        decades = grouping.kind == "decades"
        names = [
            None
            if cell is None
            else _decade(cell[0], unit)
            if decades
            else AGE_GROUPS[age_group(cell[0])][1]
            for cell in cells
        ]
    return [
        Entry(row.path, row.rank, None if name is None else folder_name(name), row.folder)
        for row, name in zip(rows, names, strict=True)
    ]


def estimate_entries(rows: Sequence[Estimate], into_groups: bool) -> list[Entry]:
    """Pictures with an estimate, in the order of the rows; of several faces the largest counts."""
    first: dict[str, Estimate] = {}
    for row in rows:
        known = first.get(str(row.path))
        if row.status == "ok" and (known is None or (row.face or 0) < (known.face or 0)):
            first[str(row.path)] = row
    return [
        Entry(row.path, rank, folder_name(row.level) if into_groups else None)
        for rank, row in enumerate(first.values(), 1)
    ]


def age_group(years: float) -> int:
    """Number of the age group that an age belongs to."""
    return max(bisect_right(_STARTS, years) - 1, 0)


def _column(columns: Sequence[Column], grouping: Grouping) -> int:
    """The first that has the unit."""
    units = UNITS[grouping.kind]
    for number, column in enumerate(columns):
        if column.unit in units:
            return number
    has = ", ".join(dict.fromkeys(column.unit or "no unit" for column in columns))
    helps = {
        "decades": 'by a date or year ("newest first", "by decade"), or use `imgrank decade`',
        "age-groups": 'by an age in years ("by age"), or use `imgrank age`',
    }
    raise UsageError(
        f"--into-groups {grouping.kind} needs a score in {' or '.join(map(repr, units))}; this one "
        f"has {has}. Sort {helps[grouping.kind]}, or group by quantiles."
    )


def _quantile(percentile: float, parts: int) -> str:
    """ "1-of-4" for the best quarter of all that were ranked; pictures that tie stay together."""
    behind = round((1 - percentile / 100) * parts, 9)  # a whole number is one, whatever it came by
    number = min(math.floor(behind), parts - 1) + 1
    return f"{number:0{len(str(parts))}d}-of-{parts}"


def _decade(value: float, unit: str) -> str | None:
    """ "1930s"; None for a date that no calendar has."""
    if unit == SECONDS:
        try:
            value = datetime.fromtimestamp(value, UTC).year
        except (OverflowError, ValueError, OSError):
            return None
    return f"{math.floor(value / 10) * 10}s"
