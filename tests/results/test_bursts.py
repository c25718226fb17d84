"""What an order shows of groups of near-duplicates."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgrank.errors import UsageError
from imgrank.results.bursts import Near, bursts_of, parse_near
from imgrank.results.ranking import Column, Row, parse_top, rank

A, B, C, D, E = (Path(f"p/{name}.jpg") for name in "abcde")
SCORES = {A: 5.0, B: 4.0, C: 3.0, D: 2.0, E: 1.0}
BEST = {A: A, B: B, C: A, D: B, E: A}
COLUMN = Column("by x", None, "measured", "-", "1", "x", "")


def ranked(near: str, **options: object) -> list[Row]:
    cells = [[(score, None, None)] for score in SCORES.values()]
    bursts = bursts_of(BEST, parse_near(near))
    return rank(list(SCORES), [COLUMN], cells, bursts=bursts, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("keep-best", Near(True)),
        (" group ", Near(False)),
        ("group:0.75", Near(False, 0.75)),
        ("keep-best:1", Near(True, 1.0)),
        ("keep-best:0.5", Near(True, 0.5)),
    ],
)
def test_how(text: str, near: Near) -> None:
    assert parse_near(text) == near


@pytest.mark.parametrize(
    "text", ["", "best", "keep", "group:", "group:0.49", "group:1.1", "group:x", "group:-1", "0.7"]
)
def test_what_is_no_way(text: str) -> None:
    with pytest.raises(UsageError, match="is not 'keep-best' or 'group'"):
        parse_near(text)


def test_groups_are_numbered_by_their_best() -> None:
    bursts = bursts_of({D: D, A: A, B: A, C: C, E: C}, Near(False))
    assert bursts.number == {A: 1, B: 1, C: 2, E: 2}
    assert bursts.others == {A: (B,), C: (E,)}
    assert bursts.count == 2


def test_group_keeps_rows_and_their_order() -> None:
    rows = ranked("group")
    assert [(r.path, r.burst, r.others) for r in rows] == [
        (A, 1, (C, E)),
        (B, 2, (D,)),
        (C, 1, ()),
        (D, 2, ()),
        (E, 1, ()),
    ]


def test_keep_best_counts_ranks_anew_and_keeps_percentiles() -> None:
    rows = ranked("keep-best")
    assert [(r.rank, r.path, r.percentile, r.burst, r.others) for r in rows] == [
        (1, A, 100.0, 1, (C, E)),
        (2, B, 75.0, 2, (D,)),
    ]


def test_limits_top_and_reverse_come_after() -> None:
    assert [r.path for r in ranked("keep-best", reverse=True)] == [B, A]
    assert [r.path for r in ranked("keep-best", top=parse_top("1"))] == [A]
    assert [r.path for r in ranked("keep-best", top=parse_top("50%"))] == [A]
    assert [r.path for r in ranked("keep-best", maximum=4.5)] == [B]  # nobody takes A's place
    assert [r.path for r in ranked("group", maximum=3.5)] == [C, D, E]
