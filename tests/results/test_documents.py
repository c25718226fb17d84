"""The JSON that commands print as tiles; and JSON that is not theirs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from printed_results import (
    AGE,
    BOX,
    DATE,
    DECADE,
    DOGS,
    FACES,
    PATHS,
    QUALITY,
    cells,
    document,
    estimated,
    ranked,
    scored,
)

from imgrank.errors import UsageError
from imgrank.images import Skip
from imgrank.results.bursts import Bursts, Near
from imgrank.results.documents import Results, Tile, read, read_document
from imgrank.results.estimate import Estimate
from imgrank.results.page import Criterion
from imgrank.results.ranking import Cell

# ---- what commands print -------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["json", "jsonl"])
def test_an_order(format: str) -> None:
    scores: list[list[Cell]] = [[(2.5, 2.25, 2.75)], [(4.125, None, None)], [(1.0, None, None)]]
    found = ranked([QUALITY], scores, format)
    assert found == Results(
        title="by quality",
        criteria=(Criterion("by quality", "MOS", "descending", "adapter good", 0.0, 5.0),),
        tiles=(
            Tile("p/b.jpg", (4.125,), ("4.125 MOS",), 1, 100.0),
            Tile("p/a.jpg", (2.5,), ("2.5 (2.25 to 2.75) MOS",), 2, 50.0),
            Tile("q/c.jpg", (1.0,), ("1 MOS",), 3, 0.0),
        ),
    )


def test_an_order_that_was_turned_round_has_the_lowest_first() -> None:
    found = ranked([QUALITY], cells(2, 4, 1), reverse=True)
    assert found.criteria[0].direction == "ascending"
    assert [(tile.rank, tile.values) for tile in found.tiles] == [(1, (1,)), (2, (2,)), (3, (4,))]


def test_values_of_closest_to_are_distances() -> None:
    found = ranked([DOGS], cells(1, 3, 4))
    assert found.criteria == (Criterion("closest to 3 dogs", "dogs", "ascending", "adapter dogs"),)
    assert [(tile.values, tile.texts) for tile in found.tiles] == [
        ((0,), ("3 dogs",)),
        ((1,), ("4 dogs",)),
        ((2,), ("1 dogs",)),
    ]


def test_dates_are_dates_and_measured_needs_no_model() -> None:
    found = ranked([DATE], cells(0, 1e9, 1.5e9))
    assert found.criteria == (Criterion("by date", "s since 1970", "descending", "measured"),)
    assert found.tiles[1].texts == ("2001-09-09 01:46:40",)


def test_several_criteria_are_the_combined_score_and_each() -> None:
    scores: list[list[Cell]] = [
        [(2.0, None, None), (1.0, None, None)],
        [(4.0, None, None), (3.0, None, None)],
        [(1.0, None, None), (9.0, None, None)],
    ]
    found = ranked([QUALITY, DOGS], scores)
    assert [c.name for c in found.criteria] == ["combined score", "by quality", "closest to 3 dogs"]
    assert found.combined
    assert found.tiles[0] == Tile("p/b.jpg", (1, 4, 0), ("1", "4 MOS", "3 dogs"), 1, 100)


def test_folders_are_labels_and_ranks_are_those_of_the_folder() -> None:
    found = ranked([QUALITY], cells(2, 4, 1), per_folder=True)
    assert [(t.rank, t.path, t.labels) for t in found.tiles] == [
        (1, "p/b.jpg", ("folder: p",)),
        (2, "p/a.jpg", ("folder: p",)),
        (1, "q/c.jpg", ("folder: q",)),
    ]


def test_comparisons_won_are_a_note() -> None:
    column = replace(QUALITY, refined=2)
    strengths = {PATHS[0]: 0.75, PATHS[1]: 0.25}
    found = ranked([column], cells(2, 4, 1), strengths=strengths)
    assert [tile.note for tile in found.tiles] == [
        "75% of its comparisons won",
        "25% of its comparisons won",
        "",
    ]


def test_bursts_are_labels_and_what_they_hide_is_a_note() -> None:
    bursts = Bursts(True, {PATHS[1]: 1, PATHS[0]: 1}, {PATHS[1]: (PATHS[0],)})
    assert ranked([QUALITY], cells(2, 4, 1), bursts=bursts, near=Near(True)).tiles == (
        Tile(
            "p/b.jpg",
            (4,),
            ("4 MOS",),
            1,
            100,
            ("burst: 1",),
            "the best of 2 that are nearly the same; left out: p/a.jpg",
        ),
        Tile("q/c.jpg", (1,), ("1 MOS",), 2, 0),
    )


def test_scores_are_ranked_by_the_first_criterion() -> None:
    scores: list[list[Cell]] = [
        [None, (1.0, None, None)],
        [(2.0, None, None), (3.0, None, None)],
        [(4.0, None, None), None],
    ]
    assert scored([QUALITY, DATE], scores).tiles == (
        Tile("q/c.jpg", (4, None), ("4 MOS", "-"), 1),
        Tile("p/b.jpg", (2, 3), ("2 MOS", "1970-01-01 00:00:03"), 2),
        Tile("p/a.jpg", (None, 1), ("-", "1970-01-01 00:00:01"), None),
    )


def test_skipped_files_are_told() -> None:
    found = ranked([QUALITY], cells(1, 2, 3), skipped=[Skip(Path("bad\udcff.jpg"), "no picture")])
    assert found.skipped == (("bad\udcff.jpg", "no picture"),)


@pytest.mark.parametrize("format", ["json", "jsonl"])
def test_all_faces_of_a_picture_are_one_tile(format: str) -> None:
    found = estimated(FACES, AGE, format)
    assert found == Results(
        title="Apparent age",
        criteria=(Criterion("age", "years", "descending", "l2rclip ages"),),
        tiles=(
            Tile("c.jpg", (61,), ("61 years",), 1, labels=("age: 60-69", "faces: 1")),
            Tile(
                "a.jpg",
                (34.56,),
                ("34.6 (28.1 to 41) years, 5 years",),
                2,
                labels=("age: 30-39", "age: 0-9", "faces: 2"),
            ),
            Tile(
                "b.jpg",
                (None,),
                ("no face",),
                labels=("age: no face", "faces: 0"),
                note="no face was found",
            ),
        ),
    )


def test_a_crowd_is_three_faces_and_how_many_more() -> None:
    ages = (4, 5, 6, 7, 8)
    rows = [Estimate(Path("a"), value=age, level="0-9", face=age, box=BOX) for age in ages]
    (tile,) = estimated(rows, AGE).tiles
    assert tile.texts == ("4 years, 5 years, 6 years and 2 more",)
    assert tile.note == "4 years, 5 years, 6 years, 7 years, 8 years"


def test_levels_are_labels_and_reasons_notes() -> None:
    rows = [
        Estimate(Path("a"), value=1931.246, low=1926.5, high=1936, level="1930s"),
        Estimate(Path("b"), "out_of_range", reason="in colour"),
        Estimate(Path("c"), value=1984, level="1980s", source="exif"),
    ]
    found = estimated(rows, DECADE)
    assert found.criteria == (Criterion("year", "", "descending", "l2rclip mine"),)
    assert found.tiles == (
        Tile("c", (1984,), ("1980s, 1984, by EXIF",), 1, labels=("decade: 1980s",)),
        Tile("a", (1931.25,), ("1930s, 1931 (1926 to 1936)",), 2, labels=("decade: 1930s",)),
        Tile(
            "b", (None,), ("out of range",), labels=("decade: out of range",), note="in colour"
        ),
    )  # fmt: skip


# ---- JSON of others ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"score": "7"}, "`images[1].score` is not a number"),
        ({"score": True}, "`images[1].score` is not a number"),
        ({"score": 10**400}, "`images[1].score` is not of a sensible size"),
        ({"rank": 0}, "`images[1].rank` is not a whole number from 1"),
        ({"rank": 1.5}, "`images[1].rank` is not a whole number from 1"),
        ({"rank": 10**30}, "`images[1].rank` is not a whole number from 1"),
        ({"percentile": None}, "`images[1].percentile` is not a number"),
        ({"interval": [1]}, "`images[1].interval` is not a pair of numbers"),
        ({"interval": [1, "2"]}, "`images[1].interval.1` is not a number"),
        ({"path": 7}, "`images[1].path` is not a text"),
        ({"others": "x"}, "`images[1].others` is not a list of texts"),
        ({"folder": ["x"]}, "`images[1].folder` is not a whole number from 1"),
    ],
)
def test_values_of_another_kind_are_refused_with_their_place(
    changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read(json.dumps(document(**changed)).encode(), "order.json")
    assert str(caught.value).startswith(f"order.json has no results of imgrank: {said}. It must be")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "order.json is empty."),
        (b" \n ", "order.json is empty."),
        (b"rank\tscore\n1\t2\n", "not JSON, or was cut short (Expecting value: line 1 column 1"),
        (b'{"criteria": [], "images": [\n{"rank": 1', "not JSON, or was cut short (Expecting"),
        (b'{"score": NaN}', "NaN is not a number"),
        (b'{"score": -Infinity}', "-Infinity is not a number"),
        (b"\xff\xfe\xff", "not JSON, or was cut short"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 5000, "not JSON, or was cut short (Exceeds the limit"),
        (b"[1, 2]", "there is neither `criteria` nor `model` in it"),
        (b'{"winner": "a.jpg"}', "there is neither `criteria` nor `model` in it"),
        (b'{"action": "copy", "from": "a"}', "there is neither `criteria` nor `model` in it"),
        (b'{"criteria": [], "images": []}', "`criteria` is empty"),
        (b'{"criteria": 3, "images": []}', "`criteria` is not a list"),
        (b'{"criteria": [3], "images": []}', "`criteria[0]` is not an object"),
        (b'{"model": "x", "images": []}', "`model` is not an object"),
        (b'{"model": {"task": "age"}, "images": []}', "`model.unit` is absent, not a text"),
    ],
)
def test_what_is_not_ours_is_refused_with_what_is_expected(data: bytes, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(data, "order.json")
    assert said in str(caught.value)
    assert str(caught.value).endswith("prints with --format json or jsonl.")


def test_a_direction_that_is_none_is_refused() -> None:
    found = document()
    found["images"][0]["direction"] = "sideways"
    with pytest.raises(UsageError, match=r"`images\[0\].direction` is not ascending or descend"):
        read_document(found, "x")


def test_scores_of_fewer_criteria_than_there_are_are_refused() -> None:
    found = document(scores=[])
    found["criteria"] *= 2
    with pytest.raises(UsageError, match=r"`images\[0\].scores` is absent, not a list"):
        read_document(found, "x")
    found["images"][0]["scores"] = []
    with pytest.raises(UsageError, match=r"`images\[0\].scores` is not of as many criteria"):
        read_document(found, "x")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_what_a_shell_of_windows_made_of_it_is_read(encoding: str) -> None:
    data = json.dumps(document()).encode(encoding)
    assert read(data, "x") == read(json.dumps(document()).encode(), "x")


def test_fields_of_later_versions_are_ignored_and_a_path_counts_once() -> None:
    found = document(novel={"a": 1})
    found["images"].append(found["images"][0] | {"rank": 4})
    assert len(read_document(found, "x").tiles) == 3


def test_no_rows_are_a_page_without_pictures() -> None:
    found = document() | {"images": []}
    assert read_document(found, "x").tiles == ()
