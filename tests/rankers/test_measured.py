"""The rankers of measured properties: what they answer, and that they follow the definitions."""

from __future__ import annotations

import io

import pytest
from PIL import ExifTags, Image

from imgrank.images.measure import measure, measure_header
from imgrank.images.reading import Unreadable
from imgrank.instruction import Query
from imgrank.rankers.base import Ranker
from imgrank.rankers.measured import HEADER, PIXELS, MeasuredRanker

HEADER_TASKS = {"megapixels", "file_size", "date", "aspect"}
PIXEL_TASKS = {"brightness", "contrast", "colorfulness", "sharpness"}


def query(task: str | None) -> Query:
    return Query(text=f"by {task}", task=task, prompt="")


def png(colour: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 10), colour).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(("ranker", "tasks"), [(HEADER, HEADER_TASKS), (PIXELS, PIXEL_TASKS)])
def test_each_answers_its_own_tasks_only(ranker: MeasuredRanker, tasks: set[str]) -> None:
    assert isinstance(ranker, Ranker)
    assert ranker.needs == tasks
    assert ranker.scope == "image"
    for task in (HEADER_TASKS | PIXEL_TASKS | {"quality"}) - tasks:
        assert ranker.answer(query(task)) is None
    assert ranker.answer(query(None)) is None
    for task in tasks:
        answer = ranker.answer(query(task))
        assert answer is not None
        assert (answer.method, answer.model, answer.prompt) == ("measured", "-", task)
        assert answer.label == "measured"


def test_units() -> None:
    units = {
        task: answer.unit
        for ranker in (HEADER, PIXELS)
        for task in ranker.needs
        if (answer := ranker.answer(query(task)))
    }
    assert units == {
        "megapixels": "megapixels",
        "file_size": "bytes",
        "date": "s since 1970",
        "aspect": "",
        "brightness": "%",
        "contrast": "%",
        "colorfulness": "",
        "sharpness": "",
    }


def test_identities_differ_and_name_the_version() -> None:
    assert HEADER.identity != PIXELS.identity
    for ranker in (HEADER, PIXELS):
        assert ranker.identity == ranker.source.identity
        assert ranker.identity[-3:] == "1.1"


@pytest.mark.parametrize(
    ("ranker", "reference"), [(HEADER, measure_header), (PIXELS, measure)], ids=["header", "pixels"]
)
def test_scores_are_the_measures(ranker: MeasuredRanker, reference: object) -> None:
    files = [png((200, 10, 30)), png((0, 0, 255)), png((255, 255, 255))]
    queries = [query(task) for task in sorted(ranker.needs)]
    features = ranker.source.compute([ranker.source.prepare(data) for data in files])
    rows = ranker.score(features, queries)
    for data, row in zip(files, rows, strict=True):
        expected = reference(data)  # type: ignore[operator]
        found = {
            q.task: None if score is None else score.value
            for q, score in zip(queries, row, strict=True)
        }
        assert found == expected


def test_a_picture_without_a_date_has_no_score_for_it() -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "1970:01:01 00:01:00"
    Image.new("RGB", (4, 4)).save(file, "JPEG", exif=exif)
    features = [HEADER.source.prepare(data) for data in (png((0, 0, 0)), file.getvalue())]
    ((without,), (with_date,)) = HEADER.score(features, [query("date")])
    assert without is None
    assert with_date == (60.0, None, None)


def test_the_header_ranker_decodes_no_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    data = png((1, 2, 3))

    def load(image: Image.Image) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    assert HEADER.source.prepare(data)["aspect"] == 2.0


def test_an_unreadable_file_says_so() -> None:
    for ranker in (HEADER, PIXELS):
        with pytest.raises(Unreadable, match="not a picture"):
            ranker.source.prepare(b"text")


def test_only_measures_that_cost_a_decoding_are_kept() -> None:
    assert HEADER.source.kept == frozenset()
    assert PIXELS.source.kept == PIXEL_TASKS
