"""From the command line on a tiny Qwen2.5-VL: plain fine-tuning, then RARL from it, stopped and
gone on with, alone and in two processes; then `sort` orders pictures that no training has seen.

Folders of three pictures are what it has learnt; five levels of age. The mean tau of six such
folders is 0 for orders by chance, give or take .3; a random model's answers cannot even be read.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from command_line import command_line
from tiny_vlm import pictures, rated
from warm_vlm import QUICK, lively_vlm

from imgrank.cli import cli
from imgrank.errors import CheckpointError
from imgrank.train import rarl

pytest.importorskip("transformers", reason="needs imgrank[rarl]")
pytest.importorskip("peft", reason="needs imgrank[rarl]")
import psutil  # accelerate needs it, too
from scipy.stats import kendalltau

FOLDERS = ((75, 0, 50), (100, 25, 50), (0, 100, 25), (50, 100, 0), (25, 0, 75), (50, 0, 25))
RIGHT = 0.75  # mean tau of these
SMALL = {"prompts": 4, "group": 4, "max_new_tokens": 64, "rank": 4, "checkpointing": "false"}
SMALL |= {"at_once": 0, "generate_at_once": 0, "second.sizes": "[3]", "max_pixels": 3136}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """WORK/base, a random model; WORK/rated, pictures with ages; WORK/sft/warm, a checkpoint."""
    folder = tmp_path_factory.mktemp("rarl")
    lively_vlm(folder / "base")
    rated(folder / "rated", 120, step=25)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMGRANK_HOME", str(folder / "home"))
        words = [*told({**QUICK, "sizes": "[3]"}), "--steps", "170", "--name", "warm"]
        done = trains("sft", folder, folder / "sft", *words)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(autouse=True)
def known_here(work: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is remembered which folder a checkpoint rests on."""
    monkeypatch.setenv("IMGRANK_HOME", str(work / "home"))


def told(settings: dict[str, Any]) -> list[str]:
    words = (f"{key}={str(value).lower()}" for key, value in settings.items())
    return [word for each in words for word in ("--set", each)]


def line(method: str, work: Path, out: Path, *words: str) -> list[str]:
    given = ["train", method, "--data", "csv", "--root", str(work / "rated"), "--out", str(out)]
    return [*given, "--backbone", str(work / "base"), "--threads", "1", "--device", "cpu", *words]


def trains(method: str, work: Path, out: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, line(method, work, out, *words))


def second(work: Path, steps: int) -> list[str]:
    """Words for a short second stage from the warm checkpoint."""
    start = str(work / "sft" / "warm")
    return ["--from", start, "--stages", "second", "--steps", str(steps), *told(SMALL)]


def ordered(model: str, folder: Path) -> float:
    """Mean tau of the folders, as `imgrank sort` puts them in order."""
    found = []
    for number, ages in enumerate(FOLDERS):
        paths = pictures(folder / str(number), ages)
        words = ["sort", str(folder / str(number)), "youngest first", "--model", model]
        done = CliRunner().invoke(cli, [*words, "--yes", "--format", "json", "--quiet"])
        assert done.exit_code == 0, done.output
        rows = json.loads(done.stdout)["images"]
        places = {Path(row["path"]).name: place for place, row in enumerate(rows)}
        found.append(kendalltau([places[path.name] for path in paths], ages).statistic)
    return float(np.mean(found))


def steps_of(out: Path) -> list[int]:
    lines = (out / "second" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(row)["step"] for row in lines]


def test_fine_tuning_makes_a_checkpoint_that_sorts(work: Path, tmp_path: Path) -> None:
    facts = json.loads((work / "sft" / "warm" / "config.json").read_text())
    assert (facts["kind"], facts["training"]["method"]) == ("rarl", "sft")
    assert facts["model"]["lora"] is None
    assert facts["tasks"]["age"]["range"] == [0, 100]
    assert ordered(f"rarl:{work / 'sft' / 'warm'}", tmp_path / "a") >= RIGHT


def test_rarl_stops_goes_on_and_sorts(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, before = tmp_path / "age", rarl.update

    def update(config: Any, rolled: Any, learning: Any, *rest: Any) -> Any:
        if learning.step == 1:
            signal.raise_signal(signal.SIGINT)
        return before(config, rolled, learning, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(rarl, "update", update)
        stopped = command_line(monkeypatch)(*line("rarl", work, out, *second(work, 4)))
    assert stopped.exit_code == 130, stopped.output
    assert "stopped after step 2; run the same line to go on" in stopped.stderr
    assert not (out / "age").exists()
    done = trains("rarl", work, out, *second(work, 4))
    assert done.exit_code == 0, done.output
    assert "resumed at step 2 of 4" in done.stderr
    assert f"wrote {out / 'age'}" in done.stderr
    assert steps_of(out) == [1, 2, 3, 4]
    assert ordered(f"rarl:{out / 'age'}", tmp_path / "p") >= RIGHT


def test_two_processes_stop_go_on_and_sort(work: Path, tmp_path: Path) -> None:
    out = tmp_path / "pair"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [
        "--nproc_per_node",
        "2",
        "-m",
        "imgrank",
        *line("rarl", work, out, *second(work, 8)),
    ]
    env = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    env |= {"GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as launched:
        log = out / "second" / "metrics.jsonl"
        while launched.poll() is None and not (log.is_file() and log.read_text()):
            time.sleep(0.05)
        workers = psutil.Process(launched.pid).children()
        workers[-1].send_signal(signal.SIGINT)  # one is enough: they agree
        _, said = launched.communicate(timeout=120)
    assert "2 processes, cpu: as asked for" in said
    assert "run the same line to go on" in said
    first = steps_of(out)[-1]
    assert 1 <= first < 8
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"resumed at step {first} of 8" in done.stderr
    assert steps_of(out) == [*range(1, 9)]
    assert ordered(f"rarl:{out / 'pair'}", tmp_path / "p") >= RIGHT


def test_out_of_another_recipe(work: Path, tmp_path: Path) -> None:
    words = second(work, 1)
    assert trains("rarl", work, tmp_path, *words, "--name", "mine").exit_code == 0
    result = trains("rarl", work, tmp_path, *words, "--name", "mine", "--seed", "1")
    assert isinstance(result.exception, CheckpointError)
    assert "is of a run with other settings" in str(result.exception)
