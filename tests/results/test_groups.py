"""Which group a row belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgrank.errors import UsageError
from imgrank.files.plan import Entry
from imgrank.results.estimate import Estimate
from imgrank.results.groups import entries, estimate_entries, parse_grouping
from imgrank.results.ranking import Column, rank


def column(unit: str) -> Column:
    return Column("by x", None, "trained", "m", "r", "p", unit)


def groups(kind: str, values: list[float], unit: str = "", **options: bool) -> list[str | None]:
    """Of pictures with these values, best first."""
    columns = [column(unit)]
    paths = [Path(f"{number:04d}.jpg") for number in range(len(values))]
    rows = rank(paths, columns, [[(value, None, None)] for value in values], **options)
    return [entry.group for entry in entries(rows, columns, parse_grouping(kind))]


def test_quantiles_are_as_even_as_can_be() -> None:
    assert groups("quantiles", list(range(8))) == [
        *["1-of-4"] * 2, *["2-of-4"] * 2, *["3-of-4"] * 2, *["4-of-4"] * 2
    ]  # fmt: skip
    for count in (1000, 100, 37, 12):
        for parts in (2, 3, 7, 12):
            found = groups(f"quantiles:{parts}", list(range(count)))
            sizes = [found.count(name) for name in dict.fromkeys(found)]
            assert len(sizes) == parts
            assert max(sizes) - min(sizes) <= 1, (count, parts, sizes)


def test_quantile_folders_are_in_order_by_name() -> None:
    found = groups("quantiles:12", list(range(100)))
    assert found == sorted(map(str, found))
    assert (found[0], found[-1]) == ("01-of-12", "12-of-12")


def test_pictures_that_tie_are_in_one_quantile() -> None:
    assert groups("quantiles:2", [5, 5, 5, 1]) == ["1-of-2"] * 3 + ["2-of-2"]
    assert groups("quantiles:2", [5, 5]) == ["1-of-2"] * 2
    assert groups("quantiles", [5]) == ["1-of-4"]


def test_quantiles_are_of_the_whole_order_not_of_what_is_shown() -> None:
    columns, paths = [column("")], [Path(f"{number}.jpg") for number in range(8)]
    rows = rank(paths, columns, [[(float(n), None, None)] for n in range(8)], maximum=4)
    found = entries(rows, columns, parse_grouping("quantiles:2"))
    assert [entry.group for entry in found] == ["1-of-2"] + ["2-of-2"] * 4
    assert [entry.rank for entry in found] == [1, 2, 3, 4, 5]


def test_decades_of_years_and_of_dates() -> None:
    assert groups("decades", [1999.6, 1990, 1989.99, 2001], "year") == [
        "2000s", "1990s", "1990s", "1980s"
    ]  # fmt: skip
    assert groups("decades", [-1.0, 0.0, 946684799.0, 946684800.0, 1e30], "s since 1970") == [
        None, "2000s", "1990s", "1970s", "1960s"
    ]  # fmt: skip


def test_age_groups_as_the_age_command_names_them() -> None:
    assert groups("age-groups", [0, 9.4, 9.5, 29.6, 79.4, 79.5, 200], "years") == [
        "80+", "80+", "70-79", "30-39", "10-19", "0-9", "0-9"
    ]  # fmt: skip


def test_of_several_criteria_the_one_with_the_unit_counts() -> None:
    columns = [column("MOS"), column("years")]
    rows = rank([Path("a.jpg")], columns, [[(1.0, None, None), (33.0, None, None)]])
    (entry,) = entries(rows, columns, parse_grouping("age-groups"))
    assert entry == Entry(Path("a.jpg"), 1, "30-39")


@pytest.mark.parametrize("kind", ["decades", "age-groups"])
def test_a_score_of_another_unit_cannot_be_grouped_so(kind: str) -> None:
    with pytest.raises(UsageError, match="this one has MOS"):
        groups(kind, [1], "MOS")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quantiles:1", "a number from 2 to 1000"),
        ("quantiles:", "a number from 2 to 1000"),
        ("quantiles:1001", "a number from 2 to 1000"),
        ("quantiles:-2", "a number from 2 to 1000"),
        ("quantiles:\u0662", "a number from 2 to 1000"),
        ("decades:3", "none of decades, age-groups"),
        ("", "none of decades, age-groups"),
        ("levels", "imgrank aesthetic"),
    ],
)
def test_groupings_that_are_none(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_grouping(text)


def test_a_folder_of_its_own_goes_along() -> None:
    columns = [column("")]
    rows = rank([Path("x/a.jpg")], columns, [[(1.0, None, None)]], per_folder=True)
    assert entries(rows, columns) == [Entry(Path("x/a.jpg"), 1, None, Path("x"))]


def test_estimates_go_by_the_largest_face_and_only_where_there_is_one() -> None:
    rows = [
        Estimate(Path("a.jpg"), face=2, level="0-9"),
        Estimate(Path("a.jpg"), face=1, level="80+"),
        Estimate(Path("b.jpg"), "no_face"),
        Estimate(Path("c.jpg"), "out_of_range", face=1),
        Estimate(Path("c.jpg"), face=2, level="20-29"),
        Estimate(Path("d.jpg"), level="a/b"),
    ]
    assert estimate_entries(rows, True) == [
        Entry(Path("a.jpg"), 1, "80+"),
        Entry(Path("c.jpg"), 2, "20-29"),
        Entry(Path("d.jpg"), 3, "a-b"),
    ]
    assert [entry.group for entry in estimate_entries(rows, False)] == [None] * 3
