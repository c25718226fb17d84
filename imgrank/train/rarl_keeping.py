"""From a trained policy to a checkpoint of kind "rarl": one LoRA relative to the plain model.

Factors of all stages stand side by side (`models/rarl_checkpoint.py`): a checkpoint is small and
needs no other. Where all weights were trained, now or before, it holds all of these.

A stage begins from a checkpoint that is read from the disk, its own predecessor's too: so a run
that was interrupted between two stages goes on from the very same numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from imgrank.errors import CheckpointError
from imgrank.listwise.rules import template
from imgrank.models import rarl_checkpoint
from imgrank.models.checkpoint import read_config, save_checkpoint
from imgrank.models.licence import research_only, restricted
from imgrank.models.origin import read_origin
from imgrank.models.rarl_checkpoint import FULL, LORA, RARL, load_factors, side_by_side
from imgrank.models.terms import licence_said
from imgrank.models.vlm_spec import VlmSpec, read_vlm
from imgrank.train.keeping import duration
from imgrank.train.processes import Processes
from imgrank.train.rarl_data import Problem
from imgrank.train.rarl_policy import Learning, Policy
from imgrank.train.rarl_ready import Ready, Report
from imgrank.train.rarl_recipe import FIRST, SECOND, Config, Stage, Tuning
from imgrank.train.recipe_file import notes_of

__all__ = ["Job", "jobs", "licence_of", "settings_of", "together", "write_checkpoint"]

MAY_CHANGE = (
    *("stages", FIRST, SECOND, "name", "licence", "notes"),
    *("at_once", "checkpointing", "report_every", "save_every"),
)
"""Of a recipe: what may be otherwise when a run goes on. The last row changes no figure, or its
rounding alone, and what fits into the memory is often known only after some steps."""


@dataclass(frozen=True)
class Job:
    """A stage to be trained, with all that it needs but the model.

    name: "first" or "second".   number: 1 or 2, for random numbers.
    start: the checkpoint that it begins from; None: the plain model.
    out: of its state, log and curves.   result: where its checkpoint belongs.
    settings: all that a run must have in common with the one that it goes on from.
    finished: whether the result was written by a run with these settings.
    """

    config: Config
    problem: Problem
    command: str
    processes: Processes
    report: Report
    name: str
    number: int
    stage: Stage
    backbone: Path
    start: Path | None
    out: Path
    result: Path
    settings: dict[str, Any]
    finished: bool

    def write(self, learning: Learning) -> None:
        """The checkpoint of what has been trained, by the first process; the others wait for it."""
        if self.processes.first:
            self._write(learning)
        self.processes.wait()

    def _write(self, learning: Learning) -> None:
        config, policy = self.config, learning.policy
        stage, where = self.stage, duration(learning.seconds, policy.vlm.device)
        sizes = ", ".join(map(str, stage.sizes))
        told = [
            f"command: `{self.command}`",
            f"RARL, {self.name} stage: {stage.steps} steps of {config.prompts} prompts with "
            f"{config.group} answers each, {sizes} pictures, seed {config.seed}, {where}",
            f"rewards: {stage.alpha:g} regression, {stage.beta:g} ranking, {stage.gamma:g} format; "
            f"Response Mutation with p = {stage.mutation:g}; KL {config.kl:g}",
        ]
        training = {"method": "rarl", "stage": self.name, "run": _digest(self.settings)}
        write_checkpoint(
            self.result,
            config,
            self.problem,
            policy,
            self.backbone,
            self.start,
            told,
            training,
            self.command,
            self.report,
        )


def jobs(about: Ready[Config], start: Path | None, out: Path, command: str = "") -> Iterator[Job]:
    """The recipe's stages, in order; each is looked at when the one before has been written.

    The second begins from the first's checkpoint in OUT; if the first is not among the recipe's
    stages, from `start` rather than from that.
    """
    config, report = about.config, about.report
    first = out / FIRST / config.name
    for name, stage in config.chosen():
        number, result = (1, first) if name == FIRST else (2, out / config.name)
        begins = start
        if number == 2:
            if config.stages == "both" or (start is None and first.is_dir()):
                begins = first
            report(f"the second stage begins from {begins or 'the plain model'}")
        settings = settings_of(about, begins, stage=[name, asdict(stage)])
        done = _finished(result, settings)
        if done:
            report(f"{result} was finished before and is left as it is")
        folders = (about.backbone.folder, begins, out / name, result)
        (out / name).mkdir(parents=True, exist_ok=True)
        common = (config, about.problem, command, about.processes, report)
        yield Job(*common, name, number, stage, *folders, settings, done)


def settings_of(about: Ready[Any], start: Path | None, **more: Any) -> dict[str, Any]:
    """All that a run must have in common with the one that it goes on from.

    start: the checkpoint to begin from, of which the weights count.   more: what else counts.
    Raises CheckpointError if it is none.
    """
    own = {key: value for key, value in asdict(about.config).items() if key not in MAY_CHANGE}
    weights = read_config(start, RARL)["weights"]["sha256"] if start is not None else ""
    facts = {"problem": about.problem.digest, "backbone": about.backbone.identity}
    return {**own, **facts, "start": weights, **more}


def _finished(folder: Path, settings: Mapping[str, Any]) -> bool:
    try:
        training = read_config(folder).get("training") or {}
    except CheckpointError:
        return False
    return bool(training.get("run") == _digest(settings))


def write_checkpoint(
    folder: Path,
    config: Tuning,
    problem: Problem,
    policy: Policy,
    backbone: Path,
    start: Path | None,
    told: Sequence[str],
    training: Mapping[str, Any],
    command: str,
    report: Report,
) -> None:
    """Write it; what was there is replaced.

    start: the checkpoint that the policy began from.   told: lines of the card about the training.
    training: what the config says of it, beside the recipe.
    Raises CheckpointError if it cannot be written, or `start` is another one by now.
    """
    if start is not None and read_config(start)["weights"]["sha256"] != policy.began:
        raise CheckpointError(
            f"{start} is not the checkpoint any more that this run began from and that its result "
            "is added to. Put that one back, then run the same line: what was learnt is kept."
        )
    spec = read_vlm(backbone)
    tensors = together(policy, load_factors(start) if start is not None else {})
    recipe = {k: v for k, v in asdict(config).items() if k not in ("name", "licence", "notes")}
    known = rarl_checkpoint.facts(
        spec,
        tensors,
        name=config.name,
        licence=licence_of(config, spec),
        made_by=command,
        max_pixels=config.max_pixels,
        max_new_tokens=config.max_new_tokens,
        tasks=_tasks(problem),
        training={
            **recipe,
            **training,
            "data": {problem.data.name: {"fold": problem.fold}},
            "command": command,
        },
    )
    began = (
        [f"began from the checkpoint {start.parent.name}/{start.name}"] if start is not None else []
    )
    lines = [*told, *began, *problem.lines()]
    notes = config.notes or notes_of([problem.data.name])
    save_checkpoint(folder, known, tensors, rarl_checkpoint.card(known, notes, lines))
    report(f"wrote {folder}")


def together(policy: Policy, before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a checkpoint that is the policy, relative to the plain model.

    before: those that the policy began from; {} for the plain model.
    """
    own = policy.tensors()
    if policy.full:  # a LoRA of before is in its weights; others' full tensors may be more
        more = {n: t for n, t in before.items() if n.startswith(FULL) and n not in own}
        return {**own, **more}
    if not any(name.startswith(FULL) for name in before):
        return side_by_side(before, own)
    found = dict(before)  # all weights that learnt anything were full, so LoRA's are among them
    for name in own:
        if name.endswith(".A"):
            weight = f"{FULL}{name.removeprefix(LORA)[:-2]}.weight"
            added = own[f"{name[:-2]}.B"] @ own[name]
            found[weight] = (before[weight].float() + added).to(before[weight].dtype)
    return found


def licence_of(config: Tuning, backbone: VlmSpec) -> str:
    """Of the weights: the recipe's; where the model's own allows less, that is said first."""
    origin = read_origin(backbone.folder)
    said = origin.licence if origin else ""
    if said in ("", "other"):  # a copy, or one that the Hub has no name for: by its own files
        said = licence_said(backbone.folder)
    if not restricted(said):
        return config.licence
    least = "research only" if research_only(said) else said
    base = f"{backbone.name} ({said})"
    return f"{least}; rests on {base} and on its data ({config.licence})"


def _tasks(problem: Problem) -> dict[str, dict[str, Any]]:
    """What the config says of each task; of several queries of one their subjects."""
    found: dict[str, dict[str, Any]] = {}
    for each in problem.asked:
        labels = each.labels
        task = found.setdefault(
            labels.task,
            {
                "prompt": template(labels.task, labels.prompt, labels.subject, unit=labels.unit),
                "unit": labels.unit,
                "range": [each.rule.low, each.rule.high],
                "order": "descending",
            },
        )
        if labels.subject:
            task.setdefault("subjects", []).append(labels.subject)
    return {key: {**task, "measured": []} for key, task in found.items()}


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
