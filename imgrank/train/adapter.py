"""Train a ranking adapter on a frozen backbone, on tokens computed once and kept on disk.

Paper: Ranking-aware adapter for text-driven image ordering (ICLR 2025), sections 3 and B.
As in the paper: a batch holds one instruction, so that all its pairs compare; values are drawn
uniformly; AdamW, cosine with warm-up; loss = rank + alpha * regression.
What we changed and why:
* the ranking loss is either that of the released checkpoints (`rank_bce`) or the paper's hinge on
  the antisymmetric part (`rank_hinge`): the paper's one-sided hinge collapses;
* for small data sets on the embedded backbone, a hundred times smaller than the paper's: weights
  are averaged over the steps (`average`), tokens lose random numbers while training
  (`source_dropout`), and each source of image tokens starts standardised, with ridge solutions
  among its directions (`warm_start.py`): what tells sharpness and noise is otherwise found late;
* one adapter may be trained by several data sets in turn, each with a share of the batches.

Run:  imgrank train adapter --data koniq --root DATA --backbone convnext-large-320 --out OUT
`DATA` holds the folders that the data sets name (`imgrank data list`). The first run computes the
tokens and tells their size before. Ctrl-C saves; the same line goes on, bit for bit. In several
processes: torchrun --nproc_per_node 2 -m imgrank train adapter ... (`processes.py`).
Expected: the paper's figures with the paper's backbone and data, see the recipes; those of the
embedded adapters in their model cards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from imgrank.evaluate.scoring import Predicted, Question, figures, predict
from imgrank.models.adapter import Adapter, AdapterConfig
from imgrank.models.backbone import Backbone
from imgrank.models.spec import read_spec
from imgrank.train import losses, plots
from imgrank.train.adapter_recipe import Config, Source, Task, fitted, load_recipe, override
from imgrank.train.keeping import write_checkpoint
from imgrank.train.live import TunedText, start_projection
from imgrank.train.processes import ALONE, Processes, join
from imgrank.train.run import (
    JsonLines,
    Learner,
    alone_in,
    cosine_with_warmup,
    estimate,
    load_state,
    polite_stop,
    remaining,
    require_extras,
    require_number,
    save_state,
    silent,
)
from imgrank.train.streams import Batch, Stream, all_prompts, draw, read_streams, with_pictures
from imgrank.train.warm_start import warm_start

__all__ = [
    "Config",
    "Model",
    "Source",
    "Task",
    "Trained",
    "load_recipe",
    "override",
    "run",
    "train",
]

Report = Callable[[str], None]
Texts = Mapping[str, Tensor]
CURVES, LOG, STATE = "curves.png", "metrics.jsonl", "state.pt"


class Model(nn.Module):
    """What is trained: the adapter and, where a recipe says so, the ends of the text tower.

    texts: frozen text tokens by prompt [T, Dt], where there is no such tower.
    """

    def __init__(self, adapter: Adapter, tuned: TunedText | None, texts: Texts) -> None:
        super().__init__()
        self.adapter, self.tuned, self.texts = adapter, tuned, texts

    def text(self, prompt: str) -> Tensor:
        """[T, Dt] of a prompt, with gradient where the text tower is trained."""
        return self.texts[prompt] if self.tuned is None else self.tuned([prompt])[0]


@dataclass(frozen=True)
class Trained:
    """A finished training. model: its averaged weights, in evaluation mode."""

    model: Model
    seconds: float  # of all the runs that it took
    steps: int  # of this run alone; 0: it had been finished before


def batch_loss(
    config: Config, model: Model, batch: Batch, step: int, processes: Processes = ALONE
) -> dict[str, Tensor]:
    """The losses of one step, `total` among them. Everything random depends on (seed, step).

    Each process encodes its share of the rows; the losses are of the whole batch in all of them.
    """
    device, B = processes.device, len(batch.rows)
    own = processes.share(B)
    torch.manual_seed(config.seed * 1_000_003 + step)
    mirror = (torch.rand(B) < 0.5).numpy()
    if not processes.first:  # the same mirrors in all processes, but each its own dropout
        torch.manual_seed((config.seed * 1_000_003 + step) * 1009 + processes.rank)
    pictures, adapter = batch.stream.pictures, model.adapter
    assert pictures is not None
    images = pictures.batch(batch.rows[own], mirror[own])
    y = torch.from_numpy(batch.targets).to(device)
    kind = getattr(torch, config.precision)
    with torch.autocast(device.type, kind, enabled=config.precision != "float32"):
        tokens = {name: value.to(device) for name, value in images.items()}
        z = adapter.encode(tokens, model.text(batch.prompt).to(device))  # [b, P, D']
        s = processes.gather(adapter.scores(z), B)  # [B]
        if config.rank_loss == "none":
            o = None
        elif adapter.config.rank_head == "none":
            o = s[:, None] - s[None]  # `rank_bce_single`
        else:
            summary = tuple(processes.gather(part, B) for part in adapter.summarise(z))
            o = adapter.pair_logits_of(summary, summary)  # [B, B]
    return total_loss(config, s.float(), None if o is None else o.float(), y, batch)


def total_loss(
    config: Config, s: Tensor, o: Tensor | None, y: Tensor, batch: Batch
) -> dict[str, Tensor]:
    """s, y [B] and o [B, B], float32 -> the parts of the loss and their weighted sum."""
    parts = {"regression": getattr(losses, config.reg_loss)(s, y)}
    total = config.alpha * parts["regression"]
    if o is not None:
        parts["rank"] = getattr(losses, config.rank_loss)(o, y, batch.pairs(y.device))
        total = total + parts["rank"]
    if config.bce and batch.near is None:
        parts["bce"] = losses.bce(s, y)
        total = total + config.bce * parts["bce"]
    return {"total": total, **parts}


def train(
    config: Config,
    streams: Sequence[Stream],
    model: Model,
    out: Path,
    report: Report,
    processes: Processes = ALONE,
) -> Trained | None:
    """The loop. model: as it starts, on the device.  out: folder of state, log and plots.

    Returns None if it was stopped before the end. Raises CheckpointError if `out` holds the state
    of other settings or a damaged one, and if the loss is no number; DataError on a full disk.
    """
    half = config.precision == "float16"
    learner = Learner(model, config.lr, config.weight_decay, config.average, half)
    recipe = asdict(config)
    state = load_state(out / STATE, recipe)
    if state is not None:
        learner.load(state)
        report(f"resumed at step {learner.step}")
    first, before, started = learner.step, learner.seconds, time.monotonic()
    log = JsonLines(out / LOG, first) if processes.first else None
    with polite_stop() as stop:
        while learner.step < config.steps and not processes.any(stop.asked):
            model.train()
            step = learner.step
            batch = draw(streams, config.batch, config.seed, step)
            parts = batch_loss(config, model, batch, step, processes)
            require_number(parts["total"], step)
            lr = config.lr * cosine_with_warmup(step, config.steps, config.warmup)
            learner.update(parts["total"], lr, config.clip, processes)
            learner.seconds = before + time.monotonic() - started
            if log is not None:
                row = {name: round(float(value.detach()), 5) for name, value in parts.items()}
                log.write({"step": step + 1, **batch.asks(), **row})
                after_step(config, learner, streams, out, log, first, started, report)
    if log is not None and learner.step > first:
        save_state(out / STATE, recipe, learner.state())
        draw_plots(learner, streams, out)
    processes.wait()
    if learner.step < config.steps:
        report(f"stopped after step {learner.step}; run the same line to go on")
        return None
    model.load_state_dict(learner.averaged)
    return Trained(model.eval(), learner.seconds, learner.step - first)


def after_step(
    config: Config,
    learner: Learner,
    streams: Sequence[Stream],
    out: Path,
    log: JsonLines,
    first: int,
    started: float,
    report: Report,
) -> None:
    """What the first process does when it is time: an estimate, the state, the figures."""
    step = learner.step
    estimate(started, step - first, config.steps - step, report)
    evaluate = step % config.evaluate_every == 0 or step == config.steps
    # Saved first: whatever measuring may meet, the steps are not lost.
    if evaluate or step % config.save_every == 0:
        save_state(out / STATE, asdict(config), learner.state())
    if evaluate:
        found = figures(answers(learner, streams))
        log.write({"step": step, **found})
        left = remaining(started, step - first, config.steps - step)
        report(f"step {step}/{config.steps}  {found}  {left} left")


def answers(learner: Learner, streams: Sequence[Stream]) -> list[Predicted]:
    """The averaged model on the validation part of each query of each data set."""
    asked = {
        (stream.source.data, each.labels.key): (stream, each)
        for stream in streams
        for each in stream.asked
    }
    found = []
    with learner.with_average() as model, torch.no_grad():
        assert isinstance(model, Model)
        for stream, each in asked.values():
            assert stream.pictures is not None
            text, task = model.text(each.labels.prompt), each.task
            found.append(
                Question(stream.pictures, stream.data, each.labels, text, task.offset, task.scale)
            )
        return predict(model.adapter, found)


def draw_plots(learner: Learner, streams: Sequence[Stream], out: Path) -> None:
    """The losses so far, and for each data set predictions beside the truth (validation part)."""
    plots.curves(out / LOG, out / CURVES)
    found = answers(learner, streams)
    for name in dict.fromkeys(each.data for each in found):
        own = [each for each in found if each.data == name]
        truth = np.concatenate([each.truth for each in own])
        predicted = np.concatenate([each.predicted for each in own])
        title = f"{name}, validation, step {learner.step}"
        plots.scatter(truth, predicted, out / f"scatter-{name}.png", title, own[0].unit)


def run(
    config: Config,
    root: Path,
    out: Path,
    backbone: Path,
    cache: Path | None = None,
    report: Report = lambda line: None,
    command: str = "imgrank.train.adapter.run, called from Python",
    *,
    partial: bool = False,
    device: str = "cpu",
) -> Path | None:
    """Tokens, training, checkpoint. Returns the checkpoint's folder; None if it was stopped.

    root: folder of the data sets.  out: of state, log and checkpoint.  backbone: a backbone folder.
    cache: folder of the token caches, `out`/tokens if None.  report: takes each line of progress.
    command: how this was called, for the model card.  partial: pictures may be missing.
    device: as for `choose_device`.
    Raises MissingExtra and UsageError for a recipe that cannot be used, both before any work;
    DataError if a data set is missing; CheckpointError.
    """
    require_extras("training an adapter")
    config = fitted(config, read_spec(backbone))
    processes = join(device)
    tower = Backbone(backbone, processes.device)
    report = report if processes.first else silent
    report(processes.about)
    cache = cache or out / "tokens"
    adapter = make_adapter(config, tower)  # before the tokens, which may take hours
    streams = read_streams(config, root, partial, report, cache, processes)
    out.mkdir(parents=True, exist_ok=True)
    with alone_in(out) if processes.first else nullcontext():
        streams = with_pictures(config, streams, tower, cache, report, processes)
        model = make_model(config, adapter, streams, tower).to(processes.device)
        trained = train(config, streams, model, out, report, processes)
        if trained is not None and processes.first:
            folder, spec = out / config.name, tower.spec
            write_checkpoint(folder, config, streams, spec, trained, command, report)
        processes.wait()
    processes.leave()
    return None if trained is None else out / config.name


def make_adapter(config: Config, tower: Backbone) -> Adapter:
    """The adapter before it has seen any picture. Raises UsageError if the backbone does not have
    the projection of the grid that it begins with."""
    torch.manual_seed(config.seed)
    adapter = Adapter(AdapterConfig.from_dict(config.model))
    if adapter.grid_projection is not None:
        start_projection(adapter, tower, config.seed)
        adapter.grid_projection.requires_grad_(config.train_projection)
    return adapter


def make_model(
    config: Config, adapter: Adapter, streams: Sequence[Stream], tower: Backbone
) -> Model:
    """The adapter as it starts, and the text of all prompts or the tower that makes it."""
    if config.warm_start:
        warm_start(adapter, streams)
    if config.train_text:
        return Model(adapter, TunedText(tower), {})
    prompts = all_prompts(streams)
    texts = dict(zip(prompts, tower.text_tokens(prompts).clone(), strict=True))  # [T, Dt] each
    if config.features == "disk":
        tower.drop()
    return Model(adapter, None, texts)
