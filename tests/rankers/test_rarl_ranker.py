"""Models that look at several pictures at once: what they answer and refuse, who they are."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image
from window_models import AGE, rarl_folder, vlm_folder

from imgrank.errors import CheckpointError, MissingExtra, ModelUnavailable, UsageError
from imgrank.instruction import parse
from imgrank.models import throughput
from imgrank.models.defaults import own_words
from imgrank.models.registry import find
from imgrank.models.throughput import Speed
from imgrank.rankers import rarl
from imgrank.rankers.base import Answer, Job
from imgrank.rankers.load import load_levels, load_ranker, load_source, route
from imgrank.rankers.rarl import PictureSource, RARLRanker
from imgrank.settings import Precision, load_settings

OWN = {
    "prompt": 'the degree to which the image shows "a cosy room"',
    "unit": "",
    "range": [1, 5],
    "order": "descending",
}
DOGS = {"prompt": "the number of {}", "unit": "", "range": [0, 20], "subjects": ["dogs", "cats"]}


@pytest.fixture
def models(home: Path) -> Path:
    """The models folder, with a plain model "vlm" and a checkpoint "ages" on it."""
    folder = load_settings().models_dir
    vlm_folder(folder / "vlm")
    rarl_folder(folder / "ages", folder / "vlm")
    return folder


def plain(folder: Path) -> RARLRanker:
    return RARLRanker(folder / "vlm")


def answered(ranker: RARLRanker, text: str) -> Answer:
    found = ranker.answer(parse(text))
    assert found is not None
    return found


def test_a_plain_model_answers_in_words_and_says_that_it_was_not_trained(models: Path) -> None:
    found = answered(plain(models), "by age")
    assert (found.method, found.model, found.unit) == ("vision-language", "vlm", "years")
    assert found.range == (0, 100)
    assert "where value is the person's age (0 to 100)" in found.prompt
    assert found.note == "a plain Qwen2.5-VL, as far as is known not trained for this: zero-shot"


@pytest.mark.parametrize(
    ("text", "asked", "unit", "ends"),
    [
        ("a cat", 'the degree to which the image shows "a cat"', "", (0, 10)),
        ("by the number of red cars", "the number of red cars", "objects", (0, 20)),
        ("oldest first", "the year in which the photo was taken", "year", (1850, 2030)),
        ("by aesthetics", "the aesthetic quality of the image", "MOS", (1, 10)),
        ("darkest first", "the brightness of the image", "", (0, 10)),
    ],
)
def test_units_and_ends_of_a_plain_model(
    models: Path, text: str, asked: str, unit: str, ends: tuple[float, float]
) -> None:
    found = answered(plain(models), text)
    assert asked.removeprefix("the ") in found.prompt
    assert (found.unit, found.range) == (unit, ends)


def heard(text: str) -> Job:
    return route(parse(text), load_settings(), "rarl:vlm")


@pytest.mark.usefixtures("models")
def test_numbers_to_be_close_to_are_in_the_unit_of_the_answers() -> None:
    assert heard("closest to 30 years").query.reference == 30
    assert heard("closest to 3 dogs").query.reference == 3
    assert heard("closest to the 1990s").query.reference == 1990
    year = heard("by date, closest to 1950")
    assert (year.query.task, year.answer.unit) == ("date", "year")
    assert year.query.reference == 1950
    with pytest.raises(UsageError, match="Ask for the order instead"):
        heard("by brightness, closest to 50")
    with pytest.raises(UsageError, match="measured"):
        heard("closest to 12 megapixels")


@pytest.mark.usefixtures("models")
def test_what_no_picture_shows_is_not_asked() -> None:
    with pytest.raises(UsageError, match="is measured, not guessed by a model"):
        heard("by file size")


@pytest.mark.usefixtures("models")
def test_a_checkpoint_answers_what_it_was_trained_for() -> None:
    job = route(parse("youngest first"), load_settings(), "rarl:ages")
    found = job.answer
    assert (found.method, found.model, found.unit, found.note) == ("rarl", "ages", "years", "")
    assert (found.range, found.label) == ((0, 100), "rarl ages")
    assert "where value is the person's age (0 to 100)" in found.prompt
    assert job.ranker.scope == "set"
    with pytest.raises(UsageError, match="ages was not trained for 'a cat'; it knows age"):
        route(parse("a cat"), load_settings(), "ages")


def test_subjects_and_own_words_of_a_checkpoint(models: Path) -> None:
    tasks = {"count": DOGS, "a-cosy-room": OWN, "age": AGE}
    rarl_folder(models / "many", models / "vlm", tasks)
    ranker = load_ranker("many")
    assert isinstance(ranker, RARLRanker)
    assert "value is the number of dogs (0 to 20)" in answered(ranker, "most dogs").prompt
    horses = answered(ranker, "most horses")
    assert "number of horses" in horses.prompt
    assert horses.note.startswith("many was not trained for horses, but for dogs, cats;")
    cosy = answered(ranker, "a cosy room")
    assert 'the degree to which the image shows "a cosy room" (1 to 5)' in cosy.prompt
    assert cosy.range == (1, 5)
    with pytest.raises(UsageError, match="it knows 'a cosy room', age, count"):
        route(parse("a dark room"), load_settings(), "many")
    default = replace(load_settings(), model="rarl:many")
    assert route(parse("a cosy room"), default).answer.model == "many"
    assert route(parse("a dark room"), default).answer.model == "tiny"
    assert own_words(find("many", models)) == ["a cosy room"]


def test_identities(models: Path) -> None:
    rarl_folder(models / "finer", models / "vlm", max_pixels=300_000)
    rarl_folder(models / "years", models / "vlm", {"age": {**AGE, "prompt": "the face's age"}})
    vlm_folder(models / "other", seed=1)
    rarl_folder(models / "elsewhere", models / "other")
    names = ("vlm", "other", "ages", "finer", "years", "elsewhere")
    identities = {load_ranker(name).identity for name in names}
    assert len(identities) == len(names)
    assert load_ranker(str(models / "ages")).identity == load_ranker("rarl:ages").identity
    for precision in get_args(Precision):
        settings = replace(load_settings(), precision=precision)
        identities.add(load_ranker("vlm", settings).identity)
    assert len(identities) == len(names) + 3  # "auto" is what is usual


def test_a_checkpoint_without_its_model(models: Path) -> None:
    (models / "vlm").rename(models.parent / "gone")
    with pytest.raises(CheckpointError, match="trained on 'vlm', and no Qwen"):
        load_ranker("ages")
    vlm_folder(models / "vlm", seed=1)
    with pytest.raises(CheckpointError, match="trained on 'vlm', and no Qwen"):
        load_ranker("ages")
    with pytest.raises(CheckpointError, match="sha256 differs"):
        RARLRanker(models / "ages", models / "vlm")
    load_ranker(str(models.parent / "gone"))  # named once, it is known
    assert load_ranker("ages").name == "ages"


@pytest.mark.usefixtures("models")
def test_what_does_not_go_with_it() -> None:
    settings = load_settings()
    with pytest.raises(UsageError, match="'rarl:tiny': tiny is of kind backbone"):
        load_ranker("rarl:tiny")
    with pytest.raises(ModelUnavailable, match="there is no model 'nothing'"):
        load_ranker("rarl:nothing")
    with pytest.raises(UsageError, match="vlm looks at several pictures at once and makes no feat"):
        load_source("vlm", settings)
    with pytest.raises(UsageError, match=r"gives no probabilities of age levels \(it is of kind r"):
        load_levels("age", settings, "rarl:ages")
    ranker = load_ranker("ages")
    with pytest.raises(UsageError, match="none has a score of its own"):
        ranker.score([{}], [parse("by age")])
    with pytest.raises(UsageError, match="keeps no features"):
        ranker.source.compute([None])


def test_pictures_are_decoded_at_about_the_size_that_is_seen() -> None:
    source = PictureSource("x", 10_000)  # 100 x 100

    def size(width: int, height: int, kind: str) -> tuple[int, int]:
        data = io.BytesIO()
        Image.new("RGB", (width, height), "red").save(data, kind)
        image = source.prepare(data.getvalue())
        assert image.mode == "RGB"
        found: tuple[int, int] = image.size
        return found

    assert size(150, 120, "PNG") == (150, 120)
    assert size(900, 650, "JPEG") == (450, 325)  # by the JPEG decoder
    assert size(1000, 750, "PNG") == (250, 188)
    assert size(90_000, 2, "PNG") == (45_000, 1)


def test_the_time_of_a_window_is_foretold_without_loading(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranker = RARLRanker(models / "vlm", device="cpu")
    ranker.spec = replace(ranker.spec, parameters=3_000_000_000)
    monkeypatch.setattr(throughput, "measured", lambda *_: Speed(flops=1e11, bytes=1e10))
    monkeypatch.setattr(rarl.RARLRanker, "_load", lambda _: pytest.fail("not to be loaded"))
    reading = 2 * 3e9 * (300 + 2 * 8 * 256) / 1e11
    writing = 4 * 3e9 * (40 + 8 * 24) / 1e10
    assert ranker.seconds(8) == pytest.approx(reading + writing)
    assert ranker.batch == 1
    assert ranker.place == "this CPU"
    assert ranker.device_note == ""


def test_speed_is_measured() -> None:
    import torch

    speed = throughput.measured(torch.device("cpu"), torch.float32)
    assert 1e6 < speed.flops < 1e15
    assert 1e6 < speed.bytes < 1e14


def test_without_the_extra(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rarl.importlib.util, "find_spec", lambda name: None)
    ranker = plain(models)
    assert ranker.answer(parse("by age"))  # which needs nothing
    with pytest.raises(MissingExtra, match=r"vlm, .* an extra: pip install 'imgrank\[rarl\]'"):
        ranker.seconds(8)
    assert ranker.ask([], parse("by age")) == []
    with pytest.raises(MissingExtra):
        ranker.ask([[Image.new("RGB", (30, 30))]], parse("by age"))
