"""The text side of a training: rows of texts -> their embeddings, with gradient.

`tower` says what is trained (`models/text_stages.py`). What a frozen part gives is computed once
where it is small; token ids are always kept. Shapes: b texts, T tokens, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from imgrank.models.text_stages import TextSplit
from imgrank.train.image_side import hold

__all__ = ["TextSide"]

Tokenize = Callable[[Iterable[str]], Tensor]
Rows = npt.NDArray[np.intp] | Sequence[int]
AT_ONCE = 256  # texts through a frozen part


class TextSide(nn.Module):
    """Embeddings of known texts; its parameters are those that are trained, evaluation mode."""

    def __init__(self, cut: TextSplit, texts: Sequence[str], tokenize: Tokenize) -> None:
        """cut: of a model that belongs to this object.   texts: N of them.
        tokenize: texts -> ids [b, T] on the device."""
        super().__init__()
        self.cut = cut
        hold(self, cut.behind)
        parts = [texts[n : n + AT_ONCE] for n in range(0, len(texts), AT_ONCE)]
        self._ids = torch.cat([tokenize(part).cpu() for part in parts])  # [N, T]
        self._device = tokenize([""]).device
        self._kept: dict[str, Tensor] | None = None
        if cut.short:
            found = [self._front(ids) for ids in torch.split(self._ids, AT_ONCE)]
            self._kept = {name: torch.cat([each[name] for each in found]) for name in found[0]}

    @torch.no_grad()
    def _front(self, ids: Tensor) -> dict[str, Tensor]:
        return self.cut.front(ids.to(self._device))

    def embed(self, rows: Rows) -> Tensor:
        """[b, E] of these texts, L2-normalised."""
        chosen = torch.from_numpy(np.asarray(rows))
        if self._kept is None:
            return self.cut.back(self._front(self._ids[chosen]))
        at = chosen.to(self._device)
        return self.cut.back({name: array[at] for name, array in self._kept.items()})

    forward = embed
