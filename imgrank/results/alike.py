"""Which pictures of an order are near-duplicates of a better one. Pure numpy, no model.

Two pictures are alike if their DETAIL is, or if they are of one BURST:

* detail: sketches (luma, 32 x 32) are compared part by part: 81 cut-outs of the one, 0.85 to 1 of
  each side long, with 10 of the other, each 16 x 16, less its local mean (5 x 5), softened so that
  one horizon is not all (10 tanh x/10), as a correlation of the inner 12 x 12, so that a white
  frame is not all either; the highest counts, -1 to 1. So a crop, a shift, a slight turn, another
  exposure or size stay alike, and another picture of the same kind of scene does not: embeddings
  alone cannot tell that. Looked at only where the embeddings agree a little (`FLOOR`), and with
  coarse luma roughly (`GATE`): a product of matrices;
* burst: taken by one camera within `SECONDS` of each other, and embeddings have a cosine of at
  least the level of detail + `MARGIN`. What moves changes the detail, not what is in the picture.

Pictures are taken best first. Each is alike a picture that was KEPT, then it is that one's (of
several, the best one's), or it is kept itself. So there are no chains: every picture that is not
kept is directly alike a better one that is. How good this is: `imgrank/evaluate/bursts.py`.

Letters: N pictures, E embedding, W cut-outs.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["MARGIN", "SECONDS", "Looks", "bests", "detail"]

GATE = 1.3  # cosine of embeddings + correlation of 8 x 8 luma, of pairs whose detail is looked at
FLOOR = 0.55  # least cosine of embeddings
SECONDS = 3.0
MARGIN = 0.15

SIDE, COARSE, PART = 32, 8, 16  # of a sketch; of its coarse luma; of a cut-out
RIM = 2  # values at each edge of a cut-out that do not count
SPANS = ((1.0, 1), (0.95, 2), (0.9, 3), (0.85, 3))  # length of a cut-out's side, places of it
BLUR = 5  # width of the local mean
SOFT = 10.0  # grey levels from the local mean, above which more counts little
FLAT = 8.0  # grey levels: length of a vector below which a correlation falls towards 0
BLOCK, STRIP, SOME = 256, 8192, 64  # pictures: at once; of earlier ones; whose detail at once

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Looks:
    """What is known of N pictures.

    embedding: [N, E], L2-normalised.   sketch: uint8 [N, 32, 32].
    taken: [N] in seconds, NaN where unknown.   camera: [N], a number for each, 0 for unknown ones.
    """

    embedding: Floats
    sketch: NDArray[np.uint8]
    taken: NDArray[np.float64]
    camera: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.sketch)


def bests(looks: Looks, alike: float) -> NDArray[np.intp]:
    """[N]: for each picture the kept one that it is alike; itself if it is kept.

    looks: best picture first.   alike: least detail, 0 to 1.   Memory: about 10 KB a picture.
    """
    found = np.arange(len(looks))
    kept = np.zeros(len(looks), bool)
    gate = np.hstack([looks.embedding, _coarse(looks.sketch)]).astype(np.float32)
    order = _Kept(looks, alike)
    for start in range(0, len(looks), BLOCK):
        stop = min(start + BLOCK, len(looks))
        near = _near(gate, start, stop, kept)
        rows = [row for row, some in enumerate(near) if len(some)]
        views = dict(zip(rows, _views(looks.sketch[start:stop][rows], ALL), strict=True))
        for i in range(start, stop):
            others = near[i - start]
            best = order.best_of(i, others[kept[others]], views.get(i - start))
            if best is None:
                kept[i] = True
                order.keep(i)
            else:
                found[i] = best
    return found


def detail(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Of two sketches [32, 32]; not quite the same the other way round."""
    return float(_details(_views(first[None], ALL)[0], _views(second[None], FEW)).max())


