"""What stays of an aligned retrieval: cosines of the starting model, a verdict, two folders.

OUT/NAME-delta is the checkpoint of kind "retrieval": the changed tensors alone, in half precision.
OUT/NAME is the whole model, an OpenCLIP folder made from it, so that both give the same numbers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from imgrank.data.captions import Captioned
from imgrank.data.preferences import Preferences
from imgrank.errors import CheckpointError, DataError
from imgrank.models import retrieval_checkpoint
from imgrank.models.checkpoint import (
    CARD,
    load_tensors,
    read_config,
    save_checkpoint,
)
from imgrank.models.export import fill
from imgrank.models.registry import Entry
from imgrank.models.spec import BackboneSpec
from imgrank.train.keeping import duration
from imgrank.train.recipe_file import notes_of
from imgrank.train.retrieval_data import Problem
from imgrank.train.retrieval_recipe import Config

if TYPE_CHECKING:
    from imgrank.train.retrieval import Trained

__all__ = ["Source", "failure", "kept_reference", "too_many_clamped", "write_results"]

NOT_LEARNT = 0.69  # log 2 = .693 is a DPO loss that has learnt nothing
Report = Callable[[str], None]


def failure(config: Config, log: Path) -> str:
    """What went wrong in a training that has ended, by the last tenth of its steps, 50 at most; ""
    if nothing did."""
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if "total" in row][-max(1, min(50, config.steps // 10)) :]
    clamped = float(np.mean([row["clamped"] for row in rows]))
    if clamped > config.most_clamped:
        return too_many_clamped(config, clamped, "At the end of the training")
    dpo = float(np.mean([row.get("dpo", 0.0) for row in rows]))
    if dpo > NOT_LEARNT:
        return (
            f"the DPO loss is {dpo:.4f} at the end, and log 2 = 0.6931 is what a model has that "
            "learnt nothing: no checkpoint is written. Use another --out with more --steps, a "
            "larger lr or beta, or a smaller weight of the other term: --set lr=... --set beta=... "
            "--set weight=..."
        )
    return ""


def too_many_clamped(config: Config, share: float, when: str) -> str:
    """Of a policy that does not fit a model."""
    return (
        f"{when} {share:.0%} of the cosines are below the least that policy = {config.policy} has "
        f"a logarithm for ({config.floor:g}), and so without a gradient: no checkpoint is written. "
        "Use --set policy=logit or policy=shifted, with another --out."
    )


@dataclass(frozen=True)
class Source:
    """What a model was trained on, for people. preferences: the first line of their file.
    captions: {name of a set: pictures that were trained on}."""

    preferences: Mapping[str, Any]
    captions: Mapping[str, int]

    @property
    def data(self) -> tuple[str, ...]:
        """Names of the sets of pool and captions."""
        pool = [str(each["name"]) for each in self.preferences.get("pool", ())]
        return tuple(dict.fromkeys([*pool, *self.captions]))

    def lines(self, config: Config, problem: Problem) -> list[str]:
        """What will be done, one line each."""
        n, pairs = problem.own.shape[1], len(problem.pairs)
        lines = [
            f"{len(problem.trained)} queries to train on, {len(problem.watched)} to watch, each "
            f"with {n} pictures and {pairs} pairs; {len(problem.pictures)} pictures in all"
        ]
        if self.captions:
            told = ", ".join(f"{count} pictures of {name}" for name, count in self.captions.items())
            batch = min(config.captions, len(problem.captioned))
            lines.append(f"contrastive term: {told}, {batch} a step")
        elif config.anchor == "none" or not config.weight:
            lines.append("no captions and no anchor: the model may forget what it could find")
        else:
            lines.append(
                f"no captions: the anchor is the starting model's own cosines ({config.anchor})"
            )
        return lines


def source_of(preferences: Preferences, captioned: Sequence[Captioned]) -> Source:
    """As a checkpoint records it."""
    facts = {k: v for k, v in preferences.facts.items() if k not in ("format", "kind")}
    return Source(facts, {data.name: len(data.rows("train")) for data in captioned})


def kept_reference(
    out: Path,
    config: Config,
    problem: Problem,
    compute: Callable[[], Tensor],
) -> Tensor:
    """Cosines [Q, n] of the starting model, float32, from OUT or computed and kept there.

    Raises DataError if they cannot be written.
    """
    facts = (problem.digest, config.precision, config.image, config.text)
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    path = out / f"reference-{digest}.npy"
    device, shape = problem.pairs.device, problem.own.shape
    try:
        kept = np.load(path)
        if kept.shape == shape and kept.dtype == np.float32:
            return torch.from_numpy(kept).to(device)
    except (OSError, ValueError, EOFError):
        pass  # not there, or damaged
    found = compute()
    partial = path.with_name("reference.part.npy")
    try:
        np.save(partial, found.cpu().numpy())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DataError(f"{path} cannot be written: {error.strerror}.") from error
    return found


def write_results(
    out: Path,
    config: Config,
    problem: Problem,
    source: Source,
    backbone: BackboneSpec,
    start: Mapping[str, Tensor],
    trained: Trained,
    command: str,
    report: Report,
) -> None:
    """Write checkpoint and model, unless they are there already from the very same weights.

    start: what was trained as it was before, by OpenCLIP's names.
    """
    folder, delta = out / config.name, out / f"{config.name}-delta"
    values = retrieval_checkpoint.tensors(start, trained.model.named())
    if not trained.steps and _holds(delta, values) and (folder / CARD).is_file():
        report(f"{folder} was finished before and is left as it is")
        return
    lines = _told(config, problem, source, trained, command)
    facts = retrieval_checkpoint.facts(
        backbone,
        values,
        name=config.name,
        licence=config.licence,
        made_by=command,
        training=_training(config, source, command),
    )
    told = ["coco-captions" if name == "coco" else name for name in source.captions]
    notes = config.notes or notes_of([*source.data, *told])
    save_checkpoint(delta, facts, values, retrieval_checkpoint.card(facts, notes, lines))
    report(f"wrote {delta}")
    more = "\n".join(["", "## Training", "", *(f"- {line}" for line in lines), "", notes.strip()])
    _whole(folder, delta, backbone, f"{more}\n")
    report(f"wrote {folder}")


def _whole(folder: Path, delta: Path, backbone: BackboneSpec, more: str) -> None:
    """The OpenCLIP folder of a checkpoint; one of an earlier training here is replaced."""
    entry = Entry(folder.name, "retrieval", delta, "local", read_config(delta))
    staging = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        fill(staging, folder.name, entry, backbone, more)
        if (folder / "imgrank.json").is_file():
            shutil.rmtree(folder)
        staging.rename(folder)
    except OSError as error:
        raise CheckpointError(f"cannot write {folder}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _training(config: Config, source: Source, command: str) -> dict[str, Any]:
    """What the checkpoint's config says of its training: all that the recipe has, and the data."""
    settings = {k: v for k, v in asdict(config).items() if k not in ("name", "licence", "notes")}
    return {
        **settings,
        "preferences": dict(source.preferences),
        "captioned": dict(source.captions),
        "command": command,
    }


