"""Cosines of a set of pictures -> the rows of a search, in one stage or in two.

* One stage: highest cosine first, ties by path. A cosine counts to six decimals, as it is printed:
  what sums in another order leave behind never decides. Only the rows that are shown are sorted,
  so that 20 of 100,000 cost no sort of all; percentiles are of the whole set all the same.
* Two stages: the first K rows by cosine, ordered anew by

      z(cosine) + w z(score),   z(x) = (x - mean) / population deviation, over these K;

  a column in which all are equal is 0. The score is turned so that more is better (`goodness`).
  Percentiles are then of these K.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.results.ranking import Column, Row, Scored, Top, goodness

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DECIMALS", "Asked", "by_both", "by_cosine"]

DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Asked:
    """How a query was really asked; JSON has all of it as `search`.

    query: as typed, None if there was none.   rephrased: what was asked in its place, None if
    nothing was; by: the method, and the model if one was asked.
    terms: text or picture, and weight, of all that went into the query's vector.
    approximate: the nearest were looked up in an index, which may miss some.
    first: K of the second stage, weight: its w; None without one.
    """

    query: str | None
    terms: Sequence[tuple[str, float, bool]]
    rephrased: str | None = None
    by: str = ""
    approximate: bool = False
    first: int | None = None
    weight: float | None = None

    def described(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "query": self.query,
            "rephrased": self.rephrased,
            "rephrased_by": self.by or None,
            "terms": [
                {"picture" if picture else "text": text, "weight": weight}
                for text, weight, picture in self.terms
            ],
            "approximate": self.approximate,
            "stages": 1 if self.first is None else 2,
            "first": self.first,
            "weight": self.weight,
        }


def by_cosine(
    paths: Sequence[Path],
    cosines: NDArray[Any],
    *,
    top: Top | None = None,
    minimum: float | None = None,
    of: int | None = None,
) -> list[Row]:
    """Rows of a set of pictures.

    cosines: [n], finite, of `paths`.   minimum: only these; `top` counts among them.
    of: pictures in the whole set, if these are only its nearest, so many as `top` says.
    """
    import numpy as np

    values = np.round(np.asarray(cosines, np.float64), DECIMALS) + 0.0  # no -0
    n = len(values)
    ascending = np.sort(values)
    kept = n if minimum is None else n - int(np.searchsorted(ascending, minimum, "left"))
    count = kept if top is None or of is not None else top.of(kept)
    if not count:
        return []
    candidates = np.flatnonzero(values >= ascending[n - count])
    order = sorted(candidates.tolist(), key=lambda i: (-values[i], str(paths[i])))[:count]
    ahead = n - np.searchsorted(ascending, values[order], "right")
    last = (n if of is None else of) - 1
    shares = 100 * (last - ahead) / last if last else np.full(len(order), 100.0)
    return [
        Row(rank, paths[i], value, share, None, None, ((value, None, None),))
        for rank, (i, value, share) in enumerate(
            zip(order, values[order].tolist(), shares.tolist(), strict=True), 1
        )
    ]


def by_both(
    rows: Sequence[Row],
    cells: Sequence[Scored],
    column: Column,
    weight: float,
    top: Top | None = None,
) -> list[Row]:
    """The K rows of the first stage, ordered anew.

    cells: the scores of the second stage, of `rows`.   column: what they are of.
    """
    good = _standardised(goodness(column, [cell[0] for cell in cells]))
    near = _standardised([row.score for row in rows])
    total = [z + weight * g for z, g in zip(near, good, strict=True)]
    order = sorted(range(len(rows)), key=lambda i: (-total[i], str(rows[i].path)))
    found: list[Row] = []
    ahead = 0
    for place, i in enumerate(order):
        if place and total[i] != total[order[place - 1]]:
            ahead = place
        share = 100 * (len(order) - 1 - ahead) / (len(order) - 1) if len(order) > 1 else 100.0
        scores = (*rows[i].scores, cells[i])
        found.append(Row(place + 1, rows[i].path, total[i], share, None, None, scores))
    return found if top is None else found[: top.of(len(found))]


def _standardised(values: Sequence[float]) -> list[float]:
    """(x - mean) / population deviation; zeros where all are equal."""
    if len(set(values)) < 2:
        return [0.0] * len(values)
    mean = math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in values) / len(values))
    if not deviation:  # differences too small to be squared
        return [0.0] * len(values)
    return [(x - mean) / deviation for x in values]
