"""Plans of what was done before, and of names that wait for each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from planned import COPY, LINK, NUMBERED, RENAME, do, files, make, pairs, plan

from imgrank.files.plan import Entry, Wish
from imgrank.files.planning import make_plan

pytestmark = pytest.mark.usefixtures("here")


# ---- again ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wish",
    [
        COPY,
        LINK,
        Wish("link", Path("to"), hard=True),
        NUMBERED,
        Wish("link", Path("to"), numbered=True),
    ],
)
def test_done_twice_is_done_once(wish: Wish) -> None:
    make("x/a.jpg", "y/a.jpg", "y/a.xmp")
    make("z/a.jpg", text="x/a.jpg")
    names = ["x/a.jpg", "y/a.jpg", "z/a.jpg"]
    first = plan(wish, *names)
    do(first)
    again = plan(wish, *names)
    assert again.steps == []
    assert [step.target for step in again.there] == [step.target for step in first.steps]
    assert again.places == first.places
    assert again.folders == []
    if not wish.numbered:
        turned = plan(wish, *reversed(names))
        assert turned.steps == []


def test_a_copy_that_differs_is_no_copy() -> None:
    make("a.jpg")
    make("to/a.jpg", text="a.jp!")
    assert pairs(plan(COPY, "a.jpg")) == [("a.jpg", "to/a-2.jpg")]
    assert pairs(plan(LINK, "a.jpg")) == [("a.jpg", "to/a-2.jpg")]


def test_a_new_companion_comes_beside_the_copy() -> None:
    make("a.nef")
    do(plan(COPY, "a.nef"))
    make("a.xmp")
    again = plan(COPY, "a.nef")
    assert pairs(again) == [("a.xmp", "to/a.xmp")]
    assert pairs(again, again.there) == [("a.nef", "to/a.nef")]


def test_renamed_again_the_prefix_is_replaced_also_after_files_were_added() -> None:
    make("a.jpg", "b.jpg", "b.xmp")
    do(plan(RENAME, "b.jpg", "a.jpg"))
    assert set(files()) == {"001__b.jpg", "001__b.xmp", "002__a.jpg"}
    assert plan(RENAME, "001__b.jpg", "002__a.jpg").steps == []
    make("c.jpg")
    do(plan(RENAME, "002__a.jpg", "c.jpg", "001__b.jpg"))
    assert files() == {
        "001__a.jpg": "a.jpg",
        "002__c.jpg": "c.jpg",
        "003__b.jpg": "b.jpg",
        "003__b.xmp": "b.xmp",
    }


def test_a_name_that_is_all_suffix_is_renamed_again() -> None:
    make(".jpg", "001__.png", "002__")
    do(plan(RENAME, "002__", ".jpg", "001__.png"))
    assert set(files()) == {"001__002__", "002__.jpg", "003__.png"}
    do(plan(RENAME, "002__.jpg", "003__.png", "001__002__"))
    assert set(files()) == {"001__.jpg", "002__.png", "003__002__"}


def test_width_is_that_of_the_highest_rank() -> None:
    make("a.jpg")
    (step,) = make_plan([Entry(Path("a.jpg"), 12345)], RENAME).steps
    assert step.target.name == "12345__a.jpg"


def test_copies_numbered_by_another_order_are_told_of() -> None:
    make("a.jpg", "b.jpg")
    do(plan(NUMBERED, "a.jpg", "b.jpg"))
    found = plan(NUMBERED, "b.jpg", "a.jpg")
    assert [target for _, target in pairs(found)] == ["to/001__b.jpg", "to/002__a.jpg"]
    said = "2 files numbered by another order stay beside these: to/001__a.jpg ..."
    assert found.notes == [said]
    assert plan(NUMBERED, "a.jpg", "b.jpg").notes == []
    one = plan(Wish("rename", Path("to"), numbered=True), "to/001__a.jpg")
    assert one.notes == ["to/002__b.jpg, numbered by another order, stays beside these"]


# ---- renames that wait for each other ------------------------------------------------------------


def test_a_chain_is_done_from_its_free_end() -> None:
    make("001__a.jpg", "002__a.jpg", "003__a.jpg", "b.jpg")
    names = ["b.jpg", "001__a.jpg", "002__a.jpg", "003__a.jpg"]
    found = plan(RENAME, *names)
    assert [step.source.name for step in found.steps] == [
        "b.jpg", "003__a.jpg", "002__a.jpg", "001__a.jpg"
    ]  # fmt: skip
    do(found)
    assert files() == {
        "001__b.jpg": "b.jpg",
        "002__a.jpg": "001__a.jpg",
        "003__a.jpg": "002__a.jpg",
        "004__a.jpg": "003__a.jpg",
    }


def test_a_long_chain() -> None:
    count = 3000
    make("b.jpg", *(f"{rank:04d}__a.jpg" for rank in range(1, count)))
    found = plan(RENAME, "b.jpg", *(f"{rank:04d}__a.jpg" for rank in range(1, count)))
    do(found)
    assert files()["3000__a.jpg"] == "2999__a.jpg"


def test_a_cycle_goes_by_names_in_between_as_one_set() -> None:
    make(
        "001__a.jpg", "002__a.jpg", "003__a.jpg", "003__a.jpg.xmp", ".imgrank-0-0.tmp", "004__b.jpg"
    )
    found = plan(RENAME, "002__a.jpg", "003__a.jpg", "001__a.jpg", "004__b.jpg")
    assert len(found.steps) == 8
    assert {step.members for step in found.steps} == {0}
    assert sorted(pairs(found)) == [
        ("001__a.jpg", "003__a.jpg"),
        ("002__a.jpg", "001__a.jpg"),
        ("003__a.jpg", "002__a.jpg"),
        ("003__a.jpg.xmp", "002__a.jpg.xmp"),
    ]
    do(found)
    assert files() == {
        ".imgrank-0-0.tmp": ".imgrank-0-0.tmp",
        "001__a.jpg": "002__a.jpg",
        "002__a.jpg": "003__a.jpg",
        "002__a.jpg.xmp": "003__a.jpg.xmp",
        "003__a.jpg": "001__a.jpg",
        "004__b.jpg": "004__b.jpg",
    }


def test_names_that_only_clash_elsewhere_wait_too() -> None:
    """On a file system that folds case, 001__A.jpg must be gone before 001__a.jpg can be."""
    make("001__A.jpg", "002__a.jpg")
    if len(files()) < 2:
        pytest.skip("this file system folds case")
    steps = plan(RENAME, "002__a.jpg", "001__A.jpg").steps
    assert len(steps) == 4


def test_an_unranked_file_keeps_its_name() -> None:
    make("001__a.jpg", "a.jpg")
    found = plan(RENAME, "a.jpg")
    assert pairs(found) == [("a.jpg", "001__a-2.jpg")]
    do(found)
    assert plan(RENAME, "001__a-2.jpg").steps == []
