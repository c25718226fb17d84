"""`sort --refine pairs` through the public door: order, rows, what is kept, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from model_folders import PHOTOS, Run, runner
from multi_task import COUNT, TASKS, multi_task

import imgrank.pipeline as pipeline
import imgrank.refining as refining
from imgrank import Options, compare, index, sort
from imgrank.api import Ranking
from imgrank.errors import UsageError
from imgrank.rankers.adapter import AdapterRanker
from imgrank.rankers.source import BackboneSource
from imgrank.refining import Refine, parse_refine
from imgrank.settings import load_settings

QUALITY = "by image quality"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(monkeypatch)


def stems(ranking: Ranking) -> list[str]:
    return [row.path.stem for row in ranking]


def wins(names: list[str]) -> dict[str, float]:
    """Strengths among the named example photographs, by `compare` of every pair."""
    found = {}
    for name in names:
        pairs = [
            compare(PHOTOS / f"{name}.jpg", PHOTOS / f"{other}.jpg", QUALITY).probability
            for other in names
            if other != name
        ]
        found[name] = sum(p for p in pairs if p is not None) / len(pairs)
    return found


def test_the_first_are_ordered_by_pairs_and_the_others_stay() -> None:
    plain = sort(PHOTOS, QUALITY)
    refined = sort(PHOTOS, QUALITY, refine="pairs:4")
    assert refined.columns[0].refined == 4
    assert plain.columns[0].refined is None
    first = stems(plain)[:4]
    strengths = wins(first)
    assert stems(refined) == sorted(first, key=lambda n: -strengths[n]) + stems(plain)[4:]
    assert {row.path.stem: row.strength for row in refined[:4]} == pytest.approx(
        strengths, abs=2e-3
    )
    assert [row.strength for row in refined[4:]] == [None] * 9
    assert {r.path: r.score for r in refined} == {r.path: r.score for r in plain}
    assert [r.percentile for r in refined] == [r.percentile for r in plain]


def test_worst_first_compares_the_worst_and_puts_the_weakest_first() -> None:
    worst = sort(PHOTOS, "worst quality first", refine="pairs:5")
    strengths = [row.strength for row in worst[:5]]
    assert None not in strengths
    assert strengths == sorted(strengths)  # type: ignore[type-var]
    assert set(stems(worst)[:5]) == set(stems(sort(PHOTOS, QUALITY))[-5:])


def test_reverse_limits_and_top_come_after() -> None:
    refined = sort(PHOTOS, QUALITY, refine="pairs:6")
    turned = sort(PHOTOS, QUALITY, refine="pairs:6", reverse=True)
    assert stems(turned) == stems(refined)[::-1]
    assert [r.strength for r in turned] == [r.strength for r in refined][::-1]
    some = sort(PHOTOS, QUALITY, refine="pairs:6", maximum=3, top=4)
    assert [(r.path, r.strength) for r in some] == [
        (r.path, r.strength) for r in refined if r.score <= 3
    ][:4]


def test_every_folder_is_a_set_of_its_own_and_copies_share_a_strength(tmp_path: Path) -> None:
    for folder, names in (("a", ("cat", "coffee", "rocket")), ("b", ("cat", "cat-blurred"))):
        (tmp_path / folder).mkdir()
        for name in names:
            shutil.copy(PHOTOS / f"{name}.jpg", tmp_path / folder)
    shutil.copy(PHOTOS / "cat.jpg", tmp_path / "a" / "copy.jpg")
    found = sort(tmp_path, QUALITY, refine="pairs", per_folder=True)
    strengths = {(r.path.parent.name, r.path.stem): r.strength for r in found}
    assert strengths["a", "copy"] == strengths["a", "cat"]
    assert [strengths["a", name] for name in ("cat", "coffee", "rocket")] == pytest.approx(
        list(wins(["cat", "coffee", "rocket"]).values()), abs=2e-3
    )
    assert [strengths["b", name] for name in ("cat", "cat-blurred")] == pytest.approx(
        list(wins(["cat", "cat-blurred"]).values()), abs=2e-3
    )


def test_a_set_is_compared_once_and_by_features_that_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index(PHOTOS)
    opened: list[Path] = []
    read = pipeline.read_file
    for module in (pipeline, refining):
        monkeypatch.setattr(module, "read_file", lambda p: opened.append(p) or read(p))
    monkeypatch.setattr(BackboneSource, "compute", lambda *_: pytest.fail("features are known"))
    first = sort(PHOTOS, QUALITY, refine="pairs:7")
    assert opened == []
    monkeypatch.setattr(AdapterRanker, "strengths", lambda *_: pytest.fail("these are known"))
    assert sort(PHOTOS, QUALITY, refine="pairs:7").rows == first.rows
    with pytest.raises(BaseException, match="these are known"):
        sort(PHOTOS, QUALITY, refine="pairs:6")  # another set


def test_features_that_the_store_lacks_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = sort(PHOTOS, QUALITY, refine="pairs").rows
    monkeypatch.setenv("IMGRANK_HOME", "/dev/null/nowhere")  # nothing can be kept there
    lone = sort(PHOTOS, QUALITY, refine="pairs").rows
    assert [r.path for r in lone] == [r.path for r in wanted]
    assert [r.strength for r in lone] == pytest.approx([r.strength for r in wanted], abs=2e-3)


def test_the_formats_have_a_field_for_it(run: Run) -> None:
    result = run("sort", str(PHOTOS), QUALITY, "--refine", "pairs:2", "-q")
    header, *lines = (line.split("\t") for line in result.stdout.splitlines())
    assert header[-2:] == ["strength", "path"]
    values = [line[-2] for line in lines]
    assert values[2:] == [""] * 11
    assert float(values[0]) + float(values[1]) == pytest.approx(1, abs=1e-5)
    found = json.loads(
        run("sort", str(PHOTOS), QUALITY, "--refine", "pairs:2", "-f", "json").stdout
    )
    assert found["criteria"][0]["refined"] == 2
    shown = [image["strength"] for image in found["images"]]
    assert [f"{value:.6g}" for value in shown[:2]] == values[:2]
    assert shown[2:] == [None] * 11
    table = run("sort", str(PHOTOS), QUALITY, "--refine", "pairs:2", "-f", "table", "-q").stdout
    cells = [line.split() for line in table.splitlines()]
    assert cells[0] == ["rank", "score", "percentile", "strength", "path"]
    assert [line[4] for line in cells[1:4]] == [f"{shown[0]:.3f}", f"{shown[1]:.3f}", "-"]


def test_many_pairs_are_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    options = Options(notify=said.append)
    monkeypatch.setattr(refining, "MANY", 79)
    sort(PHOTOS, QUALITY, refine="pairs", options=options)
    assert [line for line in said if "pairs" in line] == []
    monkeypatch.setattr(refining, "MANY", 55)
    sort(PHOTOS, "worst quality first", refine="pairs", options=options)
    assert [line for line in said if "pairs" in line] == []  # these are known
    sort(PHOTOS, QUALITY, refine="pairs:11", options=options)
    assert "comparing 55 pairs of 11 pictures; this takes a while" in said


@pytest.mark.parametrize(("text", "first"), [("pairs", 50), ("pairs:2", 2), (" pairs:2000 ", 2000)])
def test_how_many(text: str, first: int) -> None:
    assert parse_refine(text) == Refine(first)


@pytest.mark.parametrize(
    "text", ["", "pair", "pairs:", "pairs:1", "pairs:0", "pairs:-2", "pairs:x", "bradley-terry"]
)
def test_what_is_no_way_to_refine(run: Run, text: str) -> None:
    result = run("sort", str(PHOTOS), QUALITY, "--refine", text)
    assert result.exit_code == 2
    assert "is not 'pairs' or 'pairs:K'" in result.stderr


def test_what_has_no_pairs_is_refused_before_any_work() -> None:
    multi_task()
    headless = load_settings().models_dir / "headless"
    multi_task(headless, model={"rank_head": "none"}, tasks=TASKS | {"count": COUNT})
    says = r"answered by zero-shot tiny, which has none.*: .*tiny-quality \(quality\).*, multi \("
    with pytest.raises(UsageError, match=says) as error:
        sort(PHOTOS, "a cat", refine="pairs")
    assert "headless" not in str(error.value)
    with pytest.raises(UsageError, match="answered by measured, which has none"):
        sort(PHOTOS, "by brightness", refine="pairs")
    with pytest.raises(UsageError, match="adapter headless, which has none"):
        sort(PHOTOS, "by age", refine="pairs", options=Options(model="headless"))
    with pytest.raises(UsageError, match="combined criteria have no pairs"):
        sort(PHOTOS, by=["quality", "a cat"], refine="pairs")
    with pytest.raises(UsageError, match="not which is nearer to a number"):
        sort(PHOTOS, "closest to 3 dogs", refine="pairs", options=Options(model="multi"))


def test_closeness_that_a_model_was_trained_for_has_pairs() -> None:
    close = COUNT | {"closeness": "sort images by closeness to {n} {}."}
    multi_task(tasks={"count": close})
    options = Options(model="multi")
    found = sort(PHOTOS, "closest to 3 dogs", refine="pairs:3", options=options)
    strengths = [row.strength or 0 for row in found[:3]]
    assert strengths == sorted(strengths, reverse=True)
    assert sum(strengths) == pytest.approx(1.5)
