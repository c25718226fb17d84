"""Both stages of the L2RCLIP recipe on a made-up data set: they learn, and resume bit for bit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_l2rclip import (
    CONFIG,
    TINY,
    WORDS,
    fitted,
    interrupted,
    made_up,
    small,
    tensors,
    toy_data,
    toy_problem,
)
from toy_training import TARGETS, labelled, labels, same

from imgrank.errors import CheckpointError, UsageError
from imgrank.models.checkpoint import read_config
from imgrank.models.ranks import Ranks
from imgrank.models.registry import EMBEDDED
from imgrank.rankers.l2rclip import L2RCLIPRanker
from imgrank.rankers.source import BackboneSource
from imgrank.train import l2rclip as recipe
from imgrank.train.image_side import ImageSideConfig
from imgrank.train.l2rclip_data import draw, figures, problem_of
from imgrank.train.l2rclip_recipe import Stage1, Stage2, baseline, override
from imgrank.train.run import Learner

pytestmark = pytest.mark.usefixtures("one_thread", "stand_in")


PLOTS = recipe.draw_plots


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(monkeypatch)


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_both_stages_learn(tmp_path: Path) -> None:
    config = replace(
        CONFIG,
        stage1=Stage1(epochs=4, lr=1e-3),
        stage2=Stage2(epochs=4, lr=3e-3, drop_epoch=0),
        evaluate_every=4,
    )
    found = fitted(config, tmp_path)
    assert found is not None
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == [*range(1, 13), 12, *range(13, 25), 24]
    assert [row["stage"] for row in rows] == [1] * 13 + [2] * 13
    first, second = rows[:12], rows[13:25]
    assert all(row.keys() == {"step", "stage", "total", "t2i", "i2t", "cop"} for row in first)
    assert all(row.keys() == {"step", "stage", "total", "ce", "scop"} for row in second)
    assert np.mean([row["i2t"] for row in first[-3:]]) < np.mean([r["i2t"] for r in first[:3]])
    measured = [rows[12], rows[25]]
    assert measured[1]["toy mae"] < 0.8 < 1.2 < 1 + measured[0]["toy mae"]
    assert measured[1]["toy srcc"] > 0.8
    assert found.figures == {k: v for k, v in measured[1].items() if " " in k}
    # What is written down agrees with what the parts say of themselves.
    problem = toy_problem(config)
    v = found.images.embed(problem.watched).detach()
    p = (problem.scale * v @ found.r.T).softmax(1)
    truth = torch.from_numpy(TARGETS[50:])
    assert measured[1]["toy mae"] == pytest.approx(
        float((p @ torch.arange(5.0) - truth).abs().mean()), abs=1e-3
    )
    assert measured[1]["toy accuracy"] == pytest.approx(
        float((p.argmax(1) == truth).float().mean()), abs=1e-4
    )


def test_resume_is_bit_exact_in_either_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tensors(fitted(CONFIG, tmp_path / "whole"))
    for stage, step in ((1, 3), (2, 0), (2, 4)):
        said = interrupted(CONFIG, tmp_path / "parts", stage, step, monkeypatch)
        assert f"stopped after step {step + 1} of stage {stage}" in said[-1]
    said = []
    found = fitted(CONFIG, tmp_path / "parts", said.append)
    assert "stage 2: resumed at step 5 of 6" in said
    assert same(tensors(found), whole)
    assert rows_of(tmp_path / "parts") == rows_of(tmp_path / "whole")
    assert found is not None
    assert found.steps == 1


def test_plots_of_a_stage(tmp_path: Path) -> None:
    fitted(small(), tmp_path)
    problem, side = toy_problem(), frozen()
    stage = recipe.Stage(2, texts(problem), dict, lambda: (side.embed(problem.watched), r))
    r = texts(problem)().detach()
    PLOTS(problem, stage, Learner(stage.model, 1e-3, 0.0), tmp_path)
    for name in ("curves-2.png", "scatter-2.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG"), name


def test_other_settings_are_refused(tmp_path: Path) -> None:
    fitted(small(), tmp_path)
    with pytest.raises(CheckpointError, match="other settings"):
        fitted(small(weight_decay=0.1), tmp_path)


def test_seed_decides(tmp_path: Path) -> None:
    first = tensors(fitted(CONFIG, tmp_path / "a"))
    other = tensors(fitted(replace(CONFIG, seed=1), tmp_path / "b"))
    assert not any(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"stage1": {"cop": 0}}, "cop"),
        ({"stage1": {"t2i": 0}}, "t2i"),
        ({"stage1": {"i2t": 0}}, "i2t"),
        ({"stage2": {"scop": 0}}, "scop"),
        ({"stage2": {"ce": 0}}, "ce"),
    ],
)
def test_a_loss_that_is_switched_off_is_not_there(
    change: dict[str, Any], missing: str, tmp_path: Path
) -> None:
    problem = toy_problem()
    text, side = texts(problem), frozen()
    both = {}
    for name, config in (("with", CONFIG), ("without", override(CONFIG, change))):
        one = recipe.text_losses(config, problem, text, side, 0)
        two = recipe.image_losses(config, problem, side, text().detach(), 0)
        both[name] = (one if missing in ("cop", "t2i", "i2t") else two), config
    whole, part = both["with"][0], both["without"][0]
    stage = CONFIG.stage1 if missing in ("cop", "t2i", "i2t") else CONFIG.stage2
    assert part.keys() == whole.keys() - {missing}
    left = whole["total"] - getattr(stage, missing) * whole[missing]
    assert part["total"].item() == pytest.approx(left.item(), abs=1e-5)


def texts(problem: Any, way: Any = "rankformer") -> Any:
    tower = TINY
    config = replace(CONFIG.text, way=way)
    return recipe.RankText(tower.text, tower.tokenize, problem.ranks, config)


def frozen() -> Any:
    return recipe.image_side(ImageSideConfig(tower="frozen"), TINY, toy_data(), Path())


@pytest.mark.parametrize("way", ["templates", "context", "interpolation", "rankformer"])
def test_every_way_of_texts_is_trained(way: Any, tmp_path: Path) -> None:
    config = small(text=replace(CONFIG.text, way=way))
    found = fitted(config, tmp_path)
    assert found is not None
    before = texts(toy_problem(), way)().detach()
    assert (found.r - before).abs().max() > 1e-4
    assert found.r.norm(dim=1).tolist() == pytest.approx([1.0] * 5, abs=1e-3)


def test_vanilla_texts_are_those_of_the_backbone(tmp_path: Path) -> None:
    said: list[str] = []
    found = fitted(small(text=replace(CONFIG.text, way="vanilla")), tmp_path, said.append)
    assert "stage 1: nothing to train" in said
    wanted = TINY.encode_text([f"a {word} photo" for word in WORDS])
    assert found is not None
    torch.testing.assert_close(found.r, wanted, atol=5e-4, rtol=0)
    assert {row["stage"] for row in rows_of(tmp_path)} == {2}


def test_a_stage_of_no_epochs_changes_nothing(tmp_path: Path) -> None:
    config = small(stage1=Stage1(epochs=0), stage2=Stage2(epochs=0))
    found = fitted(config, tmp_path)
    assert found is not None
    assert not tensors(found)["tower.visual.head.weight"].any()
    torch.testing.assert_close(found.r, texts(toy_problem())().detach(), atol=5e-4, rtol=0)


def test_only_the_ranks_of_a_batch_go_through_the_text_tower() -> None:
    """A batch of one picture has one rank, and no pair; the losses are as with all ranks."""
    config, problem = replace(CONFIG, batch=1), toy_problem()
    text, side = texts(problem), frozen()
    asked: list[int] = []
    forward = text.forward
    text.forward = lambda which: asked.append(len(which)) or forward(which)
    parts = recipe.text_losses(config, problem, text, side, 7)
    assert asked == [1]
    assert (parts["t2i"].item(), parts["i2t"].item()) == (0, 0)
    rows, mirror = draw(problem, config, 1, 7)
    v, r = side.embed(rows, mirror), forward(problem.ranks_of(rows))
    assert parts["cop"].item() == pytest.approx(-(v * r).sum().item(), abs=1e-5)
    parts = recipe.image_losses(config, problem, side, forward().detach(), 7)
    assert torch.isfinite(parts["total"])


def test_weights_of_pairs_are_divided_by_the_distance_of_the_task() -> None:
    """Not by that of the batch: with ranks 1 and 2 alone each pair weighs 1/4."""
    data = labelled(labels(np.where(np.arange(60) < 50, 1 + TARGETS % 2, TARGETS), classes=WORDS))
    config = replace(CONFIG, batch=8, stage1=Stage1(t2i=0, i2t=0, cop=1, gamma=0))
    problem = toy_problem(config, data)
    text = texts(problem)
    side: Any = frozen()
    rows, mirror = draw(problem, config, 1, 0)
    v, r, y = side.embed(rows, mirror), text().detach(), problem.ranks_of(rows)
    assert set(y.tolist()) == {1, 2}
    wanted = 0.0
    for i in range(8):
        for j in range(8):
            wanted += abs(int(y[i] - y[j])) / 4 * float(v[i] @ r[y[j]]) / 7 / 8
        wanted -= float(v[i] @ r[y[i]]) / 8
    found = recipe.text_losses(config, problem, text, side, 0)["total"]
    assert found.item() == pytest.approx(wanted, abs=1e-5)


def test_an_epoch_has_each_picture_once_and_stages_draw_otherwise() -> None:
    problem, config = toy_problem(), replace(CONFIG, batch=10)
    epochs = [
        [draw(problem, config, stage, step) for step in range(start, start + 5)]
        for stage, start in ((1, 0), (1, 5), (2, 0))
    ]
    orders = [np.concatenate([rows for rows, _ in epoch]).tolist() for epoch in epochs]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    flips = np.concatenate([mirror for epoch in epochs for _, mirror in epoch])
    assert 40 < flips.sum() < 110
    again, mirror = draw(problem, config, 1, 3)
    assert again.tolist() == epochs[0][3][0].tolist()
    assert mirror.tolist() == epochs[0][3][1].tolist()
    few = replace(config, batch=64)
    assert (problem.epoch(64), len(draw(problem, few, 1, 0)[0])) == (1, 50)


def test_the_map_of_statistics_has_its_own_rate_and_decay() -> None:
    config = override(CONFIG, {"image": {"statistics": True}, "stage2": {"statistics_decay": 4.0}})
    config = override(config, {"stage2": {"lr": 1e-4, "statistics_lr": 1e-2, "drop_epoch": 2}})
    problem = toy_problem()
    side: Any = recipe.image_side(config.image, TINY, toy_data(), Path())
    with torch.no_grad():
        side.statistics.weight.fill_(0.5)
    parts = recipe.image_losses(config, problem, side, texts(problem)().detach(), 0)
    assert parts["l2"].item() == pytest.approx(0.5 * 4.0 * 0.25 * 2 * 384)
    rest = parts["ce"] + parts["scop"] + parts["l2"]
    assert parts["total"].item() == pytest.approx(rest.item())
    own = config.stage2
    assert [own.rate(epoch) for epoch in (0, 1, 2)] == [1e-4, 1e-4, pytest.approx(1e-5)]
    learner = Learner(side, own.lr, 0.1, shares=own.shares)
    learner.update(parts["total"], own.rate(2), 1.0)
    groups = learner.optimizer.param_groups
    assert [group["lr"] for group in groups] == pytest.approx([1e-5, 1e-5, 1e-3])
    assert [len(group["params"]) for group in groups] == [1, 0, 2]
    assert [group["weight_decay"] for group in groups] == [0.1, 0, 0]


def test_figures_of_hand_worked_probabilities() -> None:
    problem = toy_problem()
    problem = replace(problem, watched=np.array([50, 51, 52]), scale=1000.0)  # ranks 0, 1, 2
    r = torch.eye(5)
    v = r[[0, 1, 3]]
    # The likeliest rank is the right one twice, and once one too high.
    found = figures(problem, v, r)
    assert found == {
        "toy OS": 40.0,  # s_ii > s_i,i+1 four times of ten, all others are ties
        "toy mae": 0.3333,
        "toy srcc": 1.0,
        "toy accuracy": 0.6667,
    }
    none = replace(problem, watched=np.zeros(0, dtype=np.intp))
    assert figures(none, torch.zeros(0, 1), r) == {"toy OS": 40.0}


def run(config: Any, out: Path, report: Any = lambda line: None, **more: Any) -> Path | None:
    return recipe.run(config, Path(), out, EMBEDDED / "tiny", None, report, "a test", **more)


def test_a_run_ends_in_a_checkpoint_that_the_ranker_reads(tmp_path: Path) -> None:
    said: list[str] = []
    config = small(note="a note", image=ImageSideConfig(tower="frozen"), baselines=("context",))
    folder = run(config, tmp_path, said.append)
    assert folder == tmp_path / "toy"
    facts = read_config(folder, "l2rclip")
    spec = TINY.spec
    assert facts["model"] == {"features": ["pooled"], "logit_scale": spec.logit_scale()}
    task = facts["tasks"]["quality"]
    assert Ranks.from_dict(task["ranks"]).texts == [f"a {word} photo" for word in WORDS]
    assert (task["unit"], task["range"], task["note"]) == ("level", [0, 4], "a note")
    assert task["classes"] == list(WORDS)
    assert task["calibration"]["on"] == "toy, validation part, 10 pictures"
    assert facts["training"] == {
        "data": {"toy": {"fold": 0}},
        "seed": 0,
        "steps": 2,
        "command": "a test",
    }
    assert "replaced" not in facts["backbone"]
    ranker = L2RCLIPRanker(folder, BackboneSource(spec))
    problem = toy_problem(config)
    v = frozen().embed(problem.watched)
    p = ranker.distribution([{"pooled": row} for row in v.half().numpy()])
    likeliest = (p.argmax(axis=1) == TARGETS[50:]).mean()
    measured = json.loads((tmp_path / "figures.json").read_text())
    assert measured["rankformer"]["toy accuracy"] == pytest.approx(likeliest)
    assert measured.keys() == {"rankformer", "context"}
    assert any(line.startswith("context: toy OS") for line in said)
    assert (tmp_path / "baseline-context" / "metrics.jsonl").is_file()
    again: list[str] = []
    assert run(config, tmp_path, again.append) == folder
    assert f"{folder} was finished before and is left as it is" in again


def test_a_baseline_has_neither_of_the_ordinal_losses(tmp_path: Path) -> None:
    found = baseline(CONFIG, "interpolation")
    assert (found.text.way, found.stage1.cop, found.stage2.scop) == ("interpolation", 0, 0)
    assert (found.stage1.t2i, found.stage2.ce) == (0.1, 1.0)
    run(small(baselines=("vanilla",)), tmp_path / "both")
    alone = fitted(small(), tmp_path / "alone")
    with_it = fitted(small(baselines=("vanilla",)), tmp_path / "both")
    assert same(tensors(alone), tensors(with_it))  # ours does not depend on what is beside it


def test_texts_are_trained_once_each(tmp_path: Path) -> None:
    own = replace(CONFIG.text, way="context")
    for config in (
        small(baselines=("vanilla", "vanilla")),
        small(text=own, baselines=("context",)),
    ):
        with pytest.raises(UsageError, match="name each once, and not the recipe's own texts"):
            run(config, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_tuned_tower_is_named(tmp_path: Path) -> None:
    folder = run(small(), tmp_path)
    assert folder is not None
    assert read_config(folder)["backbone"]["replaced"] == ["image"]


def test_fewer_pictures_where_the_recipe_says_so() -> None:
    whole = toy_problem()
    few = toy_problem(replace(CONFIG, few_shot=2))
    assert (len(whole.rows), len(few.rows)) == (50, 10)
    assert np.bincount(TARGETS[few.rows].astype(int)).tolist() == [2] * 5
    assert few.watched.tolist() == whole.watched.tolist()
    less = toy_problem(replace(CONFIG, shift_ranks=2, shift_drop=0.8))
    assert sorted(np.bincount(TARGETS[less.rows].astype(int)).tolist()) == [2, 2, 10, 10, 10]


def test_ranks_are_those_of_the_whole_set_though_few_pictures_train() -> None:
    years = 1900 + 10 * TARGETS + np.arange(60) % 7
    data = labelled(labels(years.astype(np.float32), "year", unit="year", range=None))
    config = override(CONFIG, {"ranks": {"by": "quantiles", "template": "decade"}})
    tower = TINY
    whole = problem_of(config, data, tower).ranks
    assert problem_of(replace(config, few_shot=1), data, tower).ranks == whole
