"""What every recipe needs around its loop: its extras, stopping politely, state on disk, a log, an
estimate.

A recipe draws everything random at step n from a generator seeded with (seed, n). So its state is
the step, the weights and the optimiser, and a resumed run gives the very numbers of an
uninterrupted one.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from imgrank.errors import CheckpointError, DataError, MissingExtra, UsageError
from imgrank.evaluate.metrics import require_scipy
from imgrank.models.atomic import write_bytes
from imgrank.train.processes import ALONE, Processes

__all__ = [
    "JsonLines",
    "Learner",
    "Stop",
    "alone_in",
    "cosine_with_warmup",
    "estimate",
    "load_state",
    "optimiser",
    "polite_stop",
    "remaining",
    "require_extras",
    "require_number",
    "save_state",
    "silent",
]


def require_extras(what: str) -> None:
    """Raises MissingExtra for what a training (what) would need only after hours."""
    require_scipy(what)
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtra(what, "train")


def silent(line: str) -> None:
    """The report of all processes but the first, and of trainings within another run."""


def require_number(value: Tensor, step: int, what: str = "the loss") -> None:
    """Raises CheckpointError if it is none: all weights would be lost with this step."""
    if not torch.isfinite(value):
        raise CheckpointError(
            f"{what} of step {step + 1} is no number. The same line goes on from the last state, "
            "and would end the same: use another --out with a smaller lr, or with --set "
            "precision=float32 if it is another."
        )


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


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keeps other runs out of a folder until this one ends, in whatever way it ends.

    Raises UsageError if one is at work there.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"another training is at work in {folder}. Wait for it, or use another --out."
        ) from None
    except (NotImplementedError, OSError):
        pass  # some file systems of clusters have no locks
    try:
        yield
    finally:
        lock.release()


class Learner:
    """A model with all that changes while it learns; saved and loaded whole.

    lr: peak of the learning rate.   average: decay of the averaged weights; 0: they are the last.
    half: float16, whose small gradients need a scale that is found on the way.
    shares: of the learning rate, for parameters whose names begin so; these have no weight decay.
    optimizer: instead of the one that `optimiser` makes; its groups may have a `share` too.
    seconds: of training so far, over all runs; kept by the loop.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float,
        weight_decay: float,
        average: float = 0.0,
        half: bool = False,
        shares: Mapping[str, float] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self.model, self.average = model, average
        self.step, self.seconds = 0, 0.0
        self.averaged = {name: p.detach().clone() for name, p in model.state_dict().items()}
        self.optimizer = optimizer or optimiser(model, lr, weight_decay, shares or {})
        device = next(model.parameters()).device.type
        self.scaler = torch.amp.GradScaler(device, enabled=half)

    def update(self, loss: Tensor, lr: float, clip: float, processes: Processes = ALONE) -> None:
        """One step of the optimiser, and of the average. clip: largest norm of the gradient."""
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        processes.average_gradients(self.model.parameters())
        self.advance(lr, clip)

    def advance(self, lr: float, clip: float) -> None:
        """As `update`, by the gradients that are there, those of the loss times the scaler's scale
        and of all processes."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get("share", 1.0)
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # A short memory while there is little to remember.
        decay = min(self.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                if value.is_floating_point():
                    self.averaged[name].lerp_(value, 1 - decay)
                else:  # a count, as a batch norm has
                    self.averaged[name].copy_(value)
        self.step += 1

    def state(self) -> dict[str, Any]:
        """Everything that a run needs to go on bit for bit; all else depends on (seed, step)."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "averaged": self.averaged,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """What `state` gave."""
        self.step, self.seconds = state["step"], state["seconds"]
        self.model.load_state_dict(state["model"])
        for name, value in state["averaged"].items():
            self.averaged[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])

    @contextmanager
    def with_average(self) -> Iterator[nn.Module]:
        """The model with its averaged weights, in evaluation mode; afterwards as it was."""
        own = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.averaged)
        try:
            yield self.model.eval()
        finally:
            self.model.load_state_dict(own)
            self.model.train()


def optimiser(
    model: nn.Module, lr: float, weight_decay: float, shares: Mapping[str, float] | None = None
) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices only. What is frozen is left out.

    shares: of the learning rate, for parameters whose names begin so; these have no weight decay.
    """
    shares = shares or {}
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    apart = {n: p for n, p in trained.items() if n.startswith(tuple(shares))}
    rest = [p for name, p in trained.items() if name not in apart]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    for start, share in shares.items():
        own = [p for name, p in apart.items() if name.startswith(start)]
        groups.append({"params": own, "weight_decay": 0.0, "share": share})
    return torch.optim.AdamW(groups, lr=lr)


def save_state(path: Path, recipe: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write a training state; the old one stays until the new one is complete and on the disk.

    Raises DataError if it cannot be written.
    """
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("wb") as file:
            torch.save({**state, "recipe": json.dumps(recipe, sort_keys=True)}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch has its own words for a full disk
        partial.unlink(missing_ok=True)
        raise DataError(
            f"the state of the training cannot be written to {path}: {error}. The one before is "
            "kept; make room on the disk and run the same line to go on from there."
        ) from error


def load_state(path: Path, recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state at `path`, None if there is none.

    Raises CheckpointError if it belongs to a run with other settings, or is damaged.
    """
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path} is damaged. Delete it; the training then starts again. ({error})"
        ) from error
    own = json.dumps(recipe, sort_keys=True)
    if state.get("recipe") != own:
        before, now = json.loads(state.get("recipe") or "{}"), json.loads(own)
        names = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
        raise CheckpointError(
            f"{path} is of a run with other settings ({', '.join(names)}). Use its own, another "
            "--out, or delete it."
        )
    return state


class JsonLines:
    """A log of one JSON object a line.

    Of a resumed run, lines behind its step are dropped; so is what is no whole line, as a killed
    process may leave it.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = []
        if path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            kept = [line for line in lines if _step_of(line) <= step]
        write_bytes(path, "".join(line + "\n" for line in kept).encode())

    def write(self, row: Mapping[str, Any]) -> None:
        """Raises DataError on a full disk."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise DataError(
                f"{self.path} cannot be written: {error.strerror}. Make room on the disk and run "
                "the same line to go on from the last state."
            ) from error


def _step_of(line: str) -> float:
    """The step of a line of the log; infinite for what is no whole line."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def cosine_with_warmup(step: int, steps: int, warmup: int) -> float:
    """Share of the full learning rate at a step in 0..steps-1: linear up, then half a cosine to 0.

    >>> cosine_with_warmup(0, 100, 10), cosine_with_warmup(9, 100, 10)
    (0.1, 1.0)
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def estimate(started: float, done: int, left: int, report: Callable[[str], None]) -> None:
    """Says how long it will take, early and once more when that is known better."""
    if done in (10, 100):
        report(f"about {remaining(started, done, left)} left")


def remaining(started: float, done: int, left: int) -> str:
    """How long `left` steps will take, from `done` steps since `started` (time.monotonic)."""
    seconds = round((time.monotonic() - started) / max(done, 1) * left)
    return f"{seconds // 60} min {seconds % 60} s"
