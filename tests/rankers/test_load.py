"""The router: who answers which query, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from imgrank.errors import CheckpointError, ModelUnavailable, UsageError
from imgrank.instruction import parse
from imgrank.models import digests
from imgrank.models.registry import EMBEDDED, entries, find
from imgrank.models.verifying import verify
from imgrank.rankers.load import load_ranker, route
from imgrank.settings import load_settings

QUALITY = EMBEDDED / "tiny-quality"


@pytest.fixture
def own_quality(tmp_path: Path) -> Path:
    """A copy of the embedded checkpoint in the user's models folder, under a name of its own."""
    folder = load_settings().models_dir / "mine"
    shutil.copytree(QUALITY, folder)
    config = json.loads((folder / "config.json").read_text())
    config["name"] = "mine"
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("by brightness", "measured"),
        ("newest first", "measured"),
        ("by image quality", "adapter tiny-quality"),
        ("worst quality first", "adapter tiny-quality"),
        ("a cat", "zero-shot tiny"),
        ("by how scary it looks", "zero-shot tiny"),
        ("by the number of cats", "zero-shot tiny"),
    ],
)
def test_who_answers(text: str, label: str) -> None:
    assert route(parse(text), load_settings()).answer.label == label


def test_the_users_default_goes_before_the_embedded_one(own_quality: Path) -> None:
    settings = load_settings()
    settings.config.parent.mkdir(parents=True, exist_ok=True)
    settings.config.write_text('[models]\nquality = "mine"\n')
    assert route(parse("by image quality"), load_settings()).answer.label == "adapter mine"
    assert route(parse("by brightness"), load_settings()).answer.label == "measured"


def test_a_named_model_answers_or_refuses() -> None:
    settings = load_settings()
    assert route(parse("by quality"), settings, "tiny").answer.label == "zero-shot tiny"
    assert route(parse("by brightness"), settings, "tiny").answer.label == "zero-shot tiny"
    with pytest.raises(UsageError, match="it knows quality"):
        route(parse("a cat"), settings, "tiny-quality")
    with pytest.raises(ModelUnavailable, match="tiny-quality"):
        route(parse("a cat"), settings, "no-such-model")


def test_a_model_by_the_path_of_its_folder(own_quality: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    own_quality.rename(elsewhere)
    assert load_ranker(str(elsewhere)).name == "mine"
    with pytest.raises(CheckpointError, match="no model"):
        load_ranker(str(tmp_path))


def test_the_same_weights_under_another_name_keep_their_identity(own_quality: Path) -> None:
    assert load_ranker("mine").identity == load_ranker("tiny-quality").identity


def test_an_adapter_of_another_backbone_is_refused(own_quality: Path) -> None:
    config = json.loads((own_quality / "config.json").read_text())
    config["backbone"]["digest"] = "sha256:" + "0" * 64
    (own_quality / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="no backbone here has its digest"):
        load_ranker("mine")


def test_verify_finds_damage(own_quality: Path) -> None:
    verify(find("mine", load_settings().models_dir))
    weights = own_quality / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(CheckpointError, match="damaged"):
        verify(find("mine", load_settings().models_dir))


def test_all_embedded_models_are_whole_and_fit_each_other() -> None:
    assert {entry.name for entry in entries()} >= {"tiny", "tiny-quality"}
    for entry in entries():
        verify(entry)
        load_ranker(entry.name)  # raises if its backbone is another one


def test_closeness_to_a_number_without_a_model_that_gives_numbers() -> None:
    job = route(parse("closest to 3 dogs"), load_settings())
    assert (job.query.reference, job.query.descending) == (None, True)
    assert (job.answer.prompt, job.answer.note) == (
        "3 dogs",
        "tiny was not trained for count; similarity to '3 dogs'",
    )
    assert not route(parse("farthest from 3 dogs"), load_settings()).query.descending
    with pytest.raises(ModelUnavailable, match="none is here for megapixels"):
        route(parse("closest to 12 megapixels"), load_settings(), "tiny")


def test_closeness_to_an_age_is_answered_by_what_was_trained_for_it() -> None:
    job = route(parse("closest to 30 years"), load_settings())
    assert (job.query.reference, job.answer.label) == (30.0, "l2rclip tiny-l2r-age")
    assert (job.answer.unit, job.answer.range) == ("years", (0.0, 116.0))
    assert "crop of one face" in job.answer.note


def test_closeness_to_an_age_by_words_says_so() -> None:
    job = route(parse("closest to 30 years"), load_settings(), "tiny")
    assert (job.query.reference, job.answer.label) == (30.0, "zero-shot tiny")
    assert (job.answer.unit, job.answer.range) == ("years", (1.0, 90.0))
    assert job.answer.note == "tiny was not trained for age; estimated from words alone"


def test_a_damaged_folder_keeps_nobody_else_from_working() -> None:
    half = load_settings().models_dir / "half"
    half.mkdir(parents=True)
    (half / "config.json").write_text("{")
    assert route(parse("a cat"), load_settings()).answer.label == "zero-shot tiny"
    (problem,) = [e.problem for e in entries(load_settings().models_dir) if e.name == "half"]
    assert "config.json" in problem
    with pytest.raises(CheckpointError):
        load_ranker("half")


def test_defaults_of_the_user() -> None:
    shutil.copytree(EMBEDDED / "tiny", load_settings().models_dir / "words")
    settings = load_settings(model="words")
    assert route(parse("a cat"), settings).ranker.source.spec.folder.name == "words"
    assert route(parse("by quality"), settings).answer.label == "adapter tiny-quality"
    assert route(parse("by brightness"), settings).answer.label == "measured"
    settings = load_settings(model="tiny-quality")  # trained for quality alone
    assert route(parse("a cat"), settings).answer.label == "zero-shot tiny"
    settings.config.parent.mkdir(parents=True, exist_ok=True)
    settings.config.write_text('[models]\nqualty = "tiny"\n')
    with pytest.raises(UsageError, match="qualty"):
        route(parse("a cat"), load_settings())


def test_a_sort_on_the_embedded_models_hashes_no_backbone_of_the_users(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    big = load_settings().models_dir / "big"
    shutil.copytree(EMBEDDED / "tiny", big)
    (big / "imgrank.json").unlink()  # only a hash of all weights now tells what it is
    hashed: list[Path] = []
    sha256 = digests.file_sha256
    monkeypatch.setattr(digests, "file_sha256", lambda path: hashed.append(path) or sha256(path))
    assert route(parse("by image quality"), load_settings()).answer.label == "adapter tiny-quality"
    assert [path for path in hashed if big in path.parents] == []


def test_a_backbone_of_another_name_is_found_by_its_digest(own_quality: Path) -> None:
    config = json.loads((own_quality / "config.json").read_text())
    config["backbone"]["name"] = "renamed"
    (own_quality / "config.json").write_text(json.dumps(config))
    assert load_ranker("mine").source.identity == load_ranker("tiny-quality").source.identity
