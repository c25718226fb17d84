"""Two processes with half of the pictures and half of the ranks each train what one trains."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from one_of_two_l2rclip import save_gradients
from toy_l2rclip import alike, fitted, made_up, tensors
from toy_training import same

from imgrank.train.processes import ALONE

pytestmark = pytest.mark.usefixtures("one_thread")
SCRIPT = Path(__file__).parent / "one_of_two_l2rclip.py"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", "2", str(SCRIPT), str(folder)]
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root, "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_gradients_of_two_processes_are_those_of_one(pair: Path, tmp_path: Path) -> None:
    """Adam would hide a wrong factor."""
    save_gradients(ALONE, tmp_path)
    own = torch.load(tmp_path / "gradients-0.pt", weights_only=True)
    assert {"context", "map.weight"} <= own.keys()
    for rank in range(2):
        both = torch.load(pair / f"gradients-{rank}.pt", weights_only=True)
        assert both.keys() == own.keys()
        for name, found in both.items():
            torch.testing.assert_close(found, own[name], atol=1e-6, rtol=1e-4, msg=name)


def test_two_processes_equal_one(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up(monkeypatch)
    alone = tensors(fitted(alike(), tmp_path))
    first, second = (
        torch.load(pair / f"weights-{rank}.pt", weights_only=True) for rank in range(2)
    )
    assert same(first, second)
    for name, value in alone.items():
        torch.testing.assert_close(first[name], value, atol=2e-3, rtol=1e-2, msg=name)
    ours, theirs = log(tmp_path), log(pair)
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]  # one process writes
    for one, two in zip(ours, theirs, strict=True):
        assert two == pytest.approx(one, abs=2e-3)
