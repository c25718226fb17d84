"""Zero-shot object presence: can a backbone order pictures by the bare name of an object?

The measure: for every category with at least 5 positive and at least one negative picture, the
pictures are ranked by the cosine of their embedding and the category's embedding ("dog", without
a template); average precision over the positives; the mean over categories, each weighing the
same, is the macro mAP. A random order gives about the mean share of positives (`chance`).

    python -m imgrank.evaluate.zeroshot --root COCO [--backbone FOLDER]

COCO: a folder with `labels.csv` (filepath, category, count) and the pictures.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgrank.errors import DataError, ImgrankError
from imgrank.images.decode import decode, to_square
from imgrank.images.reading import read_file
from imgrank.models.backbone import Backbone

__all__ = ["Presence", "average_precision", "embed_pictures", "presence", "read_labels"]

LEAST_POSITIVES = 5
Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Presence:
    """map, chance: macro means over `by_category`, which maps a category to its AP."""

    map: float
    chance: float
    by_category: Mapping[str, float]


def average_precision(positive: npt.ArrayLike, score: npt.ArrayLike) -> float:
    """Mean, over the positives, of the precision at each one's rank, highest score first.

    Equal scores keep the order in which they are given. NaN without positives.
    """
    hit = np.asarray(positive, bool)[np.argsort(-np.asarray(score, np.float64), kind="stable")]
    if not hit.any():
        return float("nan")
    precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
    return float(precision[hit].mean())


def presence(
    pictures: Matrix, labels: Sequence[frozenset[str]], embed: Callable[[list[str]], Matrix]
) -> Presence:
    """pictures [N, E] and what is on each; `embed` gives category names' embeddings [K, E]."""
    names = sorted(set().union(*labels))
    truth = np.array([[name in present for name in names] for present in labels])  # [N, K]
    count = truth.sum(0)
    kept = [k for k in range(len(names)) if LEAST_POSITIVES <= count[k] < len(labels)]
    if not kept:
        raise DataError(f"No category has {LEAST_POSITIVES} positive pictures and a negative one.")
    scores = pictures @ embed([names[k] for k in kept]).T  # [N, K']
    aps = {names[k]: average_precision(truth[:, k], scores[:, i]) for i, k in enumerate(kept)}
    return Presence(
        map=float(np.mean(list(aps.values()))),
        chance=float(truth[:, kept].mean()),
        by_category=aps,
    )


def read_labels(root: Path) -> dict[Path, frozenset[str]]:
    """Picture -> categories on it, from `labels.csv`. Raises DataError."""
    found: dict[Path, set[str]] = {}
    try:
        with (root / "labels.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault(root / row["filepath"], set()).add(row["category"])
    except (OSError, KeyError) as error:
        raise DataError(
            f"{root} holds no labels.csv of filepath, category, count ({error})."
        ) from error
    return {path: frozenset(names) for path, names in sorted(found.items())}


def embed_pictures(backbone: Backbone, paths: Sequence[Path], feature: str = "pooled") -> Matrix:
    """One feature of each picture, [N, ...], decoded as a sort does it."""
    size, rows = backbone.image_size, []
    for start in range(0, len(paths), backbone.batch):
        part = paths[start : start + backbone.batch]
        pixels = [to_square(decode(read_file(path), size), size) for path in part]
        rows += [features[feature] for features in backbone.encode_images(pixels)]
    return np.stack(rows).astype(np.float32)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the macro mAP of a backbone folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--root", type=Path, required=True)
    default = Path(__file__).resolve().parents[1] / "weights" / "tiny"
    parser.add_argument("--backbone", type=Path, default=default)
    options = parser.parse_args(arguments)
    labels = read_labels(options.root)
    backbone = Backbone(options.backbone)
    pictures = embed_pictures(backbone, list(labels))
    found = presence(
        pictures, list(labels.values()), lambda names: backbone.encode_text(names).cpu().numpy()
    )
    for name, ap in sorted(found.by_category.items(), key=lambda item: -item[1]):
        print(f"{ap:.3f}  {name}")
    print(
        f"{backbone.name}: macro mAP {found.map:.4f} over {len(found.by_category)} categories, "
        f"{len(labels)} pictures (chance {found.chance:.4f})"
    )


if __name__ == "__main__":
    try:
        main()
    except ImgrankError as error:
        sys.exit(f"imgrank: {error}")
