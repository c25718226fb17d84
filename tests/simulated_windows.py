"""A model that values pictures with errors of a known size, and ways of ordering many with it.

True values are normal with sd 1; every error is normal too, its sd in that unit:

    own      of a picture: the same in every call about it, so asking again does not mend it
    offset   of a call: common to its pictures
    within   of a picture in a call

A picture that is asked about alone has all three. `SPEC` was chosen so that the three figures of
the specification come out together at 128 pictures (tau 0.85 of single values, 0.90 of two rounds,
0.90 of a merge sort); it is a noise under which they hold, not a measurement of any model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgrank.listwise.windows import SIZE, first_round, fit, order_of, second_round

Vector = NDArray[np.float64]
Answer = dict[int, float]


@dataclass(frozen=True)
class Noise:
    own: float
    offset: float
    within: float


SPEC = Noise(own=0.10, offset=0.155, within=0.15)


class Model:
    """Answers for pictures 0..count - 1.

    calls: how often it was asked; steps: how often one had to wait for answers before asking on.
    """

    def __init__(self, count: int, noise: Noise, seed: int) -> None:
        self.seed, self.noise, self.calls, self.steps = seed, noise, 0, 0
        self.rng = np.random.default_rng([seed, count])
        self.truth = self.rng.standard_normal(count)
        self.seen = self.truth + noise.own * self.rng.standard_normal(count)

    def ask(self, window: Sequence[int]) -> Answer:
        self.calls += 1
        common = self.noise.offset * self.rng.standard_normal()
        errors = self.noise.within * self.rng.standard_normal(len(window))
        values = self.seen[list(window)] + common + errors
        return dict(zip(window, values.tolist(), strict=True))


def tau(truth: Vector, values: Vector) -> float:
    """Kendall's, of values without ties."""
    up = np.sign(truth[:, None] - truth) * np.sign(values[:, None] - values)
    return float(up.sum() / (len(truth) * (len(truth) - 1)))


def single(model: Model) -> Vector:
    model.steps += 1
    return fit([model.ask([one]) for one in range(len(model.truth))], len(model.truth))


def single_twice(model: Model) -> Vector:
    values = (single(model) + single(model)) / 2
    model.steps = 1  # the second does not wait for the first
    return values


def one_round(model: Model) -> Vector:
    return fit(_first(model), len(model.truth))


def two_rounds(model: Model) -> Vector:
    return fit(_both(model), len(model.truth))


def two_rounds_mean(model: Model) -> Vector:
    """Without offsets."""
    cells = [cell for answer in _both(model) for cell in answer.items()]
    row, value = np.asarray([one for one, _ in cells]), np.asarray([value for _, value in cells])
    return np.bincount(row, value) / np.bincount(row)


def two_rounds_last(model: Model) -> Vector:
    """The later value wins."""
    values = np.empty(len(model.truth))
    for answer in _both(model):
        values[list(answer)] = list(answer.values())
    return values


def sliding(model: Model) -> Vector:
    """Windows of 8 that step by 4 from the top of a first order to its end, once, each sorted in
    place: what list-wise re-rankers do."""
    order = order_of(one_round(model))[::-1]
    for end in range(len(order), 0, -SIZE // 2):
        start, model.steps = max(end - SIZE, 0), model.steps + 1
        answer = model.ask(order[start:end])
        order[start:end] = sorted(answer, key=lambda one: -answer[one])
    return _places(order[::-1])


def merge_sort(model: Model, ways: int = 8) -> Vector:
    """Windows of 8 sorted, then merged `ways` lists at a time; a call sees the heads of the lists.

    From a call all are taken up to the first whose list has no more heads in it but goes on behind
    them: what comes later might be below the next of that list.
    """
    answers = _first(model)
    lists = [sorted(answer, key=lambda one, a=answer: a[one]) for answer in answers]
    while len(lists) > 1:
        groups = [lists[start : start + ways] for start in range(0, len(lists), ways)]
        before, longest, merged = model.calls, 0, []
        for group in groups:  # each waits only for itself
            merged.append(_merge(model, group))
            longest, before = max(longest, model.calls - before), model.calls
        lists, model.steps = merged, model.steps + longest
    return _places(lists[0])


ORDERS: dict[str, Callable[[Model], Vector]] = {
    "single values": single,
    "single values twice": single_twice,
    "one round": one_round,
    "two rounds + fit": two_rounds,
    "two rounds, mean": two_rounds_mean,
    "two rounds, later wins": two_rounds_last,
    "one round + sliding": sliding,
    "merge sort, 2 lists": lambda model: merge_sort(model, 2),
    "merge sort, 8 lists": merge_sort,
}


def taus(order: Callable[[Model], Vector], count: int, noise: Noise, seeds: int) -> Vector:
    """[seeds]; the same truths for every order."""
    models = [Model(count, noise, seed) for seed in range(seeds)]
    return np.asarray([tau(model.truth, order(model)) for model in models])


def _first(model: Model) -> list[Answer]:
    model.steps += 1
    return [model.ask(window) for window in first_round(len(model.truth), seed=model.seed)]


def _both(model: Model) -> list[Answer]:
    first = _first(model)
    order = order_of(fit(first, len(model.truth)))
    model.steps += 1
    return first + [model.ask(window) for window in second_round(order)]


def _merge(model: Model, lists: Sequence[Sequence[int]]) -> list[int]:
    merged, rest = [], [list(each) for each in lists]
    while len(rest) > 1:
        share = SIZE // len(rest)
        heads = [each[:share] for each in rest]
        answer = model.ask([one for head in heads for one in head])
        left = [set(head) for head in heads]
        for one in sorted(answer, key=answer.__getitem__):
            (at,) = (n for n, head in enumerate(left) if one in head)
            left[at].remove(one)
            rest[at].remove(one)
            merged.append(one)
            if not left[at] and rest[at]:
                break
        rest = [each for each in rest if each]
    return merged + [one for each in rest for one in each]


def _places(order: Sequence[int]) -> Vector:
    places = np.empty(len(order))
    places[list(order)] = np.arange(len(order))
    return places
