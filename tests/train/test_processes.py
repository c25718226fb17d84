"""Two processes with half of the batch each train what one trains with the whole of it."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_training import CONFIG, same, toy_model, toy_streams, trained, two_of_the_same, weights

from imgrank.errors import MissingExtra, UsageError
from imgrank.train import adapter as recipe
from imgrank.train import processes, run
from imgrank.train.processes import ALONE, Processes, join

SCRIPT = Path(__file__).parent / "one_of_two.py"


def launch(folder: Path, steps: int, interrupt: str = "") -> None:
    """torchrun with two processes on this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", "2", str(SCRIPT), str(folder), str(steps), interrupt]
    folder.mkdir(parents=True, exist_ok=True)
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root, "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, done.stderr


def losses(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    launch(folder, 6)
    return folder


def test_two_processes_equal_one(pair: Path, tmp_path: Path) -> None:
    config = two_of_the_same(6)
    alone = weights(trained(config, toy_streams(tmp_path, config), tmp_path / "alone"))
    ours, theirs = losses(tmp_path / "alone"), losses(pair)
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for one, two in zip(ours, theirs, strict=True):
        assert one.keys() == two.keys()
        for name in one.keys() - {"data"}:
            assert two[name] == pytest.approx(one[name], abs=2e-4), (name, one["step"])
    both = torch.load(pair / "weights-0.pt", weights_only=True)
    # One scalar for all channels is nothing behind a LayerNorm: its gradient is rounding noise,
    # which AdamW makes large.
    noise = "adapter.learnable_text"
    for name in alone.keys() - {noise}:
        torch.testing.assert_close(both[name], alone[name], atol=2e-4, rtol=1e-3)


def test_gradients_of_two_processes_are_those_of_one(pair: Path, tmp_path: Path) -> None:
    """AdamW would hide a wrong factor."""
    config = two_of_the_same(6)
    streams = toy_streams(tmp_path, config)
    model = toy_model(config, streams).train()
    batch = recipe.draw(streams, config.batch, config.seed, 0)
    assert len(batch.rows) == 13
    recipe.batch_loss(config, model, batch, 0)["total"].backward()
    for rank in range(2):
        both = torch.load(pair / f"gradients-{rank}.pt", weights_only=True)
        assert both.keys() == {n for n, p in model.named_parameters() if p.grad is not None}
        for name, found in both.items():
            own = model.get_parameter(name).grad
            torch.testing.assert_close(found, own, atol=1e-6, rtol=1e-4, msg=name)


def test_all_processes_hold_the_same_weights_and_one_writes(pair: Path) -> None:
    first, second = (
        torch.load(pair / f"weights-{rank}.pt", weights_only=True) for rank in range(2)
    )
    assert same(first, second)
    assert (pair / "said-0.txt").read_text().startswith("2 processes, cpu: as asked for")
    assert len(losses(pair)) == 6 + 2  # each step and each evaluation once


def test_ctrl_c_in_one_process_stops_all_at_one_step_and_they_go_on(
    pair: Path, tmp_path: Path
) -> None:
    out = tmp_path / "parts"
    launch(out, 6, "1@2")
    said = [(out / f"said-{rank}.txt").read_text() for rank in range(2)]
    assert all("stopped after step 3;" in text for text in said)
    assert not (out / "weights-0.pt").exists()
    launch(out, 6)
    assert "resumed at step 3" in (out / "said-1.txt").read_text()
    whole, parts = (
        torch.load(folder / "weights-0.pt", weights_only=True) for folder in (pair, out)
    )
    assert same(whole, parts)
    assert losses(out) == losses(pair)


def test_shares_of_a_batch_cover_it() -> None:
    for rows, count in ((13, 2), (5, 4), (64, 8), (7, 3)):
        slices = [Processes(rank, count).share(rows) for rank in range(count)]
        assert np.concatenate([np.arange(rows)[part] for part in slices]).tolist() == [*range(rows)]
        sizes = [part.stop - part.start for part in slices]
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) > 0


def test_alone_there_is_nothing_to_do() -> None:
    own = torch.arange(3.0)
    assert ALONE.gather(own, 3) is own
    assert (ALONE.any(True), ALONE.any(False)) == (True, False)
    ALONE.average_gradients([])
    ALONE.wait()
    ALONE.leave()
    found = join("cpu")
    assert (found.rank, found.count, found.device.type) == (0, 1, "cpu")


def test_several_processes_need_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="cuda:1: several processes choose theirs"):
        join("cuda:1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="several processes"):
        join("cpu")
    assert processes.PATIENCE.days >= 1  # computing tokens takes hours
    assert run.ALONE.first
    assert CONFIG.batch == 16
