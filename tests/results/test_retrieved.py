"""Rows of a search against the plain order of `ranking.rank`, and two stages worked by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from imgrank.results.ranking import Column, Row, parse_top, rank
from imgrank.results.retrieved import by_both, by_cosine

COSINE = Column("a cat", None, "search", "tiny", "1", "'a cat'", "cosine")
BEAUTY = Column("by aesthetics", "aesthetics", "l2rclip", "m", "1", "a photo", "MOS")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("top", [None, "1", "7", "10%", "500", "100%"])
@pytest.mark.parametrize("minimum", [None, 0.1, 0.9, 2.0])
def test_the_rows_are_those_of_the_plain_order(
    seed: int, top: str | None, minimum: float | None
) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 200))
    cosines = np.round(rng.uniform(-1, 1, n), 2)  # many ties
    paths = [Path(f"{name}.jpg") for name in rng.permutation(n)]
    limit = parse_top(top) if top else None
    plain = rank(paths, [COSINE], [[(v, None, None)] for v in cosines], top=limit, minimum=minimum)
    found = by_cosine(paths, cosines, top=limit, minimum=minimum)
    assert [row.path for row in found] == [row.path for row in plain]
    assert found == [row._replace(percentile=pytest.approx(row.percentile)) for row in plain]


def test_what_is_equal_to_six_decimals_is_a_tie_and_there_is_no_minus_zero() -> None:
    rows = by_cosine([Path("b"), Path("a"), Path("c")], np.array([0.1234561, 0.1234564, -1e-9]))
    assert [(str(row.path), row.score, row.percentile) for row in rows] == [
        ("a", 0.123456, 100.0),
        ("b", 0.123456, 100.0),
        ("c", 0.0, 0.0),
    ]
    assert math.copysign(1, rows[2].score) == 1


def test_the_nearest_of_a_larger_set() -> None:
    """Percentiles are of all eleven pictures, a share was taken before."""
    near = np.array([0.5, 0.7, 0.5])
    paths = [Path(name) for name in "cab"]
    rows = by_cosine(paths, near, top=parse_top("10%"), minimum=0.1, of=11)
    assert [(str(row.path), row.percentile) for row in rows] == [("a", 100), ("b", 90), ("c", 90)]
    assert by_cosine(paths, near, minimum=0.6, of=11) == rows[:1]


def first(*cosines: float) -> list[Row]:
    paths = [Path(f"{letter}.jpg") for letter in "abcdefgh"[: len(cosines)]]
    return by_cosine(paths, np.array(cosines))


def test_two_stages_by_hand() -> None:
    """z(.4, .2, .0) = (1, 0, -1) x 1.224745; z(1, 5, 3) = (-1, 1, 0) x 1.224745."""
    rows = by_both(first(0.4, 0.2, 0.0), [(v, None, None) for v in (1, 5, 3)], BEAUTY, 1.25)
    assert [str(row.path) for row in rows] == ["b.jpg", "a.jpg", "c.jpg"]
    z = math.sqrt(1.5)
    assert [row.score for row in rows] == pytest.approx([1.25 * z, (1 - 1.25) * z, -z])
    assert [(row.rank, row.percentile) for row in rows] == [(1, 100), (2, 50), (3, 0)]
    assert rows[0].scores == ((0.2, None, None), (5, None, None))


def test_lower_is_better_where_the_task_says_so() -> None:
    youngest = Column("youngest first", "age", "m", "m", "1", "", "years", "ascending")
    rows = by_both(first(0.2, 0.2), [(60, None, None), (20, None, None)], youngest, 1.0)
    assert [str(row.path) for row in rows] == ["b.jpg", "a.jpg"]


def test_a_column_in_which_all_are_equal_counts_nothing() -> None:
    rows = by_both(first(0.1, 0.3, 0.2), [(4.0, None, None)] * 3, BEAUTY, 1.25)
    assert [str(row.path) for row in rows] == ["b.jpg", "c.jpg", "a.jpg"]
    alone = by_both(first(0.1), [(4.0, 1.0, 5.0)], BEAUTY, 1.25)
    assert [(row.score, row.percentile) for row in alone] == [(0.0, 100.0)]
    tiny = by_both(first(0.1, 0.1), [(0.0, None, None), (5e-324, None, None)], BEAUTY, 1.25)
    assert [row.score for row in tiny] == [0.0, 0.0]


def test_ties_of_both_stages_go_by_path_and_share_their_percentile() -> None:
    cells = [(2.0, None, None), (2.0, None, None), (1.0, None, None)]
    rows = by_both(first(0.3, 0.3, 0.1)[::-1], cells[::-1], BEAUTY, 1.25, parse_top("2"))
    assert [(row.rank, str(row.path), row.percentile) for row in rows] == [
        (1, "a.jpg", 100.0),
        (2, "b.jpg", 100.0),
    ]
