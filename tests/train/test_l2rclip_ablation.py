"""The ablation of L2RCLIP: which parts each row has, and what stands in the table."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_l2rclip import CONFIG, TINY, fitted, made_up, small, toy_data, toy_problem

from imgrank.data.labelled import Labelled
from imgrank.errors import DataError
from imgrank.models.rank_text import RankTextConfig
from imgrank.models.registry import EMBEDDED
from imgrank.rankers.levels import softmax
from imgrank.train import l2rclip_ablation as subject
from imgrank.train.l2rclip_ablation import ablation, measured, rows_of, table
from imgrank.train.l2rclip_data import embedded

pytestmark = pytest.mark.usefixtures("one_thread", "stand_in")


PARTS = ("train",) * 40 + ("test",) * 10 + ("validation",) * 10


def three_parts() -> Labelled:
    return replace(toy_data(), parts=PARTS)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(monkeypatch)
    monkeypatch.setattr(subject.catalogue, "read", lambda name, root, options: three_parts())


def test_rows_switch_one_part_each() -> None:
    found = {
        name: (each.text.way, each.stage1.cop, each.stage2.scop) for name, each in rows_of(CONFIG)
    }
    assert found == {
        "neither": ("templates", 0, 0),
        "L_scop": ("templates", 0, 1),
        "L_cop": ("templates", 3, 0),
        "RankFormer": ("rankformer", 0, 0),
        "L_cop + L_scop": ("templates", 3, 1),
        "RankFormer + L_scop": ("rankformer", 0, 1),
        "RankFormer + L_cop": ("rankformer", 3, 0),
        "RankFormer + L_cop + L_scop": ("rankformer", 3, 1),
        "vanilla templates": ("vanilla", 0, 0),
        "CoOp (context only)": ("context", 0, 0),
        "OrdinalCLIP (interpolation)": ("interpolation", 0, 0),
    }


def test_a_recipe_with_texts_of_its_own_has_a_row_for_them() -> None:
    config = replace(CONFIG, text=RankTextConfig(way="interpolation"))
    rows = dict(rows_of(config))
    assert rows["interpolation + L_cop + L_scop"] == config
    assert len(rows) == 12


def test_table_has_mean_and_deviation_over_seeds() -> None:
    rows = [
        {"row": "a", "mae": 1.0, "accuracy": 0.5, "srcc": 0.25, "OS": 80.0},
        {"row": "b", "mae": 4.0, "accuracy": 0.1, "srcc": -0.5, "OS": 55.0},
        {"row": "a", "mae": 2.0, "accuracy": 0.7, "srcc": 0.75, "OS": 90.0},
    ]
    assert table(rows).splitlines()[2:] == [
        "| a | 1.500 (0.500) | 0.600 (0.100) | 0.500 (0.250) | 85.0 (5.0) |",
        "| b | 4.000 | 0.100 | -0.500 | 55.0 |",
    ]


def test_measured_on_the_test_part_by_the_temperature_of_the_validation_part(
    tmp_path: Path,
) -> None:
    problem = toy_problem(data=three_parts())
    found = fitted(CONFIG, tmp_path, problem=problem)
    assert found is not None

    def logits(part: str) -> np.ndarray:
        rows = np.flatnonzero(np.asarray(PARTS) == part)
        v: np.ndarray = embedded(found.images, rows).double().numpy()
        return problem.scale * (v @ found.r.double().numpy().T)

    labels = problem.labels.values.astype(int)
    held = labels[np.asarray(PARTS) == "validation"]
    tested = labels[np.asarray(PARTS) == "test"]
    z = logits("validation")
    tried = np.exp(np.linspace(-4.6, 4.6, 4001))
    losses = [-np.log(softmax(z / t)[np.arange(len(held)), held]).mean() for t in tried]
    p = softmax(logits("test") / tried[int(np.argmin(losses))])
    row = measured(problem, found)
    assert row["mae"] == pytest.approx(np.abs(p @ np.arange(5) - tested).mean(), abs=2e-3)
    assert row["accuracy"] == pytest.approx((p.argmax(axis=1) == tested).mean(), abs=1e-4)


def test_a_set_without_a_test_part_is_refused(tmp_path: Path) -> None:
    problem = toy_problem()
    found = fitted(small(), tmp_path)
    assert found is not None
    with pytest.raises(DataError, match="toy has no test part"):
        measured(problem, found)


def test_rows_that_are_done_are_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, only = small(), ("vanilla templates", "RankFormer + L_cop")
    said: list[str] = []

    def run() -> list[subject.Row] | None:
        tiny, cache = EMBEDDED / "tiny", tmp_path / "cache"
        return ablation(config, tmp_path, tmp_path / "out", tiny, cache, [0, 1], only, said.append)

    monkeypatch.setattr(subject, "Backbone", lambda folder: TINY)
    first = run()
    assert first is not None
    assert [(row["row"], row["seed"]) for row in first] == [
        (only[1], 0),
        (only[0], 0),
        (only[1], 1),
        (only[0], 1),
    ]
    assert len(said) == 4
    kept = (tmp_path / "out" / "rows.jsonl").read_text()
    assert [json.loads(line) for line in kept.splitlines()] == first
    monkeypatch.setattr(subject, "fit", None)  # whoever trains now fails
    assert run() == first
    assert (tmp_path / "out" / "rows.jsonl").read_text() == kept
