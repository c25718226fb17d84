"""Layer-wise decay of the learning rate: the nearer a layer is to the input, the less it moves.

share = decay ** (layers between it and the output), for each tower on its own. A layer is

| tower | layers |
| --- | --- |
| ViT of OpenCLIP or timm, text tower | each block |
| ConvNeXt, FastViT, Swin | each stage |
| EfficientNet | each stage (`blocks` of timm) |
| ResNet | `layer1` to `layer4` |

What comes before them (patches, stem, tables of tokens and places) is one more layer, and what
comes behind (last norm, pool, projection) is the output, with the whole rate, as is `logit_scale`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

__all__ = ["groups", "shares"]

LAYER = re.compile(r"(?:^|\.)(?:resblocks|blocks|stages|layers)\.(\d+)\.|(?:^|\.)layer(\d)\.")
BEFORE = re.compile(
    r"(?:^|\.)(?:conv1|conv2|conv3|bn1|bn2|bn3|conv_stem|stem|stem_\d|patch_embed|ln_pre|norm_pre|"
    r"class_embedding|cls_token|reg_token|cls_emb|positional_embedding|pos_embed|token_embedding)"
    r"(?:\.|$)"
)
# A pool has blocks or places of its own; an EfficientNet's `bn2` is not that of a ResNet's stem.
BEHIND = re.compile(r"(?:^|\.)(?:attnpool|attn_pool|attn_pool_contrastive)\.|\.trunk\.bn2\.")


def shares(names: Iterable[str], decay: float) -> dict[str, float]:
    """Share of the learning rate of each parameter, by its name in the OpenCLIP model.

    The output of a tower is behind the last layer that is named here: of a tower of which only the
    last layers are trained, their names are enough.
    """
    places = {name: (name.startswith("visual."), _layer(name)) for name in names}
    last: dict[bool, int] = defaultdict(int)
    for image, layer in places.values():
        if layer is not None:
            last[image] = max(last[image], layer)
    return {
        name: 1.0 if layer is None else decay ** (last[image] + 1 - layer)
        for name, (image, layer) in places.items()
    }


def groups(parameters: Mapping[str, Tensor], decay: float) -> list[dict[str, Any]]:
    """For an optimiser: parameters of one share together, the largest share first."""
    found: dict[float, list[Tensor]] = defaultdict(list)
    for name, share in shares(parameters, decay).items():
        found[share].append(parameters[name])
    return [{"params": found[share], "share": share} for share in sorted(found, reverse=True)]


def _layer(name: str) -> int | None:
    """1, 2, ... from the input on; 0: before them; None: behind them."""
    if BEHIND.search(name):
        return None
    # The first match is the outermost: a stage of ConvNeXt has blocks of its own.
    if found := LAYER.search(name):
        return int(found[1]) + 1 if found[1] else int(found[2])
    return 0 if BEFORE.search(name) else None
