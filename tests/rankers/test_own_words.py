"""A model trained for an instruction in the user's own words answers to just these words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from multi_task import AGE, multi_task
from PIL import Image

from imgrank import Options, compare, sort
from imgrank.cli.train import train
from imgrank.errors import UsageError
from imgrank.evaluate.evaluation import Request, evaluate
from imgrank.instruction import parse
from imgrank.rankers.load import route
from imgrank.settings import load_settings

WORDS = "how well it fits its prompt"
FITS = AGE | {"prompt": "How well it fits its prompt", "unit": "", "range": None, "note": ""}
OWN = {"how-well-it-fits-its-prompt": FITS, "age": AGE}


@pytest.mark.parametrize(
    "text", [WORDS, f"by {WORDS}", f"sort these photos by {WORDS}, best first", f"{WORDS.upper()}!"]
)
def test_the_same_text_in_another_frame_is_the_same_task(text: str) -> None:
    multi_task(tasks=OWN)
    job = route(parse(text), load_settings(), "multi")
    assert (job.answer.label, job.answer.prompt) == ("adapter multi", FITS["prompt"])
    assert job.query.task is None
    assert route(parse(text), load_settings(model="multi")).answer.label == "adapter multi"


def test_another_text_is_another_task() -> None:
    multi_task(tasks=OWN)
    with pytest.raises(UsageError, match="it knows 'How well it fits its prompt', age"):
        route(parse("how well it fits"), load_settings(), "multi")
    settings = load_settings(model="multi")
    assert route(parse("how well it fits"), settings).answer.label == "zero-shot tiny"


def test_the_prompt_of_a_known_task_is_no_free_text() -> None:
    multi_task(tasks={"age": AGE | {"prompt": WORDS}})
    with pytest.raises(UsageError, match="it knows age"):
        route(parse(WORDS), load_settings(), "multi")


def test_what_a_csv_file_trains_sorts_compares_and_evaluates(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    draw = np.random.default_rng(0)
    lines = ["path,instruction,value,split"]
    for n in range(12):
        pixels = draw.integers(0, 255, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{n}.png")
        lines.append(f"{n}.png,{WORDS},{n},{'test' if n > 8 else 'train'}")
    file = photos / "mine.csv"
    file.write_text("\n".join(lines) + "\n")
    line = ["adapter", "--data", "csv", "--root", str(file), "--out", str(tmp_path / "out")]
    more = ["--name", "mine", "--steps", "2", "--set", "batch=4", "--device", "cpu"]
    result = CliRunner().invoke(train, [*line, *more, "--threads", "1"])
    assert result.exit_code == 0, result.output
    model = str(tmp_path / "out" / "mine")
    assert list(json.loads((tmp_path / "out" / "mine" / "config.json").read_text())["tasks"]) == [
        "how-well-it-fits-its-prompt"
    ]

    options = Options(model=model)
    found = sort(photos, f"by {WORDS}", options=options)
    assert len(found) == 12
    assert (found.columns[0].model, found.columns[0].prompt) == ("mine", WORDS)
    first, last = found[0].path, found[-1].path
    assert compare(first, last, WORDS, options=options).scores == pytest.approx(
        (found[0].score, found[-1].score), abs=5e-3
    )
    (run,) = evaluate(Request("csv", file, (model,), rounds=10), load_settings()).runs
    assert run.answers.known == 3  # the sort scored them, under the same prompt
    by_name = {row.path.name: row.score for row in found}
    (answered,) = run.answers.queries
    assert answered.scores.tolist() == [by_name[f"{n}.png"] for n in (9, 10, 11)]
