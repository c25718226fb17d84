"""The embedded models on the example photographs, whose right order anyone can see."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgrank import compare, index, load_ranker, score, sort
from imgrank.images.reading import read_file
from imgrank.instruction import parse
from imgrank.rankers.prompts import PromptRanker

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
SPOILT = [
    ("astronaut", "astronaut-noisy"),
    ("cat", "cat-blurred"),
    ("cat-blurred", "cat-very-blurred"),
    ("coffee", "coffee-compressed"),
    ("coffee", "coffee-underexposed"),
    ("rocket", "rocket-low-resolution"),
]


def photo(name: str) -> Path:
    return PHOTOS / f"{name}.jpg"


def test_a_photograph_is_above_its_spoilt_versions() -> None:
    ranks = {row.path.stem: row.rank for row in sort(PHOTOS, "by image quality")}
    assert [(a, b) for a, b in SPOILT if ranks[a] > ranks[b]] == []


@pytest.mark.parametrize(("better", "worse"), SPOILT)
def test_compare_agrees_and_is_antisymmetric(better: str, worse: str) -> None:
    found = compare(photo(better), photo(worse), "by image quality")
    turned = compare(photo(worse), photo(better), "by image quality")
    assert found.winner == turned.winner == photo(better)
    assert found.probability is not None
    assert turned.probability is not None
    assert found.probability > 0.5
    assert found.probability + turned.probability == pytest.approx(1, abs=1e-5)


def test_worst_first_is_the_other_end() -> None:
    best = [row.path for row in sort(PHOTOS, "by image quality")]
    worst = [row.path for row in sort(PHOTOS, "worst quality first")]
    assert worst == best[::-1]
    found = compare(photo("cat"), photo("cat-very-blurred"), "worst quality first")
    assert found.winner == photo("cat-very-blurred")
    assert found.probability is not None
    assert found.probability < 0.5


def test_words_find_what_is_in_a_picture() -> None:
    assert sort(PHOTOS, "a cat")[0].path.stem in ("cat", "cat-blurred")
    assert sort(PHOTOS, "a cup of coffee")[0].path.stem.startswith("coffee")
    assert sort(PHOTOS, "a rocket")[0].path.stem.startswith("rocket")


def test_scores_depend_neither_on_the_batch_nor_on_the_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    together = _scores(PHOTOS)
    assert _scores(PHOTOS) == together  # from the store
    monkeypatch.setenv("IMGRANK_HOME", str(tmp_path / "another"))
    assert _scores(photo("cat"))["cat"] == pytest.approx(together["cat"], abs=5e-3)


def test_a_score_from_kept_features_is_the_same() -> None:
    index(PHOTOS)
    kept = _scores(PHOTOS)
    ranker = load_ranker("tiny-quality")
    source = ranker.source
    fresh = source.compute([source.prepare(read_file(photo(name))) for name in sorted(kept)])
    scores = ranker.score(fresh, [parse("by image quality")])
    values = [row[0].value for row in scores if row[0]]
    assert values == pytest.approx([kept[name] for name in sorted(kept)], abs=5e-3)


def _scores(path: Path) -> dict[str, float]:
    found = score(path, "by image quality")
    pairs = zip(found.paths, found.scores, strict=True)
    return {path.stem: row[0].value for path, row in pairs if row[0]}


def test_poles_cancel_what_the_picture_shows() -> None:
    ranker = load_ranker("tiny")
    assert isinstance(ranker, PromptRanker)
    answer = ranker.answer(parse("by age"))
    assert answer.unit == "cosine difference"
    assert answer.prompt.startswith("+")
    words = ranker.answer(parse("a cat"))
    assert (words.unit, words.prompt) == ("cosine", "a cat")
