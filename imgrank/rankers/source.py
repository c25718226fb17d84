"""Features from a backbone: the `FeatureSource` that adapters and zero-shot prompts share.

Decoding and resizing run in worker threads and need no torch; the model is loaded at the first
batch. Features are float16, whether just computed or read back from the store, so that a score does
not depend on which.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.images.reading import DECODE_VERSION
from imgrank.models.spec import BackboneSpec, read_spec
from imgrank.rankers.base import Features

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from imgrank.models.backbone import Backbone

__all__ = ["BackboneSource", "backbone_source"]


class BackboneSource:
    """Pictures through one backbone; `pooled` [E], `statistics` [Ds], `grid` [P, Dg], float16."""

    def __init__(self, spec: BackboneSpec, device: str = "auto") -> None:
        self.spec = spec
        self.device = device
        self.identity = f"{spec.name}:{spec.identity[:32]}.{DECODE_VERSION}"
        self.kept = frozenset({"pooled", "grid"} | ({"statistics"} if spec.statistics else set()))
        self.device_note = ""  # said by the loaded model: where it runs and why
        self._backbone: Backbone | None = None

    @property
    def backbone(self) -> Backbone:
        """The model, loaded at first use."""
        if self._backbone is None:
            from imgrank.models.backbone import Backbone
            from imgrank.models.device import choose_device

            device, self.device_note = choose_device(self.device)
            self._backbone = Backbone(self.spec.folder, device)
        return self._backbone

    def prepare(self, data: bytes) -> NDArray[np.uint8]:
        """Bytes of a file -> uint8 [S, S, 3], decoded at about twice S where JPEG allows it."""
        from imgrank.images.decode import decode, to_square  # Pillow, numpy: not for known scores

        size = self.spec.image_size
        bilinear = self.spec.interpolation == "bilinear"
        return to_square(decode(data, size), size, "bilinear" if bilinear else "bicubic")

    def compute(self, prepared: Sequence[Any]) -> list[Features]:
        """uint8 [S, S, 3] each -> features of each."""
        return list(self.backbone.encode_images(prepared))


@lru_cache(maxsize=4)
def backbone_source(folder: Path, device: str = "auto") -> BackboneSource:
    """The source of a backbone folder; one per folder and device, so that rankers share it."""
    return BackboneSource(read_spec(folder), device)
