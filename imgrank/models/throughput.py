"""How fast a device multiplies and reads, measured in a fraction of a second: what a forecast of a
language model's time is made of, before the model is loaded.

A prompt is read all at once, and takes as long as its multiplications; an answer is written token
by token, and each token reads all weights from memory once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

__all__ = ["Speed", "measured"]

SIDE = 1024  # of the square matrices that are multiplied
LARGE = 64_000_000  # bytes of the matrix that is read: more than the caches of a CPU hold
SECONDS = 0.1  # that each trial takes at least


@dataclass(frozen=True, slots=True)
class Speed:
    """flops: multiplications and additions a second.   bytes: of weights read a second."""

    flops: float
    bytes: float


def measured(device: torch.device, dtype: torch.dtype) -> Speed:
    """Of matrix products in this precision, the best of a few. Takes about half a second."""
    square = torch.ones(SIDE, SIDE, device=device, dtype=dtype)
    wide = torch.ones(LARGE // (SIDE * dtype.itemsize), SIDE, device=device, dtype=dtype)
    column = torch.ones(SIDE, 1, device=device, dtype=dtype)
    with torch.inference_mode():
        product = _shortest(lambda: square @ square, device)
        reading = _shortest(lambda: wide @ column, device)
    return Speed(2 * SIDE**3 / product, wide.numel() * dtype.itemsize / reading)


def _shortest(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest run, after one that only warms up."""
    run()
    best, spent = float("inf"), 0.0
    while spent < SECONDS:
        _wait(device)
        start = time.perf_counter()
        run()
        _wait(device)
        took = time.perf_counter() - start
        best, spent = min(best, took), spent + took
    return max(best, 1e-9)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
