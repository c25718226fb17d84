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

Run:  python -m imgrank.train.adapter adapter-tiny-quality.toml --root DATA --out OUT --backbone DIR
`DATA` holds the folders that the data sets name (see imgrank/data/). The first run computes the
tokens and tells their size. Ctrl-C saves; the same line goes on, bit for bit.
Expected: the figures in the model card of imgrank/weights/tiny-quality.
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imgrank.data.features import TokenSet
from imgrank.data.quality import DATA_SETS, Tokens
from imgrank.errors import UsageError
from imgrank.evaluate.scoring import tokens_of, validate
from imgrank.models.adapter import Adapter, AdapterConfig
from imgrank.models.backbone import Backbone
from imgrank.models.card import model_card
from imgrank.models.checkpoint import save_checkpoint
from imgrank.train import losses
from imgrank.train.run import (
    JsonLines,
    cosine_with_warmup,
    load_state,
    polite_stop,
    remaining,
    save_state,
)
from imgrank.train.warm_start import warm_start

__all__ = ["DATA_SETS", "Config", "Source", "draw_batch", "load_recipe", "run", "train"]

Report = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """One data set and how batches are drawn from it."""

    data: str  # a key of DATA_SETS
    share: float = 1.0  # of the batches
    groups: int = 0  # so many groups (photographs) a batch, all their rows; 0: rows by value
    value_step: float = 0.5  # values are uniform in steps of this size
    within: bool = False  # rank only pairs of one group


@dataclass(frozen=True)
class Config:
    """A recipe: everything that changes the result. Paths and devices are arguments of `run`."""

    name: str  # of the checkpoint
    task: str  # key of imgrank's known tasks
    prompt: str  # the instruction, as given to the text tower
    unit: str  # of the scores
    range: tuple[float, float]  # of the scores' scale
    licence: str  # of the trained weights: a name, then after ";" what it rests on
    sources: tuple[Source, ...]
    tokens: tuple[str, ...] = ("grid", "statistics")  # which of the backbone's image tokens
    notes: str = ""  # for the model card: data, their terms, limits; Markdown
    model: Mapping[str, Any] = field(default_factory=dict)  # fields of AdapterConfig
    rank_loss: Literal["rank_bce", "rank_hinge", "none"] = "rank_bce"
    reg_loss: Literal["reg_log_smooth_l1", "reg_smooth_l1"] = "reg_smooth_l1"
    alpha: float = losses.ALPHA  # weight of the regression loss
    batch: int = 64  # images a step, where rows are drawn by value
    steps: int = 2000
    lr: float = 1e-3  # peak
    warmup: int = 100  # steps
    weight_decay: float = 0.01  # not on biases, norms and single vectors
    clip: float = 1.0  # largest norm of the gradient
    average: float = 0.998  # decay of the averaged weights, which are what is kept
    seed: int = 0
    evaluate_every: int = 250  # steps
    save_every: int = 250  # steps


