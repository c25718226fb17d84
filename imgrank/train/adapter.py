"""Train a ranking adapter on a frozen backbone, on tokens computed once and kept on disk.

Paper: Ranking-aware adapter for text-driven image ordering (ICLR 2025), sections 3 and B.
As in the paper: a batch holds one instruction, so that all its pairs compare; values are drawn
uniformly; AdamW, cosine with warm-up; loss = rank + alpha * regression.
What we changed and why:
* the ranking loss is either that of the released checkpoints (`rank_bce`) or the paper's hinge on
  the antisymmetric part (`rank_hinge`): the paper's one-sided hinge collapses;
* weights are averaged over the steps (`average`), and tokens lose random numbers while training
  (`source_dropout`): our data sets are a hundred times smaller than the paper's;
* each source of image tokens starts standardised, with ridge solutions among its directions
  (`warm_start.py`): what tells sharpness and noise is otherwise found late;
* one instruction may be fed by several data sets in turn, each with a share of the batches.

Run:  imgrank train adapter --recipe adapter-tiny-quality.toml --root DATA --out OUT
`DATA` holds the folders that the data sets name (see imgrank/data/). The first run computes the
tokens and tells their size. Ctrl-C saves; the same line goes on, bit for bit.
Expected: the figures in the model card of imgrank/weights/tiny-quality.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imgrank.data.features import TokenSet
from imgrank.data.quality import DATA_SETS, Tokens
from imgrank.errors import CheckpointError, DataError, UsageError
from imgrank.evaluate.metrics import require_scipy
from imgrank.evaluate.scoring import tokens_of, validate
from imgrank.models.adapter import Adapter, AdapterConfig
from imgrank.models.backbone import Backbone
from imgrank.models.card import model_card
from imgrank.models.checkpoint import CARD, load_tensors, save_checkpoint
from imgrank.models.imported import backbone_facts
from imgrank.train import losses
from imgrank.train.adapter_recipe import Config, Source, load_recipe, override
from imgrank.train.run import (
    JsonLines,
    cosine_with_warmup,
    load_state,
    polite_stop,
    remaining,
    save_state,
)
from imgrank.train.warm_start import warm_start

__all__ = [
    "DATA_SETS",
    "Config",
    "Source",
    "Trained",
    "draw_batch",
    "load_recipe",
    "override",
    "run",
    "train",
]

Report = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """A finished training. adapter: its averaged weights, in evaluation mode."""

    adapter: Adapter
    seconds: float  # of all the runs that it took
    steps: int  # of this run alone; 0: it had been finished before


def draw_batch(
    source: Source, data: TokenSet, batch: int, seed: tuple[int, int]
) -> npt.NDArray[np.intp]:
    """Training rows of one step: `groups` whole groups, or rows whose values are uniform.

    The latter draws row n with weight 1 / (number of values x rows of its value).
    """
    draw = np.random.default_rng(seed)
    rows = data.rows("train")
    if source.groups:
        groups = np.asarray(data.groups)[rows]
        chosen = draw.choice(np.unique(groups), size=source.groups, replace=False)
        return rows[np.isin(groups, chosen)]
    values = np.round(data.targets[rows] / source.value_step)
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    weights = 1.0 / (len(counts) * counts[which])
    return rows[draw.choice(len(rows), size=min(batch, len(rows)), replace=False, p=weights)]


def batch_loss(
    config: Config, source: Source, adapter: Adapter, data: TokenSet, step: int, text: Tensor
) -> dict[str, Tensor]:
    """The losses of one step, `total` among them. Everything random depends on (seed, step)."""
    rows = draw_batch(source, data, config.batch, (config.seed, step))
    torch.manual_seed(config.seed * 1_000_003 + step)
    images = tokens_of(data, rows, (torch.rand(len(rows)) < 0.5).numpy())
    y = torch.from_numpy(data.targets[rows])
    z = adapter.encode(images, text)
    s = adapter.scores(z)
    parts = {"regression": getattr(losses, config.reg_loss)(s, y)}
    total = config.alpha * parts["regression"]
    if config.rank_loss != "none":
        pairs = None
        if source.within:
            _, group = np.unique(np.asarray(data.groups)[rows], return_inverse=True)
            pairs = torch.from_numpy(group[:, None] == group[None])
        head = adapter.config.rank_head != "none"
        o = adapter.pair_logits(z) if head else s[:, None] - s[None]
        parts["rank"] = getattr(losses, config.rank_loss)(o, y, pairs)
        total = total + parts["rank"]
    return {"total": total, **parts}


def optimiser(config: Config, adapter: Adapter) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices only."""
    matrices = [p for p in adapter.parameters() if p.ndim > 1]
    vectors = [p for p in adapter.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr)


