"""Train L2RCLIP: ordinal classification whose ranks are text, in two stages.

Paper: Learning-to-Rank Meets Language (L2RCLIP, NeurIPS 2023), section 3 and Tables 3 to 6.
As in the paper: stage 1 trains RankFormer and context vectors on pictures as the frozen tower sees
them (0.1 L_t2i + 0.1 L_i2t + 3 L_cop), stage 2 the image tower on ranks as stage 1 left them (L_ce
+ L_scop); Adam, batches of 64, pictures at random in the mirror.
What we changed and why:
* what a frozen tower gives is computed once, plain and mirrored, and kept; the embedded backbone
  is trained from its last stage or its head on for the same reason (`image.tower`);
* its statistics may be added to the embedding (`image.statistics`): a tower throws away what tells
  the age of a print, and what makes a picture pleasing;
* distances of ranks are divided by the largest (`w_norm`), so that weights mean the same for years
  and levels; of an epoch what does not fill a batch is left out, another part each time.

Table 5 by switches:  text.way=templates (without RankFormer: the templates are trained as they
are), stage1.cop=0, stage2.scop=0. Table 6: ranks.template. Tables 3 and 4: few_shot, shift_ranks.
`baselines` trains other texts in the same run, with neither L_cop nor L_scop: `context` (CoOp),
`interpolation` (OrdinalCLIP's), `vanilla`; their figures stand beside ours in `figures.json`.

Run:  imgrank train l2rclip --data utkface --root DATA --out OUT [--backbone vit-b-16]
Ctrl-C saves; the same line goes on, bit for bit, in either stage. In several processes: torchrun
--nproc_per_node 2 -m imgrank train l2rclip ...: pictures and ranks are shared out and gathered.
Expected: with the paper's backbone and data the figures in the heads of the recipes (the paper's);
those of the embedded checkpoints stand in their model cards.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial as bound
from pathlib import Path

import torch
from torch import Tensor, nn

from imgrank.data import catalogue
from imgrank.data.labelled import ReadOptions
from imgrank.errors import UsageError
from imgrank.models.atomic import write_bytes
from imgrank.models.backbone import Backbone
from imgrank.models.rank_text import RankText
from imgrank.rankers.levels import expected
from imgrank.train import l2rclip_losses as losses
from imgrank.train import plots
from imgrank.train.image_side import ImageSide, ImageSideConfig, image_side
from imgrank.train.l2rclip_data import Problem, draw, embedded, figures, predicted, problem_of
from imgrank.train.l2rclip_keeping import write_checkpoint
from imgrank.train.l2rclip_recipe import Config, Stage1, Stage2, baselines
from imgrank.train.processes import ALONE, Processes, join
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

__all__ = ["Fitted", "Stage", "fit", "image_losses", "run", "text_losses", "train"]

Losses = dict[str, Tensor]
Report = Callable[[str], None]
LOG, STATE, FIGURES = "metrics.jsonl", "state-{}.pt", "figures.json"


@dataclass(frozen=True, eq=False)
class Stage:
    """One of the two. model: what is trained.   losses(step): of its batch, `total` among them.

    embeddings(): v of the watched pictures [n, E], and r [M, E], as the model now gives them.
    before: steps of the stage before, for the log.
    """

    number: int
    model: nn.Module
    losses: Callable[[int], Losses]
    embeddings: Callable[[], tuple[Tensor, Tensor]]
    before: int = 0


@dataclass(frozen=True, eq=False)
class Fitted:
    """Both stages, finished. r [M, E].   figures: on validation pictures.   seconds: of all runs.
    steps: of this run alone; 0: it had been finished before."""

    r: Tensor
    images: ImageSide
    figures: Mapping[str, float]
    seconds: float
    steps: int


def text_losses(
    config: Config,
    problem: Problem,
    text: RankText,
    images: ImageSide,
    step: int,
    processes: Processes = ALONE,
) -> Losses:
    """Stage 1: only the ranks of the batch go through the text tower, shared out to processes."""
    own, scale = config.stage1, problem.scale
    rows, mirror = draw(problem, config, 1, step)
    with torch.no_grad():
        v = images.embed(rows, mirror).float()  # [B, E]
    y = problem.ranks_of(rows)  # [B]
    present = torch.tensor(sorted(set(y.tolist())), device=y.device)  # [K]
    K = len(present)
    with _precision(config, v.device):
        if processes.count <= K:
            r = processes.gather(text(present[processes.share(K)]).float(), K)
        else:  # too few to share: all do the same
            r = text(present).float()
    r = r.new_zeros(len(problem.ranks), r.shape[1]).index_copy(0, present, r)  # [M, E]
    parts: Losses = {}
    if own.t2i:
        parts["t2i"] = losses.text_to_image(v, r, y, scale, own.without_same)
    if own.i2t:
        parts["i2t"] = losses.image_to_text(v, r, y, scale)
    if own.cop:
        parts["cop"] = losses.ordinal_pairwise(v, r, y, problem.values, own.gamma, own.w_norm)
    return _with_total(parts, own)


def image_losses(
    config: Config,
    problem: Problem,
    images: ImageSide,
    r: Tensor,
    step: int,
    processes: Processes = ALONE,
) -> Losses:
    """Stage 2: pictures are shared out to processes; the losses are of the whole batch."""
    own = config.stage2
    rows, mirror = draw(problem, config, 2, step)
    torch.manual_seed((config.seed * 1_000_003 + step) * 1009 + processes.rank)  # of dropout
    share = processes.share(len(rows))
    with _precision(config, r.device):
        found = images.embed(rows[share], mirror[share])
    v = processes.gather(found.float(), len(rows))  # [B, E]
    y = problem.ranks_of(rows)
    parts: Losses = {}
    if own.ce:
        parts["ce"] = losses.cross_entropy(v, r, y, problem.scale)
    if own.scop:
        parts["scop"] = losses.ordinal_pairwise(v, r, y, problem.values, 0.0, own.w_norm)
    parts = _with_total(parts, own)
    if own.statistics_decay and images.statistics is not None:
        parts["l2"] = 0.5 * own.statistics_decay * images.statistics.weight.square().sum()
        parts["total"] = parts["total"] + parts["l2"]
    return parts


def _with_total(parts: Losses, weights: Stage1 | Stage2) -> Losses:
    total = torch.stack([getattr(weights, name) * part for name, part in parts.items()]).sum()
    return {"total": total, **parts}


def _precision(config: Config, device: torch.device) -> torch.autocast:
    kind = getattr(torch, config.precision)
    return torch.autocast(device.type, kind, enabled=config.precision != "float32")


def train(
    config: Config,
    problem: Problem,
    stage: Stage,
    out: Path,
    report: Report,
    processes: Processes = ALONE,
) -> tuple[float, int] | None:
    """The loop of a stage; its model then has the (averaged) weights that it found.

    Returns the seconds of all runs and the steps of this one; None if it was stopped before the
    end. Raises CheckpointError if `out` holds the state of other settings or a damaged one, and if
    the loss is no number; DataError on a full disk.
    """
    model, own = stage.model, config.stage1 if stage.number == 1 else config.stage2
    epoch = problem.epoch(config.batch)
    steps = own.epochs * epoch
    if not steps or not any(p.requires_grad for p in model.parameters()):
        report(f"stage {stage.number}: nothing to train")
        return 0.0, 0
    half, path = config.precision == "float16", out / STATE.format(stage.number)
    learner = Learner(model, own.lr, config.weight_decay, config.average, half, own.shares)
    if (state := load_state(path, asdict(config))) is not None:
        learner.load(state)
        report(f"stage {stage.number}: resumed at step {learner.step} of {steps}")
    first, before, started = learner.step, learner.seconds, time.monotonic()
    writes = processes.first and first < steps  # at the end the log may tell of the next stage
    log = JsonLines(out / LOG, stage.before + first) if writes else None
    with polite_stop() as stop:
        while learner.step < steps and not processes.any(stop.asked):
            model.train()
            parts = stage.losses(learner.step)
            require_number(parts["total"], learner.step)
            lr = own.rate(learner.step // epoch)
            learner.update(parts["total"], lr, config.clip or math.inf, processes)
            learner.seconds = before + time.monotonic() - started
            if log is not None:
                row = {name: round(float(value.detach()), 5) for name, value in parts.items()}
                place = {"step": stage.before + learner.step, "stage": stage.number}
                log.write({**place, **row})
                done, left = learner.step - first, steps - learner.step
                estimate(started, done, left, report)
                due = learner.step % (config.evaluate_every * epoch) == 0 or not left
                if due or learner.step % config.save_every == 0:  # before measuring
                    save_state(path, asdict(config), learner.state())
                if due:
                    found = measure(problem, stage, learner)
                    log.write({**place, **found})
                    said = f"{found}  {remaining(started, done, left)} left"
                    report(f"stage {stage.number}, epoch {learner.step / epoch:g}: {said}")
    if log is not None:
        save_state(path, asdict(config), learner.state())
        draw_plots(problem, stage, learner, out)
    processes.wait()
    if learner.step < steps:
        report(f"stopped after step {learner.step} of stage {stage.number}; run the same line")
        return None
    model.load_state_dict(learner.averaged)
    model.eval()
    return learner.seconds, learner.step - first


def measure(problem: Problem, stage: Stage, learner: Learner) -> dict[str, float]:
    """The figures of the averaged model."""
    with learner.with_average(), torch.no_grad():
        return figures(problem, *stage.embeddings())


def draw_plots(problem: Problem, stage: Stage, learner: Learner, out: Path) -> None:
    """The losses so far, and the averaged model's predictions beside the truth (validation)."""
    number = stage.number
    plots.curves(out / LOG, out / f"curves-{number}.png", number)
    if len(problem.watched):
        with learner.with_average(), torch.no_grad():
            p = predicted(problem, *stage.embeddings())
        truth, unit = problem.labels.values[problem.watched], problem.labels.unit
        title = f"{problem.data.name}, validation, stage {number}, step {learner.step}"
        file = out / f"scatter-{number}.png"
        plots.scatter(truth, expected(p, problem.ranks), file, title, unit)


