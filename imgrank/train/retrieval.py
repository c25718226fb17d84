"""Align a CLIP model's search with what people find beautiful: ranked DPO on both towers.

Paper: Zhang, Wei, Xing et al., "Aligning Vision Models with Human Aesthetics in Retrieval:
Benchmarks and Algorithms" (NeurIPS 2024; 003), sections 2.1, 2.3, 4.1 and appendix B. As in the
paper: for each query a matrix of pictures (D_po, `imgrank data preferences`), whose rows are in
order of beauty and columns in order of meaning, gives 100 pairs; the ORIGINAL query is encoded, not
the rephrased one that found the pictures; the loss is ranked DPO (or RRHF, ranked IPO) plus w_pt
times the contrastive loss of captions, a stream of its own. AdamW, 128 queries a step, 200 warm-up
steps, then half a cosine, layer-wise decay of the learning rate in both towers, no augmentation.
What we changed and why:
* a cosine may be zero or below and then has no logarithm, so what stands for pi is a choice
  (`policy`); more than 5 % clamped cosines are a failure, as is a DPO loss that stays above .69;
* the temperature of the policy `logit` is the starting model's and stays: a model that only became
  surer of the same order would lower the loss and change no search;
* cosines of the starting model are computed once and kept, so that it runs at no step;
* what a frozen part of the image tower gives of a picture is kept too (`image`), and a large batch
  may go through the trained part in pieces (`at_once`);
* contrastive batches are as memory allows (`captions`; the paper pre-trained with 32k, and does not
  say what fine-tuning took); without captions the cosines of the starting model are the anchor;
* bfloat16 where the paper has float16.

Run:  imgrank train retrieval --preferences preferences.jsonl --captions flickr8k --root DATA
Ctrl-C saves; the same line goes on, bit for bit. In several processes: torchrun --nproc_per_node 2
-m imgrank train retrieval ...: queries, pictures and captions are shared out and gathered.
Expected (the paper's, HPIR accuracy / aesthetics): CLIP 68.1/62.1 -> 73.1/71.7, DataComp 71.8/62.7
-> 74.4/71.9. Ours on the embedded backbone stand in the model card of `tiny-aligned`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from imgrank.data.captions import read_captioned
from imgrank.data.labelled import ReadOptions
from imgrank.data.preferences import read_preferences
from imgrank.errors import CheckpointError, UsageError
from imgrank.models.backbone import Backbone
from imgrank.train import plots
from imgrank.train import retrieval_losses as losses
from imgrank.train.layer_decay import groups
from imgrank.train.processes import ALONE, Processes, join
from imgrank.train.retrieval_data import (
    Problem,
    check_source,
    draw_captions,
    draw_queries,
    problem_of,
)
from imgrank.train.retrieval_keeping import (
    failure,
    kept_reference,
    source_of,
    too_many_clamped,
    write_results,
)
from imgrank.train.retrieval_model import (
    Figures,
    Model,
    cosines_of,
    enough_memory,
    held_out,
    model_of,
    precision,
    preference_loss,
    reference_of,
)
from imgrank.train.retrieval_recipe import Config, trained_on
from imgrank.train.run import (
    JsonLines,
    Learner,
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

__all__ = ["Trained", "run", "terms", "train", "update"]

Report = Callable[[str], None]
LOG, STATE, CURVES = "metrics.jsonl", "state.pt", "curves.png"
LARGEST_SCALE = 100.0  # of the contrastive logits, as CLIP has it


@dataclass(frozen=True, eq=False)
class Trained:
    """model: finished.   seconds: of all runs.   steps: of this run alone; 0: it had been finished
    before."""

    model: Model
    seconds: float
    steps: int


def terms(
    config: Config,
    problem: Problem,
    model: Model,
    reference: Tensor,
    step: int,
    processes: Processes = ALONE,
) -> Iterator[tuple[str, Tensor, float, Figures]]:
    """(name, loss, weight, figures) of both terms, the second computed after the first was used,
    so that only one of them needs memory at a time. reference [Q, n]."""
    batch = draw_queries(problem, config, step)
    cosines = cosines_of(config, model, batch, processes)
    own = reference[torch.from_numpy(batch.queries).to(reference.device)]
    loss, figures = preference_loss(config, problem, cosines, batch, own)
    yield config.loss, loss, 1.0, figures
    if not config.weight:
        return
    if len(problem.captioned):
        pictures, texts = draw_captions(problem, config, step)
        C = len(pictures)
        with precision(config, reference.device):
            t = model.text.embed(texts[processes.share(C)])
            v = model.image.embed(pictures[processes.share(C)], at_once=config.at_once)
        v, t = processes.gather(v.float(), C), processes.gather(t.float(), C)
        pt = losses.contrastive(v, t, model.logit_scale.exp(), config.smoothing)
        yield "pt", pt, config.weight, {}
    elif config.anchor != "none":
        mine = cosines.gather(1, batch.own)
        kl = config.anchor == "kl"
        anchor = (
            losses.kl_anchor(mine, own, config.temperature) if kl else losses.l2_anchor(mine, own)
        )
        yield config.anchor, anchor, config.weight, {}


def update(
    config: Config,
    problem: Problem,
    learner: Learner,
    model: Model,
    reference: Tensor,
    processes: Processes,
) -> Figures:
    """One step; what the log says of it: losses, figures, the norm of each term's gradient before
    clipping ("gradient of dpo")."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    summed: list[Tensor | None] = [None] * len(parameters)
    row: Figures = {"total": 0.0}
    shared = not len(problem.captioned)  # both terms look at the same cosines
    for name, loss, weight, figures in terms(
        config, problem, model, reference, learner.step, processes
    ):
        require_number(loss, learner.step)
        learner.optimizer.zero_grad(set_to_none=True)
        keep = shared and name == config.loss
        learner.scaler.scale(weight * loss).backward(retain_graph=keep)  # type: ignore[no-untyped-call]
        processes.average_gradients(parameters)
        found = [p.grad for p in parameters]
        norm = float(torch.stack([g.float().norm() for g in found if g is not None]).norm())
        value = float(loss.detach())
        row |= {name: value, **figures}
        if math.isfinite(norm):  # not where float16 still looks for a scale
            row[f"gradient_{name}"] = norm / learner.scaler.get_scale()
        row["total"] += weight * value
        summed = [_sum(a, b) for a, b in zip(summed, found, strict=True)]
    for parameter, gradient in zip(parameters, summed, strict=True):
        parameter.grad = gradient
    learner.advance(config.rate(learner.step), config.clip)
    return {name: round(value, 6) for name, value in row.items()}


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """Of gradients that may not be there."""
    return b if a is None else a if b is None else a + b


