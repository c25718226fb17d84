"""Which pictures a query brings up, and how good they are: plain arithmetic on cosines.

Letters: Q queries, N pictures of the pool, m places looked at, k places shown, R bootstrap rounds.

    recall@k   share of the queries whose own picture is among the first k. A picture as close as
               the own one is taken to stand before it, so that copies of a picture never help.
    beauty     mean over the queries of the mean value of the first k pictures.
    of theme   share of the pictures of a query's theme that are among the first k.

Two bootstraps. The first draws queries (captions of one picture, being relatives, together) and
leaves the pool alone. Yet many queries may find the same few beautiful pictures; so the second
draws pictures as well: a picture that is drawn twice takes two places of the k, one that is not
drawn none. A query's own picture, or theme, stays in its pool just once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgrank.data.ordering import ensemble
from imgrank.evaluate.resampling import Drawn

__all__ = ["Brought", "Nearest", "Round", "looked_at", "nearest", "over_clusters", "re_ranked"]

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]
Places = npt.NDArray[np.intp]
AT_ONCE = 20_000_000  # cosines in memory
SPARE = 20  # places beside 4 k, so that the k drawn ones are nearly always among them


@dataclass(frozen=True, eq=False, slots=True)
class Nearest:
    """order: [Q, m], the closest pictures, equal ones in the order of the pool.

    cosines: [Q, m], theirs.   own: [Q], how many others are as close as the own one, or closer;
    None without own ones.
    """

    order: Places
    cosines: Matrix
    own: Places | None


def nearest(texts: Matrix, pictures: Matrix, m: int, own: Places | None = None) -> Nearest:
    """texts [Q, E], pictures [N, E], the own picture of each text [Q] -> the first m of each.

    Cosines count to six decimals, as in a search: rounding never decides.
    """
    m = min(m, len(pictures))
    found: list[tuple[Places, Matrix, Places]] = []
    step = max(1, AT_ONCE // max(1, len(pictures)))
    for start in range(0, len(texts), step):
        cosines = np.round(texts[start : start + step] @ pictures.T, 6)
        order = _best_first(cosines, m)
        place = np.zeros(len(cosines), np.intp)
        if own is not None:
            mine = cosines[np.arange(len(cosines)), own[start : start + step]]
            place = (cosines >= mine[:, None]).sum(axis=1) - 1
        found.append((order, np.take_along_axis(cosines, order, axis=1), place))
    order, near, place = (np.concatenate(each) for each in zip(*found, strict=True))
    return Nearest(order, near, place if own is not None else None)


def re_ranked(
    one: Nearest, scores: Floats, own: Places | None, first: int, weight: float
) -> Nearest:
    """Each query's `first` pictures by z(cosine) + weight z(score), the others after them.

    scores: [N], of a re-ranker.   own: as for `nearest`.   first: at most m counts.
    z: over these pictures (`ensemble`, the one that preferences may be made with).
    """
    some = one.order[:, :first]
    value = ensemble(one.cosines[:, :first].astype(np.float64), scores[some], weight)
    again = np.argsort(-value, axis=1, kind="stable")
    order, near = (
        np.concatenate(
            [np.take_along_axis(each[:, :first], again, axis=1), each[:, first:]], axis=1
        )
        for each in (one.order, one.cosines)
    )
    place = one.own
    if own is not None and place is not None:  # where it is now, if it is among these pictures
        hit = order[:, :first] == own[:, None]
        place = np.where(hit.any(axis=1), hit.argmax(axis=1), np.maximum(place, some.shape[1]))
    return Nearest(order, near, place)


def _best_first(cosines: Matrix, m: int) -> Places:
    if 4 * m < cosines.shape[1]:  # sort a few; of equal ones at the edge any will do
        some = np.sort(np.argpartition(-cosines, m, axis=1)[:, :m], axis=1)
        near = np.take_along_axis(cosines, some, axis=1)
        return np.take_along_axis(some, np.argsort(-near, axis=1, kind="stable"), axis=1)
    return np.asarray(np.argsort(-cosines, axis=1, kind="stable")[:, :m], np.intp)


def looked_at(k: int, pictures: int) -> int:
    """How many places `Brought` needs to see for its first k."""
    return min(pictures, 4 * k + SPARE)


@dataclass(frozen=True, eq=False, slots=True)
class Brought:
    """What queries brought up.

    order: [Q, m] pictures, best first.   own: [Q], the place of the own picture, m or above for
    beyond; None: the queries have none.   mine: [Q, m], whether a picture is of the query's own
    cluster (the picture it describes, the theme that it names).   size: [Q], how many of these the
    pool has.   clusters: [N], of each picture.
    """

    order: Places
    own: Places | None
    mine: npt.NDArray[np.bool_]
    size: Places
    clusters: Places

    def found(self, k: int) -> Floats:
        """[Q]: 1 where the own picture is among the first k."""
        assert self.own is not None
        return np.asarray(self.own < k, np.float64)

    def mean_of(self, values: Floats, k: int) -> Floats:
        """values [N] -> [Q]: their mean over the first k."""
        return np.asarray(values[self.order[:, :k]].mean(axis=1))

    def share(self, k: int) -> Floats:
        """[Q]: how many of the query's own cluster are among the first k, over all there are."""
        return np.asarray(self.mine[:, :k].sum(axis=1) / np.maximum(1, self.size), np.float64)

    def drawn(self, k: int, drawn: Drawn, of: Places) -> Iterator[Round]:
        """The same queries over one pool after another.

        drawn: [R, C], how often each cluster was drawn.   of: [Q], the cluster of each query.
        A query whose cluster was not drawn is left out of that round.
        """
        by_place = self.clusters[self.order]
        for counts in drawn:
            asked = np.flatnonzero(counts[of])
            there = np.where(self.mine[asked], np.float32(1), counts[by_place[asked]])
            before = np.cumsum(there, axis=1) - there
            taken = np.clip(k - before, 0, there)  # [q, m]: how many of the k places each takes
            yield Round(self, asked, counts[of[asked]], before, taken)