def fit(
    config: Config,
    problem: Problem,
    tower: Backbone,
    cache: Path,
    out: Path,
    report: Report,
    processes: Processes = ALONE,
) -> Fitted | None:
    """Both stages; None if one was stopped.  out: folder of states, log and plots."""
    text = RankText(tower.text, tower.tokenize, problem.ranks, config.text, config.seed)
    kept = ImageSideConfig(tower="frozen")
    frozen, images = (  # one process computes what is kept, the others then find it
        processes.in_turn(bound(image_side, each, tower, problem.data, cache, report))
        for each in (kept, config.image)
    )
    epoch = problem.epoch(config.batch)
    counts = f"{config.stage1.epochs} epochs of stage 1, {config.stage2.epochs} of stage 2"
    report(
        f"{len(problem.rows)} pictures, {len(problem.ranks)} ranks; {counts}, {epoch} steps each"
    )
    first = Stage(
        1,
        text,
        lambda step: text_losses(config, problem, text, frozen, step, processes),
        lambda: (embedded(frozen, problem.watched), text().float()),
    )
    done = train(config, problem, first, out, report, processes)
    if done is None:
        return None
    with torch.no_grad():
        r = text.eval()().half().float()  # [M, E], as the checkpoint keeps them
    second = Stage(
        2,
        images,
        lambda step: image_losses(config, problem, images, r, step, processes),
        lambda: (embedded(images, problem.watched), r),
        config.stage1.epochs * epoch,
    )
    more = train(config, problem, second, out, report, processes)
    if more is None:
        return None
    found = figures(problem, embedded(images.eval(), problem.watched), r)
    return Fitted(r, images, found, done[0] + more[0], done[1] + more[1])


