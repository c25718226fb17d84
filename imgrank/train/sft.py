"""Plain fine-tuning of a Qwen2.5-VL on true answers (SFT): the baseline of RARL, and a start for it.

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
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imgrank.data.labelled import ReadOptions
from imgrank.errors import UsageError
from imgrank.listwise.prompt import truth_answer
from imgrank.models.vlm_spec import read_vlm
from imgrank.train import plots
from imgrank.train.processes import Processes, join
from imgrank.train.rarl_data import Problem, draw, opened, problem_of
from imgrank.train.rarl_keeping import write_checkpoint
from imgrank.train.rarl_policy import Policy, enough_memory, policy_of
from imgrank.train.rarl_recipe import trained_on
from imgrank.train.run import (
    JsonLines,
    alone_in,
    estimate,
    load_state,
    polite_stop,
    remaining,
    require_extras,
    require_number,
    save_state,
    silent,
)
from imgrank.train.sft_recipe import Config

__all__ = ["run", "train", "update"]

Report = Callable[[str], None]
LOG, STATE, CURVES = "metrics.jsonl", "state.pt", "curves.png"
STAGE = 0  # of the draws of a step; RARL's stages are 1 and 2


def update(
    config: Config,
    problem: Problem,
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    step: int,
    processes: Processes,
) -> dict[str, float]:
    """One step; the loss, and the norm of the gradient before it is clipped."""
    prompts = draw(problem, config.sizes, config.prompts, config.seed, STAGE, step)
    truths = [policy.encoded(truth_answer(prompt.values)) for prompt in prompts]
    tokens = sum(len(truth) for truth in truths)  # of all processes
    own = range(len(prompts))[processes.share(len(prompts))]
    asked = policy.ask(opened(problem, [prompts[n] for n in own], config.max_pixels))
    optimizer.zero_grad(set_to_none=True)
    size = config.at_once or len(own)
    total = torch.zeros((), device=processes.device)
    for first in range(0, len(own), size):
        rows = range(first, min(first + size, len(own)))
        answers = policy.padded([truths[own[row]] for row in rows])  # [B, T]
        log_p, _ = policy.logprobs(asked, rows, answers)  # [B, T]
        # The mean over processes follows, so that each gives its part of the sum times their number.
        loss = -(log_p * policy.mask(answers)).sum() / tokens * processes.count
        require_number(loss.detach(), step)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    parameters = list(policy.trained().values())
    processes.average_gradients(parameters)
    norm = torch.nn.utils.clip_grad_norm_(parameters, config.clip)
    for group in optimizer.param_groups:
        group["lr"] = config.rate(step)
    optimizer.step()
    mean = processes.gather(total[None], processes.count).mean()
    return {"total": round(float(mean), 6), "gradient": round(float(norm), 6)}


def train(
    config: Config,
    problem: Problem,
    policy: Policy,
    settings: dict[str, Any],
    out: Path,
    report: Report,
    processes: Processes,
) -> float | None:
    """The loop. Returns the seconds of all runs; None: stopped before the end.

    settings: everything that a run that goes on must have in common with the one before.
    Raises CheckpointError if `out` holds the state of other settings or a damaged one, and if the
    loss is no number; DataError on a full disk.
    """
    trained = policy.trained()
    optimizer = torch.optim.AdamW(trained.values(), lr=config.lr, weight_decay=config.weight_decay)
    step, before = 0, 0.0
    if (state := load_state(out / STATE, settings)) is not None:
        step, before = state["step"], state["seconds"]
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(state["model"][name])
        optimizer.load_state_dict(state["optimizer"])
        report(f"resumed at step {step} of {config.steps}")
    first, started = step, time.monotonic()
    log = JsonLines(out / LOG, first) if processes.first and first < config.steps else None

    def save() -> None:
        model: dict[str, Tensor] = {name: value.detach() for name, value in trained.items()}
        seconds = before + time.monotonic() - started
        learnt = {"model": model, "optimizer": optimizer.state_dict()}
        save_state(out / STATE, settings, {"step": step, "seconds": seconds, **learnt})

    with polite_stop() as stop:
        while step < config.steps and not processes.any(stop.asked):
            with enough_memory(config):
                row = update(config, problem, policy, optimizer, step, processes)
            step += 1
            if log is not None:
                log.write({"step": step, **row})
                done, left = step - first, config.steps - step
                estimate(started, done, left, report)
                if left and step % config.save_every == 0:
                    save()
                if step % config.report_every == 0 or not left:
                    said = ", ".join(f"{name} {value:.4g}" for name, value in row.items())
                    report(f"step {step}: {said}; {remaining(started, done, left)} left")
    if log is not None:
        save()
        plots.curves(out / LOG, out / CURVES)
    processes.wait()
    if step < config.steps:
        report(f"stopped after step {step}; run the same line to go on")
        return None
    return before + time.monotonic() - started


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
    require_extras("fine-tuning")
    processes = join(device)
    report = report if processes.first else silent
    report(processes.about)
    if config.prompts < processes.count:
        raise UsageError(f"{processes.count} processes are too many for prompts = {config.prompts}")
    problem = problem_of(data, root, ReadOptions(fold=fold, partial=partial, report=report))
    for line in problem.lines():
        report(line)
    out.mkdir(parents=True, exist_ok=True)
    with alone_in(out) if processes.first else nullcontext():
        config = trained_on(config, data, processes.in_turn(lambda: read_vlm(backbone)).name)
        policy = policy_of(config, backbone, start, processes.device, frozen=False)
        settings = {"method": "sft", **asdict(config), "problem": problem.digest}
        seconds = train(config, problem, policy, settings, out, report, processes)
        if seconds is not None and processes.first:
            told = [
                f"command: `{command}`",
                f"{config.steps} steps of {config.prompts} conversations, seed {config.seed}, "
                f"{seconds / 60:.1f} minutes",
            ]
            training = {"method": "sft", "data": {data: {"fold": fold}}, "steps": config.steps}
            write_checkpoint(
                out / config.name, config, problem, policy, backbone, start, told, training,
                command, report,
            )  # fmt: skip
        processes.wait()
    processes.leave()
    return out / config.name if seconds is not None else None
