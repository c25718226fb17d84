"""An image tower in two: what stays as it is, and what is trained behind it.

What the first part gives of a picture is computed once and kept; the second part then costs a
fraction of the tower at each training step. Where the cut lies:

| part | trained | kept of each picture |
| --- | --- | --- |
| `frozen` | nothing | `pooled` |
| `head` | the projection | `head`: what the projection is given |
| `last` | the last stage and all behind it | `map`: what that stage is given |
| `full` | the whole tower | nothing |

`last` knows timm's EfficientNet (before the last of `blocks`) and ConvNeXt (before the last of
`stages`) and OpenCLIP's `VisionTransformer` (before its last n blocks); the projection of a
`ModifiedResNet` is its attention pool. A backbone with statistics (`towers.statistics_token`) has
those of maps before the cut kept too (`early`), and those behind it computed anew. Batch norm stays
in evaluation mode: its running mean and variance are not trained.

Shapes: B pictures, P positions (row by row; of a ViT with its class token), D width, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any, Literal

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models.convnext import ConvNeXt
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from imgrank.errors import UsageError
from imgrank.models import towers
from imgrank.models.towers import statistics_token

__all__ = ["Part", "Split", "parameters_of", "split"]

Part = Literal["frozen", "head", "last", "full"]
Arrays = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Split:
    """front: normalised pixels [B, 3, S, S] -> arrays of each picture by name: `pooled` [B, E],
    `head` [B, D] or [B, P, D], `map` [B, P, D] or `pixels`, and `early` [B, n] if there are any.
    back: these -> pooled [B, E], L2-normalised, and statistics [B, Ds] if the backbone has them.
    behind: what is trained, by its name in the OpenCLIP model ("visual.head"); empty: nothing.
    """

    front: Callable[[Tensor], dict[str, Tensor]]
    back: Callable[[Arrays], dict[str, Tensor]]
    behind: Mapping[str, nn.Module | nn.Parameter]

    @property
    def names(self) -> dict[str, nn.Parameter]:
        """Every parameter behind the cut by its name in the OpenCLIP model."""
        return parameters_of(self.behind)

    def before(self, visual: nn.Module) -> dict[str, Tensor]:
        """Every tensor of the tower that lies before the cut, by its name in the OpenCLIP model."""
        starts = tuple(f"{name}." for name in self.behind)
        own = {f"visual.{name}": value for name, value in visual.state_dict().items()}
        return {n: v for n, v in own.items() if not f"{n}.".startswith(starts)}


def parameters_of(behind: Mapping[str, nn.Module | nn.Parameter]) -> dict[str, nn.Parameter]:
    """Every parameter of these parts; parts and parameters by their names in the OpenCLIP model."""
    found: dict[str, nn.Parameter] = {}
    for start, part in behind.items():
        if isinstance(part, nn.Parameter):
            found[start] = part
        else:
            found |= {f"{start}.{name}": value for name, value in part.named_parameters()}
    return found


def split(visual: nn.Module, part: Part, statistics: Sequence[int] = (), layers: int = 1) -> Split:
    """Cut an image tower of OpenCLIP; it is neither copied nor changed.

    statistics: of the backbone, as for `towers.image_features`.   layers: blocks of a ViT behind
    the cut of `last`.   Raises UsageError for a tower that cannot be cut there.
    """
    if part == "frozen":
        return Split(lambda x: _all(visual, x, statistics), dict, {})
    if part == "full":
        return Split(
            lambda x: {"pixels": x},
            lambda arrays: _all(visual, arrays["pixels"], statistics),
            {"visual": visual},
        )
    if isinstance(visual, TimmModel):
        if part == "head":
            return _timm_head(visual, statistics)
        if isinstance(visual.trunk, EfficientNet):
            return _efficientnet(visual, statistics)
        if isinstance(visual.trunk, ConvNeXt):
            return _convnext(visual, statistics)
    elif isinstance(visual, VisionTransformer):
        return _vit_head(visual) if part == "head" else _vit(visual, layers)
    elif isinstance(visual, ModifiedResNet) and part == "head":
        return _resnet_head(visual)
    kind = type(getattr(visual, "trunk", visual)).__name__
    raise UsageError(
        f"the last stage of this backbone's image tower ({kind}) cannot be trained alone: use "
        "tower = head or full."
    )


def _all(visual: nn.Module, x: Tensor, statistics: Sequence[int]) -> dict[str, Tensor]:
    found = towers.image_features(visual, x, statistics)
    del found["grid"]
    return found


def _timm_head(visual: Any, statistics: Sequence[int]) -> Split:
    if not list(visual.head.parameters()):
        raise UsageError("this backbone's image tower has no projection: use tower = full.")
    trunk = visual.trunk

    def front(x: Tensor) -> dict[str, Tensor]:
        if not statistics:
            return {"head": trunk.forward_head(trunk.forward_features(x))}
        final, maps = trunk.forward_intermediates(x, indices=list(statistics))
        return {"head": trunk.forward_head(final), "early": statistics_token(maps)}

    def back(arrays: Arrays) -> dict[str, Tensor]:
        return _given(visual.head(arrays["head"]), arrays, [])

    return Split(front, back, {"visual.head": visual.head})


def _efficientnet(visual: Any, statistics: Sequence[int]) -> Split:
    trunk = visual.trunk
    last = len(trunk.blocks)
    wanted = sorted(trunk.stage_ends[index] for index in statistics)  # 0: the stem

    def front(x: Tensor) -> dict[str, Tensor]:
        maps = [trunk.bn1(trunk.conv_stem(x))]
        for block in trunk.blocks[:-1]:
            maps.append(block(maps[-1]))
        return _kept(maps, [end for end in wanted if end < last])

    def back(arrays: Arrays) -> dict[str, Tensor]:
        final = trunk.blocks[-1](_as_map(arrays["map"]))
        pooled = visual.head(trunk.forward_head(trunk.bn2(trunk.conv_head(final))))
        return _given(pooled, arrays, [final] if last in wanted else [])

    behind = {
        f"visual.trunk.blocks.{last - 1}": trunk.blocks[-1],
        "visual.trunk.conv_head": trunk.conv_head,
        "visual.trunk.bn2": trunk.bn2,
        "visual.head": visual.head,
    }
    return Split(front, back, behind)


def _convnext(visual: Any, statistics: Sequence[int]) -> Split:
    trunk = visual.trunk
    last = len(trunk.stages) - 1
    wanted = sorted(range(last + 1)[index] for index in statistics)

    def front(x: Tensor) -> dict[str, Tensor]:
        maps, x = [], trunk.stem(x)
        for stage in trunk.stages[:-1]:
            x = stage(x)
            maps.append(x)
        return _kept(maps, [index for index in wanted if index < last])

    def back(arrays: Arrays) -> dict[str, Tensor]:
        final = trunk.stages[-1](_as_map(arrays["map"]))
        pooled = visual.head(trunk.forward_head(trunk.norm_pre(final)))
        return _given(pooled, arrays, [final] if last in wanted else [])

    behind = {
        f"visual.trunk.stages.{last}": trunk.stages[-1],
        "visual.trunk.norm_pre": trunk.norm_pre,
        "visual.trunk.head": trunk.head,
        "visual.head": visual.head,
    }
    return Split(front, back, behind)


def _vit_head(visual: Any) -> Split:
    _require_projection(visual)

    def front(x: Tensor) -> dict[str, Tensor]:
        return {"head": visual._pool(visual.transformer(visual._embeds(x)))[0]}

    def back(arrays: Arrays) -> dict[str, Tensor]:
        return _given(arrays["head"] @ visual.proj, arrays, [])

    return Split(front, back, {"visual.proj": visual.proj})


def _vit(visual: Any, layers: int) -> Split:
    _require_projection(visual)
    transformer = visual.transformer
    n = len(transformer.resblocks)
    if not 1 <= layers < n:
        raise UsageError(
            f"this backbone's image tower has {n} blocks: layers is a number from 1 to {n - 1}, "
            "or use tower = full."
        )
    first = n - layers

    def through(blocks: nn.ModuleList, x: Tensor) -> Tensor:
        x = x if transformer.batch_first else x.transpose(0, 1)
        for block in blocks:
            x = block(x)
        return x if transformer.batch_first else x.transpose(0, 1)

    def front(x: Tensor) -> dict[str, Tensor]:
        return {"map": through(transformer.resblocks[:first], visual._embeds(x))}

    def back(arrays: Arrays) -> dict[str, Tensor]:
        pooled, _ = visual._pool(through(transformer.resblocks[first:], arrays["map"]))
        return _given(pooled @ visual.proj, arrays, [])

    blocks = {
        f"visual.transformer.resblocks.{i}": transformer.resblocks[i] for i in range(first, n)
    }
    pools = {name: getattr(visual, name, None) for name in ("attn_pool", "attn_pool_contrastive")}
    ends = {f"visual.{name}": pool for name, pool in pools.items() if pool is not None}
    behind = {**blocks, **ends, "visual.ln_post": visual.ln_post, "visual.proj": visual.proj}
    return Split(front, back, behind)


def _resnet_head(visual: Any) -> Split:

    def front(x: Tensor) -> dict[str, Tensor]:
        x = visual.layer3(visual.layer2(visual.layer1(visual.stem(x))))
        return _kept([visual.layer4(x)], [], "head")

    def back(arrays: Arrays) -> dict[str, Tensor]:
        return _given(visual.attnpool(_as_map(arrays["head"])), arrays, [])

    return Split(front, back, {"visual.attnpool": visual.attnpool})


def _require_projection(visual: Any) -> None:
    if visual.proj is None:
        raise UsageError("this backbone's image tower has no projection: use tower = full.")


def _kept(maps: Sequence[Tensor], wanted: Sequence[int], name: str = "map") -> dict[str, Tensor]:
    """The last of the maps, and the statistics of the wanted ones."""
    found = {name: maps[-1].flatten(2).transpose(1, 2)}  # [B, P, D]
    if wanted:
        found["early"] = statistics_token([maps[index] for index in wanted])
    return found


def _as_map(tokens: Tensor) -> Tensor:
    """[B, P, D] of a square -> [B, D, h, h], channels-last in memory."""
    B, P, D = tokens.shape
    h = isqrt(P)
    return tokens.view(B, h, h, D).permute(0, 3, 1, 2)


def _given(pooled: Tensor, arrays: Arrays, late: Sequence[Tensor]) -> dict[str, Tensor]:
    """The embedding, normalised, and the statistics: those that are kept and those of `late`."""
    found = {"pooled": F.normalize(pooled, dim=-1)}
    parts = [arrays["early"]] if "early" in arrays else []
    parts += [statistics_token(late)] if late else []
    if parts:
        found["statistics"] = torch.cat(parts, dim=1)
    return found
