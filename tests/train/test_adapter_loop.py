"""The loop of the adapter recipe on a made-up data set: it learns and resumes bit for bit."""

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_training import (
    CONFIG,
    TARGETS,
    N,
    interrupted,
    labelled,
    labels,
    same,
    toy_model,
    toy_streams,
    trained,
    weights,
)

from imgrank.evaluate.scoring import score_rows
from imgrank.models.backbone import Backbone
from imgrank.train import adapter as recipe
from imgrank.train import run
from imgrank.train.adapter_recipe import Source, Task
from imgrank.train.streams import Stream

pytestmark = pytest.mark.usefixtures("one_thread")


def test_it_learns(streams: list[Stream], tmp_path: Path) -> None:
    config = replace(
        CONFIG, steps=50, lr=5e-3, alpha=1.0, average=0.9, evaluate_every=50, save_every=50
    )
    found = trained(config, streams, tmp_path / "out")
    assert found is not None
    rows = streams[0].data.rows("validation")
    assert streams[0].pictures is not None
    text = found.model.text("sort")
    scores = score_rows(found.model.adapter, streams[0].pictures, rows, text)
    # Validation pictures were never trained on; a constant answer has a mean error of 1.2.
    assert np.abs(scores - TARGETS[rows]).mean() < 0.9
    log = (tmp_path / "out" / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert lines[-1]["toy srcc"] > 0.6
    assert lines[-1]["toy mae"] == pytest.approx(np.abs(scores - TARGETS[rows]).mean(), abs=1e-4)
    assert [line["step"] for line in lines if "total" in line] == list(range(1, 51))


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_resume_is_bit_exact(
    average: float, streams: list[Stream], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, average=average)
    whole = weights(trained(config, streams, tmp_path / "whole"))
    for step in (0, 2):
        said = interrupted(config, streams, tmp_path / "parts", step, monkeypatch)
        assert f"stopped after step {step + 1}" in said[-1]
    assert same(weights(trained(config, streams, tmp_path / "parts")), whole)
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]


def test_without_averaging_the_last_weights_are_kept(streams: list[Stream], tmp_path: Path) -> None:
    config = replace(CONFIG, average=0.0)
    found = weights(trained(config, streams, tmp_path))
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert same(found, state["model"])


def test_ctrl_c_leaves_plots_and_a_state(
    streams: list[Stream], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(CONFIG, streams, tmp_path / "out", 1, monkeypatch)
    for name in ("curves.png", "scatter-toy.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG"), name
    assert torch.load(tmp_path / "out" / "state.pt", weights_only=True)["step"] == 2


def test_half_precision_learns_and_resumes(
    streams: list[Stream], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for precision in ("bfloat16", "float16"):
        config = replace(CONFIG, precision=precision)
        whole = weights(trained(config, streams, tmp_path / precision))
        assert all(value.dtype == torch.float32 for value in whole.values())
        assert all(value.isfinite().all() for value in whole.values())
        assert not same(whole, toy_model(config, streams).state_dict())
        parts = tmp_path / f"{precision}-parts"
        interrupted(config, streams, parts, 2, monkeypatch)
        state = torch.load(parts / "state.pt", weights_only=True)
        assert bool(state["scaler"]) == (precision == "float16")
        assert same(weights(trained(config, streams, parts)), whole)


def test_seed_decides(streams: list[Stream], tmp_path: Path) -> None:
    config = replace(CONFIG, steps=3)
    first = weights(trained(config, streams, tmp_path / "a"))
    assert same(first, weights(trained(config, streams, tmp_path / "b")))
    other = weights(trained(replace(config, seed=1), streams, tmp_path / "c"))
    assert not same(first, other)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"rank_head": "none"}},  # table 5
        {"rank_loss": "none"},
        {"model": {"rank_head": "tokens"}},
        {"model": {"rank_fusion": "merged"}},  # table 6
        {"model": {"rank_fusion": "concatenation"}},
        {"model": {"rank_head": "self-attention"}},
        {"model": {"relational_tokens": 1}},  # table 10
        {"model": {"relational_tokens": 4}},
        {"model": {"relational_tokens": 9}},
        {"model": {"over_tokens": "mean"}},  # eq. 3
        {"model": {"width_encoded": 8}},
        {"rank_loss": "rank_hinge"},
        {"reg_loss": "reg_log_smooth_l1"},
        {"bce": 0.5},
        {"alpha": 0.0},
    ],
)
def test_every_ablation_of_the_paper_trains(
    change: dict[str, Any], streams: list[Stream], tmp_path: Path
) -> None:
    config = recipe.override(CONFIG, {**change, "steps": 2, "average": 0.0, "weight_decay": 0})
    before = toy_model(config, streams).state_dict()
    after = weights(trained(config, streams, tmp_path))
    moved = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert any(name.startswith("adapter.cross_modal") for name in moved)
    head = change != {"rank_loss": "none"} and config.model.get("rank_head") != "none"
    assert any(name.startswith("adapter.pair_mlp") for name in moved) == head
    assert any(name.startswith("adapter.score_mlp") for name in moved) == (change != {"alpha": 0.0})
    row = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert ("bce" in row) == ("bce" in change)
    assert ("rank" in row) == (config.rank_loss != "none")


