"""`imgrank eval` of a model with ranks: arg-max, intervals, sets, calibration, errors by age."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from rank_checkpoints import AGES, LEVELS, rank_checkpoint

from imgrank.cli.eval import eval as command
from imgrank.data.labelled import Labelled, Labels, ReadOptions
from imgrank.data.split import Part
from imgrank.errors import UsageError
from imgrank.evaluate import bands, metrics
from imgrank.evaluate.calibration import ece, ordinality_score
from imgrank.evaluate.evaluation import Request, evaluate
from imgrank.evaluate.levels import Levels, level_figures
from imgrank.evaluate.measure import Answered, Rounds, baseline, in_unit, measure_query
from imgrank.evaluate.resampling import draws
from imgrank.evaluate.similarity import similarity_figure
from imgrank.models.card import BEGIN, END
from imgrank.models.checkpoint import CARD, CONFIG
from imgrank.models.ranks import Ranks
from imgrank.rankers.base import Answer
from imgrank.rankers.levels import Calibration
from imgrank.settings import load_settings

YEARS = [3, 8, 14, 33, 35, 38, 52, 67, 91, 116, 20, 21, 22, 45]
PARTS: list[Part] = ["test"] * 10 + ["train"] * 4
CALIBRATION = {"temperature": 8.0, "tail": 0.2, "mass": 0.5, "level": 0.8, "on": "a test"}
Read = Callable[[Path, ReadOptions], Labelled]
P = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.3, 0.3, 0.4], [0.05, 0.05, 0.9]])
THREE = Ranks("a {} one", ("a", "b", "c"), (0.0, 10.0, 20.0), (-5.0, 5.0, 15.0), ("a", "b", "c"))


def pictures(folder: Path) -> tuple[Path, ...]:
    draw = np.random.default_rng(0)
    paths = tuple(folder / f"{n}.png" for n in range(len(YEARS)))
    for path in paths:
        Image.fromarray(draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture
def faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set of ages in the place of "oasis"."""
    paths = pictures(tmp_path)
    names = tuple(path.name for path in paths)
    values = np.array(YEARS, np.float32)

    def read(root: Path, options: ReadOptions) -> Labelled:
        labels = Labels("age", "age", "sort by age", values, unit="years", range=(0, 116))
        return Labelled("oasis", paths, names, tuple(PARTS), names, (labels,))

    monkeypatch.setattr("imgrank.data.oasis.read", read)
    return tmp_path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = rank_checkpoint(tmp_path / "years", "age", calibration=CALIBRATION)
    (folder / CARD).write_text(f"# years\n\n{BEGIN}\n{END}\n")
    return folder


