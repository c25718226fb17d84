"""When names clash, rank prefixes, and what may be a name."""

from __future__ import annotations

import pytest

from imgrank.files.naming import clash_key, folder_name, impossible, is_numbered, numbered


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.jpg", "A.JPG"),
        ("Caf\u00e9", "cafe\u0301"),
        ("\u00c9", "e\u0301"),
        ("STRASSE", "Stra\u00dfe"),
    ],
)
def test_names_that_clash(one: str, other: str) -> None:
    assert clash_key(one) == clash_key(other)


@pytest.mark.parametrize(
    ("one", "other"), [("a", "b"), ("e", "\u00e9"), ("\udcff", "\udcfe"), ("a", "a ")]
)
def test_names_that_do_not(one: str, other: str) -> None:
    assert clash_key(one) != clash_key(other)


@pytest.mark.parametrize(
    ("name", "rank", "width", "expected"),
    [
        ("a.jpg", 7, 2, "007__a.jpg"),
        ("a.jpg", 7, 4, "0007__a.jpg"),
        ("012__a.jpg", 7, 3, "007__a.jpg"),
        ("0012__a.jpg", 7, 3, "007__a.jpg"),
        ("12__a.jpg", 7, 3, "007__12__a.jpg"),
        ("012_a.jpg", 7, 3, "007__012_a.jpg"),
        ("012__013__a.jpg", 7, 3, "007__013__a.jpg"),
        ("012__", 7, 3, "007__012__"),
        ("012__\n", 7, 3, "007__\n"),
        ("\u0661\u0662\u0663__a", 7, 3, "007__\u0661\u0662\u0663__a"),
    ],
)
def test_the_rank_prefix_replaces_an_older_one(
    name: str, rank: int, width: int, expected: str
) -> None:
    assert numbered(name, rank, width) == expected
    assert is_numbered(expected)
    assert numbered(expected, rank, width) == expected


def test_names_that_are_too_long() -> None:
    assert impossible("a" * 255) is None
    assert impossible("\u00e9" * 127) is None
    assert impossible("\u00e9" * 128) == "its name would have 256 bytes, 255 at most"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1930s", "1930s"), ("80+", "80+"), ("1-of-4", "1-of-4"), ("a/b\\c:d", "a-b-c-d"),
        ("..", "-"), (".hidden", "-hidden"), ("end. ", "end-"), ("", "none"), ("  ", "none"),
        ("con", "con-"), ("LPT1.x", "LPT1.x-"), ("a\nb\0", "a-b-"), ("sch\u00f6n", "sch\u00f6n"),
    ],
)  # fmt: skip
def test_a_folder_name_is_possible_everywhere(text: str, expected: str) -> None:
    assert folder_name(text) == expected


def test_a_long_folder_name_is_cut() -> None:
    assert folder_name("\u00e9" * 200) == "\u00e9" * 127
