"""Zero-shot by words: poles, ranks and plain similarity by hand, and that all of it is labelled."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from click.testing import CliRunner, Result

from imgrank import load_ranker, sort
from imgrank.api import Options
from imgrank.cli import cli
from imgrank.instruction import parse, tasks
from imgrank.rankers.prompts import PromptRanker, ensemble, expectation
from imgrank.rankers.source import BackboneSource

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
CAT, ROCKET = PHOTOS / "cat.jpg", PHOTOS / "rocket.jpg"
SCALE = 10.0


class WordSource:
    """A backbone whose embedding of a text depends on nothing but the text."""

    identity = "words"
    spec = SimpleNamespace(name="words", weights_sha256="0" * 64)

    def logit_scale(self) -> float:
        return SCALE

    def text_embeddings(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        return np.stack([vector(text) for text in texts])


def vector(text: str) -> np.ndarray[Any, Any]:
    """[6], of length one."""
    drawn = np.random.default_rng(list(text.encode())).normal(size=6).astype(np.float32)
    return cast("np.ndarray[Any, Any]", drawn / np.linalg.norm(drawn))


@pytest.fixture
def ranker() -> PromptRanker:
    return PromptRanker(cast(BackboneSource, WordSource()))


def scores(ranker: PromptRanker, *texts: str) -> list[float]:
    """Of one picture, whose embedding is that of "picture"."""
    (cells,) = ranker.score([{"pooled": vector("picture")}], [parse(text) for text in texts])
    return [cell.value for cell in cells if cell is not None]


# ---- the formulas --------------------------------------------------------------------------------


def test_expectation_worked_by_hand() -> None:
    both = np.eye(2, dtype=np.float32)
    # e^ln3 : e^0 = 3 : 1, so 0.75 x 10 + 0.25 x 20 = 12.5
    assert expectation(both, both, (10, 20), math.log(3)) == pytest.approx([12.5, 17.5])
    assert expectation(both, both, (10, 20), 0.0) == pytest.approx([15, 15])
    assert expectation(both, both, (10, 20), 1e4) == pytest.approx([10, 20])  # and no overflow


def test_poles_are_the_mean_difference_of_cosines(ranker: PromptRanker) -> None:
    poles = tasks()["colorfulness"].poles
    assert len(poles) == 2
    picture = vector("picture")
    gaps = [picture @ vector(good) - picture @ vector(bad) for good, bad in poles]
    assert scores(ranker, "most colourful first") == pytest.approx([np.mean(gaps)], abs=1e-6)


def test_ranks_weigh_their_values_by_the_softmax_over_all_words(ranker: PromptRanker) -> None:
    ranks = tasks()["age"].ranks
    assert ranks is not None
    weights = []
    for words in ranks.words:
        texts = [template.format(word) for word in words for template in ranks.templates]
        mean = np.mean([vector(text) for text in texts], axis=0)
        weights.append(math.exp(SCALE * vector("picture") @ mean / np.linalg.norm(mean)))
    expected = np.dot(weights, ranks.values) / sum(weights)
    near, far = scores(ranker, "closest to 30 years", "farthest from age 70")
    assert near == pytest.approx(expected, rel=1e-5)
    assert far == near  # the number asked for orders, it does not score


def test_free_text_is_the_cosine_to_the_mean_of_its_templates(ranker: PromptRanker) -> None:
    texts = ["a cat", "a photo of a cat.", "a picture of a cat."]
    mean = np.mean([vector(text) for text in texts], axis=0)
    cosine = vector("picture") @ mean / np.linalg.norm(mean)
    assert scores(ranker, "a cat") == pytest.approx([cosine], abs=1e-6)
    assert np.linalg.norm(ensemble(cast(BackboneSource, WordSource()), ["a", "b"], ["{}"])) == (
        pytest.approx(1)
    )


def test_braces_in_a_wish_are_only_letters(ranker: PromptRanker) -> None:
    wish = replace(parse("a cat"), subject="a {} sign {0}")
    ((cell,),) = ranker.score([{"pooled": vector("picture")}], [wish])
    texts = ["a {} sign {0}", "a photo of a {} sign {0}.", "a picture of a {} sign {0}."]
    mean = np.mean([vector(text) for text in texts], axis=0)
    cosine = vector("picture") @ mean / np.linalg.norm(mean)
    assert cell is not None and cell.value == pytest.approx(cosine, abs=1e-6)


# ---- which way a task goes -----------------------------------------------------------------------


def test_every_known_task_has_poles_or_is_read_as_plain_words(ranker: PromptRanker) -> None:
    units = {
        key: ranker.answer(parse(f"by {key.replace('_', ' ')}")).unit
        for key in tasks()
        if key != "count"
    }
    plain = {"megapixels", "file_size", "aspect"}  # of the file, not of the look: nothing to say
    assert {key for key, unit in units.items() if unit == "cosine"} == plain
    assert set(units.values()) == {"cosine", "cosine difference"}
    note = ranker.answer(parse("by file size")).note
    assert note == "words was not trained for file_size; similarity to 'file size'"


@pytest.mark.parametrize(
    ("text", "unit", "ends"),
    [("closest to 30 years", "years", (1, 90)), ("closest to the 1950s", "year", (1850, 2020))],
)
def test_a_number_comes_from_ranks(
    ranker: PromptRanker, text: str, unit: str, ends: tuple[float, float]
) -> None:
    answer = ranker.answer(parse(text))
    assert (answer.method, answer.unit, answer.range) == ("zero-shot", unit, ends)
    assert "estimated from words alone" in answer.note
    (value,) = scores(ranker, text)
    assert ends[0] < value < ends[1]


def test_prompts_tell_all_that_the_scores_depend_on(ranker: PromptRanker) -> None:
    poles = ranker.answer(parse("by noise")).prompt
    assert poles.startswith("+Noisy photo. -Clean photo. +A grainy photo. -A smooth photo.")
    ranks = ranker.answer(parse("closest to 30 years")).prompt
    assert ranks.startswith("expected of 1 a baby, 3 a toddler, 6 a little boy/a little girl, 10 ")
    assert ranks.endswith("; as '{}' 'a photo of {}.' 'a portrait of {}.'")


def test_the_ranks_of_the_data_are_sound() -> None:
    ranked = {key: task.ranks for key, task in tasks().items() if task.ranks}
    assert set(ranked) == {"age", "decade"}
    for ranks in ranked.values():
        assert list(ranks.values) == sorted(set(ranks.values))
        assert len(ranks.words) == len(ranks.values) and all(ranks.words)
        assert all(template.count("{}") == 1 for template in ranks.templates)
        spelled = [word for words in ranks.words for word in words]
        assert len(spelled) == len(set(spelled))


# ---- the embedded backbone -----------------------------------------------------------------------


def test_closest_to_an_age_orders_by_distance() -> None:
    words = Options(model="tiny")
    ranking = sort(PHOTOS, "closest to 30 years", options=words)
    gaps = [abs(row.score - 30) for row in ranking]
    assert gaps == sorted(gaps)
    assert all(1 < row.score < 90 for row in ranking)
    assert ranking[0].path.stem.startswith("astronaut")  # the one with a grown-up person in it
    away = sort(PHOTOS, "farthest from age 30", options=words)
    assert away[0].path == ranking[-1].path


def test_the_store_keeps_old_scores_of_words() -> None:
    ranker = load_ranker("tiny")
    assert ranker.identity == f"zero-shot.1 {ranker.source.identity}"
    answer = ranker.answer(parse("by beauty"))
    assert answer is not None
    assert answer.prompt == (
        "+Beautiful photo. -Ugly photo. +a beautiful landscape -garbage "
        "+a beautiful place -a dirty place"
    )


def test_an_answer_needs_no_torch_and_no_numpy() -> None:
    code = (
        "import sys; from imgrank.rankers.load import load_ranker; "
        "from imgrank.instruction import parse; r = load_ranker('tiny'); "
        "r.answer(parse('closest to 30 years')); r.answer(parse('by age')); "
        "print('torch' in sys.modules, 'numpy' in sys.modules, round(r.source.logit_scale()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False 14\n"


# ---- labelled everywhere -------------------------------------------------------------------------


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, list(arguments))
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("wish", ["a cat", "by age", "closest to 30 years", "by noise"])
def test_a_sort_says_zero_shot_in_every_format(wish: str) -> None:
    pair = (str(CAT), str(ROCKET), wish, "--model", "tiny")
    table = run("sort", *pair, "--format", "table")
    assert "score (zero-shot)" in table.stdout.splitlines()[0]
    assert ": zero-shot tiny" in table.stderr
    for format_, delimiter in (("tsv", "\t"), ("csv", ",")):
        text = run("sort", *pair, "--format", format_).stdout
        rows = list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
        assert [row["method"] for row in rows] == ["zero-shot"] * 2
    found = json.loads(run("sort", *pair, "--format", "json").stdout)
    assert found["criteria"][0]["zero_shot"] is True
    assert [image["method"] for image in found["images"]] == ["zero-shot"] * 2
    line = json.loads(run("sort", *pair, "--format", "jsonl").stdout.splitlines()[0])
    assert (line["method"], line["criteria"][0]["zero_shot"]) == ("zero-shot", True)


def test_a_mixture_says_which_of_its_criteria_are_zero_shot() -> None:
    given = ("sort", str(CAT), str(ROCKET), "--by", "a cat=2", "--by", "by brightness")
    table = run(*given, "--format", "table")
    head = table.stdout.splitlines()[0]
    assert "a cat (zero-shot)" in head
    assert "by brightness (zero-shot)" not in head
    assert "'a cat': zero-shot tiny" in table.stderr
    assert "brightness: measured" in table.stderr
    found = json.loads(run(*given, "--format", "json").stdout)
    assert [c["zero_shot"] for c in found["criteria"]] == [True, False]
    assert {image["method"] for image in found["images"]} == {"zero-shot+measured"}


def test_a_score_says_zero_shot() -> None:
    given = ("score", str(CAT), "a cat", "by noise", "by brightness")
    table = run(*given, "--format", "table")
    head = re.split(" {2,}", table.stdout.splitlines()[0].strip())
    assert head == ["a cat (zero-shot)", "by noise (zero-shot)", "by brightness", "path"]
    assert "noise: zero-shot tiny" in table.stderr
    words = run("score", str(CAT), "closest to 30 years", "--model", "tiny", "--format", "table")
    assert "estimated from words alone" in words.stderr
    found = json.loads(run(*given, "--format", "json").stdout)
    assert [c["zero_shot"] for c in found["criteria"]] == [True, True, False]


@pytest.mark.parametrize("wish", ["a cat", "closest to 30 years"])
def test_a_comparison_says_zero_shot_and_why_it_gives_no_probability(wish: str) -> None:
    given = ("compare", str(CAT), str(ROCKET), wish, "--model", "tiny")
    result = run(*given, "--format", "json")
    found = json.loads(result.stdout)
    assert (found["method"], found["probability"]) == ("zero-shot", None)
    assert "zero-shot tiny" in result.stderr
    why = "distance to a number" if "closest" in wish else "scores each picture on its own"
    assert "no probability: " in result.stderr and why in result.stderr
    assert "zero-shot" in run(*given).stdout
