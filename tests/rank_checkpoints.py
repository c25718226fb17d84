"""L2RCLIP checkpoints as tests want them: ranks of the embedded backbone's own text tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from imgrank.models.backbone import Backbone
from imgrank.models.checkpoint import save_checkpoint
from imgrank.models.imported import backbone_facts
from imgrank.models.ranks import Ranks
from imgrank.models.registry import EMBEDDED

AGES = Ranks(
    "A photo of {} years old face.",
    tuple(map(str, range(0, 100, 10))),
    tuple(map(float, range(0, 100, 10))),
    tuple(float(age) for age in range(-5, 95, 10)),
    tuple(map(str, range(0, 100, 10))),
)
DECADES = Ranks(
    "a photo taken in the {}s.",
    tuple(str(year) for year in range(1920, 1970, 10)),
    tuple(year + 4.5 for year in range(1920, 1970, 10)),
    tuple(map(float, range(1920, 1970, 10))),
    tuple(f"{year}s" for year in range(1920, 1970, 10)),
)
NAMES = ("unacceptable", "flawed", "ordinary", "professional", "exceptional")
LEVELS = Ranks(
    "a photo with {} aesthetic quality.",
    NAMES,
    (1.5, 3.0, 4.0, 5.0, 6.5),
    (1.0, 2.5, 3.5, 4.5, 5.5),
    NAMES,
)
UNITS = {"age": "years", "decade": "year", "aesthetics": "MOS"}
RANKS = {"age": AGES, "decade": DECADES, "aesthetics": LEVELS}


def rank_checkpoint(
    folder: Path,
    task: str = "decade",
    *,
    statistics: bool = False,
    tensors: dict[str, Any] | None = None,
    **facts: Any,
) -> Path:
    """An untrained checkpoint of kind l2rclip on `tiny`; tensors: more, or in place of its own, of
    an image tower too; facts: more of the task's config."""
    backbone, ranks = Backbone(EMBEDDED / "tiny"), RANKS[task]
    own: dict[str, torch.Tensor] = {"ranks": backbone.encode_text(ranks.texts).clone()}
    features = ["pooled"]
    if statistics:
        E, D = own["ranks"].shape[1], backbone.spec.widths["statistics"]
        weight = torch.randn(E, D, generator=torch.Generator().manual_seed(0)) / 1000
        own |= {"statistics.weight": weight, "statistics.bias": torch.zeros(E)}
        own |= {"statistics.mean": torch.zeros(D), "statistics.std": torch.ones(D)}
        features.append("statistics")
    config = {
        "kind": "l2rclip",
        "name": folder.name,
        "licence": "mit",
        "made_by": "a test",
        "backbone": backbone_facts(backbone.spec, ["squash"], features),
        "model": {"features": features, "logit_scale": backbone.spec.logit_scale()},
        "tasks": {
            task: {
                "prompt": ranks.template,
                "unit": UNITS[task],
                "range": [ranks.values[0], ranks.values[-1]],
                "order": "descending",
                "ranks": ranks.to_dict(),
                "measured": [],
                **facts,
            }
        },
    }
    if any(name.startswith("tower.visual.") for name in tensors or ()):
        config["backbone"]["replaced"] = ["image"]
    save_checkpoint(folder, config, own | (tensors or {}), f"# {folder.name}\n")
    return folder
