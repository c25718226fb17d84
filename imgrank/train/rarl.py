"""RARL: a Qwen2.5-VL learns to value pictures and to put them in order, by ranking-aware rewards.

Paper: "Ranking-aware Reinforcement Learning for Ordinal Ranking" (002). Its formulas and most of
its hyper-parameters are lost in its published text; only the regression reward could be confirmed
elsewhere. What stands here is this project's definition:
* rewards: train/rarl_rewards.py; prompt and answer: listwise/; what a step draws: rarl_data.py;
* stage 1: single pictures, R = R_reg + .5 R_fmt; stage 2, from stage 1's weights: 1, 2, 4 or 8
  pictures, R = R_reg + R_rank + .5 R_fmt, with Response Mutation: where no answer of a group has
  half of what the truth earns, the worst is, with p = .5, replaced by the truth;
* GRPO (train/grpo.py): G = 8 answers a prompt at temperature 1, advantage (R - mean) / (sd + 1e-4),
  one update a roll-out, so that the ratio is 1 and nothing is clipped but the gradient.
What we chose, and why:
* the mean goes over all tokens of a step (DAPO's; loss = "grpo": each answer's own mean first);
* k3 of the KL to the start of the STAGE, .04: with LoRA switched off the model is that start, so
  what earlier stages learnt is merged into the weights (full = true keeps a second copy);
* LoRA of rank 32 on the language model alone, a constant learning rate, no weight decay, 500 steps
  a stage (a guess; `recipes/rarl.toml` says what else is ours).

Run:  imgrank train rarl --data utkface --root DATA --backbone qwen2.5-vl-3b --out runs/age
Ctrl-C saves; the same line goes on, on a CPU bit for bit. In several processes: torchrun
--nproc_per_node 2 -m imgrank train rarl ...: prompts are shared out, each process has whole groups.
OUT/first/NAME is stage 1's checkpoint, OUT/NAME the result; state, log, curves: OUT/first,
OUT/second.
Expected (the paper's, 7B): UTKFace MAE 3.81, Kendall's tau .921/.905/.852 for 2/4/8 pictures;
COCO-REM accuracy 71.80, AVA SRCC .803; 3B 4.02, 68.73, .783. Never run at that size here: only on
a tiny random model of the same classes (tests/bench/rarl.py).
Shapes: P prompts of this process, G answers to each, B = P G answers, T tokens of the longest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from imgrank.listwise.prompt import truth_answer
from imgrank.train import rarl_metrics as metrics
from imgrank.train import run as around
from imgrank.train.grpo import advantages, k3, should_mutate, token_loss, units, worst
from imgrank.train.rarl_data import Prompt, draw, opened
from imgrank.train.rarl_keeping import Job, jobs
from imgrank.train.rarl_policy import Inputs, Learning, enough_memory, learning_of, pieces
from imgrank.train.rarl_ready import ready
from imgrank.train.rarl_recipe import Config
from imgrank.train.rarl_rewards import Rewards, Weights, rewards, truth_task

__all__ = ["RollOut", "roll_out", "run", "train", "update"]

LOG, STATE, CURVES = "metrics.jsonl", "state.pt", "curves.png"


@dataclass(frozen=True, eq=False)
class RollOut:
    """answers [B, T] to P prompts, G after G, and what they earned [B] before the mutation.
    asked: the prompts as the model reads them.   swapped [B]: for the truth, with its R [P, G]."""

    prompts: list[Prompt]
    asked: Inputs
    answers: Tensor
    earned: list[Rewards]
    swapped: Tensor
    R: Tensor


def roll_out(job: Job, learning: Learning) -> RollOut:
    """Answers to this process's prompts of a step, their rewards, and the mutation."""
    config, policy, stage, G = job.config, learning.policy, job.stage, job.config.group
    key, mine = (config.seed, job.number, learning.step), job.processes.share(config.prompts)
    prompts = draw(job.problem, stage.sizes, config.prompts, *key)[mine]
    asked, B = policy.ask(opened(job.problem, prompts, config.max_pixels)), len(prompts) * G
    answers: list[Tensor] = []
    for rows in pieces(B, stage.generate_at_once and max(1, stage.generate_at_once // G) * G):
        seed = np.random.SeedSequence((*key, mine.start + rows[0] // G)).generate_state(1)
        own, longest = [b // G for b in rows], config.max_new_tokens
        answers += policy.answers(asked, own, longest, config.temperature, int(seed[0]))
    weights = Weights(stage.alpha, stage.beta, stage.gamma)
    texts = policy.texts(policy.padded(answers))
    draws = np.random.default_rng((*key, 1)).random(config.prompts)[mine]
    earned, R, swapped = [], torch.empty(len(prompts), G), torch.zeros(B, dtype=torch.bool)
    for n, prompt in enumerate(prompts):
        about = (prompt.values, prompt.rule, weights)
        found = [rewards(text, *about) for text in texts[n * G : (n + 1) * G]]
        earned += found
        R[n] = torch.tensor([one.total for one in found])
        T, best = [one.task for one in found], truth_task(len(prompt.values), weights)
        if should_mutate(T, best, draws[n], stage.mutation):
            k, truth = worst(R[n].tolist()), truth_answer(prompt.values)
            answers[n * G + k], swapped[n * G + k] = policy.encoded(truth), True
            R[n, k] = rewards(truth, *about).total
    return RollOut(prompts, asked, policy.padded(answers), earned, swapped, R)


def update(job: Job, rolled: RollOut, learning: Learning) -> dict[str, float]:
    """One step on a roll-out; what the log says of it, of all processes."""
    config, processes, policy, answers = job.config, job.processes, learning.policy, rolled.answers
    A = advantages(rolled.R, config.scaled).flatten().to(answers.device)
    mine = torch.tensor([float(units(policy.mask(answers), config.loss))], device=answers.device)
    of = float(processes.gather(mine, processes.count).mean())  # gradients are meaned, too
    total, traces = torch.zeros(1, device=answers.device), []
    for rows in pieces(len(A), config.at_once):
        own, prompts = policy.padded(list(answers[rows])), [b // config.group for b in rows]
        mask, about = policy.mask(own), (rolled.asked, prompts, own, config.temperature)
        ref = policy.reference(*about) if config.kl else None
        log_p, entropy = policy.logprobs(*about)
        loss = token_loss(log_p, ref, A[rows], mask, kl=config.kl, loss=config.loss, of=of)
        around.require_number(loss, learning.step)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
        apart = torch.zeros_like(log_p) if ref is None else k3(log_p.detach(), ref)
        traces.append(torch.stack([mask.float(), apart, entropy]).sum(2).T)
    gradient = learning.advance(processes)
    cells = metrics.cells(rolled.prompts, rolled.earned, rolled.swapped, torch.cat(traces))
    everyone = processes.gather(cells.to(answers.device), config.prompts)
    loss = processes.gather(total, processes.count).mean()
    return {"total": float(loss), **metrics.figures(everyone), "gradient": gradient}


def train(job: Job, stop: around.Stop) -> bool:
    """The loop of a stage; whether it came to its end. Raises CheckpointError for the state of
    other settings, a loss that is no number, too little memory; DataError on a full disk."""
    config, processes, out, steps = job.config, job.processes, job.out, job.stage.steps
    learning = learning_of(config, job.backbone, job.start, processes.device)
    if learning.resumed(out / STATE, job.settings):
        job.report(f"{job.name} stage: resumed at step {learning.step} of {steps}")
    first, before, started = learning.step, learning.seconds, time.monotonic()
    log = around.JsonLines(out / LOG, first) if processes.first and first < steps else None
    while learning.step < steps and not processes.any(stop.asked):
        began = time.monotonic()
        with enough_memory(config):
            row = update(job, roll_out(job, learning), learning)
        learning.seconds = before + time.monotonic() - started
        if log is not None:
            log.write(metrics.row(learning.step, row, time.monotonic() - began))
            done, left = learning.step - first, steps - learning.step
            if done in (1, 10) or learning.step % config.report_every == 0 or not left:
                rest = f"{metrics.told(row)}; {around.remaining(started, done, left)} left"
                job.report(f"{job.name} stage, step {learning.step}: {rest}")
            if learning.step % config.save_every == 0:
                around.save_state(out / STATE, job.settings, learning.state())
    if log is not None:
        around.save_state(out / STATE, job.settings, learning.state())
        metrics.draw_curves(out / LOG, out / CURVES)
    processes.wait()  # who leaves early may end the others
    if learning.step < steps:
        job.report(f"stopped after step {learning.step}; run the same line to go on")
        return False
    job.write(learning)
    return True


def run(
    config: Config,
    data: str,
    root: Path,
    out: Path,
    backbone: Path,
    start: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
    command: str = "imgrank.train.rarl.run, called from Python",
    *,
    partial: bool = False,
    fold: int = 0,
    device: str = "cpu",
) -> Path | None:
    """Train the recipe's stages. Returns the last one's checkpoint; None if it was stopped.

    start: a checkpoint to begin from; without it `stages` = "second" takes that of OUT/first.
    Raises as `train`, MissingExtra, UsageError for a recipe or a device that cannot be, DataError
    for data that are missing or damaged.
    """
    result = None
    given = ready(config, data, root, out, backbone, report, device, partial=partial, fold=fold)
    with given as about, around.polite_stop() as stop:
        for job in jobs(about, start, out, command):
            result = job.result
            if not job.finished and (job.processes.any(stop.asked) or not train(job, stop)):
                result = None  # stopped, perhaps within the first stage's last step
                break
    return result
