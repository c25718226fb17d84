"""Queries made of captions and of themes, and read from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgrank.data.captions import Captioned
from imgrank.data.oasis import parts_of
from imgrank.data.queries import (
    caption_queries,
    cleaned,
    distinct,
    drawn,
    read_queries,
    set_queries,
    shortened,
    theme_queries,
)
from imgrank.errors import DataError


@pytest.mark.parametrize(
    ("caption", "query"),
    [
        ("A girl going into a wooden building .", "A girl going into a wooden building"),
        ("A dog , in the  snow , runs .", "A dog, in the snow, runs"),
        ("A man 's hat\nis red .", "A man's hat is red"),
        ('" Stop ! " says a sign.', 'Stop! " says a sign'),
        ("Who is it ?", "Who is it?"),
        ("Living room", "Living room"),
        ("...", ""),
    ],
)
def test_a_caption_is_tidied_and_no_more(caption: str, query: str) -> None:
    assert cleaned(caption) == query


@pytest.mark.parametrize(
    ("words", "short"),
    [
        (1, "A"),
        (2, "A child"),
        (3, "A child"),  # not "A child in"
        (4, "A child"),  # not "A child in a"
        (5, "A child in a pink"),
        (6, "A child in a pink dress"),
        (9, "A child in a pink dress, climbing up"),  # not "up a"
        (20, "A child in a pink dress, climbing up a set of"),
    ],
)
def test_a_short_query_is_the_first_words_that_stand_by_themselves(words: int, short: str) -> None:
    text = "A child in a pink dress, climbing up a set of"
    assert shortened(text, words) == short


def captioned() -> Captioned:
    return Captioned(
        "flickr8k",
        paths=(Path("1.jpg"), Path("2.jpg"), Path("3.jpg")),
        keys=("flickr8k/1.jpg", "flickr8k/2.jpg", "flickr8k/3.jpg"),
        parts=("train", "test", "train"),
        captions=(("A dog .", "a  DOG"), ("A cat .",), ("Snow .", "A dog .", " .")),
    )


def test_captions_of_one_part_each_once() -> None:
    assert caption_queries(captioned(), "train") == ["A dog", "Snow"]
    assert caption_queries(captioned(), "test") == ["A cat"]
    assert caption_queries(captioned(), "validation") == []


def test_themes_of_one_part_each_once() -> None:
    names = [
        "Angry_face_1.jpg",
        "Angry face 2.jpg",
        "Cat_1.jpg",
        "Yarn_12.jpg",
        "Nude couple 1.jpg",
    ]
    paths = [Path(name) for name in names]
    whole = [
        query for part in ("train", "validation", "test") for query in theme_queries(paths, part)
    ]
    assert sorted(whole) == ["angry face", "cat", "nude couple", "yarn"]
    for path, part in zip(paths, parts_of(paths), strict=True):
        (own,) = theme_queries([path], part)
        assert own in theme_queries(paths, part)


def test_themes_are_of_the_parts_that_their_pictures_are_of(tmp_path: Path) -> None:
    folder = tmp_path / "oasis" / "images"
    folder.mkdir(parents=True)
    names = [f"Thing {letter}_1.jpg" for letter in "abcdefghijklmnopqrstuvwxyz"]
    for name in names:
        (folder / name).write_bytes(b"")
    (tmp_path / "oasis" / "labels.csv").write_text(
        "filepath,beauty_mean\n" + "".join(f"images/{name},4\n" for name in names)
    )
    train, test = (set_queries("oasis", tmp_path, part) for part in ("train", "test"))
    parts = parts_of([folder / name for name in names])
    assert test == [f"thing {name[6]}" for name, p in zip(names, parts, strict=True) if p == "test"]
    assert test
    assert not set(train) & set(test)


def test_a_part_without_queries(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"")
    (tmp_path / "captions.csv").write_text("filepath,caption,split\n1.jpg,A dog,train\n")
    assert set_queries("captions", tmp_path, "train") == ["A dog"]
    with pytest.raises(DataError, match="captions has no query in its test part"):
        set_queries("captions", tmp_path, "test")


def test_a_file_of_queries(tmp_path: Path) -> None:
    file = tmp_path / "queries.txt"
    file.write_text("a dog\n\n  a   cat \nA DOG\n", encoding="utf-8")
    assert read_queries(file) == ["a dog", "a cat"]
    file.write_text("\n \n")
    with pytest.raises(DataError, match=r"queries.txt holds no query: write one a line"):
        read_queries(file)


def test_each_text_once_in_its_first_spelling() -> None:
    assert distinct(["A  dog", "a dog", "", "Straße", "STRASSE", "cat"]) == [
        "A dog",
        "Straße",
        "cat",
    ]


def test_some_of_the_queries_in_their_own_order() -> None:
    queries = [f"q{n}" for n in range(100)]
    some = drawn(queries, 10, seed=1)
    assert len(some) == 10
    assert some == [query for query in queries if query in some] == drawn(queries, 10, seed=1)
    assert some != drawn(queries, 10, seed=2)
    assert drawn(queries, None) == drawn(queries, 100) == drawn(queries, 500) == queries