def _near(gate: Floats, start: int, stop: int, kept: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """For each picture of a block the kept ones of earlier blocks, and all earlier ones of its own,
    that pass the gate; best first."""
    parts: list[list[NDArray[np.intp]]] = [[] for _ in range(start, stop)]
    for left in range(0, start, STRIP):
        right = min(left + STRIP, start)
        passed = (gate[start:stop] @ gate[left:right].T >= GATE) & kept[left:right]
        _add(parts, passed, left)
    passed = np.tril(gate[start:stop] @ gate[start:stop].T >= GATE, -1)
    _add(parts, passed, start)
    return [np.concatenate(some) if some else np.empty(0, np.intp) for some in parts]


def _add(parts: list[list[NDArray[np.intp]]], passed: NDArray[np.bool_], first: int) -> None:
    for row in np.flatnonzero(passed.any(axis=1)):
        parts[row].append(np.flatnonzero(passed[row]) + first)


@dataclass(eq=False)
class _Kept:
    """The pictures that were kept so far.

    same: by content as far as it is known.   times: of each camera, in order, with the pictures.
    """

    looks: Looks
    alike: float
    same: dict[tuple[bytes, bytes], int] = field(default_factory=dict)
    times: dict[float, list[tuple[float, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.looks)
        self.seen = np.zeros(n, bool)  # those whose cut-outs were made
        # Memory that is never written to is never taken from the machine.
        self.views = np.empty((n, len(FEW.pairs), (PART - 2 * RIM) ** 2), np.float16)

    def best_of(self, i: int, near: NDArray[np.intp], views: Floats | None) -> int | None:
        """The best kept picture that picture i is alike, of the whole or of those `near`."""
        same = self.same.get(self._content(i))
        if same is not None:
            return same
        burst = min(self._in_burst(i), default=None)
        near = near[self.looks.embedding[near] @ self.looks.embedding[i] >= FLOOR]
        for start in range(0, len(near), SOME):
            some = near[start : start + SOME]
            if burst is not None and burst < some[0]:
                break
            assert views is not None  # it has near ones
            hits = some[_details(views, self._views(some)) >= self.alike]
            if len(hits):
                return int(hits[0]) if burst is None else min(int(hits[0]), burst)
        return burst

    def keep(self, i: int) -> None:
        """Later ones may be alike this one."""
        self.same[self._content(i)] = i
        if not math.isnan(taken := float(self.looks.taken[i])):
            bisect.insort(self.times.setdefault(float(self.looks.camera[i]), []), (taken, i))

    def _in_burst(self, i: int) -> Iterator[int]:
        taken = float(self.looks.taken[i])
        times = self.times.get(float(self.looks.camera[i]), ())
        if math.isnan(taken) or not times:
            return
        first = bisect.bisect_left(times, (taken - SECONDS, -1))
        last = bisect.bisect_right(times, (taken + SECONDS, len(self.looks)))
        for _, j in times[first:last]:
            if self.looks.embedding[i] @ self.looks.embedding[j] >= self.alike + MARGIN:
                yield j

    def _views(self, some: NDArray[np.intp]) -> Floats:
        new = some[~self.seen[some]]
        self.views[new] = _views(self.looks.sketch[new], FEW)
        self.seen[new] = True
        return self.views[some].astype(np.float32)

    def _content(self, i: int) -> tuple[bytes, bytes]:
        return self.looks.sketch[i].tobytes(), self.looks.embedding[i].tobytes()


# ---- sketches ------------------------------------------------------------------------------------


def _details(views: Floats, others: Floats) -> Floats:
    """Cut-outs [W, 144] of one picture, [K, V, 144] of others -> detail of each [K]."""
    k, v, size = others.shape
    products = views @ others.reshape(k * v, size).T  # [W, K V]
    best: Floats = products.max(axis=0).reshape(k, v).max(axis=1)
    return best


def _coarse(sketches: NDArray[np.uint8]) -> Floats:  # [N, 64]
    step = SIDE // COARSE
    blocks = sketches.reshape(-1, COARSE, step, COARSE, step)
    return _unit(blocks.mean(axis=(2, 4), dtype=np.float32))


def _views(sketches: NDArray[np.uint8], spans: _Spans) -> Floats:
    """[N, 32, 32] -> [N, W, 144], each of mean 0 and length 1, or less if it is flat."""
    x = sketches.astype(np.float32)[:, None]  # [N, 1, 32, 32]
    x = spans.cuts @ x  # [N, S, 16, 32]
    x = x[:, :, None] @ spans.cuts.transpose(0, 2, 1)  # [N, S, S, 16, 16]
    x = x.reshape(len(sketches), len(spans.cuts) ** 2, PART, PART)[:, spans.pairs]
    x -= MEAN @ x @ MEAN.T
    x /= SOFT
    soft: Floats = np.tanh(x, out=x)
    soft *= SOFT
    return _unit(soft[..., RIM:-RIM, RIM:-RIM])


def _unit(x: Floats) -> Floats:
    """[..., h, w] -> [..., h w] of mean 0 and length 1; shorter if its length is about `FLAT`."""
    flat = x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])
    flat = flat - flat.mean(axis=-1, keepdims=True)
    unit: Floats = flat / (np.linalg.norm(flat, axis=-1, keepdims=True) + FLAT)
    return unit


@dataclass(frozen=True, eq=False)
class _Spans:
    """cuts: [S, 16, 32], each takes the mean over a span.   pairs: cut-outs that are wanted, of all
    S S pairs of spans."""

    cuts: Floats
    pairs: Sequence[int]


def _average(out: int, start: float, length: float) -> Floats:
    """[out, 32]: means over `out` equal parts of a span."""
    edges = start + length * np.arange(out + 1) / out
    places = np.arange(SIDE)
    upper = np.minimum(edges[1:, None], places + 1)
    weights = np.clip(upper - np.maximum(edges[:-1, None], places), 0, None)
    averages: Floats = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return averages


def _spans(spans: Sequence[tuple[float, int]]) -> Floats:
    return np.stack(
        [
            _average(PART, start, share * SIDE)
            for share, places in spans
            for start in np.linspace(0, (1 - share) * SIDE, places)
        ]
    )


def _local_mean() -> Floats:
    """[16, 16]: running mean over `BLUR` values, the border repeated."""
    places = np.arange(PART)[:, None] + np.arange(BLUR) - BLUR // 2
    mean = np.zeros((PART, PART), np.float32)
    np.add.at(mean, (np.arange(PART)[:, None], np.clip(places, 0, PART - 1)), 1 / BLUR)
    return mean


MEAN = _local_mean()
ALL = _Spans(_spans(SPANS), range(81))
FEW = _Spans(_spans(((1.0, 1), (0.9, 3))), [0, *(4 * a + b for a in (1, 2, 3) for b in (1, 2, 3))])
