"""Zero-shot object presence: can a backbone order pictures by the bare name of an object?

The measure: for every category with at least 5 positive and at least one negative picture, the
pictures are ranked by the cosine of their embedding and the category's embedding ("dog", without
a template); average precision over the positives; the mean over categories, each weighing the
same, is the macro mAP. A random order gives about the mean share of positives (`chance`).

    python -m imgrank.evaluate.zeroshot --root COCO [--backbone FOLDER] [--templates]

COCO: a folder with `labels.csv` (filepath, category, count) and the pictures.
--templates: instead, which ensemble of templates serves names best. All are measured on one half
of the pictures; the best of them, the bare names and what sorts use on the other half.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgrank.errors import DataError, ImgrankError
from imgrank.evaluate.metrics import bootstrap
from imgrank.images.reading import read_file
from imgrank.models.backbone import Backbone
from imgrank.rankers.prompts import TEMPLATES
from imgrank.rankers.source import BackboneSource

__all__ = [
    "Presence",
    "average_precision",
    "embed_pictures",
    "presence",
    "read_labels",
    "templates_by_half",
]

LEAST_POSITIVES = 5
Matrix = npt.NDArray[np.float32]
Embed = Callable[[list[str]], Matrix]
BARE, IN_USE = "bare", "in use"
TRIED: Mapping[str, tuple[str, ...]] = {
    BARE: ("{}",),
    IN_USE: TEMPLATES,
    "a photo": ("a photo of {}.",),
    "five": ("{}", "a photo of {}.", "a good photo of {}.", "{} in the picture", "there is {}."),
    "seven": (
        *("{}", "a photo of {}.", "a picture of {}.", "an image of {}.", "a photo with {}."),
        *("a close-up of {}.", "there is {} in the picture."),
    ),
    "nine": (
        *("{}", "a photo of {}.", "a picture of {}.", "a photo of the {}.", "a good photo of {}."),
        *("a photo of many {}.", "a close-up photo of {}.", "a blurry photo of {}."),
        "a photo of {} in the background.",
    ),
}


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


def presence(pictures: Matrix, labels: Sequence[frozenset[str]], embed: Embed) -> Presence:
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


def templates_by_half(
    pictures: Matrix, labels: Sequence[frozenset[str]], embed: Embed
) -> list[str]:
    """A line for each ensemble of `TRIED` on the choosing half, then some on the reporting half,
    with what they gain on bare names and its 95 % interval (bootstrap over pictures).

    pictures [N, E]; `embed` as for `presence`. Raises DataError as it does.
    """
    rows = list(range(len(labels)))
    random.Random(0).shuffle(rows)
    halves = {"choosing": rows[: len(rows) // 2], "reporting": rows[len(rows) // 2 :]}
    names = sorted(set().union(*labels))
    embedded = {}
    for key, templates in TRIED.items():
        mean = np.mean([embed([t.format(name) for name in names]) for t in templates], axis=0)
        embedded[key] = dict(zip(names, mean / np.linalg.norm(mean, axis=1)[:, None], strict=True))

    def measured(key: str, chosen: Sequence[int]) -> float:
        known = embedded[key]
        part = [labels[row] for row in chosen]
        return presence(pictures[chosen], part, lambda ask: np.stack([known[n] for n in ask])).map

    chosen_on = {key: measured(key, halves["choosing"]) for key in TRIED}
    lines = [f"choosing   {key:8} macro mAP {value:.4f}" for key, value in chosen_on.items()]
    best = max(chosen_on, key=lambda key: chosen_on[key])
    left = halves["reporting"]
    for key in dict.fromkeys((BARE, IN_USE, best)):
        value = measured(key, left)
        line = f"reporting  {key:8} macro mAP {value:.4f}"
        if key != BARE:  # drawing a picture twice flatters every mAP, but not a difference

            def gain(drawn: npt.NDArray[np.float64], _: object, key: str = key) -> float:
                at = drawn.astype(int).tolist()
                return measured(key, at) - measured(BARE, at)

            low, high = bootstrap(gain, left, left)
            line += f", less bare {value - measured(BARE, left):+.4f} [{low:+.4f}, {high:+.4f}]"
        lines.append(line)
    return lines


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
    """One feature of each picture, [N, ...], decoded and resized as a sort does it."""
    source, rows = BackboneSource(backbone.spec), []
    for start in range(0, len(paths), backbone.batch):
        part = paths[start : start + backbone.batch]
        pixels = [source.prepare(read_file(path)) for path in part]
        rows += [features[feature] for features in backbone.encode_images(pixels)]
    return np.stack(rows).astype(np.float32)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the macro mAP of a backbone folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--root", type=Path, required=True)
    default = Path(__file__).resolve().parents[1] / "weights" / "tiny"
    parser.add_argument("--backbone", type=Path, default=default)
    parser.add_argument("--templates", action="store_true", help="compare ensembles of templates")
    options = parser.parse_args(arguments)
    labels = read_labels(options.root)
    backbone = Backbone(options.backbone)
    pictures = embed_pictures(backbone, list(labels))

    def embed(texts: list[str]) -> Matrix:
        rows: Matrix = backbone.encode_text(texts).float().cpu().numpy()
        return rows

    truth = list(labels.values())
    if options.templates:
        print("\n".join(templates_by_half(pictures, truth, embed)))
        return
    found = presence(pictures, truth, embed)
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
