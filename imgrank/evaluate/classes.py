"""Zero-shot classification: is a picture nearest to the name of its own class?

    imgrank eval --data classes --root FOLDER --template "a photo of a {}." --model MODEL

FOLDER/CLASS/*.jpg, see `data/classes.py`. A class is the mean of its name's embeddings in all
templates, normalised again. top-1, top-5: share of the pictures whose class is among the first; a
class as close as the right one is taken to stand before it. class mean: top-1 of each class, then
the mean over classes. The bootstrap draws pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from imgrank.data.catalogue import about, read_groups
from imgrank.data.classes import Classed
from imgrank.data.labelled import ReadOptions
from imgrank.errors import UsageError
from imgrank.evaluate.published import figures_of
from imgrank.evaluate.recall import nearest, over_clusters
from imgrank.evaluate.resampling import Drawn, draws
from imgrank.evaluate.searched import Asked, Figure, Found, Line, Sheet, differences, plain_table
from imgrank.evaluate.searchers import searchers, see
from imgrank.settings import Settings

__all__ = ["evaluate"]

TEMPLATE = "a photo of a {}."
QUERY = "the class of a picture"
IMAGENET = 1000  # classes; then the paper's figures stand beside
Matrix = npt.NDArray[np.float32]
Places = npt.NDArray[np.intp]


def evaluate(asked: Asked, settings: Settings) -> Found:
    """Raises DataError if there are no classes here, UsageError for a template without {}, a part
    that is not test, or a model that cannot search; as `load_words` does for absent models."""
    templates = _templates(asked)
    if asked.part != "test":
        raise UsageError("classes has no parts, all of it is test: leave --part out.")
    options = ReadOptions(partial=asked.partial, report=asked.notify)
    data: Classed = read_groups("classes", asked.root, options)
    asked.notify(f"classes: {len(data.paths)} pictures of {len(data.names)} classes")
    models = searchers(asked.models, settings)
    texts = [each.replace("{}", name) for name in data.names for each in templates]
    seen = see(data.paths, texts, models, asked, settings)
    labels = data.labels[seen.rows]
    drawn = draws([f"{n:09d}" for n in range(len(labels))], asked.rounds, asked.seed)
    places = []
    for said, pictures in zip(seen.texts, seen.pictures, strict=True):
        place = nearest(pictures, _joined(said, len(templates)), 1, labels).own
        assert place is not None
        places.append(place)
    of = len(data.names)
    lines = [
        Line("model", model.name, _figures(place, labels, of, drawn))
        for model, place in zip(models, places, strict=True)
    ]
    chance = {name: Figure((5 if name == "top-5" else 1) / of) for name in lines[0].figures}
    lines += [*differences(lines), Line("chance", "any order", chance)]
    table = plain_table(
        asked,
        [
            {**model.plain(), "classes": _by_class(place, labels, data.names)}
            for model, place in zip(models, places, strict=True)
        ],
        [Sheet(QUERY, "", len(labels), len(labels), lines)],
        split=about("classes").split,
        paper=figures_of("classes", [QUERY]) if of == IMAGENET else (),
        notes=[f"Asked of each class: {', '.join(map(repr, templates))}."],
        skips=seen.skips,
        templates=templates,
    )
    return Found(table, seen.skips, seen.computed, seen.known)


def _templates(asked: Asked) -> list[str]:
    templates = list(asked.templates) or [TEMPLATE]
    if wrong := [each for each in templates if "{}" not in each]:
        raise UsageError(f"--template {wrong[0]!r} has no {{}} for the name of the class.")
    return templates


def _joined(said: Matrix, templates: int) -> Matrix:
    """[C * templates, E] -> [C, E]: the mean of each class, normalised."""
    means = said.reshape(-1, templates, said.shape[1]).mean(axis=1)
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def _figures(place: Places, labels: Places, of: int, drawn: Drawn) -> dict[str, Figure]:
    """place: [N], how many classes stand before the right one.   of: how many there are."""
    rows = np.arange(len(labels))
    hit = (place < 1).astype(np.float64)
    counts = np.bincount(labels, minlength=of)
    there = counts > 0
    means = np.bincount(labels, hit, minlength=of)[there] / counts[there]
    found = {
        "top-1": Figure(float(hit.mean()), over_clusters(hit, rows, drawn)),
        "class mean": Figure(float(means.mean()), _class_means(hit, labels, of, drawn)),
    }
    if of > 5:
        five = (place < 5).astype(np.float64)
        found["top-5"] = Figure(float(five.mean()), over_clusters(five, rows, drawn))
    return found


def _class_means(
    hit: npt.NDArray[np.float64], labels: Places, of: int, drawn: Drawn
) -> npt.NDArray[np.float64]:
    """[R]: mean over the classes that a round drew a picture of."""
    right, total = (np.zeros((len(drawn), of)) for _ in range(2))
    for label in range(of):
        own = labels == label
        total[:, label] = drawn[:, own].sum(axis=1)
        right[:, label] = drawn[:, own] @ hit[own]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nanmean(right / total, axis=1), np.float64)


def _by_class(place: Places, labels: Places, names: Sequence[str]) -> list[dict[str, Any]]:
    """For JSON: pictures and top-1 of each class."""
    return [
        {
            "class": name,
            "pictures": int((labels == number).sum()),
            "top-1": float((place[labels == number] < 1).mean()) if number in labels else None,
        }
        for number, name in enumerate(names)
    ]
