"""From a data set to image tokens that are computed once and kept on disk."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from imgrank.data.features import DONE, TOKENS, TokenLayout, TokenSet, fill, locate, open_cache
from imgrank.data.labelled import Labelled
from imgrank.errors import DataError
from imgrank.images.reading import DECODE_VERSION
from imgrank.models.backbone import Backbone
from imgrank.models.spec import PREPROCESSING

__all__ = ["Tokens", "require_space", "tower_digest"]

Progress = Callable[[str, int, int], None]


def tower_digest(backbone: Backbone) -> str:
    """Hex sha256 of what image tokens depend on: the trunk's weights, not its text tower or head.

    So tokens outlive a change of the text tower, which changes `backbone.identity`.
    """
    spec = backbone.spec
    facts = (PREPROCESSING, DECODE_VERSION, spec.statistics, spec.mean, spec.std, spec.image_size)
    digest = hashlib.sha256(repr(facts).encode())
    visual: Any = backbone.visual
    trunk = getattr(visual, "trunk", visual)
    for name, tensor in sorted(trunk.state_dict().items()):
        if not name.startswith("classifier"):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Tokens:
    """Where tokens are kept and what makes them.

    cache: folder of the kept tokens.  progress(name, done, total).  sources: which image tokens.
    """

    cache: Path
    backbone: Backbone
    progress: Progress
    sources: Sequence[str] = ("grid", "statistics")

    @cached_property
    def _tower(self) -> str:
        return tower_digest(self.backbone)

    def layout(self, data: Labelled) -> TokenLayout:
        """What is kept of each picture; `layout.bytes_for(len(data))` is the size on disk."""
        spec = self.backbone.spec
        assert spec.grid_tokens is not None
        sizes = {"grid": spec.grid_tokens, "statistics": 1}
        shapes = tuple((source, sizes[source], spec.widths[source]) for source in self.sources)
        return TokenLayout(shapes, data.mirrored)

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
                self.backbone,
                lambda index: data.pixels(index, side),
                lambda done, of: self.progress(data.name, done, of),
            )
        return TokenSet(data, cache)


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