def train(
    config: Config, sets: Mapping[str, TokenSet], text: Tensor, out: Path, report: Report
) -> Trained | None:
    """The loop. text: tokens of the instruction [T, Dt].  out: folder of state and log.

    Returns None if it was stopped before the end. Raises CheckpointError if `out` holds the state
    of other settings.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    adapter = Adapter(AdapterConfig.from_dict(config.model))
    warm_start(adapter, sets)
    averaged = {name: p.detach().clone() for name, p in adapter.state_dict().items()}
    optimizer = optimiser(config, adapter)
    recipe = asdict(config)
    state = load_state(out / "state.pt", recipe)
    first, before = 0, 0.0
    if state is not None:
        first, before = state["step"], state.get("seconds", 0.0)
        adapter.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        averaged = state["averaged"]
        report(f"resumed at step {first}")
    log = JsonLines(out / "metrics.jsonl", first)
    mean = Adapter(adapter.config)
    shares = np.array([source.share for source in config.sources])
    started, step = time.monotonic(), first

    with polite_stop() as stop:
        while step < config.steps and not stop.asked:
            adapter.train()
            which = np.random.default_rng((config.seed, step, 1)).choice(
                len(shares), p=shares / shares.sum()
            )
            source = config.sources[which]
            for group in optimizer.param_groups:
                group["lr"] = config.lr * cosine_with_warmup(step, config.steps, config.warmup)
            parts = batch_loss(config, source, adapter, sets[source.data], step, text)
            optimizer.zero_grad(set_to_none=True)
            parts["total"].backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(adapter.parameters(), config.clip)
            optimizer.step()
            # A short memory while there is little to remember.
            decay = min(config.average, (1 + step) / (10 + step))
            with torch.no_grad():
                for name, value in adapter.state_dict().items():
                    averaged[name].lerp_(value, 1 - decay)
            step += 1
            row = {name: round(float(value.detach()), 5) for name, value in parts.items()}
            log.write({"step": step, "data": source.data, **row})
            if step - first in (10, 100):
                report(f"about {remaining(started, step - first, config.steps - step)} left")
            evaluate = step % config.evaluate_every == 0 or step == config.steps
            # Saved first: whatever measuring may meet, the steps are not lost.
            if evaluate or step % config.save_every == 0 or stop.asked:
                state = {"step": step, "model": adapter.state_dict(), "averaged": averaged}
                state["optimizer"] = optimizer.state_dict()
                state["seconds"] = before + time.monotonic() - started
                save_state(out / "state.pt", recipe, state)
            if evaluate:
                mean.load_state_dict(averaged)
                figures = validate(mean, sets, text)
                log.write({"step": step, **figures})
                left = remaining(started, step - first, config.steps - step)
                report(f"step {step}/{config.steps}  {figures}  {left} left")
    if step < config.steps:
        report(f"stopped after step {step}; run the same line to go on")
        return None
    mean.load_state_dict(averaged)
    seconds = before + (time.monotonic() - started if step > first else 0.0)
    return Trained(mean.eval(), seconds, step - first)


def run(
    config: Config,
    root: Path,
    out: Path,
    backbone: Path,
    cache: Path | None = None,
    report: Report = lambda line: None,
    command: str = "imgrank.train.adapter.run, called from Python",
) -> Path | None:
    """Tokens, training, checkpoint. Returns the checkpoint's folder; None if it was stopped.

    root: folder of the data sets.  out: of state, log and checkpoint.  backbone: a backbone folder.
    cache: folder of the token caches, `out`/tokens if None.  report: takes each line of progress.
    command: how this was called, for the model card.
    Raises MissingExtra without scipy and UsageError for a recipe that cannot be used, both before
    any work; DataError if a data set is missing; CheckpointError.
    """
    require_scipy("training an adapter")
    unknown = [source.data for source in config.sources if source.data not in DATA_SETS]
    if unknown:
        raise UsageError(
            f"the recipe names {', '.join(unknown)}; there are {', '.join(sorted(DATA_SETS))}"
        )
    tower = Backbone(backbone)
    config = _fitted(config, tower)

    def progress(what: str, done: int, total: int) -> None:
        report(f"{what}: {done} of {total}")

    tokens = Tokens(root, cache or out / "tokens", tower, progress, config.tokens, report)
    sets = {source.data: DATA_SETS[source.data].load(tokens) for source in config.sources}
    _check_enough(config, sets)
    text = tower.text_tokens([config.prompt])[0].clone()  # [T, Dt]
    tower.drop()
    trained = train(config, sets, text, out, report)
    if trained is None:
        return None
    folder = out / config.name
    # Matrices survive half precision; gains and biases of the first norms would not quite.
    values = trained.adapter.state_dict().items()
    tensors = {name: value.half() if value.ndim > 1 else value for name, value in values}
    if not trained.steps and _holds(folder, tensors):
        report(f"{folder} was finished before and is left as it is")
        return folder
    facts = _facts(config, tower, trained.adapter, command)
    shares = sum(source.share for source in config.sources)
    training = [
        f"command: `{command}`",
        f"{config.steps} steps, seed {config.seed}, {trained.seconds / 60:.1f} minutes on "
        f"{torch.get_num_threads()} CPU thread(s), cached tokens not counted",
        "data sets: "
        + ", ".join(f"{s.data} ({s.share / shares:.0%} of steps)" for s in config.sources),
        f"{sum(p.numel() for p in trained.adapter.parameters()) / 1e6:.2f} M parameters",
    ]
    save_checkpoint(folder, facts, tensors, model_card(facts, config.notes, training))
    report(f"wrote {folder}")
    return folder


def _check_enough(config: Config, sets: Mapping[str, TokenSet]) -> None:
    """Raises DataError for a set without training rows, UsageError for batches it cannot fill."""
    for name, data in sets.items():
        if not len(data.rows("train")):
            raise DataError(f"{name} has no picture to train on.")
    for source in config.sources:
        data = sets[source.data]
        photographs = {data.groups[row] for row in data.rows("train")}
        if source.groups > len(photographs):
            raise UsageError(
                f"groups = {source.groups}: {source.data} has only {len(photographs)} to train on."
            )


def _fitted(config: Config, tower: Backbone) -> Config:
    """The recipe with the widths of the backbone. Raises UsageError if they cannot make a model."""
    widths = tower.spec.widths
    if unknown := [name for name in config.tokens if name not in ("grid", "statistics")]:
        raise UsageError(f"there are no tokens {', '.join(unknown)}, only grid and statistics.")
    if absent := [name for name in config.tokens if name not in widths]:
        raise UsageError(f"the backbone {tower.name} has no tokens {', '.join(absent)}.")
    shape = {"image_widths": {n: widths[n] for n in config.tokens}, "text_width": widths["text"]}
    config = replace(config, model={**shape, **config.model})
    try:
        with torch.device("meta"):  # shapes only
            Adapter(AdapterConfig.from_dict(config.model))
    except (TypeError, ValueError, AssertionError, RuntimeError, ZeroDivisionError) as error:
        raise UsageError(f"the recipe's `model` makes no adapter: {error}") from error
    return config


def _holds(folder: Path, tensors: Mapping[str, Tensor]) -> bool:
    """Whether this is a whole checkpoint of these very weights."""
    try:
        there = load_tensors(folder, as_stored=True)
    except (CheckpointError, OSError):
        return False
    same = there.keys() == tensors.keys()
    return (
        same and all(torch.equal(there[n], tensors[n]) for n in there) and (folder / CARD).is_file()
    )


def _facts(config: Config, tower: Backbone, adapter: Adapter, command: str) -> dict[str, Any]:
    """The checkpoint's config, see `models/checkpoint.py`."""
    return {
        "kind": "adapter",
        "name": config.name,
        "licence": config.licence,
        "made_by": command,
        "backbone": backbone_facts(tower.spec, ["squash"], list(adapter.config.image_widths)),
        "model": adapter.config.to_dict(),
        "tasks": {
            config.task: {
                "prompt": config.prompt,
                "unit": config.unit,
                "range": list(config.range),
                "order": "descending",
                "measured": [],
            }
        },
    }
