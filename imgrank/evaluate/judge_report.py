"""What a judge's verdicts come to, as plain values, rows and lines; see `judge` for the rates.

    {"a": ..., "b": ..., "judge": ..., "top": 5, "queries": 100, "identical": 3, "malformed": 0,
     "rounds": 1000, "seed": 0,
     "criteria": [{"criterion": "accuracy", "wins": 40, "similar": 40, "losses": 20,
                   "win_rate": 0.667, "win_rate_interval": [...],
                   "win_and_similar_rate": 0.8, "win_and_similar_rate_interval": [...],
                   "row_1": 0.58}],
     "judged": [{"query": ..., "a": [paths], "b": [paths], "identical": false, "malformed": "",
                 "verdicts": [{"accuracy": 1}, {"accuracy": 2}], "outcomes": {"accuracy": "win"}}]}

Intervals are 95 %, bootstrap over queries. `row_1`: how often the first row was chosen, of all
verdicts; far from 0.5 it is a judge that looks at the place, which order consistency makes
"similar". A rate of nothing (no wins and no losses) is None.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from imgrank.evaluate.judge import Judged
from imgrank.evaluate.resampling import Drawn, Vector, draws, interval

__all__ = ["COLUMNS", "cells", "notes", "table", "tsv"]

OUTCOMES = {"win": "wins", "similar": "similar", "loss": "losses"}
RATES = {"win_rate": "win rate", "win_and_similar_rate": "win & similar"}
COLUMNS = (
    *("a", "b", "judge", "criterion", "queries", *OUTCOMES.values()),
    *(column for rate in RATES for column in (rate, f"{rate}_low", f"{rate}_high")),
    *("row_1", "identical", "malformed"),
)


def table(
    judged: Sequence[Judged],
    criteria: Sequence[str],
    facts: Mapping[str, Any],
    *,
    rounds: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """See the top of this module. facts: what comes first (a, b, judge, top)."""
    drawn = draws(range(len(judged)), rounds, seed)
    return {
        **facts,
        "queries": len(judged),
        "identical": sum(one.identical for one in judged),
        "malformed": sum(bool(one.malformed) for one in judged),
        "rounds": rounds,
        "seed": seed,
        "criteria": [_criterion(judged, name, drawn) for name in criteria],
        "judged": [_plain(one, criteria) for one in judged],
    }


def tsv(found: Mapping[str, Any]) -> Iterator[list[str]]:
    """Heading and a row a criterion, for a pipe."""
    yield list(COLUMNS)
    for row in found["criteria"]:
        values = {**found, **row}
        for rate in RATES:
            low, high = values[f"{rate}_interval"]
            values |= {f"{rate}_low": low, f"{rate}_high": high}
        yield [_text(values[column]) for column in COLUMNS]


def cells(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of a table for people."""
    head = ["criterion", *OUTCOMES.values(), *RATES.values(), "row 1"]
    body = [
        [
            row["criterion"],
            *(str(row[name]) for name in OUTCOMES.values()),
            *(_rate(row[rate], row[f"{rate}_interval"]) for rate in RATES),
            _rate(row["row_1"], None),
        ]
        for row in found["criteria"]
    ]
    return head, body


def notes(found: Mapping[str, Any]) -> Iterator[str]:
    """What the rows do not say, a line each."""
    yield (
        f"{found['queries']} queries, {found['top']} pictures a row; a win is {found['a']}'s, and "
        "only if the judge says so with the rows in either order."
    )
    if found["identical"]:
        yield f"{found['identical']} queries gave both the same pictures: similar, not judged."
    if found["malformed"]:
        yield f"{found['malformed']} queries got no verdict that could be read: similar."
    yield (
        f"In brackets: 95 % intervals, {found['rounds']} bootstrap rounds over queries, seed "
        f"{found['seed']}. win rate = W / (W + L), win & similar = (W + S) / all, row 1: how often "
        "the first row was chosen."
    )


def _criterion(judged: Sequence[Judged], criterion: str, drawn: Drawn) -> dict[str, Any]:
    outcomes = [one.outcome(criterion) for one in judged]
    wins, similar, losses = (
        np.array([outcome == each for outcome in outcomes], np.float64) for each in OUTCOMES
    )
    choices = [verdict[criterion] for one in judged for verdict in one.verdicts]
    with np.errstate(invalid="ignore"):
        won, even, lost = (drawn @ each for each in (wins, similar, losses))
        decided, liked = won / (won + lost), (won + even) / (won + even + lost)
    return {
        "criterion": criterion,
        **{name: outcomes.count(each) for each, name in OUTCOMES.items()},  # type: ignore[arg-type]
        **_with_interval("win_rate", wins, wins + losses, decided),
        **_with_interval("win_and_similar_rate", wins + similar, np.ones(len(judged)), liked),
        "row_1": choices.count(1) / len(choices) if choices else None,
    }


def _with_interval(name: str, part: Vector, whole: Vector, rounds: Vector) -> dict[str, Any]:
    if not whole.sum():
        return {name: None, f"{name}_interval": (None, None)}
    low, high = interval(rounds)  # NaN where no round has a win or a loss
    limits = (None, None) if np.isnan(low) else (low, high)
    return {name: float(part.sum() / whole.sum()), f"{name}_interval": limits}


def _plain(one: Judged, criteria: Sequence[str]) -> dict[str, Any]:
    return {
        "query": one.pair.query,
        "a": [str(path) for path in one.pair.a],
        "b": [str(path) for path in one.pair.b],
        "identical": one.identical,
        "malformed": one.malformed,
        "verdicts": [dict(verdict) for verdict in one.verdicts],
        "outcomes": {criterion: one.outcome(criterion) for criterion in criteria},
    }


def _rate(value: float | None, limits: tuple[float | None, float | None] | None) -> str:
    if value is None:
        return "-"
    low, high = limits or (None, None)
    if low is None or high is None:
        return f"{value:.1%}"
    return f"{value:.1%}\n[{100 * low:.1f}–{100 * high:.1f}]"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)