def run(root: Path, *models: Path | str, **options: str) -> str:
    line = ["--data", "oasis", "--root", str(root), "--rounds", "20", "--quiet"]
    line += [word for each in models for word in ("--model", str(each))]
    line += [word for name, value in options.items() for word in (f"--{name}", value)]
    result = CliRunner().invoke(command, line, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.stdout


def query_of(answer: str, model: int = 0) -> dict[str, Any]:
    (query,) = json.loads(answer)["models"][model]["queries"]
    return dict(query)


# ---- from pictures to figures --------------------------------------------------------------------


def test_figures_are_those_of_the_probabilities(faces: Path, model: Path) -> None:
    found = evaluate(Request("oasis", faces, (str(model),), rounds=20), load_settings())
    (query,) = found.runs[0].answers.queries
    assert query.levels is not None
    p, y = query.levels.p, np.array(YEARS[:10], dtype=float)
    assert p.shape == (10, 10)
    assert p.sum(axis=1) == pytest.approx(1)
    assert query.scores == pytest.approx(p @ np.array(AGES.values))
    row = query_of(run(faces, model, format="json"))
    best, true = p.argmax(axis=1), AGES.of(y)
    assert row["accuracy"] == pytest.approx(np.mean(best == true), abs=1e-6)
    assert row["level_mae"] == pytest.approx(10 * np.abs(best - true).mean(), abs=1e-6)
    assert row["mae"] == pytest.approx(np.abs(query.scores - y).mean(), abs=1e-5)
    assert row["ece"] == pytest.approx(ece(p, true), abs=1e-6)
    sets = []
    for one in p:  # the likeliest ranks until they reach 0.5
        ranks: list[int] = []
        for rank in np.argsort(-one):
            if sum(one[r] for r in ranks) < 0.5:
                ranks.append(int(rank))
        sets.append(ranks)
    assert row["set_size"] == pytest.approx(np.mean([len(each) for each in sets]), abs=1e-6)
    held = [t in each for t, each in zip(true, sets, strict=True)]
    assert row["set_coverage"] == pytest.approx(np.mean(held), abs=1e-6)
    assert row["levels"]["calibration"] == CALIBRATION
    assert row["levels"]["ranks"] == list(AGES.names)
    assert row["os"] == pytest.approx(ordinality_score(query.levels.embeddings), abs=1e-6)
    for name in ("level_mae", "coverage", "set_coverage", "set_size", "ece"):
        low, high = row[f"{name}_interval"]
        assert low <= row[name] <= high
    assert "os_interval" not in row


def test_the_majority_is_a_rank(faces: Path, model: Path) -> None:
    query = query_of(run(faces, model, format="json"))
    # Training: 20, 21, 22, 45 are of the ranks 20, 20, 20, 50 (from 45 on); no 20 is tested.
    assert query["baseline"]["majority"] == "20"
    assert query["baseline"]["accuracy"] == 0


def test_text_and_tsv_say_them_too(faces: Path, model: Path) -> None:
    row = query_of(run(faces, model, format="json"))
    text = " ".join(run(faces, model, format="table").split())
    assert f"age, by rank: MAE of the likeliest {row['level_mae']:.2f} years; the 80 %" in text
    assert f"the 80 % set {100 * row['set_coverage']:.1f} % with" in text
    assert f"{row['set_size']:.1f} of 10 ranks; ECE {row['ece']:.3f}" in text
    assert f"ordinality {row['os']:.1f}." in text
    assert f"age, MAE by true age (pictures): 0-9 {row['bands'][0]['mae']:.1f} (2)" in text
    head, *lines = (line.split("\t") for line in run(faces, model, format="tsv").splitlines())
    rows = [dict(zip(head, line, strict=True)) for line in lines]
    assert float(rows[0]["coverage"]) == pytest.approx(row["coverage"], rel=1e-5)
    assert [r["query"] for r in rows if r["kind"] == "band"] == [
        *("age 0-9", "age 10-19", "age 30-39", "age 50-59", "age 60-69", "age 80+")
    ]


def test_what_eval_computed_is_known(faces: Path, model: Path) -> None:
    request = Request("oasis", faces, (str(model),), rounds=20)
    first, again = (evaluate(request, load_settings()).runs[0].answers for _ in range(2))
    assert (first.computed, first.known) == (10, 0)
    assert (again.computed, again.known) == (0, 10)
    (one,), (other,) = first.queries, again.queries
    assert one.levels is not None
    assert other.levels is not None
    assert one.levels.p == pytest.approx(other.levels.p, abs=1e-9)


def test_without_a_store_that_can_be_written(
    faces: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (faces / "no-folder").write_text("a file")
    with monkeypatch.context() as patch:
        patch.setenv("IMGRANK_HOME", str(faces / "no-folder"))
        without = query_of(run(faces, model, format="json"))
    assert without == query_of(run(faces, model, format="json"))


def test_a_picture_that_cannot_be_read_is_left_out(faces: Path, model: Path) -> None:
    (faces / "4.png").write_bytes(b"no picture")
    answers = evaluate(Request("oasis", faces, (str(model),)), load_settings()).runs[0].answers
    assert [skip.path.name for skip in answers.skips] == ["4.png"]
    (query,) = answers.queries
    assert query.levels is not None
    assert (len(query.rows), len(query.levels.p), answers.computed) == (9, 9, 9)


def test_pictures_that_are_made(faces: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = query_of(run(faces, model, format="json"))
    import imgrank.data.oasis as module

    data = module.read(faces, ReadOptions())
    made = replace(data, render=lambda index, size: replace(data).pixels(index, size))
    monkeypatch.setattr(module, "read", lambda root, options: made)
    assert query_of(run(faces, model, format="json"))["mae"] == pytest.approx(files["mae"])


def test_mean_and_deviation_over_models(faces: Path, model: Path, tmp_path: Path) -> None:
    other = rank_checkpoint(tmp_path / "others", "age", statistics=True)
    answer = json.loads(run(faces, model, other, format="json"))
    (mean,) = answer["over_models"]
    rows = [each["queries"][0] for each in answer["models"]]
    for name in ("accuracy", "level_mae", "coverage", "set_coverage", "set_size", "ece", "os"):
        values = [row[name] for row in rows]
        assert mean[name] == pytest.approx(np.mean(values), abs=1e-5)
        assert mean[f"{name}_sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-5)
    (difference,) = answer["differences"]
    assert difference["coverage"] == pytest.approx(rows[0]["coverage"] - rows[1]["coverage"])
    assert (difference["os"], "os_interval" in difference) == (0, False)
    text = " ".join(run(faces, model, other, format="table").split())
    assert "Mean (SD) of 2 models, age, by rank: MAE of the likeliest" in text


def test_figures_are_written_down(faces: Path, model: Path) -> None:
    row = query_of(run(faces, model, format="json"))
    line = ["--data", "oasis", "--root", str(faces), "--rounds", "20", "--model", str(model)]
    assert CliRunner().invoke(command, [*line, "--write"]).exit_code == 0
    (kept,) = json.loads((model / CONFIG).read_text())["tasks"]["age"]["measured"]
    for name in ("mae", "accuracy", "coverage", "set_coverage", "set_size", "ece", "os"):
        assert kept[name] == round(row[name], 4)
    assert kept["bands"] == row["bands"]
    assert "os_interval" not in kept
    card = (model / CARD).read_text()
    assert (
        "| interval holds | set holds | ranks in the set | calibration error | ordinality |" in card
    )
    assert "MAE by true age (pictures), oasis, test part" in card
    assert f": 0-9 {row['bands'][0]['mae']:.1f} (2), 10-19 " in card
    assert f"{kept['coverage']:.3f} [" in card


# ---- similarity ----------------------------------------------------------------------------------


def test_similarity_of_the_ranks_is_drawn(faces: Path, model: Path, tmp_path: Path) -> None:
    target = tmp_path / "matrix.png"
    run(faces, model, similarity=str(target))
    with Image.open(target) as drawn:
        assert drawn.format == "PNG"
    with pytest.raises(UsageError, match="overwrites nothing"):
        run(faces, model, similarity=str(target))
    with pytest.raises(UsageError, match="--similarity writes a PNG"):
        run(faces, model, similarity=str(tmp_path / "matrix.gif"))
    with pytest.raises(UsageError, match="has no ranks whose similarity could be drawn"):
        run(faces, "tiny", similarity=str(tmp_path / "other.png"))


def test_the_matrix_has_names_and_the_score() -> None:
    angles = np.linspace(0, 1.5, 30)
    r = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    figure = similarity_figure(3 * r, [f"{n} years" for n in range(30)], "a model")
    axis = figure.axes[0]
    cells = np.asarray(axis.images[0].get_array())
    assert cells[0] == pytest.approx(np.cos(angles))
    assert axis.get_title() == "a model\nordinality score 100.00 %"
    names = [text.get_text() for text in axis.get_xticklabels()]
    assert names == [f"{n} years" for n in range(0, 30, 3)]


# ---- by hand -------------------------------------------------------------------------------------


def by_hand(calibration: Calibration, scale: tuple[float, float] | None = None) -> Levels:
    return Levels(P, THREE, calibration, np.eye(3, dtype=np.float32), scale)


def test_figures_by_hand() -> None:
    truth = np.array([0.0, 18.0, 4.0, 30.0])  # of the ranks a, c, a, c
    found = by_hand(Calibration(tail=0.3, mass=0.65))
    once = np.ones((1, 4), dtype=np.float32)
    rows, figures, samples = level_figures(found, truth, once)
    assert rows["accuracy"].tolist() == [1, 0, 0, 1]
    assert rows["level_mae"].tolist() == [0, 10, 20, 0]
    assert rows["set_size"].tolist() == [1, 2, 2, 1]
    assert rows["set_coverage"].tolist() == [1, 1, 1, 1]
    # At 0.3 and 0.7, ranks being 10 wide from -5: up to 5, [9, 17.5], from 5 on, from 17.2 on.
    assert rows["coverage"].tolist() == [1, 0, 0, 1]
    assert figures["ece"] == pytest.approx((0.3 + 0.5 + 0.4 + 0.1) / 4)
    assert samples["ece"] == pytest.approx([figures["ece"]])


def test_the_rounds_of_the_calibration_error_are_those_of_a_resampled_set() -> None:
    draw = np.random.default_rng(5)
    p = draw.dirichlet([1, 1, 1], size=40)
    true = draw.integers(0, 3, size=40)
    found = replace(by_hand(Calibration()), p=p)
    drawn = draws(list(range(40)), rounds=6, seed=1)
    _, _, samples = level_figures(found, np.array(THREE.values)[true], drawn)
    for counts, value in zip(drawn, samples["ece"], strict=True):
        rows = np.repeat(np.arange(40), counts.astype(int))
        assert value == pytest.approx(ece(p[rows], true[rows]), abs=1e-6)


def answered(unit: str, levels: Levels | None, ends: tuple[float, float] | None = None) -> Answered:
    truth = np.array([0.0, 18.0, 4.0, 30.0], dtype=np.float32)
    labels = Labels("key", "task", "prompt", truth, unit=unit, range=ends)
    answer = Answer("l2rclip", "m", "", "prompt", unit, range=(0.0, 20.0))
    return Answered(labels, answer, np.arange(4), P @ np.array(THREE.values), levels)


def test_the_scale_of_a_models_task_counts_not_the_values_of_its_ranks() -> None:
    assert in_unit(answered("MOS", by_hand(Calibration(), (0, 30)), (0, 30)))
    assert not in_unit(answered("MOS", by_hand(Calibration(), (0, 5)), (0, 30)))
    assert not in_unit(answered("MOS", None, (0, 30)))
    assert in_unit(answered("years", by_hand(Calibration(), (0, 5)), (0, 30)))


def test_another_unit_has_no_figures_of_ranks() -> None:
    query = answered("year", by_hand(Calibration()))
    query = replace(query, answer=replace(query.answer, unit="decade"))
    names = tuple(str(n) for n in range(4))
    data = Labelled("x", tuple(map(Path, names)), names, ("test",) * 4, names, (query.labels,))
    found = measure_query(query, Rounds.of(data, query.rows, 5, 0))
    assert set(found.values) == {"srcc", "plcc", "pair_accuracy"}
    assert query.ranks is None
    assert "majority" not in baseline(data, query.labels, "test", query.ranks)


def test_errors_by_age_by_hand() -> None:
    query = answered("years", by_hand(Calibration(tail=0.3)))
    names = tuple(str(n) for n in range(4))
    data = Labelled("x", tuple(map(Path, names)), names, ("test",) * 4, names, (query.labels,))
    found = bands.by_age(query, Rounds.of(data, query.rows, 50, 0))
    assert [(row["band"], row["n"]) for row in found] == [("0-9", 2), ("10-19", 1), ("30-39", 1)]
    # Estimates 4, 13, 11, 18.5; truths 0, 18, 4, 30.
    assert [row["mae"] for row in found] == [5.5, 5, 11.5]
    assert [row["bias"] for row in found] == [5.5, -5, -11.5]
    assert [row["coverage"] for row in found] == [0.5, 0, 1]
    assert sum(row["mae"] * row["n"] for row in found) / 4 == metrics.mae(query.truth, query.scores)
    assert bands.by_age(answered("MOS", None), Rounds.of(data, query.rows, 5, 0)) == []
    plain = bands.by_age(answered("years", None), Rounds.of(data, query.rows, 5, 0))
    assert "coverage" not in plain[0]


def test_levels_of_a_scale_of_opinion() -> None:
    """The five levels of beauty: of 3.4 the rank is "flawed" (2.5 to 3.5), of the index 1."""
    assert LEVELS.of([3.4, 3.5, 7.0]).tolist() == [1, 2, 4]
