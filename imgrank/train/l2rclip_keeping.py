"""From a finished L2RCLIP training to a checkpoint folder: what `rankers/l2rclip.py` reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgrank.evaluate.calibration import fit_calibration
from imgrank.models.card import model_card
from imgrank.models.imported import backbone_facts
from imgrank.models.spec import BackboneSpec
from imgrank.train.keeping import duration, keep
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
    backbone: BackboneSpec,
    found: Fitted,
    command: str,
    report: Callable[[str], None],
) -> None:
    """Write it into `out`, unless it is there already from the very same weights."""
    facts = facts_of(config, problem, backbone, found, command)
    values = {"ranks": found.r, **found.images.tensors()}
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
    keep(out / config.name, facts, values, card, report, finished=not found.steps)


def facts_of(
    config: Config, problem: Problem, backbone: BackboneSpec, found: Fitted, command: str
) -> dict[str, Any]:
    """The checkpoint's config, see `models/checkpoint.py`."""
    labels, ranks, features = problem.labels, problem.ranks, list(found.images.features)
    task: dict[str, Any] = {
        "prompt": ranks.template,
        "unit": labels.unit,
        "range": [ranks.values[0], ranks.values[-1]],
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
