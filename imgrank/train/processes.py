"""One training run in several processes: torchrun or `accelerate launch` starts them.

All processes draw the same query and the same rows. Each encodes its slice of the rows; what the
losses need of each picture is gathered, and every process computes the losses of the whole batch.
So N processes equal one with the same batch (with dropout 0, and but for float rounding).

Gradients. Behind the gathering all processes compute the same, so each has the whole gradient of
what comes after it, and the part of its own slice of what comes before. `gather` multiplies the
latter by N on its way back; the mean over processes (`average_gradients`) is then right for both.

A single process needs nothing of this, nor accelerate.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from imgrank.errors import MissingExtra, UsageError
from imgrank.models.device import choose_device

__all__ = ["ALONE", "Processes", "join"]

T = TypeVar("T")
PATIENCE = timedelta(days=3)  # the others wait while the first computes the tokens


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among its fellows. rank: 0..count-1; the first alone writes, logs, measures."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    about: str = ""  # the device, for people

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """The slice of a batch that this process encodes; slices differ by one row at most."""
        return slice(rows * self.rank // self.count, rows * (self.rank + 1) // self.count)

    def gather(self, own: Tensor, rows: int) -> Tensor:
        """Rows of this process [b, ...] -> those of all [rows, ...], in order, with gradient."""
        if self.count == 1:
            return own
        gathered: Tensor = _Gather.apply(own, rows, self)
        return gathered

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """The mean over all processes, in place."""
        if self.count == 1:
            return
        found = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([grad.flatten() for grad in found])
        distributed.all_reduce(flat)
        flat /= self.count
        parts = torch.split(flat, [grad.numel() for grad in found])
        for grad, part in zip(found, parts, strict=True):
            grad.copy_(part.view_as(grad))

    def any(self, flag: bool) -> bool:
        """Whether it holds in any process."""
        if self.count == 1:
            return flag
        said = torch.tensor(int(flag), device=self.device)
        distributed.all_reduce(said)
        return bool(said)

    def wait(self) -> None:
        """Until all have come here."""
        self.any(False)

    def in_turn(self, work: Callable[[], T]) -> T:
        """Done by the first process, then by the others, which find what it left on the disk."""
        if not self.first:
            self.wait()
        done = work()
        if self.first:
            self.wait()
        return done

    def leave(self) -> None:
        """At the end of the program."""
        if self.count > 1 and distributed.is_initialized():
            distributed.destroy_process_group()


ALONE = Processes()


def join(device: str = "auto") -> Processes:
    """This process alone, or among those that the launcher has started (it sets WORLD_SIZE).

    device: as for `choose_device`; several processes find theirs by accelerate.
    Raises MissingExtra without it, and UsageError for a device that there is not.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(0, 1, *choose_device(device))
    if importlib.util.find_spec("accelerate") is None:
        raise MissingExtra("training in several processes", "train")
    if device.partition(":")[2]:
        raise UsageError(f"--device {device}: several processes choose theirs by themselves.")
    chosen, about = choose_device(device)
    from accelerate import PartialState

    state: Any = PartialState(cpu=chosen.type == "cpu", timeout=PATIENCE)
    count = state.num_processes
    return Processes(state.process_index, count, state.device, f"{count} processes, {about}")


class _Gather(torch.autograd.Function):
    """Forward: slices -> all rows. Backward: the gradient of the own slice, times N (see above)."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, rows: int, processes: Processes) -> Tensor:
        sizes = [Processes(rank, processes.count).share(rows) for rank in range(processes.count)]
        most = max(each.stop - each.start for each in sizes)
        padded = own.new_zeros(most, *own.shape[1:])
        padded[: len(own)] = own
        everyone = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(everyone, padded)
        ctx.own, ctx.count = processes.share(rows), processes.count
        parts = zip(everyone, sizes, strict=True)
        return torch.cat([part[: size.stop - size.start] for part, size in parts])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.own] * ctx.count, None, None
