"""What every recipe needs around its loop: stopping politely, state on disk, a log, an estimate.

A recipe draws everything random at step n from a generator seeded with (seed, n). So its state is
the step, the weights and the optimiser, and a resumed run gives the very numbers of an
uninterrupted one.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from imgrank.errors import CheckpointError

__all__ = [
    "JsonLines",
    "Stop",
    "cosine_with_warmup",
    "load_state",
    "polite_stop",
    "remaining",
    "save_state",
]


class Stop:
    """Whether the user asked to stop."""

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def polite_stop() -> Iterator[Stop]:
    """The first Ctrl-C lets the running step finish, so that the saved state is whole; the second
    one interrupts as usual."""
    stop = Stop()
    before = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: FrameType | None) -> None:
        stop.asked = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def save_state(path: Path, recipe: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write a training state; the old one stays until the new one is complete."""
    partial = path.with_name(path.name + ".part")
    torch.save({**state, "recipe": json.dumps(recipe, sort_keys=True)}, partial)
    partial.replace(path)


def load_state(path: Path, recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state at `path`, None if there is none.

    Raises CheckpointError if it belongs to a run with other settings.
    """
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, weights_only=True)
    if state.get("recipe") != json.dumps(recipe, sort_keys=True):
        raise CheckpointError(
            f"{path} is of a run with other settings. Use them, another --out, or delete it."
        )
    return state


class JsonLines:
    """A log of one JSON object a line. Lines at or after the step of a resumed run are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = []
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= step]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def write(self, row: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def cosine_with_warmup(step: int, steps: int, warmup: int) -> float:
    """Share of the full learning rate at a step in 0..steps-1: linear up, then half a cosine to 0.

    >>> cosine_with_warmup(0, 100, 10), cosine_with_warmup(9, 100, 10)
    (0.1, 1.0)
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def remaining(started: float, done: int, left: int) -> str:
    """How long `left` steps will take, from `done` steps since `started` (time.monotonic)."""
    seconds = round((time.monotonic() - started) / max(done, 1) * left)
    return f"{seconds // 60} min {seconds % 60} s"
