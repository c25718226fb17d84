"""In which precision a model computes: float32, or one of half the width where that pays.

`auto` takes bfloat16 or float16 only if, on the first real batch,

* what it gives agrees with float32: cosine of at least 0.999 for every picture and feature, and
* a short timed trial (one warm-up and two runs of each) finds it at least 1.15 times faster.

On most CPUs autocast to bfloat16 is slower, and for a ViT twelve times slower (measured on one that
has instructions for it, AVX512-BF16). There a matrix product of some milliseconds is timed first,
and the model is not tried where that alone does not gain.

The verdict is kept in `probes.json` of the cache folder, by model, device, version of torch and
number of threads, so that the trial costs once. A precision that is asked for is used, and the
reason says whether it agrees. Weights stay float32 (autocast); texts always run in float32, for
there are few of them. Features under `auto` are kept as float32's: agreement is the guard. Those of
a precision that was asked for are kept apart (`rankers/source.py`).
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from imgrank.errors import UsageError
from imgrank.models.device import out_of_memory
from imgrank.models.digests import read_memory, write_memory
from imgrank.settings import Precision

__all__ = ["PrecisionChoice", "agree", "candidate", "device_name"]

Run = Callable[[], Mapping[str, Tensor]]
"""Computes the features of one batch, each [B, ...]."""

MINIMUM_COSINE = 0.999
"""Least cosine between a picture's features in half the width and in float32 that is agreement."""
MINIMUM_GAIN = 1.15
HOPELESS = 3.0
"""On a CPU, a candidate that took so many times longer than float32 at its first run is not run
again. (On other devices the first run is spent on loading kernels.)"""
FEWEST_ON_CPU, FEWEST = 4, 8
"""Pictures in a batch below which there is no trial: on a CPU it would cost more than it can bring,
and on other devices the time of a small batch says nothing of larger ones."""
REMEMBERED = 200
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class PrecisionChoice:
    """The precision of one model on one device: open until the first batch settles it.

    wish: what the user asked for.   model: what the verdict is remembered by.
    memory: the JSON file of verdicts; None: nothing is remembered.
    keep_float32: a reason not to try anything else under `auto`; "" for none.
    note: the precision and one line why; "" while it is open.
    """

    def __init__(
        self,
        device: torch.device,
        wish: Precision = "auto",
        *,
        model: str = "",
        memory: Path | None = None,
        keep_float32: str = "",
    ) -> None:
        self.device, self.wish, self.memory = device, wish, memory
        self.dtype: torch.dtype | None = None
        self.note = ""
        threads = torch.get_num_threads()
        self.key = " | ".join([model, device_name(device), torch.__version__, f"{threads} threads"])
        self._lock = threading.Lock()
        if wish == "float32":
            self._settle(None, "as asked for")
        elif wish == "auto" and keep_float32:
            self._settle(None, keep_float32)

    @property
    def open(self) -> bool:
        return not self.note

    def autocast(self) -> AbstractContextManager[object]:
        """To run the model in."""
        return _autocast(self.device, self.dtype)

    def settle(self, run: Run, count: int) -> None:
        """Decides, if that is open and the batch of `count` pictures will do. Raises UsageError if
        the device cannot compute in the precision that was asked for."""
        with self._lock:
            if self.open:
                if self.wish == "auto":
                    self._decide(run, count)
                else:
                    self._as_asked(run)

    def _settle(self, dtype: torch.dtype | None, why: str) -> None:
        self.dtype = dtype
        self.note = f"{_name(dtype)}: {why}"

    def _as_asked(self, run: Run) -> None:
        dtype = _DTYPES[self.wish]
        wanted = run()
        try:
            with _autocast(self.device, dtype):
                got = run()
        except (RuntimeError, NotImplementedError) as error:
            if out_of_memory(error):
                raise
            raise UsageError(
                f"{self.device} cannot compute in {self.wish}: {error}. Use --precision auto."
            ) from error
        least = lowest_cosine(wanted, got)
        verdict = "agrees with" if least >= MINIMUM_COSINE else "DIFFERS from"
        self._settle(dtype, f"as asked for; {verdict} float32 (lowest cosine {least:.4f})")

    def _decide(self, run: Run, count: int) -> None:
        dtype = candidate(self.device)
        known = read_memory(self.memory).get(self.key)
        if isinstance(known, dict) and known.get("precision") in ("float32", _name(dtype)):
            taken = dtype if known["precision"] == _name(dtype) else None
            self._settle(taken, f"{known.get('why', '')} (as found before)")
            return
        if count < (FEWEST_ON_CPU if self.device.type == "cpu" else FEWEST):
            return
        taken, why = trial(self.device, dtype, run)
        self._settle(taken, why)
        write_memory(self.memory, self.key, {"precision": _name(taken), "why": why}, REMEMBERED)


