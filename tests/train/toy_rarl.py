"""RARL of seconds: a tiny random Qwen2.5-VL, made-up ages by hue, some steps of each stage."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from imgrank.models.vlm_spec import read_vlm
from imgrank.train import rarl
from imgrank.train.processes import ALONE
from imgrank.train.rarl_data import Problem
from imgrank.train.rarl_keeping import Job, jobs
from imgrank.train.rarl_policy import Learning, learning_of
from imgrank.train.rarl_ready import Ready
from imgrank.train.rarl_recipe import Config, Stage, trained_on

FIRST = Stage(steps=2, mutation=1.0)  # else a random model would learn nothing in it
SECOND = Stage(steps=3, sizes=(1, 3), beta=1.0, mutation=1.0)
CONFIG = Config(
    name="toy",
    rank=4,
    lora_alpha=8.0,
    prompts=2,
    group=3,
    max_new_tokens=6,
    lr=1e-2,
    first=FIRST,
    second=SECOND,
    save_every=1,
)


def trained(
    root: Path,
    backbone: Path,
    out: Path,
    config: Config = CONFIG,
    start: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Path | None:
    return rarl.run(config, "csv", root, out, backbone, start, report, "the command")


def prepared(config: Config, problem: Problem, backbone: Path) -> Ready[Config]:
    return Ready(config, problem, read_vlm(backbone), ALONE, lambda line: None)


def begun(
    problem: Problem,
    backbone: Path,
    out: Path,
    config: Config = CONFIG,
    start: Path | None = None,
) -> tuple[Job, Learning]:
    """The first of the recipe's stages that there is to do, and a model for it."""
    config = trained_on(config, "csv", backbone.name)
    job = next(iter(jobs(prepared(config, problem, backbone), start, out)))
    return job, learning_of(config, backbone, job.start, torch.device("cpu"))


def only(stage: Stage, **more: Any) -> Config:
    """A recipe of this stage alone, as the second."""
    return replace(CONFIG, stages="second", second=stage, **more)


def rows_of(out: Path, stage: str) -> list[dict[str, float]]:
    """The log of a stage, without what the clock says."""
    lines = (out / stage / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(each).items() if k != "seconds"} for each in lines]


def interrupted(
    root: Path,
    backbone: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """A run that is asked to stop within its first step; what it reported."""
    told: list[str] = []
    real = rarl.update

    def stopping(*given: Any) -> dict[str, float]:
        signal.raise_signal(signal.SIGINT)
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(rarl, "update", stopping)
        assert trained(root, backbone, out, report=told.append) is None
    return told
