"""What a recipe takes from a backbone while it trains, where kept tokens will not do.

* `LivePictures`: image tokens made anew for each batch, for data sets whose tokens would not fit on
  the disk. The numbers are those of the token cache.
* `TunedText`: the text tower with those parts trainable that the released ranking adapters trained
  (adapter.md, "Tokens in"): token embedding, positional embedding and final LayerNorm. The blocks
  between stay as they are. Text tokens can then not be kept, and are made anew at each step.
* `start_projection`: where the projection of the grid begins (`AdapterConfig.grid_projection`).

Shapes: B pictures, P tokens, D width, T text positions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from imgrank.data.labelled import Labelled, Pixels
from imgrank.errors import UsageError
from imgrank.models import towers
from imgrank.models.adapter import Adapter
from imgrank.models.backbone import Backbone
from imgrank.models.checkpoint import TOWER
from imgrank.models.loading import load_tower

__all__ = ["LivePictures", "TunedText", "start_projection"]

Rows = npt.NDArray[np.intp] | Sequence[int]
Mirror = npt.NDArray[np.bool_] | Sequence[bool]
DECODERS = 8  # threads at most


class LivePictures:
    """Image tokens of a data set's pictures, computed when they are asked for.

    sources: which tokens, of "grid" and "statistics".
    Raises UsageError if the backbone has no such tokens.
    """

    def __init__(self, data: Labelled, backbone: Backbone, sources: Sequence[str]) -> None:
        known = ["grid"] + ["statistics"] * bool(backbone.spec.statistics)
        if unknown := [source for source in sources if source not in known]:
            raise UsageError(
                f"the backbone {backbone.name} has no {', '.join(unknown)} tokens, only "
                f"{', '.join(known)}."
            )
        self.data, self.backbone, self.sources = data, backbone, tuple(sources)
        self._decoders = ThreadPoolExecutor(min(DECODERS, os.cpu_count() or 1), "decode")

    def batch(self, rows: Rows, mirror: Mirror | None = None) -> dict[str, Tensor]:
        """{source: float32 [B, P, D]} of these pictures, on the backbone's device.

        mirror: which of them in the mirror; without effect for a set whose labels a mirror changes.
        The values have passed through float16, as those of the cache have.
        Raises DataError, which names the file, if a picture cannot be read.
        """
        flipped = np.zeros(len(rows), dtype=bool)
        if mirror is not None and self.data.mirrored:
            flipped = np.asarray(mirror, dtype=bool)
        pixels = list(self._decoders.map(self._picture, rows, flipped))
        found = self.backbone.encode_images(pixels)
        tokens = {}
        for name in self.sources:
            array = np.stack([features[name] for features in found])  # [B, P, D] or [B, D]
            tensor = torch.from_numpy(array if array.ndim == 3 else array[:, None])
            tokens[name] = tensor.to(self.backbone.device).float()
        return tokens

    def _picture(self, row: int, flipped: bool) -> Pixels:
        pixels = self.data.pixels(int(row), self.backbone.image_size)
        return np.ascontiguousarray(pixels[:, ::-1]) if flipped else pixels


class TunedText(nn.Module):
    """A backbone's text tower, its two ends trainable; the backbone's own is left alone.

    Parameters and state are those of the trainable ends only, by OpenCLIP's names without the
    leading `text.` that some towers have; the frozen rest is neither moved nor saved with them.
    Lives on the backbone's device.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        tower: Any = load_tower(backbone.spec, "text", backbone.overrides).to(backbone.device)
        nested = not hasattr(tower, "token_embedding")  # CustomTextCLIP and CoCa
        ends = tower.text if nested else tower
        self._prefix = "text." if nested else ""
        self._frozen = (tower, backbone.tokenize)  # in a tuple, so that torch does not register it
        self.token_embedding: nn.Module = ends.token_embedding
        self.positional_embedding: nn.Parameter = ends.positional_embedding
        self.ln_final: nn.Module = ends.ln_final
        self.requires_grad_(True)

    def forward(self, prompts: Sequence[str]) -> Tensor:
        """n prompts -> [n, T, Dt], float32, as `Backbone.text_tokens`, with gradient."""
        tower, tokenize = self._frozen
        return towers.text_tokens(tower, tokenize(prompts)).float()

    def overrides(self) -> dict[str, Tensor]:
        """The trained tensors, as `save_checkpoint` wants those that stand in for a backbone's:
        {"tower.NAME": tensor}. The config's `backbone` then has `"replaced": ["text"]`."""
        return {
            f"{TOWER}{self._prefix}{name}": tensor.detach()
            for name, tensor in self.state_dict().items()
        }


@torch.no_grad()
def start_projection(adapter: Adapter, backbone: Backbone, seed: int) -> None:
    """Set the adapter's projection of the grid where the authors' training began, in place.

    "norm+linear" (ConvNeXt): the norm of the trunk's own head, and a random linear map with bias,
    uniform in +-1/sqrt(width in) as torch starts a convolution, which no CLIP checkpoint has; the
    same for the same seed, whatever was drawn before. "linear" (ViT): the tower's own projection.
    Without such a projection there is nothing to do.
    Raises UsageError if the backbone's image tower does not have what is needed.
    """
    projection = adapter.grid_projection
    if projection is None:
        return
    visual: Any = backbone.visual
    if projection.norm is not None:
        norm = getattr(getattr(getattr(visual, "trunk", None), "head", None), "norm", None)
        own = {"weight": getattr(norm, "weight", None), "bias": getattr(norm, "bias", None)}
        _fill(projection.norm, own, backbone)
        draw = torch.Generator().manual_seed(seed)
        bound = projection.linear.in_features**-0.5
        for tensor in (projection.linear.weight, projection.linear.bias):
            values = torch.rand(tensor.shape, generator=draw)
            tensor.copy_(bound * (2 * values - 1))
    else:
        proj = getattr(visual, "proj", None)  # [Dg, D]
        _fill(projection.linear, {"weight": None if proj is None else proj.T}, backbone)


def _fill(part: nn.Module, own: dict[str, Tensor | None], backbone: Backbone) -> None:
    """Copy the tower's tensors into a part of the adapter."""
    for name, tensor in own.items():
        target = part.get_parameter(name)
        if tensor is None or tensor.shape != target.shape:
            has = "none" if tensor is None else f"one of shape {tuple(tensor.shape)}"
            raise UsageError(
                f"the adapter wants a projection of the grid, {name} {tuple(target.shape)}, from "
                f"the backbone {backbone.name}, which has {has}. Choose another model.width or "
                "model.grid_projection."
            )
        target.copy_(tensor)