def trial(device: torch.device, dtype: torch.dtype, run: Run) -> tuple[torch.dtype | None, str]:
    """`dtype` or None for float32, and why. Runs the batch six times at most."""
    name = _name(dtype)
    if device.type == "cpu" and (gain := product_gain(dtype)) < MINIMUM_GAIN:
        return None, f"matrix products in {name} are {gain:.2f} times as fast on this CPU"

    def timed(kind: torch.dtype | None) -> tuple[float, Mapping[str, Tensor]]:
        with _autocast(device, kind):
            _wait(device)
            start = time.perf_counter()
            found = run()
            _wait(device)
            return time.perf_counter() - start, found

    full, wanted = timed(None)
    try:
        half, got = timed(dtype)
    except (RuntimeError, NotImplementedError) as error:
        if out_of_memory(error):
            raise
        return None, f"{name} does not run here"
    least = lowest_cosine(wanted, got)
    if not least >= MINIMUM_COSINE:
        return None, f"{name} differs (lowest cosine {least:.4f})"
    if device.type != "cpu" or half <= HOPELESS * full:
        full, half = (min(timed(kind)[0] for _ in range(2)) for kind in (None, dtype))
    gain = full / half
    if gain < MINIMUM_GAIN:
        return None, f"{name} is {gain:.2f} times as fast"
    return dtype, f"agrees with float32 and is {gain:.2f} times as fast"


def product_gain(dtype: torch.dtype) -> float:
    """How many times faster than float32 this CPU multiplies matrices under autocast to `dtype`."""
    x, weight = torch.ones(256, 512), torch.ones(2048, 512)

    def seconds(kind: torch.dtype | None) -> float:
        with _autocast(torch.device("cpu"), kind):
            start = time.perf_counter()
            F.linear(x, weight)
            return time.perf_counter() - start

    full, half = (min(seconds(kind) for _ in range(4)) for kind in (None, dtype))
    return full / max(half, 1e-9)


def candidate(device: torch.device) -> torch.dtype:
    """What is worth a trial on a device: bfloat16 where the hardware has it, else float16."""
    if device.type == "mps":
        return torch.float16
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return torch.float16
    return torch.bfloat16


def agree(wanted: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> bool:
    """True if every picture's features point the same way in both; each [B, ...]."""
    return lowest_cosine(wanted, got) >= MINIMUM_COSINE


def lowest_cosine(wanted: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> float:
    """Over all features and pictures, each feature of a picture taken as one vector; NaN if a value
    of `got` is not finite."""
    lowest = [
        F.cosine_similarity(value.flatten(1).float(), got[name].flatten(1).float()).min()
        for name, value in wanted.items()
    ]
    return float(torch.stack(lowest).min())  # NaN wins


def device_name(device: torch.device) -> str:
    """The hardware, as its maker calls it."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    if device.type == "cpu":
        try:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        return next(iter(named), "") or platform.processor() or platform.machine()
    return f"{device.type} {platform.machine()}"


def _name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.") if dtype else "float32"


def _autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    return torch.autocast(device.type, dtype) if dtype else nullcontext()


def _wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
