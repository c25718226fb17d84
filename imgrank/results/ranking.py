"""Scores of a set of pictures -> its order. Pure Python: known scores sort without a big import.

* Order: highest score first ("descending"), lowest first ("ascending"), or, with a reference,
  by |score - reference|, nearest first ("ascending": farthest first). Ties break by path.
* Percentile: the share of the *other* pictures of the set that score no better, in percent. The
  first is always 100, a tie shares its percentile, a picture on its own has 100. It looks at the
  whole set, before `minimum`, `maximum` and `top` thin out what is shown.
* Several criteria: each is normalised over the set to [0.01, 1], its good end at 1, and the
  combined score is their weighted geometric mean. Appendix E of the ranking-aware adapter
  multiplies plain min-max values; starting at 0.01 keeps a picture that is last in one criterion
  from being zeroed. A criterion in which all are equal counts as 1.
* Of near-duplicates only the best may be kept: it is chosen in the order before `reverse`, and the
  others are left out before `minimum`, `maximum` and `top` count.
* With strengths, those of an all-pairs comparison of the first pictures (`--refine`), these come
  before all others, the strongest first (weakest first if "ascending"); scores stay what they are.
* With `per_folder` each folder is a set of its own in all of this.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple, TypeGuard

from imgrank.errors import UsageError
from imgrank.instruction import Query
from imgrank.results.bursts import Bursts

__all__ = [
    "Cell",
    "Column",
    "Direction",
    "Row",
    "Scored",
    "Top",
    "combined",
    "complete",
    "goodness",
    "parse_top",
    "rank",
]

Direction = Literal["descending", "ascending"]
Scored = tuple[float, float | None, float | None]
"""One score: (value, low, high), as `imgrank.rankers.base.Score` is."""
Cell = Scored | None
"""A score, or None where a picture has none."""

FLOOR = 0.01  # normalised value of the last picture in a criterion


@dataclass(frozen=True, slots=True)
class Column:
    """One criterion: what was asked, and who answered how. The output prints all of it.

    instruction: as typed.   task: key of a known task, None for free text.
    method, model, revision, prompt, unit, range: as in `imgrank.rankers.base.Answer`.
    direction: "descending" if the highest score comes first; with a `reference`, "descending" is
    nearest first.   weight: among several criteria, positive.
    refined: how many of the first pictures were compared pair by pair; None: none were.
    """

    instruction: str
    task: str | None
    method: str
    model: str
    revision: str
    prompt: str
    unit: str
    direction: Direction = "descending"
    reference: float | None = None
    weight: float = 1.0
    range: tuple[float, float] | None = None
    refined: int | None = None

    @property
    def zero_shot(self) -> bool:
        """True if nothing was trained for this: text similarity, poles or ranks; a plain
        vision-language model."""
        return self.method in ("zero-shot", "vision-language")

    def titled(self, text: str) -> str:
        """A heading for its scores, for eyes: says where nothing was trained for them."""
        return f"{text} (zero-shot)" if self.zero_shot else text

    @classmethod
    def of(
        cls,
        query: Query,
        *,
        method: str,
        model: str,
        revision: str,
        prompt: str,
        unit: str,
        range: tuple[float, float] | None = None,
    ) -> Column:
        """A query and the fields of the `Answer` it got."""
        return cls(
            instruction=query.text,
            task=query.task,
            method=method,
            model=model,
            revision=revision,
            prompt=prompt,
            unit=unit,
            direction="descending" if query.descending else "ascending",
            reference=query.reference,
            weight=query.weight,
            range=range,
        )


class Row(NamedTuple):
    """One picture in its place. (A named tuple: 10,000 of them cost a tenth of dataclasses.)

    rank: 1 is first; counts the rows that are shown, per folder if that was asked.
    score: the criterion's own value, or the combined one in [0.01, 1].
    low, high: its interval where the model has one; None for combined scores.
    scores: the cell of every criterion, in the order of the columns.
    folder: the picture's folder if ranked per folder, else None.
    strength: among those that were compared pair by pair, 0 to 1; None for the others.
    burst: number of its group of near-duplicates; None on its own, or if none were looked for.
    others: near-duplicates that the picture is the best of, best first.
    """

    rank: int
    path: Path
    score: float
    percentile: float
    low: float | None
    high: float | None
    scores: tuple[Cell, ...]
    folder: Path | None = None
    strength: float | None = None
    burst: int | None = None
    others: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Top:
    """How many rows to keep: a number, or a share of the set, rounded up."""

    amount: Fraction
    percent: bool = False

    def of(self, n: int) -> int:
        """Rows to keep out of n."""
        wanted = math.ceil(self.amount * n / 100) if self.percent else int(self.amount)
        return min(n, wanted)


def parse_top(text: str) -> Top:
    """ "20" -> twenty rows, "10%" or "2.5 %" -> a share. Raises UsageError on anything else."""
    match = re.fullmatch(r"\s*([0-9]{1,12}(?:\.[0-9]{1,12})?)\s*(%?)\s*", text)
    if match:
        amount, percent = Fraction(match[1]), bool(match[2])
        whole = percent or "." not in match[1]
        if whole and amount > 0 and (not percent or amount <= 100):
            return Top(amount, percent)
    raise UsageError(
        f"--top {text!r} is neither a number of pictures (20) nor a share of them (10%)"
    )


def complete(cells: Sequence[Cell]) -> TypeGuard[Sequence[Scored]]:
    """True if a picture has a finite score for every criterion; only those are ranked."""
    return all(cell is not None and math.isfinite(cell[0]) for cell in cells)


def rank(
    paths: Sequence[Path],
    columns: Sequence[Column],
    scores: Sequence[Sequence[Cell]],
    *,
    reverse: bool = False,
    top: Top | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    per_folder: bool = False,
    strengths: Mapping[Path, float] | None = None,
    bursts: Bursts | None = None,
) -> list[Row]:
    """The order of a set.

    paths: N pictures.   scores: [N][number of columns].
    reverse: turns the whole order round (ties still break by path).
    minimum, maximum: keep rows whose score as shown lies between them, both ends included; `top`
    then counts among those.
    per_folder: rows come folder by folder, folders by path.
    strengths: by picture, of some; for one column without a reference.
    bursts: of this order without `reverse` and limits.

    A picture that is not `complete` is left out; the caller reports it as skipped.
    Raises ValueError if there is no column.
    """
    if not columns:
        raise ValueError("rank() needs at least one column")
    sets: dict[str, tuple[list[Path], list[Sequence[Scored]]]] = {}
    for path, cells in zip(paths, scores, strict=True):
        if complete(cells):
            members = sets.setdefault(str(path.parent) if per_folder else "", ([], []))
            members[0].append(path)
            members[1].append(cells)
    rows: list[Row] = []
    for name in sorted(sets):
        folder = Path(name) if per_folder else None
        rows += _rank_set(
            sets[name][0],
            columns,
            sets[name][1],
            reverse,
            top,
            -math.inf if minimum is None else minimum,
            math.inf if maximum is None else maximum,
            folder,
            strengths or {},
            bursts,
        )
    return rows


def _rank_set(
    paths: list[Path],
    columns: Sequence[Column],
    scores: list[Sequence[Scored]],
    reverse: bool,
    top: Top | None,
    minimum: float,
    maximum: float,
    folder: Path | None,
    strengths: Mapping[Path, float],
    bursts: Bursts | None,
) -> list[Row]:
    n = len(paths)
    if len(columns) == 1:
        shown = [cells[0] for cells in scores]
        keys = goodness(columns[0], [cell[0] for cell in shown])
    else:
        keys = combined(columns, scores)
        shown = [(key, None, None) for key in keys]
    if strengths:
        keys = _refined(columns[0], keys, [strengths.get(path) for path in paths])
    if not reverse:
        keys = [-key for key in keys]
    order = sorted(zip(keys, map(str, paths), range(n), strict=True))

    rows: list[Row] = []
    ahead, before = 0, math.nan
    for position, (key, _, i) in enumerate(order):
        if key != before:
            ahead, before = position, key
        value, low, high = shown[i]
        if minimum <= value <= maximum and not (bursts and bursts.hides(paths[i])):
            percentile = 100 * (n - 1 - ahead) / (n - 1) if n > 1 else 100.0
            cells = tuple(scores[i])
            strength = strengths.get(paths[i])
            rows.append(
                Row(len(rows) + 1, paths[i], value, percentile, low, high, cells, folder, strength)
            )
            if bursts and (number := bursts.number.get(paths[i])):
                rows[-1] = rows[-1]._replace(burst=number, others=bursts.others.get(paths[i], ()))
    return rows if top is None else rows[: top.of(len(rows))]


def _refined(column: Column, keys: list[float], strengths: Sequence[float | None]) -> list[float]:
    """Places of which more is better: those with a strength above all others, ties by key."""
    sign = 1 if column.direction == "descending" else -1
    full = [
        (strength is not None, sign * (strength or 0.0), key)
        for key, strength in zip(keys, strengths, strict=True)
    ]
    places = {each: float(place) for place, each in enumerate(sorted(set(full)))}
    return [places[each] for each in full]


def goodness(column: Column, values: list[float]) -> list[float]:
    """Values -> numbers of which more is better, as the column's direction has it."""
    if column.reference is not None:
        values = [-abs(value - column.reference) for value in values]
    if column.direction == "ascending":
        values = [-value for value in values]
    return values


def combined(columns: Sequence[Column], scores: Sequence[Sequence[Scored]]) -> list[float]:
    """Weighted geometric mean of criteria normalised over the set; [N] in [0.01, 1].

    scores: [N][number of columns], all `complete`.
    exp(sum_c w_c ln v_c / sum_c w_c), v_c = 0.01 + 0.99 (g - min g) / (max g - min g).
    """
    heaviest = max(column.weight for column in columns)
    weights = [column.weight / heaviest for column in columns]  # their sum cannot overflow
    total = math.fsum(weights)
    logs = [0.0] * len(scores)
    for c, (column, weight) in enumerate(zip(columns, weights, strict=True)):
        # halved, so that the span of two finite numbers is finite
        good = [g / 2 for g in goodness(column, [cells[c][0] for cells in scores])]
        low, span = min(good, default=0.0), max(good, default=0.0) - min(good, default=0.0)
        if span > 0:
            for i, g in enumerate(good):
                logs[i] += weight * math.log(FLOOR + (1 - FLOOR) * (g - low) / span)
    return [math.exp(value / total) for value in logs]
