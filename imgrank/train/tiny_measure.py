"""How good `tiny` is at objects by name, beside its teacher, by one and the same measure.

The measure is `imgrank/evaluate/zeroshot.py`: macro average precision over categories with at
least 5 positive pictures. The teacher is the same image tower joined in closed form with the
sentence encoder's own embeddings (centred on the mean of the class names).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from imgrank.evaluate.zeroshot import embed_pictures, presence, read_labels
from imgrank.models.backbone import Backbone
from imgrank.train.tiny_corpus import class_names
from imgrank.train.tiny_inputs import classes_folder, embed, read_lite0, read_teacher
from imgrank.train.tiny_join import from_classes

__all__ = ["RECIPE", "measure"]

RECIPE = Path(__file__).with_name("recipes") / "tiny.toml"


def measure(folder: Path, packages: Path | None, root: Path) -> dict[str, float]:
    """Macro mAP on a labelled folder (`labels.csv`): `own`, the folder's text tower; `teacher`;
    `teacher, own projection`, the teacher's text in the folder's own space; and `chance`."""
    ridge = float(tomllib.loads(RECIPE.read_text(encoding="utf-8"))["class_ridge"])
    labels = read_labels(root)
    backbone, teacher = Backbone(folder), read_teacher(packages)
    classifier = read_lite0(packages).classifier
    classes = embed(teacher, class_names(classes_folder(packages)))
    centre = classes.mean(0)
    closed = from_classes(
        classes - centre, classifier.weight.detach(), classifier.bias.detach(), ridge
    )
    paths, truth = list(labels), list(labels.values())
    pooled = embed_pictures(backbone, paths)
    features = torch.from_numpy(embed_pictures(backbone, paths, "grid")).mean(1)
    joined = F.normalize(closed(features), dim=-1).numpy()

    def taught(names: list[str]) -> Any:
        return F.normalize(embed(teacher, names) - centre, dim=-1).numpy()

    own = presence(pooled, truth, lambda names: backbone.encode_text(names).numpy())
    return {
        "own": own.map,
        "teacher": presence(joined, truth, taught).map,
        "teacher, own projection": presence(pooled, truth, taught).map,
        "chance": own.chance,
    }
