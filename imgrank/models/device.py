"""Which device, how large a batch, which precision: decided once, and said why.

* `choose_device`: `auto` prefers CUDA, then Apple's MPS, then the CPU.
* `halving`: runs a batch; out of memory on CUDA or MPS halves it and goes on with the smaller size.
* `solo_pool`: batches side by side on a CPU.

The precision is `precision.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from imgrank.errors import UsageError

__all__ = [
    "choose_device",
    "halving",
    "one_thread",
    "out_of_memory",
    "solo_pool",
]

T = TypeVar("T")
R = TypeVar("R")


def choose_device(wish: str = "auto") -> tuple[torch.device, str]:
    """`auto`, `cpu`, `cuda`, `cuda:1` or `mps` -> the device and one line why.

    Raises UsageError for an unknown word or a device that this machine does not have.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if wish == "auto":
        if cuda:
            return torch.device("cuda"), f"CUDA: {torch.cuda.get_device_name()}"
        if mps:
            return torch.device("mps"), "MPS: no CUDA device, Apple's GPU is there"
        return torch.device("cpu"), f"CPU, {torch.get_num_threads()} threads: no CUDA, no MPS"
    kind, _, index = wish.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdecimal()):
        raise UsageError(f"Unknown device {wish!r}. Use auto, cpu, cuda, cuda:1 or mps.")
    if kind == "cuda" and (not cuda or int(index or 0) >= torch.cuda.device_count()):
        count = torch.cuda.device_count() if cuda else 0
        raise UsageError(f"No device {wish!r}: {count} CUDA devices here. Use --device auto.")
    if kind == "mps" and not mps:
        raise UsageError("No device 'mps' on this machine. Use --device auto.")
    return torch.device(wish), f"{wish}: as asked for"


def solo_pool(workers: int) -> ThreadPoolExecutor:
    """A pool whose threads run torch on one thread each; the caller's own setting stays.

    Batches side by side instead of one batch on all cores: torch's threads wait for each other
    actively after every operation, so that a single one that has lost its core to a decoder, or to
    another program, holds up all (`tests/bench/speed.py --only stall` measures by how much).
    """

    def alone() -> None:
        torch.get_num_threads()  # a thread's first look takes the common setting; get it over with
        torch.set_num_threads(1)

    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, "model", initializer=alone)
    started = threading.Barrier(workers)
    list(pool.map(lambda _: started.wait(), range(workers)))
    torch.set_num_threads(before)  # the setting is of each thread, but its default is of all
    return pool


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on the calling thread alone: for small work beside busy decoders, see `solo_pool`."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def out_of_memory(error: BaseException) -> bool:
    """Whether an accelerator ran out of memory: CUDA and MPS say so in different ways."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "out of memory" in str(error).lower()


def halving(
    items: Sequence[T], run: Callable[[Sequence[T]], list[R]], batch: int
) -> tuple[list[R], int]:
    """`run` over `items` in slices of at most `batch`: the results in order, and the batch size
    that was found to fit.

    A slice that exhausts the memory of a CUDA or MPS device is run again in halves, and later
    slices are of that size; a single item that does not fit raises the error it met.
    """
    results: list[R] = []
    start = 0
    while start < len(items):
        try:
            part = run(items[start : start + batch])
        except RuntimeError as error:
            size = min(batch, len(items) - start)
            if size == 1 or not out_of_memory(error):
                raise
            batch = size // 2
        else:
            results += part
            start += len(part)
            continue
        _free_cached()  # outside of the handler, whose traceback still holds tensors
    return results, batch


def _free_cached() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
