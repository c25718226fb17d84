"""A small random adapter for several tasks, on the embedded backbone: what a multi-task one is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from imgrank.models.adapter import Adapter, AdapterConfig
from imgrank.models.checkpoint import save_checkpoint
from imgrank.models.registry import EMBEDDED
from imgrank.models.spec import read_spec
from imgrank.settings import load_settings

NUMBER = "sort images by the number of {}."
CLOSENESS = "sort images by closeness to {n} {}."
COUNT = {
    "prompt": NUMBER,
    "unit": "objects",
    "range": None,
    "subjects": {"cats": ["felines"], "dogs": [], "people": [], "objects in red": []},
}
AGE = {
    "prompt": "sort images by the person's age group.",
    "unit": "years",
    "range": [0, 116],
    "note": "trained on faces alone",
    "measured": [{"data": "made up", "n": 4, "mae": 5.5, "mae_interval": [5.0, 6.0]}],
}
GROUPS = {
    "prompt": "sort images by the taken date of the photo.",
    "unit": "",
    "range": [0, 2],
    "classes": ["1930s", "1940s", "1950s"],
}
TASKS: dict[str, Any] = {"count": COUNT, "age": AGE, "decade": GROUPS}


def multi_task(folder: Path | None = None, **changes: Any) -> Path:
    """A checkpoint with TASKS, in the models folder if no other is named.

    changes: facts of its config.json; `model`: of its AdapterConfig; `tower`: tensors that stand in
    for the backbone's.
    """
    folder = folder or load_settings().models_dir / "multi"
    sizes: dict[str, Any] = {"width": 16, "heads": 2, "encoder_heads": 2, "rank_heads": 2}
    sizes |= {"layers": 1, "encoder_layers": 1, "learnable_text_tokens": 2, "relational_tokens": 3}
    model = AdapterConfig(
        **{"image_widths": {"statistics": 992}, "text_width": 256, **sizes}
        | changes.pop("model", {})
    )
    torch.manual_seed(0)
    tensors = Adapter(model).state_dict()
    tower = changes.pop("tower", {})
    backbone = {"name": "tiny", "digest": f"sha256:{read_spec(EMBEDDED / 'tiny').identity}"}
    if tower:
        backbone |= {"replaced": ["text"]}  # type: ignore[dict-item]
    config = {
        "kind": "adapter",
        "name": folder.name,
        "licence": "mit",
        "backbone": backbone | {"views": ["squash"], "tokens": ["statistics"]},
        "model": model.to_dict(),
        "tasks": TASKS,
        "training": {"data": {"coco": {"fold": 0}}, "seed": 0, "steps": 5},
    }
    own = {f"tower.{name}": tensor for name, tensor in tower.items()}
    save_checkpoint(folder, config | changes, tensors | own, f"# {folder.name}\n")
    return folder
