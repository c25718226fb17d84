"""Both towers of an aligned retrieval, as far as they are trained, and what they make of pairs.

Shapes as in `retrieval_data.py`: B queries of a batch with n pictures each, of U distinct ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from imgrank.errors import CheckpointError
from imgrank.models.backbone import Backbone
from imgrank.models.loading import load_tower
from imgrank.models.text_stages import split_text
from imgrank.train import retrieval_losses as losses
from imgrank.train.image_side import ImageSide, ImageSideConfig, image_side
from imgrank.train.processes import ALONE, Processes
from imgrank.train.retrieval_data import AT_ONCE, Batch, Problem, batch_of
from imgrank.train.retrieval_recipe import Config
from imgrank.train.text_side import TextSide

__all__ = [
    "Figures",
    "Model",
    "cosines_of",
    "enough_memory",
    "held_out",
    "model_of",
    "precision",
    "preference_loss",
    "reference_of",
]

Report = Callable[[str], None]
Figures = dict[str, float]


class Model(nn.Module):
    """Both towers and the logit scale, as far as they are trained."""

    def __init__(self, image: ImageSide, text: TextSide, logit_scale: nn.Parameter) -> None:
        """logit_scale: of the OpenCLIP model, the logarithm of 1 / tau."""
        super().__init__()
        self.image, self.text = image, text
        self.logit_scale = logit_scale
        self.logit_scale.requires_grad_(True)

    def named(self) -> dict[str, nn.Parameter]:
        """What is trained by its name in the OpenCLIP model."""
        own: dict[str, nn.Parameter] = {"logit_scale": self.logit_scale}
        return {**self.image.cut.names, **self.text.cut.names, **own}


def model_of(
    config: Config, problem: Problem, backbone: Backbone, cache: Path, report: Report
) -> Model:
    """The starting model; what can be kept of its pictures is computed now."""
    sides = ImageSideConfig(config.image, layers=config.image_layers)
    image = image_side(sides, backbone, problem.pictures, cache, report)
    clip: Any = load_tower(backbone.spec, "text", backbone.overrides).to(backbone.device)
    cut = split_text(clip, config.text, config.text_layers)
    text = TextSide(cut, problem.texts, backbone.tokenize)
    return Model(image, text, clip.logit_scale).eval()


def precision(config: Config, device: torch.device) -> torch.autocast:
    kind = getattr(torch, config.precision)
    return torch.autocast(device.type, kind, enabled=config.precision != "float32")


@contextmanager
def enough_memory(config: Config) -> Iterator[None]:
    """A device that is too small for a step is a CheckpointError that says what takes less."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        pieces = max(1, (config.at_once or config.batch) // 4)
        raise CheckpointError(
            "a step does not fit into the device's memory. Use another --out with --set "
            f"at_once={pieces} (pictures that go through the image tower together, which changes "
            f"no figure), then with --set captions={max(2, config.captions // 4)}."
        ) from error


def cosines_of(config: Config, model: Model, batch: Batch, processes: Processes = ALONE) -> Tensor:
    """[B, U], float32; queries and pictures are shared out to processes."""
    B, U = len(batch.queries), len(batch.pictures)
    with precision(config, model.logit_scale.device):
        q = model.text.embed(batch.queries[processes.share(B)])
        v = model.image.embed(batch.pictures[processes.share(U)], at_once=config.at_once)
    return processes.gather(q.float(), B) @ processes.gather(v.float(), U).T


def preference_loss(
    config: Config, problem: Problem, cosines: Tensor, batch: Batch, reference: Tensor
) -> tuple[Tensor, Figures]:
    """The loss of a batch, and clamped share, mean margin and accuracy of its pairs: the share of
    those whose preferred picture a search now puts first.

    cosines [B, U]; reference [B, n]: the starting model's, of each query's own pictures.
    """
    t, floor = config.temperature, config.floor
    log_pi = losses.log_policy(cosines, batch.own, config.policy, t, floor)  # [B, n]
    # Of `logit` the sum is over a query's own pictures only, and cancels in every margin.
    all_own = torch.arange(reference.shape[1], device=reference.device).expand_as(reference)
    log_ref = losses.log_policy(reference, all_own, config.policy, t, floor)
    if config.loss == "dpo":
        loss = losses.dpo(log_pi, log_ref, problem.pairs, config.beta)
    elif config.loss == "ipo":
        loss = losses.ipo(log_pi, log_ref, problem.pairs, config.beta)
    else:
        loss = losses.rrhf(log_pi, problem.pairs)
    with torch.no_grad():
        own = cosines.gather(1, batch.own)
        margin = losses.margins(log_pi, log_ref, problem.pairs).mean()
        w, other = (own[:, problem.pairs[:, side]] for side in (0, 1))
        figures = {
            "clamped": losses.clamped_share(own, config.policy, floor),
            "margin": float(margin),
            "accuracy": float((w > other).double().mean()),
        }
    return loss, figures


def reference_of(config: Config, problem: Problem, model: Model) -> Tensor:
    """Cosines [Q, n] of all queries with their own pictures, by a model that has learnt nothing."""
    used = np.unique(problem.own)
    rows = np.arange(len(problem.own))
    with torch.no_grad(), precision(config, model.logit_scale.device):
        v, q = (
            torch.cat([side.embed(of[n : n + AT_ONCE]).float() for n in range(0, len(of), AT_ONCE)])
            for side, of in ((model.image, used), (model.text, rows))
        )
    places = torch.from_numpy(np.searchsorted(used, problem.own)).to(v.device)
    parts = [(q[n, None] * v[places[n]]).sum(-1) for n in range(len(q))]
    return torch.stack(parts)


@torch.no_grad()
def held_out(config: Config, problem: Problem, model: Model, reference: Tensor) -> Figures:
    """Mean margin and accuracy of pairs on the queries that are only watched; {} for none."""
    found: dict[str, list[float]] = {"margin": [], "accuracy": []}
    for start in range(0, len(problem.watched), AT_ONCE):
        batch = batch_of(problem, problem.watched[start : start + AT_ONCE])
        own = reference[torch.from_numpy(batch.queries).to(reference.device)]
        _, figures = preference_loss(config, problem, cosines_of(config, model, batch), batch, own)
        for name, values in found.items():
            values += [figures[name]] * len(batch.queries)
    return {f"held-out {name}": round(float(np.mean(x)), 6) for name, x in found.items() if x}