def _told(
    config: Config, problem: Problem, source: Source, trained: Trained, command: str
) -> list[str]:
    """What the card says of the training, one line each."""
    names = {"dpo": "ranked DPO", "ipo": "ranked IPO", "rrhf": "RRHF"}
    device = next(trained.model.parameters()).device
    return [
        f"command: `{command}`",
        f"loss: {names[config.loss]}, b = {config.beta:g}, policy {config.policy}, temperature "
        f"{config.temperature:.4g}",
        *source.lines(config, problem),
        *_how_preferred(source.preferences),
        f"image tower: {config.image}; text tower: {config.text}; {config.steps} steps of "
        f"{min(config.batch, len(problem.trained))} queries, learning rate {config.lr:g}, seed "
        f"{config.seed}, {duration(trained.seconds, device)}, kept arrays not counted",
    ]


def _how_preferred(facts: Mapping[str, Any]) -> list[str]:
    """How the preferences were made, as far as their file's first line says so."""
    found = []
    for table, key, what in (
        ("model", "name", "pictures looked up by"),
        ("rerank", "name", "rows sorted by"),
        ("rephrase", "method", "rephrasing:"),
    ):
        own = facts.get(table)
        if isinstance(own, Mapping) and isinstance(own.get(key), str):
            found.append(f"{what} {own[key]}")
    pool = [f"{each.get('used', 'all')} of {each['name']}" for each in facts.get("pool", ())]
    found += [f"pool: {', '.join(pool)}"] if pool else []
    return [f"preferences: {'; '.join(found)}"] if found else []


def _holds(folder: Path, tensors: Mapping[str, Tensor]) -> bool:
    """Whether this is a whole checkpoint that has these very weights."""
    try:
        there = load_tensors(folder, as_stored=True)
    except (CheckpointError, OSError):
        return False
    same = there.keys() == tensors.keys()
    return same and all(torch.equal(there[name], tensors[name]) for name in tensors)
