"""What a computation with torch keeps and starts, tensor by tensor: no clock, no allocator.

with Live() as live:
    model(...)
live.most          # bytes of tensors made inside that were there at once, at most
live.operations    # started; those that only look at a tensor in another way are not counted

kept(model, lambda: model(...))      # bytes that a forward pass keeps for the way back
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

VIEWS = {"view", "t", "transpose", "_unsafe_view", "expand", "slice", "unsqueeze", "permute"}
VIEWS |= {"detach", "select", "alias", "split", "as_strided"}


class Live(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = self.operations = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = {_storage(each)._cdata for each in _tensors((args, kwargs))}
        out = func(*args, **kwargs)
        self.operations += func.overloadpacket.__name__ not in VIEWS
        for tensor in _tensors(out):
            storage = _storage(tensor)
            key, size = storage._cdata, storage.nbytes()
            if key in given or key in self._known:
                continue
            self._known.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._gone, key, size)
        return out

    def _gone(self, key: int, size: int) -> None:
        self.now -= size
        self._known.discard(key)


def kept(model: nn.Module, run: Callable[[], object]) -> int:
    """Weights are not counted."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found: dict[int, torch.Tensor] = {}  # holds them: no place is used twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(t.untyped_storage().nbytes() for at, t in found.items() if at not in weights)


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _storage(tensor: torch.Tensor) -> Any:
    return tensor.untyped_storage()
