"""From a finished L2RCLIP training to a checkpoint folder: what `rankers/l2rclip.py` reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgrank.data.tokens import by_percent
from imgrank.evaluate.calibration import fit_calibration
from imgrank.models.backbone import Backbone
from imgrank.models.card import model_card
from imgrank.models.checkpoint import TOWER
from imgrank.models.imported import backbone_facts
from imgrank.models.spec import BackboneSpec
from imgrank.train.domain_fit import domain_of
from imgrank.train.keeping import duration, keep, left_as_it_is
from imgrank.train.l2rclip_data import Problem, embedded
from imgrank.train.l2rclip_recipe import Config
from imgrank.train.recipe_file import notes_of

if TYPE_CHECKING:
    from imgrank.train.l2rclip import Fitted

__all__ = ["calibrated", "facts_of", "write_checkpoint"]


def write_checkpoint(
    out: Path,
    config: Config,
    problem: Problem,
    tower: Backbone,
    found: Fitted,
    command: str,
    report: Callable[[str], None],
) -> None:
    """Write it into `out`, unless it is there already from the very same weights."""
    folder, own = out / config.name, found.images.tensors()
    values = {"ranks": found.r, **own}
    if not found.steps and left_as_it_is(folder, values, report):
        return
    facts = facts_of(config, problem, tower.spec, found, command)
    if config.domain is not None:
        tuned = {n.removeprefix(TOWER): t for n, t in own.items() if n.startswith(TOWER)}
        progress = by_percent(report)
        domain, tensors = domain_of(
            problem.data, tower, config.domain, tuned, lambda *done: progress("domain", *done)
        )
        facts["tasks"][problem.labels.task]["domain"] = domain
        values |= tensors
    epoch = problem.epoch(config.batch)
    lines = [
        f"command: `{command}`",
        f'ranks: {len(problem.ranks)}, told as "{problem.ranks.template}", '
        f"{config.text.way}; image tower: {config.image.tower}",
        f"{config.stage1.epochs} epochs of stage 1, {config.stage2.epochs} of stage 2, of {epoch} "
        f"steps of {min(config.batch, len(problem.rows))} pictures, seed {config.seed}, "
        f"{duration(found.seconds, problem.y.device)}",
        f"data: {config.data}, {len(problem.rows)} training pictures",
    ]
    card = model_card(facts, config.notes or notes_of([config.data]), lines)
    keep(folder, facts, values, card, report)


def facts_of(
    config: Config, problem: Problem, backbone: BackboneSpec, found: Fitted, command: str
) -> dict[str, Any]:
    """The checkpoint's config, see `models/checkpoint.py`."""
    labels, ranks, features = problem.labels, problem.ranks, list(found.images.features)
    task: dict[str, Any] = {
        "prompt": ranks.template,
        "unit": labels.unit,
        "range": list(labels.range or (ranks.values[0], ranks.values[-1])),
        "order": "descending",
        "ranks": ranks.to_dict(),
        **calibrated(problem, found),
    }
    if labels.classes:
        task["classes"] = list(labels.classes)
    if config.note:
        task["note"] = config.note
    own = backbone_facts(backbone, ["squash"], features)
    if found.images.replaced:
        own["replaced"] = found.images.replaced
    steps = (config.stage1.epochs + config.stage2.epochs) * problem.epoch(config.batch)
    return {
        "kind": "l2rclip",
        "name": config.name,
        "licence": config.licence,
        "made_by": command,
        "backbone": own,
        "model": {"features": features, "logit_scale": problem.scale},
        "tasks": {labels.task: {**task, "measured": []}},
        "training": {
            "data": {config.data: {"fold": config.fold}},
            "seed": config.seed,
            "steps": steps,
            "command": command,
        },
    }


def calibrated(problem: Problem, found: Fitted) -> dict[str, Any]:
    """What is fitted on the validation part; nothing, if there is none."""
    rows = problem.data.rows("validation", problem.labels)
    if not len(rows):
        return {}
    v = embedded(found.images, rows)
    logits = problem.scale * (v @ found.r.T).double().cpu().numpy()
    truth = problem.labels.values[rows].astype(np.float64)
    on = f"{problem.data.name}, validation part, {len(rows)} pictures"
    return {"calibration": fit_calibration(logits, truth, problem.ranks, on).to_dict()}
