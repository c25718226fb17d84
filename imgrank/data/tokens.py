"""From a data set to what an image tower gives of its pictures, computed once and kept on disk.

`Tokens`: the image tokens of a backbone. `Fronts`: what the first part of a tower that is cut in
two gives (`models/stages.py`). Both are kept by `features.py`.
"""

from __future__ import annotations

import hashlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imgrank.data.features import (
    DONE,
    TOKENS,
    ImageEncoder,
    TokenLayout,
    TokenSet,
    fill,
    locate,
    open_cache,
)
from imgrank.data.labelled import Labelled, Pixels
from imgrank.errors import DataError
from imgrank.images.reading import DECODE_VERSION
from imgrank.models.backbone import Backbone
from imgrank.models.spec import PREPROCESSING, BackboneSpec
from imgrank.models.stages import Split

__all__ = ["Fronts", "Kept", "Tokens", "by_percent", "make_room", "require_space", "tower_digest"]

Progress = Callable[[str, int, int], None]
Report = Callable[[str], None]
Size = tuple[str, int, int]


def tower_digest(backbone: Backbone) -> str:
    """Hex sha256 of what image tokens depend on: the trunk's weights, not its text tower or head.

    So tokens outlive a change of the text tower, which changes `backbone.identity`.
    """
    visual: Any = backbone.visual
    trunk = getattr(visual, "trunk", visual).state_dict()
    return _digest(
        backbone.spec, {n: t for n, t in trunk.items() if not n.startswith("classifier")}
    )


def _digest(spec: BackboneSpec, tensors: Mapping[str, Tensor]) -> str:
    """Hex sha256 of these tensors and of how a picture becomes the tower's input."""
    facts = (PREPROCESSING, DECODE_VERSION, spec.statistics, spec.mean, spec.std, spec.image_size)
    digest = hashlib.sha256(repr(facts).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Kept(ABC):
    """Where arrays of pictures are kept and what makes them.

    cache: folder of the kept ones.  progress(name, done, total).
    """

    cache: Path
    backbone: Backbone
    progress: Progress

    @cached_property
    @abstractmethod
    def _tower(self) -> str:
        """Digest of what the arrays depend on."""

    @cached_property
    @abstractmethod
    def _sizes(self) -> tuple[Size, ...]:
        """(name, P, D) of each array."""

    @property
    def _encoder(self) -> ImageEncoder:
        return self.backbone

    def layout(self, data: Labelled) -> TokenLayout:
        """What is kept of each picture; `layout.bytes_for(len(data))` is the size on disk."""
        return TokenLayout(self._sizes, data.mirrored)

    def to_write(self, data: Labelled) -> int:
        """Bytes that are still to be computed of a set's tokens. Writes nothing."""
        layout = self.layout(data)
        path, _ = locate(self.cache, self._tower, data.keys, layout)
        if not (path / DONE).is_file():
            return layout.bytes_for(len(data))
        return layout.bytes_for(len(open_cache(self.cache, self._tower, data.keys, layout).missing))

    def to_reserve(self, data: Labelled) -> int:
        """Bytes that a set's tokens do not have on the disk yet; those of an interrupted run are
        reserved, though not computed. Writes nothing."""
        layout = self.layout(data)
        path, _ = locate(self.cache, self._tower, data.keys, layout)
        whole = layout.bytes_for(len(data))
        if not (path / DONE).is_file():
            return whole
        return max(0, whole - 512 * (path / TOKENS).stat().st_blocks)

    def of(self, data: Labelled) -> TokenSet:
        """The tokens of a set; those that are missing are computed now.

        Raises DataError, which names the file, if a picture cannot be read.
        """
        layout = self.layout(data)
        cache = open_cache(self.cache, self._tower, data.keys, layout)
        if cache.missing:
            size = layout.bytes_for(len(data)) / 1e9
            self.progress(f"{data.name}: {size:.1f} GB of tokens", 0, len(data))
            side = self.backbone.image_size
            fill(
                cache,
                self._encoder,
                lambda index: data.pixels(index, side),
                lambda done, of: self.progress(data.name, done, of),
            )
        return TokenSet(data, cache)


@dataclass(frozen=True)
class Tokens(Kept):
    """Image tokens of a frozen backbone. sources: which, of "grid" and "statistics"."""

    sources: Sequence[str] = ("grid", "statistics")

    @cached_property
    def _tower(self) -> str:
        return tower_digest(self.backbone)

    @cached_property
    def _sizes(self) -> tuple[Size, ...]:
        spec = self.backbone.spec
        assert spec.grid_tokens is not None
        sizes = {"grid": spec.grid_tokens, "statistics": 1}
        return tuple((source, sizes[source], spec.widths[source]) for source in self.sources)


@dataclass(frozen=True)
class Fronts(Kept):
    """What `cut.front` gives of each picture. cut: of `backbone.visual`.

    They outlive a change of what lies behind the cut, and of the text tower.
    """

    cut: Split

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of each array of one picture."""
        side = self.backbone.image_size
        nothing = self.backbone.normalise(np.zeros((1, side, side, 3), np.uint8))
        with torch.inference_mode():
            return {name: tuple(a.shape[1:]) for name, a in self.cut.front(nothing).items()}

    def encode_images(self, pixels: Sequence[Pixels]) -> list[dict[str, Any]]:
        """As `Backbone.encode_images`."""
        return self.backbone.encode_images(pixels, self.cut.front)

    @cached_property
    def _tower(self) -> str:
        return _digest(self.backbone.spec, self.cut.before(self.backbone.visual))

    @cached_property
    def _sizes(self) -> tuple[Size, ...]:
        """Of an array with one axis P is 1; of one with three, D is that of the last two."""
        return tuple(
            (name, shape[0] if len(shape) > 1 else 1, prod(shape[1:]) if shape[1:] else shape[0])
            for name, shape in self.shapes.items()
        )

    @property
    def _encoder(self) -> ImageEncoder:
        return self


def make_room(kept: Kept, sets: Sequence[Labelled], report: Report) -> None:
    """Says how much is to be computed. Raises DataError if it does not fit on the disk."""
    need = sum(map(kept.to_write, sets))
    if need:
        size = f"{need / 1e9:.1f} GB" if need >= 1e9 else f"{need / 1e6:.1f} MB"
        report(f"{size} of tokens to compute, kept in {kept.cache}")
    require_space(sum(map(kept.to_reserve, sets)), kept.cache)


def by_percent(report: Report) -> Progress:
    """Progress as lines for people, at most a hundred and one of each name."""
    told: dict[str, int] = {}

    def progress(name: str, done: int, total: int) -> None:
        share = 100 * done // max(total, 1)
        if told.get(name) != share:
            told[name] = share
            report(f"{name}: {done} of {total}")

    return progress


def require_space(needed: int, folder: Path) -> None:
    """Raises DataError if `needed` bytes do not fit on the disk of `folder`, which may not exist
    yet, with a tenth of a gigabyte to spare."""
    there = next(each for each in (folder.resolve(), *folder.resolve().parents) if each.exists())
    free = shutil.disk_usage(there).free
    if needed and needed + 10**8 > free:
        raise DataError(
            f"the tokens need {needed / 1e9:.1f} GB on the disk of {folder}, which has "
            f"{free / 1e9:.1f} GB free. Name a folder on another disk (--cache), or compute them "
            "anew at each step, which is slow: --set features=pictures."
        )
