"""A made-up set with ranks, and an image side without pictures: L2RCLIP trained in a second."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toy_training import labelled, labels

from imgrank.data.labelled import Labelled
from imgrank.models.backbone import Backbone
from imgrank.models.registry import EMBEDDED
from imgrank.train import l2rclip as recipe
from imgrank.train.image_side import ImageSideConfig
from imgrank.train.l2rclip_data import Problem, problem_of
from imgrank.train.l2rclip_recipe import Config, RanksOf, Stage1, Stage2

E, FIRST = 384, 32  # E: of the embedded backbone
TINY = Backbone(EMBEDDED / "tiny")  # its text tower is loaded once for all tests
WORDS = ("bad", "poor", "fair", "good", "great")
CONFIG = Config(
    name="toy",
    data="toy",
    licence="none",
    ranks=RanksOf(by="classes", template="a {} photo"),
    image=ImageSideConfig(tower="head"),
    stage1=Stage1(epochs=2, lr=1e-2),
    stage2=Stage2(epochs=2, lr=1e-2, drop_epoch=1),
    batch=16,  # of 50 training pictures: an epoch has three steps
    average=0.5,
    save_every=2,
)


class Side(nn.Module):
    """What is used of an `ImageSide`: made-up embeddings; trained is a map of their first numbers,
    which is added, or nothing."""

    def __init__(self, config: ImageSideConfig, data: Labelled, noise: float = 1.0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        means = torch.randn(2, E, generator=draw)
        y = torch.from_numpy(np.nan_to_num(data.labels[0].values))[:, None]
        x = means[0] + y / 4 * means[1] + noise * torch.randn(len(data), E, generator=draw)
        self.views = torch.stack([x, x + 0.1 * torch.randn(x.shape, generator=draw)])  # mirrored
        self.map = nn.Linear(FIRST, E, bias=False) if config.tower != "frozen" else None
        self.statistics = nn.Linear(2, E) if config.statistics else None
        if self.map is not None:
            nn.init.zeros_(self.map.weight)
        for value in self.statistics.parameters() if self.statistics else ():
            nn.init.zeros_(value)

    features = ("pooled",)

    @property
    def replaced(self) -> list[str]:
        return ["image"] if self.map is not None else []

    def embed(self, rows: Any, mirror: Any = None) -> Tensor:
        views = np.zeros(len(rows), dtype=int) if mirror is None else np.asarray(mirror, dtype=int)
        x = self.views[torch.from_numpy(views), torch.from_numpy(np.asarray(rows))]
        x = F.normalize(x, dim=-1)
        x = x if self.map is None else x + self.map(x[:, :FIRST])
        return F.normalize(x if self.statistics is None else x + self.statistics(x[:, :2]), dim=-1)

    def tensors(self) -> dict[str, Tensor]:
        return {} if self.map is None else {"tower.visual.head.weight": self.map.weight.detach()}


def toy_data() -> Labelled:
    return labelled(labels(classes=WORDS, unit="level"))


def toy_problem(config: Config = CONFIG, data: Labelled | None = None) -> Problem:
    return problem_of(config, data or toy_data(), TINY)


def fitted(
    config: Config,
    out: Path,
    report: Callable[[str], None] = lambda line: None,
    problem: Problem | None = None,
    **more: Any,
) -> recipe.Fitted | None:
    """Both stages; `recipe.image_side` must be a stand-in, see `made_up`."""
    out.mkdir(parents=True, exist_ok=True)
    problem = problem or toy_problem(config)
    return recipe.fit(config, problem, TINY, out / "tokens", out, report, **more)


def made_up(monkeypatch: pytest.MonkeyPatch, noise: float = 1.0) -> None:
    """Image sides are made up, the set "toy" is the one above, and nothing is drawn."""

    def side(config: ImageSideConfig, tower: Any, data: Labelled, *more: Any) -> Side:
        return Side(config, data, noise)

    monkeypatch.setattr(recipe, "image_side", side)
    monkeypatch.setattr(recipe, "draw_plots", lambda *arguments: None)
    monkeypatch.setattr(recipe.catalogue, "read", lambda name, root, options: toy_data())


def tensors(found: recipe.Fitted | None) -> dict[str, Tensor]:
    assert found is not None
    return {"ranks": found.r, **found.images.tensors()}


def small(**more: Any) -> Config:
    """One step a stage."""
    stages: dict[str, Any] = {"stage1": Stage1(epochs=1), "stage2": Stage2(epochs=1)}
    return replace(CONFIG, **{"batch": 50, "average": 0.0, **stages, **more})


def alike() -> Config:
    """What several processes train to float tolerance, with a batch that two cannot halve."""
    stages: dict[str, Any] = {"stage1": Stage1(epochs=1), "stage2": Stage2(epochs=1, lr=1e-3)}
    return replace(CONFIG, batch=13, average=0.0, **stages)


def interrupted(
    config: Config, out: Path, stage: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Train, and press Ctrl-C while a step of a stage runs; what was reported."""
    name = "text_losses" if stage == 1 else "image_losses"
    before = getattr(recipe, name)

    def losses(*args: Any) -> dict[str, Tensor]:
        if args[4] == step:
            signal.raise_signal(signal.SIGINT)
        found: dict[str, Tensor] = before(*args)
        return found

    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(recipe, name, losses)
        assert fitted(config, out, said.append) is None
    return said