def load_recipe(path: str | Path) -> Config:
    """A TOML recipe: a file, or the name of one beside this module in recipes/.

    Raises UsageError if it is not there, or lacks or misspells a field.
    """
    file = Path(path)
    text = file if file.is_file() else resources.files("imgrank.train") / "recipes" / str(path)
    try:
        values = tomllib.loads(text.read_text(encoding="utf-8"))
        values["sources"] = tuple(Source(**source) for source in values.get("sources", ()))
        for name in ("range", "tokens"):
            values[name] = tuple(values[name])
        return Config(**values)
    except FileNotFoundError:
        raise UsageError(f"there is no recipe {path}") from None
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise UsageError(f"the recipe {path} cannot be used: {error}") from error


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
) -> Adapter | None:
    """The loop. text: tokens of the instruction [T, Dt].  out: folder of state and log.

    Returns the adapter with averaged weights, or None if it was stopped before the end.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    adapter = Adapter(AdapterConfig.from_dict(config.model))
    warm_start(adapter, sets)
    averaged = {name: p.detach().clone() for name, p in adapter.state_dict().items()}
    optimizer = optimiser(config, adapter)
    recipe = asdict(config)
    state = load_state(out / "state.pt", recipe)
    first = 0
    if state is not None:
        first = state["step"]
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
            if step % config.evaluate_every == 0 or step == config.steps:
                mean.load_state_dict(averaged)
                figures = validate(mean, sets, text)
                log.write({"step": step, **figures})
                left = remaining(started, step - first, config.steps - step)
                report(f"step {step}/{config.steps}  {figures}  {left} left")
            if step % config.save_every == 0 or stop.asked or step == config.steps:
                state = {"step": step, "model": adapter.state_dict(), "averaged": averaged}
                state["optimizer"] = optimizer.state_dict()
                save_state(out / "state.pt", recipe, state)
    if step < config.steps:
        report(f"stopped after step {step}; run the same line to go on")
        return None
    mean.load_state_dict(averaged)
    return mean.eval()


def run(
    config: Config,
    root: Path,
    out: Path,
    backbone: Path,
    cache: Path | None = None,
    report: Report = lambda line: None,
) -> Path | None:
    """Tokens, training, checkpoint. Returns the checkpoint's folder; None if it was stopped.

    root: folder of the data sets.  out: of state, log and checkpoint.  backbone: a backbone folder.
    cache: folder of the token caches, `out`/tokens if None.  report: takes each line of progress.
    Raises DataError if a data set is missing, UsageError if the recipe names an unknown one.
    """
    unknown = [source.data for source in config.sources if source.data not in DATA_SETS]
    if unknown or not config.sources:
        raise UsageError(
            f"the recipe names {', '.join(unknown) or 'no data set'}; "
            f"there are {', '.join(sorted(DATA_SETS))}"
        )
    tower = Backbone(backbone)
    widths = tower.spec.widths
    shape = {"image_widths": {n: widths[n] for n in config.tokens}, "text_width": widths["text"]}
    config = replace(config, model={**shape, **config.model})

    def progress(what: str, done: int, total: int) -> None:
        report(f"{what}: {done} of {total}")

    tokens = Tokens(root, cache or out / "tokens", tower, progress, config.tokens)
    sets = {source.data: DATA_SETS[source.data].load(tokens) for source in config.sources}
    text = tower.text_tokens([config.prompt])[0].clone()  # [T, Dt]
    tower.drop()
    started = time.monotonic()
    adapter = train(config, sets, text, out, report)
    if adapter is None:
        return None
    minutes = (time.monotonic() - started) / 60
    folder = out / config.name
    facts = {
        "kind": "adapter",
        "name": config.name,
        "licence": config.licence,
        "made_by": f"imgrank train adapter, recipe {config.name}, seed {config.seed}",
        "backbone": {
            "name": tower.name,
            "digest": f"sha256:{tower.identity}",
            "views": ["squash"],
            "tokens": list(adapter.config.image_widths),
        },
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
    # Matrices survive half precision; gains and biases of the first norms would not quite.
    tensors = {n: v.half() if v.ndim > 1 else v for n, v in adapter.state_dict().items()}
    training = [
        f"command: `imgrank train adapter --recipe adapter-{config.name}.toml --root DATA "
        f"--out OUT --backbone {tower.name} --threads {torch.get_num_threads()}`",
        f"{config.steps} steps, seed {config.seed}, {minutes:.1f} minutes on "
        f"{torch.get_num_threads()} CPU thread(s), cached tokens not counted",
        "data sets: " + ", ".join(f"{s.data} ({s.share:.0%} of steps)" for s in config.sources),
        f"{sum(p.numel() for p in adapter.parameters()) / 1e6:.2f} M parameters",
    ]
    save_checkpoint(folder, facts, tensors, model_card(facts, config.notes, training))
    report(f"wrote {folder}")
    return folder