def run(
    config: Config,
    root: Path,
    out: Path,
    backbone: Path,
    cache: Path | None = None,
    report: Report = lambda line: None,
    command: str = "imgrank.train.l2rclip.run, called from Python",
    *,
    partial: bool = False,
    device: str = "cpu",
) -> Path | None:
    """Both stages, the baselines, the checkpoint. Returns its folder; None if it was stopped.

    The arguments and errors are those of `adapter.run`.
    """
    require_extras("training L2RCLIP")
    processes = join(device)
    tower = Backbone(backbone, processes.device)
    config = replace(config, backbone=tower.name)
    report = report if processes.first else silent
    report(processes.about)
    data = catalogue.read(config.data, root, ReadOptions(config.fold, partial, report))
    problem = problem_of(config, data, tower)
    if min(config.batch, len(problem.rows)) < processes.count:
        raise UsageError(f"{processes.count} processes are too many for batches this small.")
    runs = [(config, out)]
    runs += [(each, out / f"baseline-{each.text.way}") for each in baselines(config)]
    out.mkdir(parents=True, exist_ok=True)
    with alone_in(out) if processes.first else nullcontext():
        measured = {}
        for each, folder in runs:
            report(f"{folder}: {each.text.way}")
            folder.mkdir(exist_ok=True)
            found = fit(each, problem, tower, cache or out / "tokens", folder, report, processes)
            if found is None:
                break
            measured[each.text.way] = found.figures
            if each is config and processes.first:
                write_checkpoint(out, config, problem, tower, found, command, report)
        if processes.first:
            write_bytes(out / FIGURES, f"{json.dumps(measured, indent=2)}\n".encode())
        for way, its in measured.items():
            report(f"{way}: " + ", ".join(f"{name} {x:g}" for name, x in its.items()))
        processes.wait()
    processes.leave()
    return out / config.name if len(measured) == len(runs) else None
