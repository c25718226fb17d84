"""The ranking-aware reward (paper 002, section 3.1; spec/rarl.md): pure functions on plain floats.

y: the n true values, of images 1..n.   items: what the answer lists, in its order: ids and values
yhat.   The paper's formulas are lost in its published text (only the regression reward could be
confirmed elsewhere), so what stands here is this project's definition:

    R_fmt  = 1 if the answer has exactly the asked form, else 0
    R_reg  = (1/n) sum_i max(0, 1 - (yhat_i - y_i)^2 / delta^2)                    in [0, 1]
    R_rank = r_len + r_con + r_acc, 0 if n = 1                                     in [-2, 3]
    R      = alpha R_reg + beta R_rank + gamma R_fmt
    T      = alpha R_reg + beta r_acc, the task part, which the mutation looks at
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imgrank.listwise.parsing import Item, parse, well_formed
from imgrank.listwise.prompt import Rule

__all__ = [
    "Rewards",
    "Weights",
    "accuracy",
    "consistency",
    "length",
    "ranking",
    "regression",
    "rewards",
    "tau",
    "tolerance",
    "truth_task",
]


@dataclass(frozen=True, slots=True)
class Weights:
    """Of the regression (alpha), the ranking (beta) and the format (gamma) reward."""

    alpha: float = 1.0
    beta: float = 1.0
    gamma: float = 0.5


@dataclass(frozen=True, slots=True)
class Rewards:
    """One answer's. fmt, length: 0 or 1.   reg: [0, 1].   con, acc: [-1, 1], 0 if n = 1.
    total: R.   task: T."""

    fmt: float
    reg: float
    length: float
    con: float
    acc: float
    total: float
    task: float


def rewards(text: str, truth: Sequence[float], rule: Rule | float, weights: Weights) -> Rewards:
    """All rewards of an answer as written, without its end-of-text token.

    truth: n >= 1 finite values.   rule: of the task, or delta > 0 itself.
    """
    items = parse(text)
    delta = tolerance(rule) if isinstance(rule, Rule) else rule
    fmt, reg = float(well_formed(text)), regression(items, truth, delta)
    con, acc = consistency(items, truth), accuracy(items, truth)
    task = weights.alpha * reg + weights.beta * acc
    total = weights.alpha * reg + weights.beta * ranking(items, truth) + weights.gamma * fmt
    return Rewards(fmt, reg, length(items, truth), con, acc, total, task)


def tolerance(rule: Rule) -> float:
    """delta = 0.1 (high - low): ages of 0..100: 10; AVA's 1..10: 0.9; counts of 0..20: 2."""
    return 0.1 * (rule.high - rule.low)


def regression(items: Sequence[Item], truth: Sequence[float], delta: float) -> float:
    """R_reg: 1 for exact values, 0 for values that are all off by delta or more.

    An image that is missing earns 0; of one listed twice the first value counts; an id that is no
    image's is passed over.
    """
    said = _first(items)
    earned = 0.0
    for image, y in enumerate(truth, start=1):
        if image in said:
            gap = (said[image] - y) / delta  # infinite at worst, and then worth 0
            earned += max(0.0, 1.0 - gap * gap)
    return earned / len(truth)


def length(items: Sequence[Item], truth: Sequence[float]) -> float:
    """r_len: 1 if as many items are listed as there are images, whatever their ids, else 0."""
    return float(len(items) == len(truth))


def tau(keys: Sequence[float]) -> float:
    """1 - 2 #{a < b: k_a > k_b} / #{a < b: k_a != k_b}: how far the keys rise, in [-1, 1].

    Kendall's tau of the keys with 1..n, ties neutral; 1 if no two keys differ.
    """
    falling = apart = 0
    for b in range(len(keys)):
        for a in range(b):
            falling += keys[a] > keys[b]
            apart += keys[a] != keys[b]
    return 1 - 2 * falling / apart if apart else 1.0


def consistency(items: Sequence[Item], truth: Sequence[float]) -> float:
    """r_con: does the list rise by its own values? In [-1, 1].

    `tau` of the predicted values in listed order, but a pair with one prediction for two different
    truths counts as not concordant and stays in the denominator: one value for all images would be
    free reward else. A pair that is a tie of both is neutral; 1 if every pair is.
    -1 if the ids are not exactly 1..n, each once; 0 if n = 1, where there is no order.
    """
    n = len(truth)
    if n == 1:
        return 0.0
    if not _complete(items, n):
        return -1.0
    wrong = counted = 0
    for b in range(n):
        for a in range(b):
            first, then = items[a], items[b]
            tied = first.value == then.value
            if tied and truth[first.image_id - 1] == truth[then.image_id - 1]:
                continue
            counted += 1
            wrong += tied or first.value > then.value
    return 1 - 2 * wrong / counted if counted else 1.0


def accuracy(items: Sequence[Item], truth: Sequence[float]) -> float:
    """r_acc: does the list rise by the true values? `tau` of these in listed order, in [-1, 1].

    -1 if the ids are not exactly 1..n, each once (0 would make a broken answer better than a wrong
    order); 0 if n = 1, where there is no order.
    """
    n = len(truth)
    if n == 1:
        return 0.0
    return tau([truth[item.image_id - 1] for item in items]) if _complete(items, n) else -1.0


def ranking(items: Sequence[Item], truth: Sequence[float]) -> float:
    """R_rank = r_len + r_con + r_acc, in [-2, 3]; 0 if n = 1."""
    if len(truth) == 1:
        return 0.0
    return length(items, truth) + consistency(items, truth) + accuracy(items, truth)


def truth_task(n: int, weights: Weights) -> float:
    """T of the right answer about n images: alpha + beta, alpha alone if n = 1."""
    return weights.alpha + (weights.beta if n > 1 else 0.0)


def _first(items: Sequence[Item]) -> dict[int, float]:
    return {item.image_id: item.value for item in reversed(items)}


def _complete(items: Sequence[Item], n: int) -> bool:
    return len(items) == n and {item.image_id for item in items} == set(range(1, n + 1))
