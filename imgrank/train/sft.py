"""Plain fine-tuning of a Qwen2.5-VL on true answers (SFT): RARL's baseline, and a start for it.

Paper: "RARL" (002), which gives the baseline's figures in its tables 2, 4 and 5 and says nothing of
how it was trained. So all of this is ours: the prompts of RARL's second stage (`rarl_data.py`), n
mixed over 1, 2, 4 and 8 pictures, and the answer that its Response Mutation puts in (a fixed short
thought, the list sorted by true value, the end of the text). The loss is the cross-entropy of that
answer's tokens, a mean over all tokens of a step; prompts and pictures have none. LoRA on the
language model or, with `full`, all of its weights; AdamW, linear warm-up, half a cosine.

Run:  imgrank train sft --data utkface --root DATA --backbone qwen2.5-vl-3b --out runs/sft
Ctrl-C saves; the same line goes on. In several processes: torchrun --nproc_per_node 2 -m imgrank
train sft ...: the conversations of a step are shared out, gradients averaged.
Expected (the paper's, 3B): UTKFace MAE 5.51 (of 6.95 before), COCO-REM accuracy 66.97, AVA SRCC
0.755. Never run at that size here; what was run on a tiny model is in `tests/bench/rarl.py`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from imgrank.listwise.prompt import truth_answer
from imgrank.train import plots
from imgrank.train.keeping import duration
from imgrank.train.processes import Processes
from imgrank.train.rarl_data import Problem, draw, opened
from imgrank.train.rarl_keeping import settings_of, write_checkpoint
from imgrank.train.rarl_policy import Learning, Policy, enough_memory, policy_of
from imgrank.train.rarl_ready import Report, ready
from imgrank.train.run import (
    JsonLines,
    estimate,
    polite_stop,
    remaining,
    require_number,
    save_state,
)
from imgrank.train.sft_recipe import Config

__all__ = ["run", "train", "update"]

LOG, STATE, CURVES = "metrics.jsonl", "state.pt", "curves.png"
STAGE = 0  # of the draws of a step; RARL's stages are 1 and 2


def update(
    config: Config, problem: Problem, learning: Learning, processes: Processes
) -> dict[str, float]:
    """One step; the loss, and the norm of the gradient before it is clipped."""
    policy, step = learning.policy, learning.step
    prompts = draw(problem, config.sizes, config.prompts, config.seed, STAGE, step)
    truths = [policy.encoded(truth_answer(prompt.values)) for prompt in prompts]
    tokens = sum(len(truth) for truth in truths)  # of all processes
    own = range(len(prompts))[processes.share(len(prompts))]
    asked = policy.ask(opened(problem, [prompts[n] for n in own], config.max_pixels))
    size = config.at_once or len(own)
    total = torch.zeros(1, device=processes.device)
    for first in range(0, len(own), size):
        rows = range(len(own))[first : first + size]
        answers = policy.padded([truths[own[row]] for row in rows])  # [B, T]
        log_p, _ = policy.logprobs(asked, rows, answers)  # [B, T], 0 behind the end
        # The mean over processes follows: each gives its part of the sum times their number.
        loss = -log_p.sum() / tokens * processes.count
        require_number(loss.detach(), step)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    for group in learning.optimizer.param_groups:
        group["lr"] = config.rate(step)
    norm = learning.advance(processes)
    mean = processes.gather(total, processes.count).mean()
    return {"total": round(float(mean), 6), "gradient": round(norm, 6)}


def train(
    config: Config,
    problem: Problem,
    policy: Policy,
    settings: Mapping[str, Any],
    out: Path,
    report: Report,
    processes: Processes,
) -> Learning | None:
    """The loop. None: stopped before the end.

    settings: everything that a run that goes on must have in common with the one before.
    Raises CheckpointError if `out` holds the state of other settings or a damaged one, and if the
    loss is no number; DataError on a full disk.
    """
    learning = Learning(policy, config)
    if learning.resumed(out / STATE, settings):
        report(f"resumed at step {learning.step} of {config.steps}")
    first, before, started = learning.step, learning.seconds, time.monotonic()
    log = JsonLines(out / LOG, first) if processes.first and first < config.steps else None
    with polite_stop() as stop:
        while learning.step < config.steps and not processes.any(stop.asked):
            with enough_memory(config):
                row = update(config, problem, learning, processes)
            learning.seconds = before + time.monotonic() - started
            if log is not None:
                log.write({"step": learning.step, **row})
                done, left = learning.step - first, config.steps - learning.step
                estimate(started, done, left, report)
                if learning.step % config.save_every == 0:
                    save_state(out / STATE, settings, learning.state())
                if learning.step % config.report_every == 0 or not left:
                    said = ", ".join(f"{name} {value:.4g}" for name, value in row.items())
                    left_time = remaining(started, done, left)
                    report(f"step {learning.step}: {said}; {left_time} left")
    if log is not None:
        save_state(out / STATE, settings, learning.state())
        plots.curves(out / LOG, out / CURVES)
    processes.wait()
    if learning.step < config.steps:
        report(f"stopped after step {learning.step}; run the same line to go on")
        return None
    return learning


def run(
    config: Config,
    data: str,
    root: Path,
    out: Path,
    backbone: Path,
    start: Path | None = None,
    report: Report = lambda line: None,
    command: str = "imgrank.train.sft.run, called from Python",
    *,
    partial: bool = False,
    fold: int = 0,
    device: str = "cpu",
) -> Path | None:
    """Train, and write OUT/NAME, a checkpoint of kind "rarl". Returns it; None if stopped.

    start: a checkpoint to begin from instead of the plain backbone.
    Raises as `train` does, UsageError for a recipe or a device that cannot be, DataError for data
    that are missing or damaged.
    """
    given = ready(config, data, root, out, backbone, report, device, partial=partial, fold=fold)
    with given as found:
        config, problem = found.config, found.problem
        processes, report = found.processes, found.report
        policy = policy_of(config, backbone, start, processes.device, frozen=False)
        settings = settings_of(found, start, method="sft")
        learnt = train(config, problem, policy, settings, out, report, processes)
        if learnt is not None and processes.first:
            about = f"{config.steps} steps of {config.prompts} conversations, seed {config.seed}"
            told = [
                f"command: `{command}`",
                f"{about}, {duration(learnt.seconds, processes.device)}",
            ]
            training = {"method": "sft"}
            write_checkpoint(
                out / config.name, config, problem, policy, backbone, start, told, training,
                command, report,
            )  # fmt: skip
        processes.wait()
    return out / config.name if learnt is not None else None
