"""From a trained model to a checkpoint folder: its tensors, what its config says, its card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from imgrank.errors import CheckpointError
from imgrank.models.card import model_card
from imgrank.models.checkpoint import CARD, load_tensors, save_checkpoint
from imgrank.models.imported import backbone_facts
from imgrank.models.spec import BackboneSpec
from imgrank.rankers.trained import RELATIVE_TO
from imgrank.train.adapter_recipe import Config, Task, notes_of_data
from imgrank.train.streams import RELATIVE, Asked, Stream

if TYPE_CHECKING:
    from imgrank.train.adapter import Trained

__all__ = ["duration", "facts_of", "keep", "left_as_it_is", "task_facts", "write_checkpoint"]


def write_checkpoint(
    folder: Path,
    config: Config,
    streams: Sequence[Stream],
    backbone: BackboneSpec,
    trained: Trained,
    command: str,
    report: Callable[[str], None],
) -> None:
    """Write it, unless it is there already from the very same weights."""
    model = trained.model
    values = {**model.adapter.state_dict(), **(model.tuned.overrides() if model.tuned else {})}
    if not trained.steps and left_as_it_is(folder, values, report):
        return
    facts = facts_of(config, streams, backbone, model.adapter.config.to_dict(), command)
    if model.tuned is not None:
        facts["backbone"]["replaced"] = ["text"]
    shares = sum(source.share for source in config.sources)
    device = next(model.parameters()).device
    lines = [
        f"command: `{command}`",
        f"{config.steps} steps, seed {config.seed}, {duration(trained.seconds, device)}, cached "
        "tokens not counted",
        "data sets: "
        + ", ".join(f"{s.data} ({s.share / shares:.0%} of steps)" for s in config.sources),
        f"{sum(p.numel() for p in model.adapter.parameters()) / 1e6:.2f} M parameters",
    ]
    card = model_card(facts, config.notes or notes_of_data(config), lines)
    keep(folder, facts, values, card, report)


def duration(seconds: float, device: torch.device) -> str:
    """How long a model was trained, and on what, for its card."""
    where = f"{torch.get_num_threads()} CPU thread(s)" if device.type == "cpu" else str(device)
    return f"{seconds / 60:.1f} minutes on {where}"


def keep(
    folder: Path,
    facts: Mapping[str, Any],
    values: Mapping[str, Tensor],
    card: str,
    report: Callable[[str], None],
) -> None:
    """Write a checkpoint."""
    save_checkpoint(folder, facts, as_kept(values), card)
    report(f"wrote {folder}")


def as_kept(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices survive half precision; gains and biases of the first norms would not quite."""
    return {
        name: (value.half() if value.ndim > 1 else value).cpu() for name, value in values.items()
    }


def left_as_it_is(
    folder: Path, values: Mapping[str, Tensor], report: Callable[[str], None]
) -> bool:
    """Whether it is a whole checkpoint with these very weights, from a training that had ended
    before; says so."""
    if _holds(folder, as_kept(values)):
        report(f"{folder} was finished before and is left as it is")
        return True
    return False


def facts_of(
    config: Config,
    streams: Sequence[Stream],
    backbone: BackboneSpec,
    model: Mapping[str, Any],
    command: str,
) -> dict[str, Any]:
    """The checkpoint's config, see `models/checkpoint.py`."""
    by_task: dict[str, list[Asked]] = {}
    for stream in streams:
        for asked in stream.asked:
            by_task.setdefault(asked.labels.task, []).append(asked)
    tasks = {task: task_facts(asked) for task, asked in by_task.items()}
    for task, highest in _closeness(streams).items():
        tasks[task]["closeness"] = RELATIVE.replace("{subject}", "{}")
        if highest != RELATIVE_TO:
            tasks[task]["closeness_to"] = highest
    return {
        "kind": "adapter",
        "name": config.name,
        "licence": config.licence,
        "made_by": command,
        "backbone": backbone_facts(backbone, ["squash"], list(model["image_widths"])),
        "model": dict(model),
        "tasks": tasks,
        "training": {
            "data": {source.data: {"fold": source.fold} for source in config.sources},
            "seed": config.seed,
            "steps": config.steps,
            "command": command,
        },
    }


def task_facts(asked: Sequence[Asked]) -> dict[str, Any]:
    """What a config records of a task that these queries trained.

    The range is that of all of them; a task without one is open. `offset` and `scale` turn what
    the head says into the task's unit: value = offset + scale * score.
    """
    first, task = asked[0].labels, asked[0].task
    ends = [each.labels.range for each in asked]
    facts: dict[str, Any] = {
        "prompt": first.prompt.replace(first.subject, "{}") if first.subject else first.prompt,
        "unit": first.unit,
    }
    known = [each for each in ends if each is not None]
    if len(known) == len(ends):
        facts["range"] = [min(low for low, _ in known), max(high for _, high in known)]
    facts["order"] = "descending"
    subjects = list(dict.fromkeys(each.labels.subject for each in asked if each.labels.subject))
    if subjects:
        facts["subjects"] = subjects
    if first.classes:
        facts["classes"] = list(first.classes)
    if (task.offset, task.scale) != (Task.offset, Task.scale):
        facts |= {"offset": task.offset, "scale": task.scale}
    if task.note:
        facts["note"] = task.note
    return {**facts, "measured": []}


def _closeness(streams: Sequence[Stream]) -> dict[str, int]:
    """{task: the highest n of "closeness to n"} of those that were trained for it; of several data
    sets the lowest, up to which all of them were."""
    highest: dict[str, int] = {}
    for source, asked in ((s.source, each) for s in streams for each in s.asked):
        if source.relative:
            task = asked.labels.task
            highest[task] = min(source.relative_to, highest.get(task, source.relative_to))
    return highest


def _holds(folder: Path, tensors: Mapping[str, Tensor]) -> bool:
    """Whether this is a whole checkpoint that has these very weights."""
    try:
        there = load_tensors(folder, as_stored=True)
    except (CheckpointError, OSError):
        return False
    same = tensors.keys() <= there.keys()
    same = same and all(torch.equal(there[name], tensors[name]) for name in tensors)
    return same and (folder / CARD).is_file()
