"""`search` from Python: who answers, and what the embedded model says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from known_embeddings import draw, remember
from PIL import Image
from search_checkpoints import search_checkpoint

from imgrank import Options, api, search
from imgrank.errors import ModelUnavailable, UsageError
from imgrank.images import ImageFile
from imgrank.images.scan import scan
from imgrank.settings import load_settings


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A picture and a text, whose embeddings are known."""
    folder = tmp_path / "photos"
    remember({str(folder / "cat.png"): [1, 0, 0]}, {"a cat": [1, 0, 0]})
    return folder


# ---- who answers ---------------------------------------------------------------------------------


def test_a_model_without_words_is_refused(photos: Path) -> None:
    with pytest.raises(UsageError, match=r"tiny-quality answers .* cannot search.*imgrank sort"):
        search(photos, "a cat", options=Options(model="tiny-quality"))


@pytest.mark.parametrize("default", ["tiny", "tiny-l2r-age"])
def test_the_users_default_answers_if_it_has_words(
    photos: Path, default: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMGRANK_MODEL", default)
    assert search(photos, "a cat").columns[0].model == "tiny"


def test_a_default_that_is_gone_says_how_to_drop_it(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMGRANK_MODEL", "gone")
    with pytest.raises(ModelUnavailable, match=r"gone.*models default --unset"):
        search(photos, "a cat")


def test_a_model_that_was_tuned_for_search(tmp_path: Path, opened: list[Path]) -> None:
    """It has embeddings and words of its own; an index of it is all that its searches need."""
    model = str(search_checkpoint(tmp_path / "tuned"))
    draw(tmp_path / "photos", "a.png", "b.png", "c.png")
    plain = search(tmp_path / "photos", "a cat")
    api.index(tmp_path / "photos", options=Options(model=model))
    opened.clear()
    tuned = search(tmp_path / "photos", "a cat", options=Options(model=model))
    assert (opened, tuned.computed, tuned.columns[0].model) == ([], 0, "tuned")
    assert tuned.columns[0].revision != plain.columns[0].revision
    assert {row.path: row.score for row in tuned} != {row.path: row.score for row in plain}
    assert search(tmp_path / "photos", "a cat").rows == plain.rows


def test_an_index_of_another_model_than_searches_ask_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(search_checkpoint(tmp_path / "tuned"))
    draw(tmp_path / "photos", "a.png")
    heard: list[str] = []
    api.index(tmp_path / "photos", options=Options(notify=heard.append))
    assert not any("searches ask" in line for line in heard)
    monkeypatch.setenv("IMGRANK_MODEL", model)
    api.index(tmp_path / "photos", options=Options(notify=heard.append))
    assert heard[-2 if heard[-1].startswith("ran on") else -1] == (
        f"features of tiny; searches ask {model}, your default: imgrank index PATH... "
        f"--model {model} prepares these"
    )


# ---- with the model itself -----------------------------------------------------------------------

SEARCH = """
import sys
from imgrank import search
found = search(sys.argv[1], "a red wall", like=sys.argv[1] + "/0.png", rerank="aesthetic")
print(len(found), found.computed, [m for m in ("torch", "open_clip", "PIL") if m in sys.modules])
"""


def test_after_an_index_no_picture_is_opened_and_nothing_known_imports_torch(
    tmp_path: Path, home: Path, opened: list[Path]
) -> None:
    place = tmp_path / "pictures"
    place.mkdir()
    for i in range(3):
        Image.new("RGB", (300, 200), (80 * i, 20, 90)).save(place / f"{i}.png")
    api.index(place)
    opened.clear()
    found = search(place, "a red wall", like=place / "0.png", rerank="aesthetic")
    assert (opened, len(found)) == ([], 3)
    out = subprocess.run(
        [sys.executable, "-c", SEARCH, str(place)],
        capture_output=True,
        text=True,
        env={**os.environ, "IMGRANK_HOME": str(home)},
    )
    assert out.stdout.strip() == "3 0 []", out.stderr


def test_cosines_are_those_of_the_towers(tmp_path: Path) -> None:
    from imgrank.rankers.words import load_words

    rng = np.random.default_rng(0)
    for i in range(3):
        pixels = rng.integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    found = search(tmp_path, "a dog", minus="a wall=0.5")
    source = load_words(None, load_settings()).source
    dog, wall = source.text_embeddings(["a dog", "a wall"])
    query = (dog - 0.5 * wall) / np.linalg.norm(dog - 0.5 * wall)
    for file in scan([tmp_path / f"{i}.png" for i in range(3)]):
        assert isinstance(file, ImageFile)
        (features,) = source.compute([source.prepare(file.path.read_bytes())])
        pooled = features["pooled"].astype(np.float64)
        cosine = float(pooled @ query / np.linalg.norm(pooled))
        (row,) = [row for row in found if row.path == file.path]
        assert row.score == pytest.approx(cosine, abs=2e-6)
    again = search(tmp_path, "a dog", minus="a wall=0.5")
    assert again.rows == found.rows
    assert (found.computed, again.computed) == (3, 0)


def test_a_query_that_is_too_long_is_said_even_when_it_is_known(tmp_path: Path) -> None:
    """`tiny` reads 32 tokens, two of them marks; each of these words is one token."""
    draw(tmp_path, "a.png")
    long = " ".join(["dog"] * 40)
    for _ in range(2):
        heard: list[str] = []
        search(tmp_path, long * 3, options=Options(notify=heard.append))
        assert heard[0] == f"'{(long * 3)[:298]}…: search tiny"
        assert (
            "  only the first 30 words of 'dog dog dog ...' count: tiny reads no more at once"
            in (heard)
        )
    heard = []
    search(tmp_path, " ".join(["dog"] * 30), options=Options(notify=heard.append))
    assert not any("only the first" in line for line in heard)


def test_an_interrupt_keeps_what_was_embedded(tmp_path: Path) -> None:
    draw(tmp_path, *(f"{i:02d}.png" for i in range(20)))

    def interrupt(done: int, total: int) -> None:
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, like=tmp_path / "00.png", options=Options(progress=interrupt))
    found = search(tmp_path, like=tmp_path / "00.png")
    assert (found.computed, found.known) == (11, 9)  # the picture itself, and a batch
