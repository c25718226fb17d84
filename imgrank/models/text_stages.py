"""A text tower in two: what stays as it is, and what is trained behind it.

| part | trained |
| --- | --- |
| `frozen` | nothing |
| `projection` | the map of the pooled token to the embedding, with the LayerNorm before it |
| `last` | the last n blocks and all behind them |
| `full` | all but the table of tokens |

The table of tokens is most of a small tower, and a word that the training never saw would stay
where it was while its neighbours move; so it is never trained. OpenCLIP's own text towers are known
(`CLIP`, `CustomTextCLIP`), also without a causal mask; of one with a class token (CoCa) only
`frozen` is possible.

Behind a causal mask nothing depends on what follows the token that is pooled, so texts are cut
there: a batch costs as much as its longest text, not as the context length.

Shapes: B texts, T tokens, D width, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch.nn.functional as F
from open_clip.transformer import text_global_pool
from torch import Tensor, nn

from imgrank.errors import UsageError
from imgrank.models.stages import parameters_of
from imgrank.models.towers import text_embeddings

__all__ = ["TextPart", "TextSplit", "split_text"]

TextPart = Literal["frozen", "projection", "last", "full"]
Arrays = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class TextSplit:
    """front: token ids [B, T] -> arrays of each text by name: `pooled` [B, E], `head` [B, D], or
    `tokens` [B, t, D] with `ids` [B, t].
    back: these -> embeddings [B, E], L2-normalised.
    behind: what is trained, by its name in the OpenCLIP model; empty: nothing.
    short: whether what `front` gives of a text is small and always of one size.
    """

    front: Callable[[Tensor], dict[str, Tensor]]
    back: Callable[[Arrays], Tensor]
    behind: Mapping[str, nn.Module | nn.Parameter]
    short: bool

    @property
    def names(self) -> dict[str, nn.Parameter]:
        """Every parameter behind the cut by its name in the OpenCLIP model."""
        return parameters_of(self.behind)


def split_text(model: Any, part: TextPart, layers: int = 1) -> TextSplit:
    """Cut the text tower of an OpenCLIP model; it is neither copied nor changed.

    model: with or without `visual`.   layers: blocks behind the cut of `last`.
    Raises UsageError for a tower that cannot be cut there.
    """
    if part == "frozen":
        return TextSplit(
            lambda ids: {"pooled": text_embeddings(model, ids)},
            lambda arrays: arrays["pooled"],
            {},
            True,
        )
    inner = hasattr(model, "text")
    tower, start = (model.text, "text.") if inner else (model, "")
    if getattr(tower, "cls_emb", None) is not None:
        raise UsageError("this backbone's text tower has a class token: use text = frozen.")
    if tower.text_projection is None:
        raise UsageError("this backbone's text tower has no projection: use text = frozen.")
    blocks = tower.transformer.resblocks
    n = len(blocks)
    if part == "last" and not 1 <= layers <= n:
        raise UsageError(
            f"this backbone's text tower has {n} blocks: text_layers is a number from 1 to {n}."
        )
    first = {"projection": n, "last": n - layers, "full": 0}[part]
    behind = {f"{start}transformer.resblocks.{i}": blocks[i] for i in range(first, n)}
    ends = {"ln_final": tower.ln_final, "text_projection": tower.text_projection}
    if part == "full":
        ends["positional_embedding"] = tower.positional_embedding
    behind |= {f"{start}{name}": value for name, value in ends.items()}

    def embeds(ids: Tensor) -> Tensor:
        x: Tensor = tower.token_embedding(ids) + tower.positional_embedding[: ids.shape[1]]
        return x  # [B, t, D]

    def front(ids: Tensor) -> dict[str, Tensor]:
        ids = _cut_short(tower, ids)
        if part == "full":
            return {"ids": ids}
        x = _through(tower, blocks[:first], embeds(ids), ids)
        # Each position has its own LayerNorm: it may as well come after the pooling.
        return {"tokens": x, "ids": ids} if first < n else {"head": _pooled(tower, x, ids)}

    def back(arrays: Arrays) -> Tensor:
        if first < n:
            ids = arrays["ids"]
            x = arrays["tokens"] if "tokens" in arrays else embeds(ids)
            x = _pooled(tower, _through(tower, blocks[first:], x, ids), ids)
        else:
            x = arrays["head"]
        x, projection = tower.ln_final(x), tower.text_projection  # [B, D]
        linear = isinstance(projection, nn.Linear)
        return F.normalize(projection(x) if linear else x @ projection, dim=-1)

    return TextSplit(front, back, behind, first == n)


def _cut_short(tower: Any, ids: Tensor) -> Tensor:
    """Without what lies behind the pooled token of every text, where that has no effect."""
    end = _end(tower, ids)
    if tower.attn_mask is None or end is None:
        return ids
    return ids[:, : int(end.max()) + 1]


def _end(tower: Any, ids: Tensor) -> Tensor | None:
    """Where the pooled token stands, [B]; None where that does not depend on the text."""
    kind = _pool_type(tower)
    if kind == "argmax":
        return ids.argmax(1)
    if kind == "eos":
        return ids.eq(_eos(tower) or 0).int().argmax(1)
    return None


def _pooled(tower: Any, x: Tensor, ids: Tensor) -> Tensor:
    """[B, T, D] -> [B, D]."""
    found: Tensor = text_global_pool(x, ids, _pool_type(tower), eos_token_id=_eos(tower))
    return found


def _pool_type(tower: Any) -> str:
    """A `CLIP` and a `TextTransformer` have it under two names."""
    kind: str = tower.text_pool_type if hasattr(tower, "text_pool_type") else tower.pool_type
    return kind


def _eos(tower: Any) -> int | None:
    eos: int | None = getattr(tower, "text_eos_id", getattr(tower, "eos_id", None))
    return eos


def _through(tower: Any, blocks: nn.ModuleList, x: Tensor, ids: Tensor) -> Tensor:
    """[B, t, D] through some of the blocks."""
    mask, t = tower.attn_mask, ids.shape[1]
    if mask is not None:
        mask = mask[:t, :t]
    elif getattr(tower, "use_pad_mask", False):
        mask = tower._build_additive_mask(ids, t, x.dtype)
    first = tower.transformer.batch_first
    x = x if first else x.transpose(0, 1)
    for block in blocks:
        x = block(x, attn_mask=mask)
    return x if first else x.transpose(0, 1)