def test_losses_of_a_step_add_up(streams: list[Stream]) -> None:
    config = replace(CONFIG, alpha=0.25, bce=0.5)
    batch = recipe.draw(streams, 16, 0, 0)
    parts = recipe.batch_loss(config, toy_model(config, streams), batch, 0)
    total = 0.25 * parts["regression"] + parts["rank"] + 0.5 * parts["bce"]
    assert parts["total"].item() == pytest.approx(total.item())


def test_targets_of_another_scale_come_out_in_their_own_unit(tmp_path: Path) -> None:
    """Years around 1930 are trained as numbers around 0; the figures are in years again."""
    years = 1930 + 10 * TARGETS
    task = Task(offset=1950, scale=20)
    config = recipe.override(
        CONFIG,
        {"sources": [{"data": "toy"}], "tasks": {"decade": {"offset": 1950, "scale": 20}}},
    )
    config = replace(config, steps=40, lr=5e-3, alpha=1.0, average=0.0, evaluate_every=40)
    assert config.tasks == {"decade": task}
    streams = toy_streams(tmp_path, config, labelled(labels(years, "year", task="decade")))
    assert streams[0].asked[0].targets(np.arange(5)).tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    trained(config, streams, tmp_path / "out")
    lines = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["toy mae"] < 10  # a constant one has 12


def test_weight_decay_spares_biases_and_norms(streams: list[Stream]) -> None:
    model = toy_model(CONFIG, streams)
    model.adapter.score_norm.requires_grad_(False)
    decayed, spared = run.optimiser(model, 1e-3, 0.01).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.01, 0.0)
    assert all(p.ndim > 1 for p in decayed["params"])
    count = len(decayed["params"]) + len(spared["params"])
    assert count == len(list(model.parameters())) - 2  # what is frozen is left out


