"""The image side of an L2RCLIP training: rows of a data set -> their embeddings v, with gradient.

`tower` says what is trained (`models/stages.py`): `frozen` (stage 1 of the paper), `full` (its
stage 2), or, where that would take days, `head` or `last` over arrays that are computed once, plain
and mirrored, and kept on disk. With `statistics` (our addition, see `rankers/l2rclip.py`)

    v = normalise(x + W z + b)

x being the tower's normalised embedding and z its statistics, standardised over training pictures.
W and b start at zero, so that a training starts from the plain backbone.

Shapes: b pictures, E embedding, Ds statistics.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from imgrank.data.features import TokenSet
from imgrank.data.labelled import Labelled, Pixels
from imgrank.data.tokens import Fronts, by_percent, make_room
from imgrank.errors import UsageError
from imgrank.models.backbone import Backbone
from imgrank.models.checkpoint import TOWER
from imgrank.models.loading import load_tower
from imgrank.models.stages import Part, Split, split

__all__ = ["ImageSide", "ImageSideConfig", "hold", "image_side"]

Rows = npt.NDArray[np.intp] | Sequence[int]
Mirror = npt.NDArray[np.bool_] | Sequence[bool]
Report = Callable[[str], None]
DECODERS = 8  # threads at most
SAMPLE, AT_ONCE = 2048, 64  # training pictures that mean and deviation are of; in one batch
LEAST_STD = 1e-6  # below: the statistic is the same for all pictures, and is left as it is


@dataclass(frozen=True, slots=True)
class ImageSideConfig:
    """What of an image tower is trained.

    tower: see `models/stages.py`.   layers: of a ViT, how many blocks `last` is.
    statistics: whether statistics are added to the embedding.
    dropout: of the standardised statistics while training, 0 to 1.
    """

    tower: Part = "full"
    statistics: bool = False
    dropout: float = 0.0
    layers: int = 1


def hold(owner: nn.Module, behind: Mapping[str, nn.Module | nn.Parameter]) -> None:
    """Make what lies behind a cut parameters of a module, to be trained.

    behind: by names in the OpenCLIP model, whose dots a module cannot have.
    """
    for name, part in behind.items():
        part.requires_grad_(True)
        if isinstance(part, nn.Parameter):
            owner.register_parameter(name.replace(".", "_"), part)
        else:
            owner.add_module(name.replace(".", "_"), part)


class ImageSide(nn.Module):
    """Embeddings of a data set's pictures; its parameters and state are those that are trained.

    features: what the finished checkpoint needs of its backbone.   replaced: which of its towers.
    Lives on the backbone's device.
    """

    def __init__(
        self,
        config: ImageSideConfig,
        cut: Split,
        widths: Mapping[str, int],
        batch: Callable[[Rows, Mirror | None], dict[str, Tensor]],
    ) -> None:
        """cut: of a tower that belongs to this object.   widths: of the backbone's features.
        batch: rows -> what `cut.back` takes."""
        super().__init__()
        self.config, self.cut, self._batch = config, cut, batch
        hold(self, cut.behind)
        self.dropout = nn.Dropout(config.dropout)
        self.statistics: nn.Linear | None = None
        if config.statistics:
            width = widths["statistics"]
            self.statistics = nn.Linear(width, widths["embed"])
            nn.init.zeros_(self.statistics.weight)
            nn.init.zeros_(self.statistics.bias)
            self.mean: Tensor
            self.std: Tensor
            self.register_buffer("mean", torch.zeros(width))
            self.register_buffer("std", torch.ones(width))

    @property
    def features(self) -> tuple[str, ...]:
        return ("pooled",) if self.statistics is None else ("pooled", "statistics")

    @property
    def replaced(self) -> list[str]:
        return ["image"] if self.cut.behind else []

    def embed(self, rows: Rows, mirror: Mirror | None = None, at_once: int = 0) -> Tensor:
        """v [b, E] of these pictures, L2-normalised; mirror: which of them in the mirror.

        Without effect for a set whose labels a mirror changes.
        at_once: so many go through what is trained together, and once more on the way back, so that
        memory holds the activations of no more than these; the numbers are the same. 0: all.
        """
        arrays = self._batch(rows, mirror)
        if not at_once or len(rows) <= at_once:
            return self._embed(arrays)
        starts = range(0, len(rows), at_once)
        parts = [{n: array[i : i + at_once] for n, array in arrays.items()} for i in starts]
        return torch.cat([checkpoint(self._embed, part, use_reentrant=False) for part in parts])

    def _embed(self, arrays: Mapping[str, Tensor]) -> Tensor:
        found = self.cut.back(arrays)
        x: Tensor = found["pooled"]
        if self.statistics is None:
            return x
        z = (found["statistics"] - self.mean) / self.std
        return F.normalize(x + self.statistics(self.dropout(z)), dim=-1)

    forward = embed

    @torch.no_grad()
    def standardise(self, rows: Rows) -> None:
        """Mean and deviation of the statistics over these pictures, as the tower now gives them."""
        if self.statistics is None:
            return
        chosen = np.asarray(rows)
        chosen = chosen[np.linspace(0, len(chosen) - 1, min(SAMPLE, len(chosen))).astype(np.intp)]
        parts = [chosen[n : n + AT_ONCE] for n in range(0, len(chosen), AT_ONCE)]
        found = [self.cut.back(self._batch(part, None))["statistics"] for part in parts]
        std, mean = torch.std_mean(torch.cat(found).double(), dim=0, correction=0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std < LEAST_STD, 1.0, std))

    def train(self, mode: bool = True) -> ImageSide:
        """As of any module, but the tower stays in evaluation mode: its batch norm is frozen."""
        super().train(mode)
        for part in self.cut.behind.values():
            if isinstance(part, nn.Module):
                part.eval()
        return self

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds of this side, by its names there, float32 on the CPU."""
        found: dict[str, Tensor] = {f"{TOWER}{n}": p for n, p in self.cut.names.items()}
        if self.statistics is not None:
            found |= {f"statistics.{n}": p for n, p in self.statistics.named_parameters()}
            found |= {"statistics.mean": self.mean, "statistics.std": self.std}
        return {name: value.detach().float().cpu() for name, value in found.items()}


