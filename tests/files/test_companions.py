"""Which files travel together."""

from __future__ import annotations

import pytest

from imgrank.files.companions import families


def sets(*names: str) -> set[frozenset[str]]:
    return {frozenset(family.names) for family in families(names).values()}


def test_pictures_of_one_stem_are_strangers() -> None:
    assert sets("a.jpg", "a.png") == {frozenset({"a.jpg"}), frozenset({"a.png"})}


@pytest.mark.parametrize("suffix", [".NEF", ".xmp", ".AAE", ".pp3", ".dop", ".THM", ".MOV"])
def test_a_raw_or_sidecar_makes_one_set_of_a_stem(suffix: str) -> None:
    assert sets("a.jpg", "a.png", f"a{suffix}") == {frozenset({"a.jpg", "a.png", f"a{suffix}"})}


@pytest.mark.parametrize(
    "sidecar",
    [
        "a.jpg.xmp", "a.jpg.JSON", "a.jpg.pp3", "a.jpg.dop",
        "a.jpg.supplemental-metadata.json", "a.jpg.suppl.json", "a.jpg.xmp.json",
    ],
)  # fmt: skip
def test_a_sidecar_after_the_whole_name_is_of_that_picture(sidecar: str) -> None:
    names = {"a.jpg", sidecar, *(["a.jpg.xmp"] if sidecar == "a.jpg.xmp.json" else [])}
    assert sets(*names, "a.png") == {frozenset(names), frozenset({"a.png"})}


@pytest.mark.parametrize(
    "stranger",
    ["A.xmp", "ab.xmp", "a.json", "a.txt", "a.jpg.txt", "a.jpg.more.json", "b.mov", "a.JPG.xmp"],
)
def test_what_does_not_belong(stranger: str) -> None:
    assert sets("a.jpg", stranger) == {frozenset({"a.jpg"}), frozenset({stranger})}


def test_a_sidecar_that_could_be_of_two_is_of_the_whole_name() -> None:
    assert sets("a.NEF", "a.NEF.jpg", "a.NEF.xmp") == {
        frozenset({"a.NEF", "a.NEF.xmp"}),
        frozenset({"a.NEF.jpg"}),
    }


def test_all_of_a_shot_with_all_sidecars() -> None:
    shot = {"a.NEF", "a.JPG", "a.xmp", "a.NEF.xmp", "a.JPG.json"}
    (family,) = {family.stem: family for family in families(shot).values()}.values()
    assert family.stem == "a"
    assert family.tied
    assert set(family.names) == shot


def test_names_without_suffix_with_leading_dots_and_with_strange_bytes() -> None:
    strange = "\udcff\n.nef"
    names = {"scan", "scan.xmp", ".a.jpg", ".a.xmp", strange, "\udcff\n.jpg", "..jpg", ".jpg"}
    assert sets(*names) == {
        frozenset({"scan", "scan.xmp"}),
        frozenset({".a.jpg", ".a.xmp"}),
        frozenset({strange, "\udcff\n.jpg"}),
        frozenset({"..jpg"}),
        frozenset({".jpg"}),
    }


def test_twins_by_case_are_no_family() -> None:
    shot = {"a.JPG", "a.nef", "a.JPG.XMP"}
    assert sets(*shot, "a.jpg", "a.jpg.xmp", "a.JPG.xmp") == {
        frozenset(shot),
        frozenset({"a.jpg", "a.jpg.xmp"}),
        frozenset({"a.JPG.xmp"}),
    }


def test_every_file_is_of_one_family_and_all_names_are_kept() -> None:
    names = [
        "x",
        "x.xmp",
        "x.nef",
        "x.jpg",
        "x.xmp.xmp",
        "x.jpg.xmp",
        "x.mov",
        "x.json",
        "x.mov.xmp",
    ]
    found = families(names)
    assert set(found) == set(names)
    assert all(name in family.names for name, family in found.items())
    assert sum(len(some) for some in sets(*names)) == len(names)
