"""The order of a set: direction, ties, percentiles, filters, combination."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgrank.errors import UsageError
from imgrank.instruction import parse
from imgrank.results.ranking import Cell, Column, Row, Top, combined, parse_top, rank


def column(text: str = "by quality", weight: float = 1.0) -> Column:
    return Column.of(
        parse(text, weight), method="m", model="x", revision="r", prompt="p", unit="MOS"
    )


def cells(*values: float | None) -> list[list[Cell]]:
    return [[None if v is None else (v, None, None)] for v in values]


def names(rows: list[Row]) -> str:
    return "".join(str(row.path) for row in rows)


def paths(text: str) -> list[Path]:
    return [Path(letter) for letter in text]


def test_column_of_a_query() -> None:
    made = Column.of(
        parse("farthest from 3 dogs", 2.0),
        method="zero-shot",
        model="tiny",
        revision="abc",
        prompt="dogs",
        unit="cosine",
        range=(-1.0, 1.0),
    )
    assert made == Column(
        instruction="farthest from 3 dogs",
        task="count",
        method="zero-shot",
        model="tiny",
        revision="abc",
        prompt="dogs",
        unit="cosine",
        direction="ascending",
        reference=3.0,
        weight=2.0,
        range=(-1.0, 1.0),
    )
    assert made.zero_shot and not column().zero_shot


def test_highest_first_ties_by_path_with_percentiles() -> None:
    rows = rank(paths("dcba"), [column()], cells(1, 5, 5, 2))
    assert [(str(r.path), r.rank, r.score, r.percentile) for r in rows] == [
        ("b", 1, 5, 100.0),
        ("c", 2, 5, 100.0),
        ("a", 3, 2, 100 / 3),
        ("d", 4, 1, 0.0),
    ]


@pytest.mark.parametrize(
    ("text", "reverse", "order"),
    [
        ("by quality", False, "cab"),
        ("by quality", True, "bac"),
        ("worst first", False, "bac"),
        ("worst first", True, "cab"),
        ("closest to 3 dogs", False, "acb"),  # distances 1, 2, 2.5
        ("closest to 3 dogs", True, "bca"),
        ("farthest from 3 dogs", False, "bca"),
    ],
)
def test_directions(text: str, reverse: bool, order: str) -> None:
    rows = rank(paths("abc"), [column(text)], cells(2, 0.5, 5), reverse=reverse)
    assert names(rows) == order
    assert [row.percentile for row in rows] == [100.0, 50.0, 0.0]
    assert {str(r.path): r.score for r in rows} == {"a": 2, "b": 0.5, "c": 5}


def test_ties_stay_in_path_order_when_reversed() -> None:
    assert names(rank(paths("bca"), [column()], cells(1, 1, 0), reverse=True)) == "abc"


def test_one_picture_and_none() -> None:
    (row,) = rank([Path("a")], [column()], [[(3.0, 2.5, 3.5)]])
    assert row == Row(1, Path("a"), 3.0, 100.0, 2.5, 3.5, ((3.0, 2.5, 3.5),))
    assert rank([], [column()], []) == []
    with pytest.raises(ValueError, match="column"):
        rank([], [], [])


def test_pictures_without_a_finite_score_are_left_out() -> None:
    scores = cells(1, None, math.nan, math.inf, 2)
    assert names(rank(paths("abcde"), [column()], scores)) == "ea"
    both: list[list[Cell]] = [[(1, None, None), None], [(0, None, None), (1, None, None)]]
    assert names(rank(paths("ab"), [column(), column()], both)) == "b"


def test_filters_apply_before_top_and_leave_percentiles() -> None:
    scores = cells(0, 1, 2, 3, 4)
    rows = rank(
        paths("abcde"), [column()], scores, minimum=1, maximum=3, top=Top(Fraction(50), True)
    )
    assert [(r.rank, str(r.path), r.percentile) for r in rows] == [(1, "d", 75.0), (2, "c", 50.0)]


def test_per_folder_each_folder_is_a_set() -> None:
    found = [Path("y/b"), Path("x/c"), Path("y/a"), Path("x/d"), Path("x/e")]
    rows = rank(found, [column()], cells(9, 1, 7, 3, 2), per_folder=True, top=Top(Fraction(2)))
    assert [(r.rank, str(r.path), r.percentile, str(r.folder)) for r in rows] == [
        (1, "x/d", 100.0, "x"),
        (2, "x/e", 50.0, "x"),
        (1, "y/b", 100.0, "y"),
        (2, "y/a", 0.0, "y"),
    ]


def test_combination_is_the_weighted_geometric_mean() -> None:
    # criterion 1: 0, 5, 10 -> .01, .505, 1;  criterion 2 lowest first: 4, 2, 0 -> .01, .505, 1
    columns = [column("by quality", 3.0), column("by noise, cleanest first", 1.0)]
    pairs: list[list[tuple[float, None, None]]] = [
        [(0, None, None), (0, None, None)],
        [(5, None, None), (2, None, None)],
        [(10, None, None), (4, None, None)],
    ]
    expected = [0.01**0.75, 0.505, 0.01**0.25]
    assert combined(columns, pairs) == pytest.approx(expected, rel=1e-12)
    rows = rank(paths("abc"), columns, pairs)
    assert names(rows) == "bca"
    assert rows[0].scores == ((5, None, None), (2, None, None))
    assert rows[0].score == pytest.approx(0.505) and rows[0].low is None


def test_combination_of_equal_and_of_huge_values() -> None:
    equal = [[(2.0, None, None), (v, None, None)] for v in (1e308, -1e308)]
    assert combined([column("q", 1e308), column("q", 1e308)], equal) == pytest.approx([1.0, 0.1])


@pytest.mark.parametrize(
    ("text", "n", "kept"),
    [
        ("3", 10, 3),
        ("30", 10, 10),
        ("10%", 10, 1),
        ("10%", 11, 2),
        ("0.1 %", 5, 1),
        ("100%", 7, 7),
        ("7%", 100, 7),  # as floats, 0.07 * 100 is above 7
        ("10%", 0, 0),
    ],
)
def test_top(text: str, n: int, kept: int) -> None:
    assert parse_top(text).of(n) == kept


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "1.5", "0%", "101%", "ten", "%", "1e3", "nan", "5 5", "٣", "9" * 5000]
)
def test_top_refuses_nonsense(text: str) -> None:
    with pytest.raises(UsageError, match="neither a number of pictures"):
        parse_top(text)


SETS = st.lists(
    st.tuples(
        st.sampled_from([-2.0, -0.0, 0.0, 1.0, 1.5, 3.0]) | st.floats(-1e9, 1e9),
        st.integers(-3, 3).map(float),
    ),
    max_size=12,
)
TEXTS = st.sampled_from(["by quality", "worst first", "closest to 1 dog", "farthest from 2 cats"])


@given(SETS, TEXTS, st.booleans(), st.randoms(use_true_random=False))
def test_order_of_input_does_not_matter(pairs, text, several, random) -> None:  # type: ignore[no-untyped-def]
    columns = [column(text), column("by noise", 0.5)][: 1 + several]
    entries = [
        (Path(f"{i % 3}/{i}.jpg"), [(v, None, None) for v in pair[: 1 + several]])
        for i, pair in enumerate(pairs)
    ]
    once = rank([p for p, _ in entries], columns, [s for _, s in entries])
    random.shuffle(entries)
    again = rank([p for p, _ in entries], columns, [s for _, s in entries])
    assert once == again
    assert [row.rank for row in once] == list(range(1, len(pairs) + 1))
    assert all(a.percentile >= b.percentile for a, b in pairwise(once))
    assert not once or once[0].percentile == 100


@given(SETS, TEXTS, st.integers(1, 14))
def test_reverse_and_top(pairs, text, k) -> None:  # type: ignore[no-untyped-def]
    found = [Path(f"{i}.jpg") for i in range(len(pairs))]
    scores = cells(*(pair[0] for pair in pairs))
    rows = rank(found, [column(text)], scores)
    turned = rank(found, [column(text)], scores, reverse=True)

    def groups(some: list[Row]) -> list[set[Path]]:
        by_place: dict[float, set[Path]] = {}
        for row in some:
            by_place.setdefault(row.percentile, set()).add(row.path)
        return list(by_place.values())

    assert groups(turned) == groups(rows)[::-1]
    for group in groups(rows):
        tied = [str(row.path) for row in rows if row.path in group]
        assert tied == sorted(tied)
        assert tied == [str(row.path) for row in turned if row.path in group]
    assert rank(found, [column(text)], scores, top=Top(Fraction(k))) == rows[:k]


def test_nothing_big_is_imported() -> None:
    code = (
        "import sys, imgrank.results.output, imgrank.results.ranking; "
        "print([m for m in ('torch', 'numpy', 'rich', 'click', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
