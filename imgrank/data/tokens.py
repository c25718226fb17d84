"""From a data set to image tokens that are computed once and kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgrank.data.features import TokenLayout, TokenSet, fill, open_cache
from imgrank.data.labelled import Labelled
from imgrank.images.reading import DECODE_VERSION
from imgrank.models.backbone import Backbone
from imgrank.models.spec import PREPROCESSING

__all__ = ["Tokens", "tower_digest"]

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


@dataclass(frozen=True, slots=True)
class Tokens:
    """Where tokens are kept and what makes them.

    cache: folder of the kept tokens.  progress(name, done, total).  sources: which image tokens.
    """

    cache: Path
    backbone: Backbone
    progress: Progress
    sources: Sequence[str] = ("grid", "statistics")

    def layout(self, data: Labelled) -> TokenLayout:
        """What is kept of each picture; `layout.bytes_for(len(data))` is the size on disk."""
        spec = self.backbone.spec
        assert spec.grid_tokens is not None
        sizes = {"grid": spec.grid_tokens, "statistics": 1}
        shapes = tuple((source, sizes[source], spec.widths[source]) for source in self.sources)
        return TokenLayout(shapes, data.mirrored)

    def of(self, data: Labelled) -> TokenSet:
        """The tokens of a set; those that are missing are computed now.

        Raises DataError, which names the file, if a picture cannot be read.
        """
        layout = self.layout(data)
        cache = open_cache(self.cache, tower_digest(self.backbone), data.keys, layout)
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