def test_schedule() -> None:
    rates = [run.cosine_with_warmup(step, 10, 2) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[6] == pytest.approx(0.5)
    assert rates[9] == pytest.approx(0.5 * (1 + np.cos(np.pi * 7 / 8)))


def test_what_measuring_meets_costs_no_step(
    streams: list[Stream], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> dict[str, float]:
        raise RuntimeError("measuring")

    whole = weights(trained(CONFIG, streams, tmp_path / "whole"))
    config = replace(CONFIG, save_every=100)
    monkeypatch.setattr(recipe, "figures", fails)
    with pytest.raises(RuntimeError, match="measuring"):
        trained(config, streams, tmp_path / "out")
    monkeypatch.undo()
    said: list[str] = []
    found = trained(config, streams, tmp_path / "out", said.append)
    assert "resumed at step 3" in said
    assert found is not None
    assert found.steps == 3
    assert same(weights(found), whole)


def test_the_averaged_weights_are_only_lent(streams: list[Stream]) -> None:
    model = toy_model(CONFIG, streams)
    learner = run.Learner(model, 1e-2, 0.0, average=0.9)
    batch = recipe.draw(streams, 16, 0, 0)
    for step in range(3):
        learner.update(recipe.batch_loss(CONFIG, model, batch, step)["total"], 1e-2, 1.0)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(KeyboardInterrupt), learner.with_average() as lent:
        assert same(lent.state_dict(), learner.averaged)
        assert not same(lent.state_dict(), own)
        raise KeyboardInterrupt
    assert same(model.state_dict(), own)


def test_warm_start_holds_ridge_solutions(streams: list[Stream]) -> None:
    model = toy_model(replace(CONFIG, warm_start=False), streams)
    adapter = model.adapter.eval()
    before = adapter.image_sources["statistics"].linear.weight[3:].clone()
    recipe.warm_start(adapter, streams)  # both draw from the same query: it counts once
    source = adapter.image_sources["statistics"]
    assert streams[0].pictures is not None
    tokens = streams[0].pictures.batch(streams[0].data.rows("train"))["statistics"]
    normed = source.norm(tokens)[:, 0]
    torch.testing.assert_close(normed.mean(0), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(normed.std(0, correction=0), torch.ones(5), atol=1e-2, rtol=0)
    # By the normal equations, for the middle one of the three penalties.
    x, y = normed.double(), torch.from_numpy(TARGETS[:50]).double()
    x = x - x.mean(0)
    solution = torch.linalg.solve(
        x.T @ x + 0.1 * 50 * torch.eye(5, dtype=torch.double), x.T @ (y - y.mean())
    )
    found = source.linear.weight[1].double()
    torch.testing.assert_close(found / found.norm(), solution / solution.norm(), atol=1e-3, rtol=0)
    assert (x @ found).std().item() == pytest.approx(2.0, rel=1e-3)
    assert torch.equal(source.linear.weight[3:], before)


def test_warm_start_of_many_queries_takes_one_penalty_of_labelled_rows(tmp_path: Path) -> None:
    """Width 16: three queries with three penalties would fill more than half of it."""
    half = TARGETS.copy()
    half[::2] = np.nan
    queries = [labels(half, "half"), labels(TARGETS, "all"), labels(-TARGETS, "less")]
    config = replace(CONFIG, sources=(Source("toy"),), warm_start=False)
    streams = toy_streams(tmp_path, config, labelled(*queries))
    adapter = toy_model(config, streams).adapter
    before = adapter.image_sources["statistics"].linear.weight[3:].clone()
    recipe.warm_start(adapter, streams)
    source = adapter.image_sources["statistics"]
    assert torch.equal(source.linear.weight[3:], before)
    torch.testing.assert_close(source.linear.weight[1], -source.linear.weight[2])
    rows = np.arange(1, 50, 2)
    assert streams[0].pictures is not None
    x = source.norm(streams[0].pictures.batch(rows)["statistics"])[:, 0].double()
    x, y = x - x.mean(0), torch.from_numpy(TARGETS[rows]).double()
    eye = torch.eye(5, dtype=torch.double)
    solution = torch.linalg.solve(x.T @ x + 0.1 * len(rows) * eye, x.T @ (y - y.mean()))
    found = source.linear.weight[0].double()
    torch.testing.assert_close(found / found.norm(), solution / solution.norm(), atol=1e-3, rtol=0)
    assert N == 60


def test_a_trained_text_tower_resumes_bit_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = Backbone(Path(recipe.__file__).parents[1] / "weights" / "tiny")
    config = recipe.override(CONFIG, {"model": {"text_width": 256}, "train_text": True, "steps": 3})
    streams = toy_streams(tmp_path, config)

    def run_to(out: Path) -> recipe.Trained | None:
        out.mkdir(exist_ok=True)
        adapter = recipe.make_adapter(config, tower)
        model = recipe.make_model(config, adapter, streams, tower)
        return recipe.train(config, streams, model, out, lambda line: None)

    whole = weights(run_to(tmp_path / "whole"))
    before = recipe.batch_loss

    def loss(*arguments: Any) -> dict[str, Tensor]:
        if arguments[3] == 1:
            signal.raise_signal(signal.SIGINT)
        return before(*arguments)

    monkeypatch.setattr(recipe, "batch_loss", loss)
    assert run_to(tmp_path / "parts") is None
    monkeypatch.setattr(recipe, "batch_loss", before)
    assert same(weights(run_to(tmp_path / "parts")), whole)
    adapter = recipe.make_adapter(config, tower)
    start = recipe.make_model(config, adapter, streams, tower).state_dict()
    moved = {name for name in whole if not torch.equal(whole[name], start[name])}
    assert {"tuned.positional_embedding", "tuned.ln_final.weight"} <= moved


def test_a_frozen_projection_of_the_grid_stays_where_it_began(tmp_path: Path) -> None:
    """Of the tower's own kind it would be; here it begins anywhere."""
    for trains in (False, True):
        config = recipe.override(
            CONFIG,
            {"model": {"grid_projection": "linear"}, "train_projection": trains, "steps": 2},
        )
        streams = toy_streams(tmp_path, config)
        model = toy_model(config, streams)
        projection = model.adapter.grid_projection
        assert projection is not None
        projection.requires_grad_(config.train_projection)
        before = projection.linear.weight.clone()
        out = tmp_path / str(trains)
        out.mkdir()
        assert recipe.train(config, streams, model, out, lambda line: None) is not None
        assert torch.equal(projection.linear.weight, before) != trains
