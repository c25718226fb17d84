"""`--model rarl:...` on the command line and in Python: a scripted model, and a real tiny one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import command_line
from model_folders import Run
from tiny_vlm import pictures
from window_models import Fake, Script, rarl_folder, vlm_folder, written

from imgrank import Options, compare, score, search, sort
from imgrank.errors import UsageError
from imgrank.instruction import Query
from imgrank.rankers.rarl import RARLRanker
from imgrank.settings import load_settings

VALUES = [40, 90, 3, 61, 7, 12, 77, 50, 30, 22, 85]
RISING = ["002", "004", "005", "009", "008", "000", "007", "003", "006", "010", "001"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return command_line(monkeypatch)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    pictures(tmp_path / "photos", VALUES)
    return tmp_path / "photos"


@pytest.fixture
def models() -> Path:
    """The models folder with a plain model "vlm" and a checkpoint "ages"; none can be loaded."""
    folder = load_settings().models_dir
    vlm_folder(folder / "vlm")
    rarl_folder(folder / "ages", folder / "vlm")
    return folder


Scripted = Callable[..., Fake]


@pytest.fixture
def scripted(models: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """Both models answer as a script says; the fake knows what they were asked."""

    def use(script: Script = written, seconds: float | None = None) -> Fake:
        fake = Fake(script, seconds=seconds)

        def ask(self: RARLRanker, windows: Sequence[Sequence[Any]], query: Query) -> list[str]:
            return fake.ask(windows, query)

        monkeypatch.setattr(RARLRanker, "ask", ask)
        monkeypatch.setattr(RARLRanker, "batch", 1)
        monkeypatch.setattr(RARLRanker, "place", "this CPU")
        monkeypatch.setattr(RARLRanker, "seconds", lambda self, pictures: fake.took)
        return fake

    return use


def stems(rows: Sequence[Any]) -> list[str]:
    return [row.path.stem for row in rows]


def without(shown: list[int], *values: int) -> str:
    return written({n: v for n, v in enumerate(shown, 1) if v not in values})


def test_a_folder_in_the_order_of_its_windows(run: Run, photos: Path, scripted: Scripted) -> None:
    fake = scripted()
    result = run("sort", photos, "youngest first", "--model", "rarl:ages", "-f", "json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert [Path(image["path"]).stem for image in found["images"]] == RISING
    assert [image["score"] for image in found["images"]] == pytest.approx(sorted(VALUES))
    (criterion,) = found["criteria"]
    assert (criterion["method"], criterion["model"]) == ("rarl", "ages")
    assert (criterion["unit"], criterion["range"]) == ("years", [0, 100])
    assert criterion["zero_shot"] is False
    assert len(fake.seen) == 4
    assert result.stderr.splitlines()[0] == "age: rarl ages"
    assert "11 pictures in " in result.stderr
    assert "(11 computed, 0 known)" in result.stderr


def test_a_second_sort_loads_neither_torch_nor_transformers_nor_a_decoder(
    run: Run, photos: Path, scripted: Scripted
) -> None:
    scripted()
    first = run("sort", photos, "by age", "--model", "rarl:ages")
    code = (
        "import sys; from imgrank.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'transformers', 'PIL') if m in sys.modules], file=sys.stderr)"
    )
    line = [sys.executable, "-c", code, "sort", str(photos), "by age", "--model", "rarl:ages"]
    again = subprocess.run(line, capture_output=True, text=True, env=os.environ.copy(), check=True)
    assert again.stdout == first.stdout
    assert "(0 computed, 11 known)" in again.stderr
    assert again.stderr.splitlines()[-1] == "[]"


def test_a_picture_without_a_value_is_left_out_and_said(
    run: Run, photos: Path, scripted: Scripted
) -> None:
    scripted(lambda shown: without(shown, 90, 3))
    result = run("sort", photos, "oldest person first", "--model", "ages", "-f", "json")
    found = json.loads(result.stdout)
    listed = [Path(image["path"]).stem for image in found["images"]]
    assert listed == [stem for stem in RISING[::-1] if stem not in ("001", "002")]
    assert {Path(s["path"]).stem: s["reason"] for s in found["skipped"]} == {
        "001": "has no value in ages's answers",
        "002": "has no value in ages's answers",
    }
    assert "2 of 11 pictures had no value in the first answers; asked again" in result.stderr
    for name in ("001", "002"):  # a model's failure is told of each, a property's lack is counted
        assert f"{name}.png: has no value in ages's answers" in result.stderr
    assert "(11 computed, 0 known, 2 skipped)" in result.stderr
    assert run("sort", photos, "by age", "--model", "ages", "--strict").exit_code == 1
    moved = photos.parent / "moved"
    assert run("sort", photos, "by age", "--model", "ages", "--move-to", moved).exit_code == 0
    assert len(list(moved.iterdir())) == 9
    assert sorted(path.stem for path in photos.iterdir()) == ["001", "002"]


def test_free_words_are_told_as_words_not_by_the_page_asked(
    run: Run, photos: Path, scripted: Scripted
) -> None:
    scripted()
    result = run("sort", photos, "a cosy room", "--model", "rarl:vlm")
    assert result.stderr.splitlines()[0] == "'a cosy room': vision-language vlm"


def test_a_folder_around_a_checkpoint_names_it(run: Run, photos: Path, models: Path) -> None:
    result = run("sort", photos, "by age", "--model", f"rarl:{models}")
    assert result.exit_code == 3
    assert result.stderr.endswith(f"Below it is {models / 'ages'}: name that.\n")


def test_a_model_that_writes_nothing_of_use(run: Run, photos: Path, scripted: Scripted) -> None:
    scripted(lambda shown: "I am sorry.")
    result = run("sort", photos, "by age", "--model", "vlm")
    assert result.exit_code == 1
    assert "no picture has a value in vlm's answers; there is nothing to sort" in result.stderr


def test_several_criteria_of_which_one_looks_at_windows(photos: Path, scripted: Scripted) -> None:
    (photos / "broken.png").write_bytes((photos / "001.png").read_bytes()[:90])
    fake = scripted()
    options = Options(model="rarl:vlm")
    both = score(photos, "by age", "by the number of dogs", options=options)
    assert [[cell and round(cell.value) for cell in row] for row in both.scores] == [
        [value, min(value, 20)] for value in VALUES
    ]
    assert [c.method for c in both.columns] == ["vision-language"] * 2
    assert [c.zero_shot for c in both.columns] == [True, True]
    assert [skip.path.name for skip in both.skips] == ["broken.png"]
    asked = len(fake.seen)
    settings = replace(load_settings(), models={"age": "rarl:vlm"})
    mixed = sort(photos, by=["by age", "by brightness"], options=Options(settings=settings))
    assert [c.method for c in mixed.columns] == ["vision-language", "measured"]
    assert [round(row.scores[0][0]) for row in mixed if row.scores[0]] == [
        VALUES[int(row.path.stem)] for row in mixed
    ]
    assert len(fake.seen) == asked  # of both models' windows nothing was asked twice


def test_closest_to_a_number_is_by_distance(photos: Path, scripted: Scripted) -> None:
    scripted()
    rows = sort(photos, "closest to 30 years", options=Options(model="rarl:ages"))
    assert stems(rows)[:3] == ["008", "009", "000"]
    assert rows.columns[0].reference == 30


def test_folders_share_one_order_and_split_it(photos: Path, scripted: Scripted) -> None:
    (photos / "sub").mkdir()
    for name in ("001.png", "002.png"):
        shutil.move(photos / name, photos / "sub" / name)
    fake = scripted()
    rows = sort(photos, "by age", per_folder=True, options=Options(model="rarl:ages"))
    assert len(fake.seen) == 4  # of all 11 together
    assert stems(rows) == [s for s in RISING[::-1] if s not in ("001", "002")] + ["001", "002"]


def test_near_duplicates_need_only_the_order(photos: Path, scripted: Scripted) -> None:
    shutil.copy(photos / "001.png", photos / "copy.png")
    scripted()
    options = Options(model="rarl:ages")
    rows = sort(photos, "by age", near_duplicates="keep-best:1", options=options)
    assert stems(rows)[0] == "001"
    assert "copy" not in stems(rows)


def test_two_pictures_are_one_window(run: Run, photos: Path, scripted: Scripted) -> None:
    fake = scripted(seconds=900)  # a window is little enough
    options = Options(model="rarl:ages")
    found = compare(photos / "002.png", photos / "001.png", "by age", options=options)
    assert found.winner == photos / "001.png"
    assert (found.probability, found.scores) == (None, (3, 90))
    assert [sorted(window) for window in fake.seen] == [[3, 90]]
    line = ("compare", photos / "001.png", photos / "002.png", "by age", "--model", "rarl:ages")
    result = run(*line)
    assert "no probability: ages gives both a value and says nothing of how surely" in result.stderr
    assert len(fake.seen) == 1  # its answer is kept
    assert run("compare", photos / "001.png", photos, "by age").exit_code == 2


def test_the_first_of_a_search_ordered_anew(photos: Path, scripted: Scripted) -> None:
    fake = scripted()
    options = Options(model=None)
    found = search(photos, "red", rerank="rarl:ages", rerank_first=6, options=options)
    assert len(found) == 6
    assert [len(window) for window in fake.seen] == [6]
    assert found.columns[1].method == "rarl"


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("line", "says"),
    [
        (("sort", "{}", "by age", "--refine", "pairs"), "answered by rarl ages, which has none"),
        (("index", "{}"), "makes no features of one, so there is nothing to keep beforehand"),
        (("age", "{}"), "not at faces; `imgrank sort PATH 'by age' --model rarl:ages` asks it"),
        (("decade", "{}"), "gives no probabilities of decade levels (it is of kind rarl)"),
        (("aesthetic", "{}"), "gives no probabilities of aesthetics levels (it is of kind rarl)"),
        (("search", "{}", "a cat"), "cannot search; --rerank rarl:ages orders the first of a"),
        (("sort", "{}", "a cat"), "ages was not trained for 'a cat'; it knows age."),
    ],
)
def test_what_does_not_go_with_it(run: Run, photos: Path, line: tuple[str, ...], says: str) -> None:
    result = run(*(word.format(photos) for word in line), "--model", "rarl:ages")
    assert result.exit_code == 2, result.stderr
    assert says in result.stderr


def test_long_work_is_asked_about(
    run: Run, photos: Path, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = scripted(seconds=600)
    line = ("sort", photos, "by age", "--model", "rarl:ages")
    forecast = "bout 4 windows of 8 pictures, about 10 minutes a window on this CPU, about 40 minut"
    result = run(*line)
    assert (result.exit_code, fake.seen) == (2, [])
    assert f"a{forecast}" in result.stderr
    assert "--yes goes on" in result.stderr
    with pytest.raises(UsageError, match="--yes goes on"):
        sort(photos, "by age", options=Options(model="rarl:ages"))
    asked: list[str] = []
    monkeypatch.setattr("imgrank.cli.asking.may_ask", lambda: True)
    monkeypatch.setattr("click.confirm", lambda text, **_: asked.append(text) or False)
    result = run(*line)
    assert (result.exit_code, fake.seen) == (2, [])
    assert asked[0].startswith(f"A{forecast}")
    assert asked[0].endswith(" in all. Go on?")
    assert "nothing was asked" in result.stderr
    result = run(*line, "--yes")
    assert (result.exit_code, len(asked)) == (0, 1)
    assert f"  a{forecast}" in result.stderr
    assert len(sort(photos, "by age", options=Options(model="rarl:ages"))) == 11  # all known now


def test_an_interrupted_sort_goes_on(run: Run, photos: Path, scripted: Scripted) -> None:
    asked: list[list[int]] = []

    def script(shown: list[int]) -> str:
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(shown)
        return written(shown)

    scripted(script)
    result = run("score", photos, "by age", "--model", "rarl:ages")
    assert result.exit_code == 130
    assert "What was computed is kept" in result.stderr
    rest = scripted()
    assert run("score", photos, "by age", "--model", "rarl:ages").exit_code == 0
    assert len(rest.seen) == 1


def test_one_more_picture_is_another_set(photos: Path, scripted: Scripted) -> None:
    fake = scripted()
    options = Options(model="rarl:ages")
    sort(photos, "by age", options=options)
    (photos / "010.png").unlink()
    fake.seen.clear()
    rows = sort(photos, "by age", options=options)
    assert [round(row.score) for row in rows] == sorted(VALUES[:-1], reverse=True)
    assert 0 < len(fake.seen) <= 4


def test_a_real_model_of_random_weights(
    tiny_vlm_folder: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes what it likes; the sort ends, and says what it has no value for."""
    pictures(tmp_path / "photos", [40, 90, 3])
    monkeypatch.setattr("imgrank.rankers.rarl.NEW_TOKENS", 12)
    result = run("sort", tmp_path / "photos", "by age", "--model", f"rarl:{tiny_vlm_folder}")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[0] == "age: vision-language tiny-vlm"
    assert "3 of 3 pictures had no value in the first answers; asked again" in result.stderr
    assert "no picture has a value in tiny-vlm's answers" in result.stderr
    assert any(line.startswith("ran on CPU, ") and line.endswith("; float32") for line in lines)
    again = run("sort", tmp_path / "photos", "by age", "--model", f"rarl:{tiny_vlm_folder}")
    assert again.exit_code == 1
    assert "ran on" not in again.stderr  # all answers are known
