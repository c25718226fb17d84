"""What a tower gives: pooled embedding and tokens of pictures, embeddings and tokens of texts; one
function each for all kinds of towers that OpenCLIP builds.

| image tower | `grid` is |
| --- | --- |
| timm trunk (ConvNeXt, EfficientNet, FastViT, Swin: a map) | `forward_features`, row by row |
| timm trunk (ViT, SigLIP, EVA: tokens) | the same, without class and register tokens |
| OpenCLIP's `VisionTransformer` | last block, after the final LayerNorm where that comes before \
the pooling, without the class token |
| OpenCLIP's `ModifiedResNet` (RN50) | `layer4`, row by row |

The pooled embedding is that of `encode_image(normalize=True)`. Text towers: OpenCLIP's own, as
part of a `CLIP` or as the `text` of a `CustomTextCLIP` or `CoCa`, with or without causal mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from imgrank.errors import CheckpointError

__all__ = ["image_features", "statistics_token", "text_embeddings", "text_tokens"]


def image_features(
    visual: nn.Module, x: Tensor, statistics: Sequence[int] = ()
) -> dict[str, Tensor]:
    """Normalised pixels [B, 3, S, S] -> pooled [B, E], grid [B, P, Dg], statistics [B, Ds] (only
    if there are any). Differentiable; changes no setting.

    statistics: indices of intermediate maps, as timm's `forward_intermediates` counts them.
    Raises CheckpointError for a tower that has no such tokens.
    """
    if isinstance(visual, TimmModel):
        return _of_timm(visual, x, statistics)
    if statistics:
        raise CheckpointError(
            f"statistics are taken from timm trunks, not from {type(visual).__name__}: "
            'use "statistics": [].'
        )
    if isinstance(visual, VisionTransformer):
        # An attention pool has its LayerNorm behind it, and so of another width.
        pooled_first = visual.final_ln_after_pool or visual.attn_pool is not None
        out = visual.forward_intermediates(
            x, indices=1, normalize_intermediates=not pooled_first, output_fmt="NLC"
        )
        grid = out["image_intermediates"][-1]
    elif isinstance(visual, ModifiedResNet):
        out = visual.forward_intermediates(x, indices=1)
        grid = _row_by_row(out["image_intermediates"][-1])
    else:
        raise CheckpointError(
            f"imgrank knows no tokens of an image tower {type(visual).__name__}. "
            "Use a timm, ViT or ResNet backbone."
        )
    return {"pooled": F.normalize(out["image_features"], dim=-1), "grid": grid}


def _of_timm(visual: Any, x: Tensor, statistics: Sequence[int]) -> dict[str, Tensor]:
    trunk = visual.trunk
    maps: list[Tensor] = []
    if statistics:
        final, maps = trunk.forward_intermediates(x, indices=list(statistics))
    else:
        final = trunk.forward_features(x)
    features = {"pooled": F.normalize(visual.head(trunk.forward_head(final)), dim=-1)}
    if final.ndim == 4 and getattr(trunk, "output_fmt", "NCHW") == "NHWC":
        features["grid"] = final.flatten(1, 2)
    elif final.ndim == 4:
        features["grid"] = _row_by_row(final)
    else:
        features["grid"] = final[:, getattr(trunk, "num_prefix_tokens", 0) :]
    if maps:
        features["statistics"] = statistics_token(maps)
    return features


def _row_by_row(feature_map: Tensor) -> Tensor:
    return feature_map.flatten(2).transpose(1, 2)  # [B, C, h, w] -> [B, P, C]


def statistics_token(maps: Sequence[Tensor]) -> Tensor:
    """Maps [B, C_k, h_k, w_k] -> [B, sum of 2 C_k]: mean, then standard deviation, of each."""
    parts: list[Tensor] = []
    for values in maps:
        variance, mean = torch.var_mean(values.float(), dim=(2, 3), correction=0)
        parts += [mean, variance.sqrt()]
    return torch.cat(parts, dim=1)


def text_embeddings(model: Any, ids: Tensor) -> Tensor:
    """Token ids [B, T] -> [B, E], L2-normalised. model: OpenCLIP's, with or without `visual`."""
    embeddings: Tensor = model.encode_text(ids, normalize=True)
    return embeddings


def text_tokens(model: Any, ids: Tensor) -> Tensor:
    """Token ids [B, T] -> [B, T, Dt]: after the final LayerNorm, at every position, unprojected."""
    out = model.forward_intermediates(
        text=ids, text_indices=1, normalize_intermediates=True, intermediates_only=True
    )
    tokens: Tensor = out["text_intermediates"][-1]
    return tokens
