"""What stands before a training of a Qwen2.5-VL by answers, whatever its loss: RARL's (rarl.py), or
that of plain fine-tuning (sft.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from imgrank.data.labelled import ReadOptions
from imgrank.errors import UsageError
from imgrank.models.vlm_spec import VlmSpec, read_vlm
from imgrank.train.processes import Processes, join
from imgrank.train.rarl_data import Problem, check_pictures, problem_of
from imgrank.train.rarl_policy import require_rarl
from imgrank.train.rarl_recipe import FIRST, SECOND, Config, Tuning, trained_on
from imgrank.train.run import alone_in, silent

__all__ = ["Ready", "Report", "ready"]

STATE = "state.pt"  # of either method, in OUT or in a folder of each stage

Report = Callable[[str], None]
T = TypeVar("T", bound=Tuning)


@dataclass(frozen=True)
class Ready(Generic[T]):
    """config: for these data and this backbone.   report: says nothing but in the first process."""

    config: T
    problem: Problem
    backbone: VlmSpec
    processes: Processes
    report: Report


@contextmanager
def ready(
    config: T,
    data: str,
    root: Path,
    out: Path,
    backbone: Path,
    report: Report,
    device: str,
    *,
    partial: bool,
    fold: int,
) -> Iterator[Ready[T]]:
    """Joins the other processes, reads data and backbone, and keeps other runs out of `out`.

    Raises MissingExtra, UsageError for a recipe or a device that cannot be or an `out` of the other
    method, DataError for data that are missing or damaged, CheckpointError for a folder that is no
    whole Qwen2.5-VL.
    """
    require_rarl()
    processes = join(device)
    report = report if processes.first else silent
    report(processes.about)
    if config.prompts < processes.count:
        raise UsageError(f"{processes.count} processes are too many for prompts = {config.prompts}")
    problem = problem_of(data, root, ReadOptions(fold, partial, report))
    for line in problem.lines():
        report(line)
    _require_own(out, config)
    if processes.first and not _states(out):
        check_pictures(problem, config.max_pixels, report)
    processes.wait()
    out.mkdir(parents=True, exist_ok=True)
    with alone_in(out) if processes.first else nullcontext():
        spec = processes.in_turn(lambda: read_vlm(backbone))  # hashes what may be 16 GB
        yield Ready(trained_on(config, data, spec.name), problem, spec, processes, report)
    processes.leave()


def _require_own(out: Path, config: Tuning) -> None:
    """Raises UsageError if `out` is of the other of RARL, which has stages, and plain fine-tuning:
    its state would not be seen, and its checkpoint be replaced."""
    staged = any(state.parent != out for state in _states(out))
    other = out / STATE in _states(out) if isinstance(config, Config) else staged
    if other:
        made = "sft" if isinstance(config, Config) else "rarl"
        raise UsageError(f"{out} is of a run of `imgrank train {made}`. Use another --out.")


def _states(out: Path) -> list[Path]:
    """Of earlier runs, of either method."""
    return [path for place in (out, out / FIRST, out / SECOND) if (path := place / STATE).exists()]