@dataclass(frozen=True, eq=False, slots=True)
class Round:
    """One draw of queries and pictures. asked: [q], the queries in it; weights: [q], how often.

    before: [q, m], places taken before a picture.   taken: [q, m], places that it takes itself.
    """

    brought: Brought
    asked: Places
    weights: npt.NDArray[np.float32]
    before: npt.NDArray[np.float32]
    taken: npt.NDArray[np.float32]

    def mean(self, values: Floats) -> float:
        """[q] -> over the queries as often as they were drawn; NaN without any."""
        total = float(self.weights.sum())
        return float(self.weights @ values / total) if total else float("nan")

    def found(self, k: int) -> float:
        """As `Brought.found`."""
        own = self.brought.own
        assert own is not None
        place = own[self.asked]
        m = self.before.shape[1]
        before = self.before[np.arange(len(place)), np.minimum(place, m - 1)]
        return self.mean(np.asarray((before < k) & (place < m), np.float64))

    def mean_of(self, values: Floats) -> float:
        """As `Brought.mean_of`."""
        shown = values[self.brought.order[self.asked]]
        total = np.maximum(self.taken.sum(axis=1), 1e-9)
        return self.mean((self.taken * shown).sum(axis=1) / total)

    def share(self) -> float:
        """As `Brought.share`."""
        mine = self.brought.mine[self.asked]
        return self.mean(
            (self.taken * mine).sum(axis=1) / np.maximum(1, self.brought.size[self.asked])
        )


def over_clusters(values: Floats, clusters: Places, drawn: Drawn) -> Floats:
    """values [Q] -> [R]: their mean over the queries of the clusters that were drawn."""
    n = drawn.shape[1]
    total = drawn @ np.bincount(clusters, values, minlength=n)
    count = drawn @ np.bincount(clusters, minlength=n).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count, np.float64)
