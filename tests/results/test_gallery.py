"""Results on a page: joined, with addresses and thumbnails."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from printed_results import AGE, DATE, FACES, PATHS, QUALITY, cells, document, estimated, ranked

from imgrank.images import Skip
from imgrank.results.documents import Results, Tile, read, read_document
from imgrank.results.estimate import Estimate
from imgrank.results.estimates import write_estimates
from imgrank.results.gallery import address, files_of, join, make
from imgrank.results.output import write
from imgrank.results.page import Page
from imgrank.results.ranking import Cell, rank

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


def test_a_picture_that_was_filed_is_known_by_its_new_place() -> None:
    order = ranked([QUALITY], cells(2, 4, 1))
    moved = replace(order, tiles=(replace(order.tiles[0], place="best/001__b.jpg"),))
    ages = estimated([Estimate(Path("best/001__b.jpg"), value=30, level="30-39")], AGE)
    for several in ([moved, ages], [ages, moved]):
        joined, lacking = join(several)
        assert (len(joined.tiles), lacking) == (1, 0)
        assert sorted(joined.tiles[0].texts) == ["30 years", "4 MOS"]


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


def test_a_picture_is_where_it_was_filed_or_else_where_it_came_from(tmp_path: Path) -> None:
    found = document()
    for row, place in zip(found["images"], ["best/1.jpg", "", None], strict=True):
        row["to"] = place
    results = read_document(found, "x")
    assert [f.name for f in files_of(results, tmp_path)] == ["c.jpg", "b.jpg", "a.jpg"]
    (tmp_path / "best").mkdir()
    (tmp_path / "best/1.jpg").touch()
    assert [f.name for f in files_of(results, tmp_path)] == ["1.jpg", "b.jpg", "a.jpg"]


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
