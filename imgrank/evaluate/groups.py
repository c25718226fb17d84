"""Small groups of a data set's pictures to be put in order: drawn once, the same for every model.

Paper 002 (tables 2 to 6) gives Kendall's tau of groups of 2, 4 and 8 pictures; how it drew them,
and whether equal truths were among them, it does not say. Here: of one query each, in random order,
a picture joins if no other of its group has its true value; only where a query has too few
different values do others fill the group up. A group whose truths are all equal has no order and is
none.

Tau is scipy's tau-b: pairs that either side leaves undecided lower it. An order that decides no
pair counts as 0, which is also what a random order has on average.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgrank.evaluate.measure import Measured
from imgrank.evaluate.metrics import require_scipy
from imgrank.evaluate.resampling import Samples, draws, mean_samples

__all__ = ["FIGURES", "Group", "Ordered", "draw", "measured", "tau"]

FIGURES = ("tau", "tau_values", "well_formed", "complete")
TRIES = 4  # times as many draws as groups are wanted, where few different ones are possible
Vector = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Group:
    """query: key of the labels.   rows: of the data set, in the order in which they are shown."""

    query: str
    rows: tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Ordered:
    """Groups of one size as one model ordered them; NaN: it did not (a picture cannot be read).

    tau: [G], -1 to 1, of the order that was given.   tau_values: of the values beside it;
    well_formed, complete: [G] of 0 and 1, of an answer and of whether every picture is in it; None
    of a model that gives scores, one by one.
    """

    groups: tuple[Group, ...]
    tau: Vector
    tau_values: Vector | None = None
    well_formed: Vector | None = None
    complete: Vector | None = None

    def of(self, figure: str) -> Vector | None:
        """One of `FIGURES`, a value a group."""
        found: Vector | None = getattr(self, figure)
        return found

    def joined(self, other: Ordered) -> Ordered:
        """The same groups, each as it was ordered here or, if not here, there."""
        columns = []
        for name in FIGURES:
            own, more = self.of(name), other.of(name)
            if own is None or more is None:
                columns.append(more if own is None else own)
            else:
                columns.append(np.where(np.isnan(own), more, own))
        assert columns[0] is not None
        return Ordered(self.groups, *columns)  # type: ignore[arg-type]


def draw(
    values: Mapping[str, Vector],
    rows: Mapping[str, Rows],
    size: int,
    count: int,
    seed: int,
) -> tuple[Group, ...]:
    """At most `count` different groups of `size` pictures, evenly of all queries that have some.

    values: of every query, one a picture of the data set.   rows: of every query, those that groups
    are drawn from. Fewer groups come of queries with fewer different ones.
    """
    able = [
        key for key in rows if len(rows[key]) >= size and len(np.unique(values[key][rows[key]])) > 1
    ]
    if not able:
        return ()
    each, rest = divmod(count, len(able))
    more = set(np.random.default_rng([seed, size]).permutation(len(able))[:rest].tolist())
    found: list[Group] = []
    for number, key in enumerate(able):
        wanted = each + (number in more)
        found += _of_query(key, values[key], rows[key], size, wanted, seed)
    return tuple(found)


def _of_query(
    key: str, values: Vector, rows: Rows, size: int, count: int, seed: int
) -> list[Group]:
    """Its own generator, so that other queries change nothing in its groups."""
    generator = np.random.default_rng([seed, size, zlib.crc32(key.encode())])
    seen: dict[frozenset[int], Group] = {}
    for _ in range(TRIES * count):
        if len(seen) == count:
            break
        shuffled = rows[generator.permutation(len(rows))]
        _, first = np.unique(values[shuffled], return_index=True)  # of each value
        others = np.setdiff1d(np.arange(len(rows)), first)[: max(0, size - len(first))]
        chosen = np.sort(np.concatenate([np.sort(first)[:size], others]))
        group = Group(key, tuple(shuffled[chosen].tolist()))
        seen.setdefault(frozenset(group.rows), group)
    return list(seen.values())


def tau(truth: Sequence[float] | Vector, given: Sequence[float] | Vector) -> float:
    """Kendall's tau-b of two rankings of the same pictures, 0 where one of them decides nothing.

    given: places in an order, or scores; infinities are equal to each other.
    Raises MissingExtra without scipy.
    """
    y, s = np.asarray(truth, np.float64), np.asarray(given, np.float64)
    if len(y) < 2 or (y == y[0]).all() or (s == s[0]).all():
        return 0.0
    return float(require_scipy("measuring orders of groups").kendalltau(y, s).statistic)


def measured(
    ordered: Ordered, rounds: int, seed: int, only: npt.NDArray[np.bool_] | None = None
) -> Measured:
    """Means over the groups, with bootstrap rounds over groups; n is how many there are.

    only: [G], these groups alone (those that another model has ordered too, or one query's).
    """
    kept = ~np.isnan(ordered.tau)
    if only is not None:
        kept &= only
    n = int(kept.sum())
    values: dict[str, float] = {}
    samples: dict[str, Samples] = {}
    drawn = draws(range(n), rounds, seed) if n else np.zeros((rounds, 0), np.float32)
    for name in FIGURES:
        each = ordered.of(name)
        if each is None:
            continue
        here = ~np.isnan(each[kept])  # of scores there is no answer that could be well formed
        if here.any() or name == "tau":
            values[name] = float(each[kept][here].mean()) if n else float("nan")
            samples[name] = mean_samples(each[kept][here], drawn[:, here])
    return Measured(n, values, samples)
