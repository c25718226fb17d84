"""Plans: which file goes where. Nothing is changed by them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from planned import COPY, LINK, MOVE, NUMBERED, RENAME, do, files, make, pairs, plan

from imgrank.errors import UsageError
from imgrank.files.checking import check
from imgrank.files.plan import Entry, Wish
from imgrank.files.planning import make_plan

pytestmark = pytest.mark.usefixtures("here")


# ---- names ---------------------------------------------------------------------------------------


def test_first_come_keeps_its_name_and_all_of_a_set_change_alike() -> None:
    make("x/a.jpg", "y/a.jpg", "y/a.jpg.json", "z/A.JPG")
    found = plan(COPY, "y/a.jpg", "x/a.jpg", "z/A.JPG")
    assert pairs(found) == [
        ("y/a.jpg", "to/a.jpg"),
        ("y/a.jpg.json", "to/a.jpg.json"),
        ("x/a.jpg", "to/a-2.jpg"),
        ("z/A.JPG", "to/A-3.JPG"),
    ]
    assert [step.members for step in found.steps] == [0, 0, 1, 2]
    assert [step.picture for step in found.steps] == [True, False, True, True]
    assert {str(path): str(place) for path, place in found.places.items()} == {
        "y/a.jpg": "to/a.jpg",
        "x/a.jpg": "to/a-2.jpg",
        "z/A.JPG": "to/A-3.JPG",
    }
    assert found.folders == [Path.cwd() / "to"]


def test_normal_forms_clash() -> None:
    make("x/\u00e9.jpg", "y/e\u0301.jpg")
    found = plan(COPY, "x/\u00e9.jpg", "y/e\u0301.jpg")
    assert [target for _, target in pairs(found)] == ["to/\u00e9.jpg", "to/e\u0301-2.jpg"]


def test_what_lies_in_the_target_keeps_its_name() -> None:
    make("x/a.jpg", "to/A.jpg", "to/a-2.jpg/inside.txt", "x/b.jpg", "x/c.jpg")
    Path("to/b.jpg").symlink_to("nowhere")
    Path("to/C.JPG").mkdir()
    found = plan(COPY, "x/a.jpg", "x/b.jpg", "x/c.jpg")
    assert [target for _, target in pairs(found)] == ["to/a-3.jpg", "to/b-2.jpg", "to/c-2.jpg"]


def test_strangers_of_one_stem_do_not_become_a_family() -> None:
    make("x/a.jpg", "y/a.nef", "z/a.png", "z/b.jpg", "to/b.xmp", "to/b.txt")
    found = plan(COPY, "x/a.jpg", "y/a.nef", "z/a.png", "z/b.jpg")
    assert [target for _, target in pairs(found)] == [
        "to/a.jpg", "to/a-2.nef", "to/a.png", "to/b-2.jpg"
    ]  # fmt: skip


def test_a_sidecar_does_not_come_beside_a_stranger() -> None:
    make("x/scan", "x/scan.xmp", "to/scan.png")
    assert [target for _, target in pairs(plan(COPY, "x/scan"))] == ["to/scan-2", "to/scan-2.xmp"]


def test_raw_and_jpeg_that_both_are_ranked_go_by_the_better_rank() -> None:
    make("a.nef", "a.jpg", "a.xmp", "b.jpg")
    found = plan(NUMBERED, "a.jpg", "b.jpg", "a.nef")
    assert pairs(found) == [
        ("a.jpg", "to/001__a.jpg"),
        ("a.nef", "to/001__a.nef"),
        ("a.xmp", "to/001__a.xmp"),
        ("b.jpg", "to/002__b.jpg"),
    ]
    assert [step.picture for step in found.steps] == [True, True, False, True]
    assert found.places[Path("a.nef")] == Path("to/001__a.nef")


def test_a_companion_that_is_a_row_is_filed_once() -> None:
    make("a.heic", "a.mov")
    assert len(plan(COPY, "a.mov", "a.heic", "a.heic").steps) == 2


@pytest.mark.parametrize(
    "name",
    [
        "two\nlines.jpg", "-rf.jpg", "--top.jpg", " a b .jpg", "\udcff\udcfe.jpg",
        ".hidden.jpg", "'\"*?.jpg", "none", "..jpg", "a" * 251 + ".jpg",
    ],
)  # fmt: skip
def test_strange_names_are_kept(name: str) -> None:
    if sys.platform == "darwin" and "\udcff" in name:
        pytest.skip("this file system takes only UTF-8")
    make(f"x/{name}")
    found = plan(COPY, f"x/{name}")
    assert pairs(found) == [(f"x/{name}", f"to/{name}")]
    do(found)
    assert files("to") == {name: f"x/{name}"}
    assert plan(COPY, f"x/{name}").steps == []


def test_a_name_that_would_be_too_long_is_refused_and_others_go_on() -> None:
    long, less = "a" * 250 + ".jpg", "c" * 245 + ".jpg"
    make(long, "b.jpg", less, f"{less}.xmp")
    found = plan(RENAME, long, "b.jpg", less)
    assert pairs(found) == [("b.jpg", "002__b.jpg")]
    assert [(str(skip.path), skip.reason) for skip in found.refused] == [
        (long, "its name would have 259 bytes, 255 at most"),
        (less, f"its companion {less}.xmp: its name would have 258 bytes, 255 at most"),
    ]
    assert set(found.places) == {Path("b.jpg")}


def test_a_refused_one_keeps_the_name_that_another_was_to_get() -> None:
    """002 is taken and no -2 fits, so 001 stays, and nothing else can be 001 either."""
    long = "x" * 246 + ".jpg"
    make(f"001__{long}", f"002__{long}", f"003__{long}", "004__b.jpg")
    found = plan(RENAME, f"003__{long}", f"001__{long}", "004__b.jpg")
    assert [str(skip.path) for skip in found.refused] == [f"003__{long}", f"001__{long}"]
    assert pairs(found) == [("004__b.jpg", "003__b.jpg")]


# ---- where to ------------------------------------------------------------------------------------


def test_folders_and_groups() -> None:
    make("p/x/a.jpg", "p/y/deep/b.jpg", "p/y/deep/b.xmp")
    entries = [
        Entry(Path("p/x/a.jpg"), 1, "1-of-2", Path("p/x")),
        Entry(Path("p/y/deep/b.jpg"), 1, "2-of-2", Path("p/y/deep")),
    ]
    found = make_plan(entries, COPY)
    assert [target for _, target in pairs(found)] == [
        "to/x/1-of-2/a.jpg", "to/y/deep/2-of-2/b.jpg", "to/y/deep/2-of-2/b.xmp"
    ]  # fmt: skip
    made = [str(folder.relative_to(Path.cwd())) for folder in found.folders]
    assert made == ["to", "to/x", "to/x/1-of-2", "to/y", "to/y/deep", "to/y/deep/2-of-2"]
    do(found)
    assert make_plan(entries, COPY).steps == []


def test_folders_that_differ_by_case_are_one() -> None:
    make("a.jpg", "b.jpg", "x/a.jpg", "to/NEW/c.jpg")
    entries = [
        Entry(Path("a.jpg"), 1, "New"),
        Entry(Path("x/a.jpg"), 2, "new"),
        Entry(Path("b.jpg"), 3, "Old"),
    ]
    found = make_plan([*entries, Entry(Path("to/NEW/c.jpg"), 4, "old")], COPY)
    assert [target for _, target in pairs(found)] == [
        "to/NEW/a.jpg", "to/NEW/a-2.jpg", "to/Old/b.jpg", "to/Old/c.jpg"
    ]  # fmt: skip


def test_a_file_where_a_folder_is_to_be_and_the_other_way_round() -> None:
    make("a.jpg", "to/1930s", "x/1940s.jpg")
    entries = [
        Entry(Path("a.jpg"), 1, "1930s"),
        Entry(Path("x/1940s.jpg"), 2),
        Entry(Path("a.jpg"), 3, "1940s.jpg"),
    ]
    found = make_plan(entries, COPY)
    assert [skip.reason for skip in found.refused] == ["to/1930s is a file, not a folder"]
    assert [target for _, target in pairs(found)] == ["to/1940s-2.jpg", "to/1940s.jpg/a.jpg"]


@pytest.mark.parametrize("wish", [COPY, MOVE, LINK, Wish("link", Path("to"), hard=True)])
def test_into_the_folder_that_it_is_in(wish: Wish) -> None:
    make("to/a.jpg", "to/sub/a.jpg", "to/sub/b.jpg")
    found = plan(wish, "to/sub/a.jpg", "to/a.jpg", "to/sub/b.jpg")
    assert pairs(found) == [("to/sub/a.jpg", "to/a-2.jpg"), ("to/sub/b.jpg", "to/b.jpg")]
    assert pairs(found, found.there) == [("to/a.jpg", "to/a.jpg")]
    assert len(found.places) == 3
    do(found)
    assert files("to")["a.jpg"] == "to/a.jpg"


def test_flattened_and_numbered_in_place_of_what_leaves() -> None:
    make("to/001__a.jpg", "to/sub/a.jpg")
    found = plan(Wish("move", Path("to"), numbered=True), "to/sub/a.jpg", "to/001__a.jpg")
    do(found)
    assert files("to") == {"001__a.jpg": "to/sub/a.jpg", "002__a.jpg": "to/001__a.jpg"}


def test_a_file_by_two_paths_goes_once(tmp_path: Path) -> None:
    make("real/a.jpg", "real/b.jpg")
    Path("linked").symlink_to("real")
    found = plan(MOVE, "linked/a.jpg", "real/a.jpg", "real/../real/b.jpg", "linked/b.jpg")
    assert len(found.steps) == 2
    assert {str(path): str(place) for path, place in found.places.items()} == {
        "linked/a.jpg": "to/a.jpg",
        "real/a.jpg": "to/a.jpg",
        "real/../real/b.jpg": "to/b.jpg",
        "linked/b.jpg": "to/b.jpg",
    }
    do(found)
    assert set(files("to")) == {"a.jpg", "b.jpg"}


def test_a_target_by_way_of_a_link_is_the_folder_itself() -> None:
    make("to/a.jpg")
    Path("linked").symlink_to("to")
    found = plan(Wish("move", Path("linked")), "to/a.jpg")
    assert found.steps == []
    assert len(found.there) == 1


def test_symbolic_links_as_sources() -> None:
    make("real/a.jpg", "x/b.jpg")
    Path("x/a.jpg").symlink_to("../real/a.jpg")
    Path("x/b.xmp").symlink_to("nowhere")
    for wish in (COPY, LINK):
        found = plan(wish, "x/a.jpg", "x/b.jpg")
        assert [step.source.name for step in found.steps] == ["a.jpg", "b.jpg"]
        do(found)
        assert plan(wish, "x/a.jpg", "x/b.jpg").steps == []
        for path in Path("to").iterdir():
            path.unlink()
    (step, _) = plan(MOVE, "x/a.jpg", "x/b.jpg").steps
    assert (step.source, step.target) == (Path.cwd() / "x/a.jpg", Path.cwd() / "to/a.jpg")


def test_vanished_pictures_are_refused() -> None:
    make("x/a.jpg")
    found = plan(COPY, "x/b.jpg", "gone/a.jpg", "x/a.jpg")
    assert [(str(skip.path), skip.reason) for skip in found.refused] == [
        ("x/b.jpg", "no such file any more"),
        ("gone/a.jpg", "no such file any more"),
    ]
    assert len(found.steps) == 1


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("file", "file cannot be used as a folder: Not a directory"),
        ("file/below", "file/below cannot be used as a folder: Not a directory"),
        ("nowhere", "nowhere is a link that leads nowhere"),
        ("nowhere/below", "nowhere is a link that leads nowhere"),
        ("t" * 256, "cannot be used as a folder: File name too long"),
    ],
)
def test_a_target_that_cannot_be_a_folder(target: str, said: str) -> None:
    make("a.jpg", "file")
    Path("nowhere").symlink_to("gone")
    with pytest.raises(UsageError, match=said):
        plan(Wish("copy", Path(target)), "a.jpg")


def test_the_target_may_be_named_by_way_of_its_parent() -> None:
    make("x/a.jpg")
    found = plan(Wish("copy", Path("x/../to")), "x/a.jpg")
    assert found.places[Path("x/a.jpg")] == Path("x/../to/a.jpg")
    assert found.steps[0].target == Path("to/a.jpg").absolute()


# ---- before --------------------------------------------------------------------------------------


def test_too_little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    make("a.jpg")
    little = shutil.disk_usage(".")._replace(free=4095)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: little)
    check(plan(LINK, "a.jpg"))
    check(plan(MOVE, "a.jpg"))
    with pytest.raises(UsageError, match=r"the files need 0\.0 MB, but to has 0\.0 MB free"):
        check(plan(COPY, "a.jpg"))


def test_nothing_is_planned_of_nothing() -> None:
    found = make_plan([], COPY)
    assert (found.steps, found.folders, found.there) == ([], [], [])
    check(found)