def train(
    config: Config,
    problem: Problem,
    model: Model,
    reference: Tensor,
    out: Path,
    report: Report,
    processes: Processes = ALONE,
) -> Trained | None:
    """The loop; the model then has the (averaged) weights that it found. None: stopped before.

    reference [Q, n]: cosines of the starting model, of each query and its pictures.
    Raises CheckpointError if `out` holds the state of other settings or a damaged one, if the loss
    is no number, and for a failure (`failure`); DataError on a full disk.
    """
    layers = groups(model.named(), config.decay)
    optimizer = torch.optim.AdamW(layers, lr=config.lr, weight_decay=config.weight_decay)
    highest = max(math.log(LARGEST_SCALE), float(model.logit_scale.detach()))
    half = config.precision == "float16"
    settings = {**asdict(config), "problem": problem.digest}
    learner = Learner(model, config.lr, 0.0, config.average, half, optimizer=optimizer)
    if (state := load_state(out / STATE, settings)) is not None:
        learner.load(state)
        report(f"resumed at step {learner.step} of {config.steps}")
    first, before, started = learner.step, learner.seconds, time.monotonic()
    log = JsonLines(out / LOG, first) if processes.first and first < config.steps else None
    with polite_stop() as stop:
        while learner.step < config.steps and not processes.any(stop.asked):
            with enough_memory(config):
                row = update(config, problem, learner, model, reference, processes)
            with torch.no_grad():
                model.logit_scale.clamp_(max=highest)
            learner.seconds = before + time.monotonic() - started
            if log is not None:
                log.write({"step": learner.step, **row})
                done, left = learner.step - first, config.steps - learner.step
                estimate(started, done, left, report)
                due = learner.step % config.evaluate_every == 0 or not left
                if due or learner.step % config.save_every == 0:  # before measuring
                    save_state(out / STATE, settings, learner.state())
                if due:
                    with learner.with_average():
                        found = held_out(config, problem, model, reference)
                    log.write({"step": learner.step, **found})
                    said = ", ".join(f"{n} {x:.4g}" for n, x in {**row, **found}.items())
                    report(f"step {learner.step}: {said}; {remaining(started, done, left)} left")
    if log is not None:
        save_state(out / STATE, settings, learner.state())
        plots.curves(out / LOG, out / CURVES)
    processes.wait()
    if learner.step < config.steps:
        report(f"stopped after step {learner.step}; run the same line to go on")
        return None
    failed = failure(config, out / LOG) if processes.first else ""
    if processes.any(bool(failed)):
        raise CheckpointError(failed or "the training has failed; the first process says how.")
    model.load_state_dict(learner.averaged)
    return Trained(model, learner.seconds, learner.step - first)


