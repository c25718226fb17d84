"""`search` from Python: what is asked, of which pictures, in which order."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from known_embeddings import draw, remember, remember_scores
from PIL import Image

from imgrank import Options, search
from imgrank.errors import MissingExtra, ModelUnavailable, NothingReadable, UsageError
from imgrank.reranking import reranker
from imgrank.searching import Found
from imgrank.settings import load_settings

WORDS = {"a cat": [1, 0, 0], "at night": [0, 1, 0], "a leash": [0, 0, 1]}
SEEN = {
    "cat.png": [1, 0, 0],
    "cat-at-night.png": [1, 1, 0],
    "night.png": [0, 1, 0],
    "leash.png": [1, 0, 1],
    "no-cat.png": [-1, 0, 0],
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five pictures and three texts, whose embeddings are known."""
    folder = tmp_path / "photos"
    remember({str(folder / name): vector for name, vector in SEEN.items()}, WORDS)
    return folder


def names(found: Found) -> list[str]:
    return [row.path.name for row in found]


# ---- what is asked -------------------------------------------------------------------------------


def test_by_words(photos: Path, opened: list[Path]) -> None:
    heard: list[str] = []
    found = search(photos, "a cat", options=Options(notify=heard.append))
    half = math.sqrt(0.5)
    assert {row.path.name: row.score for row in found} == pytest.approx(
        {
            "cat.png": 1,
            "cat-at-night.png": half,
            "leash.png": half,
            "night.png": 0,
            "no-cat.png": -1,
        },
        abs=2e-6,
    )
    assert names(found) == ["cat.png", "cat-at-night.png", "leash.png", "night.png", "no-cat.png"]
    assert [row.percentile for row in found] == [100, 75, 75, 25, 0]
    assert [row.rank for row in found] == [1, 2, 3, 4, 5]
    assert (found.computed, found.known, found.skips, opened) == (0, 5, [], [])
    (column,) = found.columns
    assert (column.instruction, column.method, column.model) == ("a cat", "search", "tiny")
    assert (column.prompt, column.unit, column.direction) == ("'a cat'", "cosine", "descending")
    assert heard == ["'a cat': search tiny"]


def test_words_go_to_the_text_tower_as_they_stand(photos: Path) -> None:
    remember({}, {"by image quality": [0, 1, 0], "cats=2": [0, 0, 1]})
    assert names(search(photos, "by image quality", top=2)) == ["night.png", "cat-at-night.png"]
    assert names(search(photos, "  cats=2\n", top=1)) == ["leash.png"]


def test_more_and_less_with_weights(photos: Path) -> None:
    found = search(photos, "a cat", plus="at night=0.5", minus=["a leash=0.3"])
    length = math.sqrt(1 + 0.25 + 0.09)
    assert {row.path.name: row.score for row in found} == pytest.approx(
        {
            "cat.png": 1 / length,
            "cat-at-night.png": 1.5 / length * math.sqrt(0.5),
            "night.png": 0.5 / length,
            "leash.png": 0.7 / length * math.sqrt(0.5),
            "no-cat.png": -1 / length,
        },
        abs=2e-6,
    )
    assert found.columns[0].prompt == "'a cat' + 0.5 'at night' - 0.3 'a leash'"
    assert found.columns[0].instruction == found.columns[0].prompt
    alone = search(photos, plus=["at night", "a cat=1.0"])
    assert alone.columns[0].instruction == "'at night' + 'a cat'"
    assert names(alone)[0] == "cat-at-night.png"


def test_like_pictures_in_the_folder_and_outside(photos: Path, tmp_path: Path) -> None:
    outside = tmp_path / "mine.png"
    remember({str(outside): [0, 1, 0]}, {})
    found = search(photos, like=outside, top=2)
    assert [(row.path.name, round(row.score, 3)) for row in found] == [
        ("night.png", 1.0),
        ("cat-at-night.png", 0.707),
    ]
    inside = search(photos, like=[photos / "leash.png"], top=1)
    assert [(row.path.name, row.score) for row in inside] == [("leash.png", 1.0)]
    both = search(photos, "a cat", like=[f"{outside}=1", str(photos / "no-cat.png") + "=1e-9"])
    assert names(both)[0] == "cat-at-night.png"
    assert both.columns[0].prompt == f"'a cat' + like {outside} + 1e-09 like {photos}/no-cat.png"


def test_a_file_of_the_very_name_goes_before_a_weight(photos: Path, tmp_path: Path) -> None:
    draw(tmp_path, "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.png=2")
    remember({str(tmp_path / "x.png=2"): [0, 1, 0]}, {})
    assert names(search(photos, like=tmp_path / "x.png=2", top=1)) == ["night.png"]


