"""Which device, how large a batch, which precision: decided once, and said why.

* `choose_device`: `auto` prefers CUDA, then Apple's MPS, then the CPU.
* `halving`: runs a batch; out of memory on CUDA halves it and goes on with the smaller size.
* `choose_precision`: bfloat16 only on a CUDA device that has it in hardware (compute capability
  8.0 and up), and only after its result has been compared with float32. Never on a CPU, where
  autocast to bfloat16 was measured several times slower than float32.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from imgrank.errors import UsageError

__all__ = [
    "agree",
    "choose_device",
    "choose_precision",
    "halving",
    "one_thread",
    "solo_pool",
]

T = TypeVar("T")
R = TypeVar("R")

MINIMUM_COSINE = 0.999
"""Least cosine, over a batch, between features in bfloat16 and in float32 that counts as equal."""


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


def halving(items: Sequence[T], run: Callable[[Sequence[T]], list[R]], batch: int) -> list[R]:
    """`run` over `items` in slices of at most `batch`, results in order.

    A slice that exhausts the CUDA memory is run again in halves, and later slices are of that
    size; a single item that does not fit raises the error it met.
    """
    results: list[R] = []
    start = 0
    while start < len(items):
        try:
            part = run(items[start : start + batch])
        except torch.cuda.OutOfMemoryError:
            size = min(batch, len(items) - start)
            if size == 1:
                raise
            torch.cuda.empty_cache()
            batch = size // 2
            continue
        results += part
        start += batch
    return results


def agree(wanted: Tensor, got: Tensor) -> bool:
    """True if every row of `got` points where the same row of `wanted` does. Both [B, D]."""
    cosine = F.cosine_similarity(wanted.float(), got.float(), dim=-1)
    return bool((cosine >= MINIMUM_COSINE).all())


def choose_precision(
    device: torch.device, run: Callable[[], Tensor]
) -> tuple[torch.dtype | None, str]:
    """The dtype to autocast to (None: float32 as it is) and one line why.

    `run` computes features [B, D] of a real batch; it is called twice where bfloat16 is a
    candidate, and not at all elsewhere.
    """
    if device.type != "cuda":
        return None, f"float32: bfloat16 is not taken on {device.type}"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return None, "float32: this CUDA device has no bfloat16 in hardware"
    wanted = run()
    with torch.autocast(device.type, torch.bfloat16):
        got = run()
    if agree(wanted, got):
        return torch.bfloat16, "bfloat16: agrees with float32 on the first batch"
    return None, "float32: bfloat16 differs on the first batch"