def run(
    config: Config,
    preferences: Path,
    captions: Sequence[str],
    root: Path,
    out: Path,
    backbone: Path,
    cache: Path | None = None,
    report: Report = lambda line: None,
    command: str = "imgrank.train.retrieval.run, called from Python",
    *,
    partial: bool = False,
    device: str = "cpu",
) -> Path | None:
    """Train, and write OUT/NAME (OpenCLIP) and OUT/NAME-delta. Returns the first; None if stopped.

    captions: names of captioned sets.   root: where these and the pictures of the preferences are.
    cache: of arrays of pictures; None: OUT/tokens.
    Raises as `train` does, UsageError for a recipe or a device that cannot be, DataError for data
    that are missing or damaged.
    """
    require_extras("aligning a search")
    processes = join(device)
    tower = Backbone(backbone, processes.device)
    report = report if processes.first else silent
    report(processes.about)
    options = ReadOptions(partial=partial, report=report)
    wanted = read_preferences(preferences, root)
    check_source(wanted, tower.spec, preferences, report)
    captioned = [read_captioned(name, root, options) for name in captions]
    source = source_of(wanted, captioned)
    config = replace(trained_on(config, source.data), backbone=tower.name)
    config = replace(config, temperature=config.temperature or 1 / tower.spec.logit_scale())
    problem = problem_of(config, wanted, captioned, tower.spec, processes.device)
    smallest = [min(config.batch, len(problem.trained))]
    smallest += [min(config.captions, len(problem.captioned))] if captions else []
    if min(smallest) < processes.count:
        raise UsageError(f"{processes.count} processes are too many for batches this small.")
    for line in source.lines(config, problem):
        report(line)
    out.mkdir(parents=True, exist_ok=True)
    with alone_in(out) if processes.first else nullcontext():
        model = processes.in_turn(
            lambda: model_of(config, problem, tower, cache or out / "tokens", report)
        )
        start = {name: value.detach().clone() for name, value in model.named().items()}
        reference = processes.in_turn(
            lambda: kept_reference(
                out, config, problem, lambda: reference_of(config, problem, model)
            )
        )
        share = losses.clamped_share(reference, config.policy, config.floor)
        if share > config.most_clamped:
            raise CheckpointError(too_many_clamped(config, share, "Before the training"))
        trained = train(config, problem, model, reference, out, report, processes)
        if trained is not None and processes.first:
            write_results(out, config, problem, source, tower.spec, start, trained, command, report)
        processes.wait()
    processes.leave()
    return out / config.name if trained is not None else None
