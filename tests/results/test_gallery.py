"""From the JSON that commands print to what stands on the page; and JSON that is not theirs."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imgrank.errors import UsageError
from imgrank.images import Skip
from imgrank.results.bursts import Bursts, Near
from imgrank.results.documents import Results, Tile, read, read_document
from imgrank.results.estimate import Box, Estimate
from imgrank.results.estimates import Estimator, write_estimates
from imgrank.results.gallery import address, files_of, join, make
from imgrank.results.output import write, write_scores
from imgrank.results.page import Criterion, Page
from imgrank.results.ranking import Cell, Column, rank

QUALITY = Column("by quality", "quality", "adapter", "good", "abc", "sort", "MOS", range=(0.0, 5.0))
DATE = Column("by date", "date", "measured", "-", "", "date", "s since 1970")
DOGS = Column("closest to 3 dogs", None, "adapter", "dogs", "", "dogs", "dogs", reference=3.0)
PATHS = [Path("p/a.jpg"), Path("p/b.jpg"), Path("q/c.jpg")]
AGE = Estimator("age", "ages", "def", "l2rclip", "years", faces=True)
DECADE = Estimator("decade", "mine", "abc", "l2rclip", "year", ("1920s", "1930s"), 0.8)


def ranked(
    columns: list[Column], scores: list[list[Cell]], format: Any = "json", **options: Any
) -> Results:
    out = io.BytesIO()
    reverse = options.pop("reverse", False)
    skipped = options.pop("skipped", ())
    near = options.pop("near", None)
    rows = rank(PATHS, columns, scores, reverse=reverse, **options)
    write(rows, columns, format, out, skipped=skipped, reverse=reverse, near=near)
    (results,) = read(out.getvalue(), "order.json")
    return results


def scored(columns: list[Column], scores: list[list[Cell]]) -> Results:
    out = io.BytesIO()
    write_scores(PATHS, columns, scores, "jsonl", out)
    (results,) = read(out.getvalue(), "scores.jsonl")
    return results


def estimated(rows: list[Estimate], model: Estimator, format: Any = "json") -> Results:
    out = io.BytesIO()
    write_estimates(rows, model, format, out)
    (results,) = read(out.getvalue(), "ages.json")
    return results


def cells(*values: float) -> list[list[Cell]]:
    return [[(value, None, None)] for value in values]


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


BOX = Box(0, 0, 9, 9)
FACES = [
    Estimate(Path("a.jpg"), value=34.56, low=28.125, high=41, level="30-39", face=1, box=BOX),
    Estimate(Path("a.jpg"), value=5, level="0-9", face=2, box=BOX),
    Estimate(Path("b.jpg"), "no_face", reason="no face was found"),
    Estimate(Path("c.jpg"), value=61, level="60-69", face=1, box=BOX),
]


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


# ---- several results -----------------------------------------------------------------------------


def test_criteria_stand_side_by_side_and_what_is_missing_is_said() -> None:
    order = ranked([QUALITY], cells(2, 4, 1), top=None)
    ages = estimated(
        [Estimate(Path("p/./a.jpg"), value=30, level="30-39"), Estimate(Path("z.jpg"), "no_face")],
        AGE,
    )
    joined, lacking = join([order, ages])
    assert lacking == 3
    assert joined.title == "by quality, Apparent age"
    assert [criterion.name for criterion in joined.criteria] == ["by quality", "age"]
    assert joined.tiles == (
        Tile("p/b.jpg", (4, None), ("4 MOS", "-"), 1, 100),
        Tile("p/a.jpg", (2, 30), ("2 MOS", "30 years"), 2, 50, ("age: 30-39", "faces: 1")),
        Tile("q/c.jpg", (1, None), ("1 MOS", "-"), 3, 0),
        Tile("z.jpg", (None, None), ("-", "no face"), None, None, ("age: no face", "faces: 0")),
    )


def test_the_same_criterion_of_two_folders_is_one_with_ranks_of_its_own() -> None:
    one = ranked([QUALITY], cells(2, 4, 1))
    other = replace(one, tiles=tuple(replace(t, path=f"other/{t.path}") for t in one.tiles))
    joined, lacking = join([one, other])
    assert (len(joined.criteria), lacking) == (1, 0)
    assert [(tile.rank, tile.path) for tile in joined.tiles] == [
        (1, "p/b.jpg"),
        (2, "other/p/b.jpg"),
        (3, "p/a.jpg"),
        (4, "other/p/a.jpg"),
        (5, "q/c.jpg"),
        (6, "other/q/c.jpg"),
    ]


def test_criteria_of_one_name_get_names_of_their_own() -> None:
    both: list[list[Cell]] = [[(1.0, None, None), (2.0, None, None)]] * 3
    other = replace(QUALITY, model="better")
    joined, _ = join(
        [
            ranked([QUALITY, DATE], both),
            ranked([other, DATE], both),
            ranked([other], cells(1, 2, 3)),
        ]
    )
    assert [criterion.name for criterion in joined.criteria] == [
        "combined score",
        "by quality",
        "by date",
        "combined score (2)",
        "by quality (adapter better)",
    ]


def test_lines_of_two_runs_in_one_file_are_two_results() -> None:
    lines = io.BytesIO()
    write(rank(PATHS, [QUALITY], cells(1, 2, 3)), [QUALITY], "jsonl", lines)
    write_estimates(FACES, AGE, "jsonl", lines)
    assert [results.title for results in read(lines.getvalue(), "both")] == [
        "by quality",
        "Apparent age",
    ]


# ---- JSON of others ------------------------------------------------------------------------------


def document(**changed: Any) -> dict[str, Any]:
    out = io.BytesIO()
    write(rank(PATHS, [QUALITY], cells(1, 2, 3)), [QUALITY], "json", out)
    found: dict[str, Any] = json.loads(out.getvalue())
    found["images"][1] |= changed
    return found


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


# ---- the page ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "folder", "expected"),
    [
        ("/p/a b#?.jpg", "/p", "a%20b%23%3F.jpg"),
        ("/p/x/caf\udce9.jpg", "/p/out", "../x/caf%E9.jpg"),
        ("/p/grün/ä.jpg", "/p", "gr%C3%BCn/%C3%A4.jpg"),
        ("/p/javascript:alert(1)", "/p", "javascript%3Aalert%281%29"),
        ("/p/a%41.jpg", "/p", "a%2541.jpg"),
        ("/p/a\nb.jpg", "/p", "a%0Ab.jpg"),
        ("/p/caf\udce9.jpg", None, "file:///p/caf%E9.jpg"),
        ("/p/a\ud800.jpg", "/p", ""),
        ("/p/a\ud800.jpg", None, ""),
    ],
)
def test_addresses_are_of_the_bytes_of_the_name(
    file: str, folder: str | None, expected: str
) -> None:
    assert address(Path(file), folder and Path(folder)) == expected  # type: ignore[arg-type]


def test_addresses_of_relative_paths_are_seen_from_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert address(Path("a.jpg"), Path()) == "a.jpg"
    assert address(Path("../a.jpg"), Path("out")) == "../../a.jpg"


def test_parents_of_links_are_those_of_the_file_system(tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/away")
    assert address(tmp_path / "link" / ".." / "a.jpg", tmp_path) == "far/a.jpg"
    assert address(tmp_path / "link" / "a.jpg", tmp_path) == "link/a.jpg"


def page_of(results: Results, root: Path, **options: Any) -> tuple[Page, list[Skip]]:
    made = make(results, files_of(results, root), root, threads=2, **options)
    return made.page, list(made.without)


def test_a_page(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    Image.new("RGB", (600, 400)).save(tmp_path / "p/b.jpg")
    (tmp_path / "p/a.jpg").write_bytes(b"\xff\xd8\xff")
    results = ranked([QUALITY], cells(2, 4, 1), skipped=[Skip(Path("x.jpg"), "not a picture")])
    page, without = page_of(results, tmp_path, side=100)
    assert page.title == "by quality"
    assert page.subtitle == "3 pictures · highest first · adapter good"
    assert page.criteria == results.criteria
    assert page.skipped == (("x.jpg", "not a picture"),)
    first, second, third = page.pictures
    assert (first.name, first.path, first.href) == ("b.jpg", str(tmp_path / "p/b.jpg"), "p/b.jpg")
    assert (first.rank, first.percentile, first.values) == (1, 100, (4,))
    assert (first.texts, first.width, first.height) == (("4 MOS",), 600, 400)
    assert first.thumbnail is not None
    assert Image.open(io.BytesIO(first.thumbnail)).size == (100, 67)
    assert (second.thumbnail, second.width, second.href) == (None, 0, "p/a.jpg")
    assert second.note.startswith("damaged or unsupported JPEG")
    assert third.note == "no such file any more"
    assert [skip.path.name for skip in without] == ["a.jpg", "c.jpg"]


def test_a_picture_that_went_is_found_where_the_results_say(tmp_path: Path) -> None:
    found = document()
    for row, place in zip(found["images"], ["best/1.jpg", "", None], strict=True):
        row["to"] = place
    results = read_document(found, "x")
    assert [f.name for f in files_of(results, tmp_path)] == ["1.jpg", "b.jpg", "a.jpg"]
    (tmp_path / "q").mkdir()
    (tmp_path / "q/c.jpg").touch()  # it was copied: it is still there
    assert [f.name for f in files_of(results, tmp_path)] == ["c.jpg", "b.jpg", "a.jpg"]


def test_of_the_first_ones_what_browsers_do_not_show_is_larger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgrank.results.gallery.LARGE_ONES", 2)
    for path, kind in zip(("b.jpg", "a.jpg", "c.jpg"), ("TIFF", "JPEG", "TIFF"), strict=True):
        Image.new("RGB", (2000, 1000)).save(tmp_path / path, kind)
    results = ranked([QUALITY], cells(2, 4, 1))
    tiles = tuple(replace(tile, path=Path(tile.path).name) for tile in results.tiles)
    page, _ = page_of(replace(results, tiles=tiles), tmp_path)
    thumbnails = [picture.thumbnail or b"" for picture in page.pictures]
    assert [Image.open(io.BytesIO(data)).width for data in thumbnails] == [1280, 480, 480]


def test_names_that_are_not_utf8_are_found(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    try:
        Image.new("RGB", (4, 4)).save(os.fsdecode(name))
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    found = document()
    found["images"] = [found["images"][0] | {"path": os.fsdecode(name)}]
    results = read_document(json.loads(json.dumps(found)), "x")
    page, without = page_of(results, tmp_path)
    assert not without
    assert page.pictures[0].href == "caf%E9.png"
