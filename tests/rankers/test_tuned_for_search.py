"""Words on a backbone that was tuned for search: whose answer it is, and what is kept apart."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from model_folders import PHOTOS, Run, runner
from search_checkpoints import IMAGE, SCALE, TEXT, TINY, search_checkpoint

from imgrank.errors import CheckpointError, UsageError
from imgrank.instruction import parse
from imgrank.models import catalogue
from imgrank.models.checkpoint import RETRIEVAL, read_config
from imgrank.models.registry import Entry, entries
from imgrank.rankers import load
from imgrank.rankers.load import load_levels, load_ranker, load_source, route
from imgrank.rankers.prompts import PromptRanker
from imgrank.settings import load_settings
from imgrank.store.digest import digest_file
from imgrank.store.store import Store


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(monkeypatch)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for name in ("cat.jpg", "coffee.jpg"):
        shutil.copy(PHOTOS / name, tmp_path / "photos")
    return tmp_path / "photos"


def words_on(name: str | Path) -> PromptRanker:
    ranker = load_ranker(str(name))
    assert isinstance(ranker, PromptRanker)
    return ranker


def scores(run: Run, photos: Path, model: str | Path, query: str = "a cat") -> dict[str, float]:
    done = run("sort", str(photos), query, "--model", str(model), "-f", "json")
    assert done.exit_code == 0, done.stderr
    return {Path(row["path"]).name: row["score"] for row in json.loads(done.stdout)["images"]}


def test_the_answer_is_the_checkpoints_and_says_zero_shot(tmp_path: Path) -> None:
    folder = search_checkpoint(tmp_path / "mine")
    answer = words_on(folder).answer(parse("a cat"))
    assert answer.label == "zero-shot mine"
    assert answer.revision == read_config(folder)["weights"]["sha256"][:12]
    assert answer.unit == "cosine"
    assert (
        "mine was not trained for age"
        in words_on(folder).answer(parse("closest to 30 years old")).note
    )


@pytest.mark.parametrize(
    ("names", "image", "text"), [((IMAGE, TEXT), 1, 1), ((IMAGE, SCALE), 1, 0), ((TEXT,), 0, 1)]
)
def test_what_is_tuned_is_kept_apart_and_the_rest_is_shared(
    tmp_path: Path, names: tuple[str, ...], image: int, text: int
) -> None:
    tuned, plain = words_on(search_checkpoint(tmp_path / "tuned", names)), words_on("tiny")
    assert (tuned.source.identity != plain.source.identity) == bool(image)
    assert (tuned.source.text_identity != plain.source.text_identity) == bool(text)
    assert tuned.identity != plain.identity  # also where the pictures' features are the same
    other = words_on(search_checkpoint(tmp_path / "other", (IMAGE, TEXT, SCALE)))
    assert other.identity != tuned.identity
    assert load_source(str(tmp_path / "tuned"), load_settings()) is tuned.source


def test_scores_and_features_are_never_mixed(tmp_path: Path, run: Run, photos: Path) -> None:
    both = search_checkpoint(tmp_path / "both")
    words = search_checkpoint(tmp_path / "words", (TEXT,))
    found = {str(model): scores(run, photos, model) for model in ("tiny", both, words, "tiny")}
    values = np.array([list(dict(sorted(each.items())).values()) for each in found.values()])
    assert values.shape == (3, 2)
    assert min(abs(values[i] - values[j]).min() for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-3
    digest = digest_file(photos / "cat.jpg")
    with Store(load_settings().store_path) as store:
        for name in ("tiny", both, words):
            source = words_on(name).source
            pooled = store.features(digest, source.identity)["pooled"].astype(np.float32)
            text = store.text(source.text_identity, "embedding", "a cat")
            assert text is not None
            fresh = source.compute([source.prepare((photos / "cat.jpg").read_bytes())])
            np.testing.assert_allclose(pooled, fresh[0]["pooled"], atol=2e-3)
            source.memory = None
            np.testing.assert_allclose(text, source.text_embeddings(["a cat"])[0], atol=1e-5)


def test_its_own_scale_counts_for_expected_ranks(tmp_path: Path, run: Run, photos: Path) -> None:
    pictures = search_checkpoint(tmp_path / "pictures", (IMAGE,))
    scaled = search_checkpoint(tmp_path / "scaled", (IMAGE, SCALE))
    assert words_on(pictures).source.logit_scale() == words_on("tiny").source.logit_scale()
    assert words_on(scaled).source.logit_scale() == pytest.approx(12.182494)  # e^2.5
    query = "closest to 30 years old"
    plain, flat = scores(run, photos, pictures, query), scores(run, photos, scaled, query)
    assert plain.keys() == flat.keys()
    assert all(abs(flat[name] - plain[name]) > 1e-3 for name in plain)


def test_known_scores_load_no_model(tmp_path: Path, run: Run, photos: Path) -> None:
    folder = search_checkpoint(tmp_path / "mine")
    scores(run, photos, folder)
    code = (
        "import sys\nfrom imgrank import Options, sort\n"
        f"found = sort({str(photos)!r}, 'a cat', options=Options(model={str(folder)!r}))\n"
        "print('torch' in sys.modules, found.known, len(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "2", "2"], done.stderr


def test_it_is_asked_only_if_the_user_chose_it(tmp_path: Path, run: Run) -> None:
    settings = load_settings()
    search_checkpoint(settings.models_dir / "mine")
    assert route(parse("a cat"), settings).answer.model == "tiny"
    chosen = run("models", "default", "mine")
    assert chosen.stderr.endswith("mine now answers whatever goes by words\n")
    settings = load_settings()
    assert route(parse("a cat"), settings).answer.model == "mine"
    assert route(parse("by image quality"), settings).answer.model == "tiny-quality"
    assert run("models", "default", "mine", "--task", "quality").exit_code == 0
    assert route(parse("by image quality"), load_settings()).answer.model == "mine"
    with pytest.raises(UsageError, match="mine gives no probabilities of age levels"):
        load_levels("age", load_settings(), "mine")


def test_one_of_the_package_is_listed_and_never_chosen_unasked(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = search_checkpoint(tmp_path / "a-first", measured=[{"data": "oasis", "beauty": 4.5}])
    first = Entry("a-first", RETRIEVAL, folder, "embedded", read_config(folder))
    for module in (load, catalogue):
        monkeypatch.setattr(module, "entries", lambda *models: [first, *entries(*models)])
    monkeypatch.setattr(catalogue, "find", lambda *asked: first)
    settings = load_settings()
    for text, chosen in (
        ("a cat", "tiny"),
        ("by aesthetics", "tiny-l2r-aesthetic"),
        ("quality", "tiny-quality"),
    ):
        assert route(parse(text), settings).answer.model == chosen
    row, *_ = json.loads(run("models", "list", "--here", "--json").stdout)
    assert (row["name"], row["state"], row["tasks"]) == ("a-first", "embedded", [])
    assert row["answers"] == "search for what is beautiful too"
    shown = run("models", "info", "a-first").stdout.splitlines()
    assert shown[:2] == ["a-first: retrieval, embedded", "search for what is beautiful too"]
    place = shown.index("measured:") + 1
    assert shown[place : place + 2] == ["  oasis", "    beauty 4.500"]
    assert shown[-1].startswith('next: imgrank search PHOTOS "a cat" --model ')


def test_what_was_indexed_is_found_without_the_tower(
    tmp_path: Path, run: Run, photos: Path
) -> None:
    folder = search_checkpoint(tmp_path / "mine")
    indexed = run("index", str(photos), "--model", str(folder))
    assert "2 computed, 0 known" in indexed.stderr
    search = ("search", str(photos), "a cat", "--model", str(folder), "-f", "json")
    done = run(*search)
    assert "0 computed, 2 known" in done.stderr
    rows = json.loads(done.stdout)["images"]
    assert [Path(row["path"]).name for row in rows] == ["cat.jpg", "coffee.jpg"]
    plain = run("search", str(photos), "a cat", "-f", "json")
    assert "2 computed, 0 known" in plain.stderr


def test_without_its_backbone_it_says_how_to_get_that(tmp_path: Path, run: Run) -> None:
    folder = search_checkpoint(load_settings().models_dir / "mine")
    config = json.loads((folder / "config.json").read_text())
    own = {"name": "far", "digest": f"sha256:{'0' * 64}", "origin": f"hf:owner/far@{'1' * 40}"}
    config["backbone"] |= own
    (folder / "config.json").write_text(json.dumps(config))
    pull = f"imgrank models pull hf:owner/far@{'1' * 40}"
    with pytest.raises(CheckpointError, match=f"on backbone 'far'.*Get it: {pull}"):
        load_ranker("mine")
    assert f"next: {pull}\n" in run("models", "info", "mine").stdout
    assert TINY.is_dir()