def test_rephrased_words_are_asked_in_place_of_the_query(photos: Path) -> None:
    found = search(photos, "a cat", minus="a leash", rephrased="at night", rephrased_by="k_list m")
    assert names(found)[0] == "night.png"
    assert found.columns[0].instruction == "'a cat' - 'a leash'"
    assert found.columns[0].prompt == "'at night' - 'a leash'"
    assert (found.asked.query, found.asked.rephrased, found.asked.by) == (
        "a cat",
        "at night",
        "k_list m",
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "nothing was asked for"),
        ({"query": " "}, "the query is empty"),
        ({"query": "x" * 10_001}, "longer than 10,000"),
        ({"minus": "a cat"}, "only what is not wanted"),
        ({"plus": "a cat=0"}, "must be a positive number"),
        ({"query": "a cat", "minus": "a leash=nan"}, "must be a positive number"),
        ({"query": "a cat", "minus": "a cat"}, "cancel each other"),
        ({"like": "nowhere.jpg"}, "nowhere.jpg"),
        ({"like": "."}, "is a folder"),
        ({"query": "a cat", "top": 0}, "--top"),
        ({"query": "a cat", "minimum": math.nan}, "--min"),
        ({"query": "a cat", "rerank": "aesthetic", "rerank_first": 0}, "--rerank-first"),
        ({"query": "a cat", "rerank": "aesthetic", "rerank_weight": -1}, "--rerank-weight"),
        ({"plus": "a cat", "rephrased": "at night"}, "no query to rephrase"),
    ],
)
def test_what_cannot_be_asked(photos: Path, given: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        search(photos, **given)  # type: ignore[arg-type]


def test_a_like_that_is_no_picture(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(NothingReadable, match=r"--like .*broken\.jpg: "):
        search(photos, like=tmp_path / "broken.jpg")


# ---- which rows ----------------------------------------------------------------------------------


def test_top_and_minimum(photos: Path) -> None:
    assert names(search(photos, "a cat", top=1)) == ["cat.png"]
    assert len(search(photos, "a cat", top="50%")) == 3
    assert names(search(photos, "a cat", minimum=0.7)) == [
        "cat.png",
        "cat-at-night.png",
        "leash.png",
    ]
    heard: list[str] = []
    assert len(search(photos, "a cat", minimum=1.1, options=Options(notify=heard.append))) == 0
    assert heard[1] == "  no picture reaches 1.1; the nearest has 1"
    remember({str(photos / f"{i}.png"): [1, i, 0] for i in range(30)}, {})
    assert len(search(photos, "a cat")) == 20
    assert len(search(photos, "a cat", top=None)) == 35


def test_copies_and_equal_pictures_stand_by_path(photos: Path) -> None:
    (photos / "a-copy.png").write_bytes((photos / "cat.png").read_bytes())
    remember({str(photos / "a-twin.png"): [1, 0, 0]}, {})
    found = search(photos, "a cat", top=4)
    assert names(found) == ["a-copy.png", "a-twin.png", "cat.png", "cat-at-night.png"]
    assert [row.percentile for row in found] == pytest.approx([100, 100, 100, 50])


def test_new_moved_and_unreadable_pictures(photos: Path, opened: list[Path]) -> None:
    """Only what is new is opened; a picture that was moved is known by its content."""
    (photos / "night.png").rename(photos / "renamed.png")
    (photos / "broken.jpg").write_bytes(b"no picture")
    found = search(photos, "at night")
    assert names(found)[:2] == ["renamed.png", "cat-at-night.png"]
    assert sorted(path.name for path in opened) == ["broken.jpg", "renamed.png"]
    assert [(skip.path.name, bool(skip.reason)) for skip in found.skips] == [("broken.jpg", True)]
    assert (found.computed, found.known) == (0, 5)


def test_an_empty_folder_and_nothing_that_can_be_read(photos: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NothingReadable, match="no picture was found there"):
        search(empty, "a cat")
    (empty / "broken.jpg").write_bytes(b"")
    with pytest.raises(NothingReadable, match=r"(?s)not one picture could be read.*broken\.jpg"):
        search(empty, "a cat")


@pytest.mark.parametrize("approximate", [False, True])
def test_where_nothing_can_be_kept(tmp_path: Path, home: Path, approximate: bool) -> None:
    """A cache that cannot be made costs time, not the answer."""
    home.write_text("a file where the folder should be")
    Image.new("RGB", (64, 64), (200, 0, 0)).save(tmp_path / "red.png")
    Image.new("RGB", (64, 64), (0, 0, 200)).save(tmp_path / "blue.png")
    pictures = [tmp_path / "red.png", tmp_path / "blue.png"]
    found = search(pictures, like=tmp_path / "blue.png", approximate=approximate)
    assert names(found) == ["blue.png", "red.png"]
    assert found[0].score == 1.0
    assert (found.computed, found.known) == (2, 0)


@pytest.mark.parametrize("top", [1, "40%", None])
def test_an_approximate_answer_says_where_it_is_exact(photos: Path, top: int | str | None) -> None:
    """So few pictures need no index; percentiles are of all of them, new ones among these."""
    Image.new("RGB", (32, 32), (9, 9, 9)).save(photos / "new.png")
    remember({str(photos / "new.png"): [1, 2, 2]}, {})
    heard: list[str] = []
    asked = {"top": top, "rerank_first": 3}
    found = search(photos, "a cat", approximate=True, options=Options(notify=heard.append), **asked)
    assert heard[0] == "'a cat': search tiny, approximate"
    assert heard[1].startswith("exact: ")
    assert found.rows == search(photos, "a cat", **asked).rows
    assert (found.asked.approximate, found.computed, found.known) == (True, 0, 6)
    beauty(photos, dict.fromkeys(SEEN, 1.0) | {"new.png": 2.0})
    both = search(photos, "a cat", approximate=True, rerank="aesthetic", **asked)
    assert both.rows == search(photos, "a cat", rerank="aesthetic", **asked).rows


def test_an_approximate_answer_without_the_extra(
    photos: Path, opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "usearch", None)
    (photos / "new.png").touch()
    with pytest.raises(MissingExtra, match=r"pip install 'imgrank\[approximate\]'"):
        search(photos, "a cat", approximate=True)
    assert opened == []  # before anything is read


# ---- two stages ----------------------------------------------------------------------------------


def beauty(photos: Path, values: dict[str, float | None]) -> None:
    """Keeps second scores of these pictures."""
    remember_scores({str(photos / name): value for name, value in values.items()})


def test_the_first_k_are_ordered_anew(photos: Path, opened: list[Path]) -> None:
    """Cosines 1, .7071, .7071 have z = (1.4142, -.7071, -.7071), beauty 1, 3, 5 has
    z = (-1.2247, 0, 1.2247)."""
    beauty(photos, {"cat.png": 1, "cat-at-night.png": 3, "leash.png": 5, "night.png": 7})
    heard: list[str] = []
    options = Options(notify=heard.append)
    found = search(photos, "a cat", rerank="aesthetic", rerank_first=3, options=options)
    z, b = math.sqrt(2), math.sqrt(1.5)
    assert [(row.path.name, row.score) for row in found] == [
        ("leash.png", pytest.approx(-z / 2 + 1.25 * b, abs=1e-3)),
        ("cat.png", pytest.approx(z - 1.25 * b, abs=1e-3)),
        ("cat-at-night.png", pytest.approx(-z / 2, abs=1e-3)),
    ]
    assert [row.percentile for row in found] == [100, 50, 0]
    assert [column.method for column in found.columns] == ["search", "l2rclip"]
    assert found.columns[1].weight == 1.25
    assert (found.asked.first, found.asked.weight) == (3, 1.25)
    assert (found.computed, found.known, opened) == (0, 5, [])
    assert heard[:2] == [
        "'a cat': search tiny",
        "  the first 3 re-ranked, weight 1.25, by aesthetics: l2rclip tiny-l2r-aesthetic",
    ]
    plain = search(photos, "a cat", rerank="aesthetics", rerank_first=3, rerank_weight=0, top=2)
    assert names(plain) == ["cat.png", "cat-at-night.png"]


def test_more_than_are_usually_ordered_anew_are_not_shown_and_that_is_said(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgrank.searching.FIRST", 3)
    beauty(photos, dict.fromkeys(SEEN, 1.0))
    for top, said in ((4, True), (3, False), ("100%", False)):
        heard: list[str] = []
        options = Options(notify=heard.append)
        search(photos, "a cat", rerank="aesthetic", rerank_first=3, top=top, options=options)
        assert ("  no others are shown: --rerank-first says how many" in heard) is said


def test_minimum_is_of_the_cosine_and_comes_before(photos: Path) -> None:
    beauty(photos, {"cat.png": 1, "cat-at-night.png": 3, "leash.png": 5})
    found = search(photos, "a cat", rerank="aesthetic", minimum=0.9)
    assert [(row.path.name, row.score) for row in found] == [("cat.png", 0.0)]
    assert len(search(photos, "a cat", rerank="aesthetic", minimum=1.5)) == 0


def test_a_picture_without_a_second_score_is_left_out(photos: Path) -> None:
    beauty(photos, {"cat.png": None, "cat-at-night.png": 3, "leash.png": 5})
    found = search(photos, "a cat", rerank="aesthetic", rerank_first=3)
    assert names(found) == ["leash.png", "cat-at-night.png"]
    assert [skip.path.name for skip in found.skips] == ["cat.png"]
    assert found.lacking == 1


@pytest.mark.parametrize(
    ("wish", "task", "model"),
    [
        ("tiny-quality", "quality", "tiny-quality"),
        ("tiny-l2r-aesthetic", "aesthetics", "tiny-l2r-aesthetic"),
        ("tiny", "aesthetics", "tiny"),
        ("tiny-l2r-age", "age", "tiny-l2r-age"),
    ],
)
def test_whoever_can_answer_may_be_the_second(wish: str, task: str, model: str) -> None:
    job = reranker(wish, load_settings())
    assert (job.query.task, job.answer.model) == (task, model)


def test_a_second_model_that_is_not_here_or_not_one() -> None:
    with pytest.raises(ModelUnavailable, match="nothing-such"):
        reranker("nothing-such", load_settings())