def image_side(
    config: ImageSideConfig,
    backbone: Backbone,
    data: Labelled,
    cache: Path,
    report: Report = lambda line: None,
) -> ImageSide:
    """The image side of a training on `data`; what can be kept of its pictures is computed now.

    cache: folder of what is kept.
    Raises UsageError for a backbone that cannot be trained so, DataError if the arrays do not fit
    on the disk or a picture cannot be read.
    """
    spec = backbone.spec
    if config.statistics and not spec.statistics:
        raise UsageError(f"the backbone {spec.name} has no statistics: leave statistics = false.")
    if not 0 <= config.dropout < 1:
        raise UsageError(f"dropout = {config.dropout:g} is not from 0 to below 1.")
    if config.tower == "frozen":
        visual = backbone.visual
    else:
        visual = load_tower(spec, "image", backbone.overrides).to(backbone.device)
        visual = visual.to(memory_format=torch.channels_last)
    cut = split(visual, config.tower, spec.statistics, config.layers)
    batch: Callable[[Rows, Mirror | None], dict[str, Tensor]]
    if config.tower == "full":
        batch = _Live(data, backbone).batch
    else:  # the first part by the tower that sorts use, which is quicker
        front = split(backbone.visual, config.tower, spec.statistics, config.layers)
        kept = Fronts(cache, backbone, by_percent(report), front)
        make_room(kept, [data], report)
        batch = _Arrays(kept.of(data), kept.shapes, backbone.device).batch
    side = ImageSide(config, cut, spec.widths, batch).to(backbone.device)
    side.standardise(data.rows("train"))
    return side


@dataclass(frozen=True, eq=False)
class _Arrays:
    """Arrays that are kept. shapes: of one picture's."""

    pictures: TokenSet
    shapes: Mapping[str, tuple[int, ...]]
    device: torch.device

    def batch(self, rows: Rows, mirror: Mirror | None) -> dict[str, Tensor]:
        views = None if mirror is None else np.asarray(mirror)
        found = self.pictures.batch(np.asarray(rows), views)
        return {
            name: array.view(len(array), *self.shapes[name]).to(self.device)
            for name, array in found.items()
        }


class _Live:
    """Pictures that are read for each batch."""

    def __init__(self, data: Labelled, backbone: Backbone) -> None:
        self.data, self.backbone = data, backbone
        self._decoders = ThreadPoolExecutor(min(DECODERS, os.cpu_count() or 1), "decode")

    def batch(self, rows: Rows, mirror: Mirror | None) -> dict[str, Tensor]:
        none = mirror is None or not self.data.mirrored
        flipped = [False] * len(rows) if none or mirror is None else mirror
        pixels = list(self._decoders.map(self._picture, rows, flipped))
        return {"pixels": self.backbone.normalise(np.stack(pixels))}

    def _picture(self, row: int, flipped: bool) -> Pixels:
        pixels = self.data.pixels(int(row), self.backbone.image_size)
        return np.ascontiguousarray(pixels[:, ::-1]) if flipped else pixels
