"""Two processes with half of the queries, pictures and captions each train what one trains."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from one_of_two_retrieval import main
from toy_retrieval import delta, make_data, model_folder, rows_of

SCRIPT = Path(__file__).parent / "one_of_two_retrieval.py"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """{number of processes: OUT}."""
    folder = tmp_path_factory.mktemp("runs")
    root, backbone = make_data(folder / "root").parent, model_folder(folder / "vit")
    main(root, backbone, folder / "1")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", "2", str(SCRIPT), str(root), str(backbone), str(folder / "2")]
    code = str(Path(__file__).parents[2])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": code, "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, done.stderr
    return {1: folder / "1", 2: folder / "2"}


def test_gradients_of_two_processes_are_those_of_one(runs: dict[int, Path]) -> None:
    """Adam would hide a wrong factor."""
    one = torch.load(runs[1] / "gradients-0.pt", weights_only=True)
    assert len(one) == 2
    assert all(gradient.abs().max() > 1e-3 for gradient in one)
    for rank in range(2):
        both = torch.load(runs[2] / f"gradients-{rank}.pt", weights_only=True)
        for mine, theirs in zip(one, both, strict=True):
            torch.testing.assert_close(theirs, mine, atol=1e-5, rtol=1e-3)


def test_two_processes_equal_one(runs: dict[int, Path]) -> None:
    one, two = delta(runs[1]), delta(runs[2])
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-3, rtol=1e-2, msg=name)
    ours, theirs = rows_of(runs[1]), rows_of(runs[2])
    assert [row["step"] for row in theirs] == [1, 2, 3]  # one process writes
    for mine, other in zip(ours, theirs, strict=True):
        assert other == pytest.approx(mine, abs=2e-3)
