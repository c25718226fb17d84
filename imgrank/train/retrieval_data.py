"""Queries, their pictures and captioned pictures, as an aligned retrieval draws them.

Everything random at a step depends on (seed, step) alone. Shapes: Q queries with n = u x v pictures
each and P pairs; a batch of B queries has U distinct pictures; C captioned pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imgrank.data.captions import Captioned
from imgrank.data.labelled import Labelled, Labels, Pixels, read_picture
from imgrank.data.preferences import Preferences, order_pairs
from imgrank.data.split import Part
from imgrank.errors import DataError
from imgrank.images.decode import to_input
from imgrank.models.spec import BackboneSpec
from imgrank.train.retrieval_recipe import Config

__all__ = [
    "Batch",
    "Problem",
    "batch_of",
    "check_source",
    "draw_captions",
    "draw_queries",
    "problem_of",
]

Rows = npt.NDArray[np.intp]
AT_ONCE = 64  # pictures or queries, where no gradient is wanted
QUERIES, CAPTIONS, HELD_OUT = 0, 1, 2  # streams of random numbers
MOST_WATCHED = 512  # queries; of the paper's 80,000 a twentieth would take longer than the training


@dataclass(frozen=True, eq=False)
class Problem:
    """What is trained on. Rows of texts: first the Q queries, then all captions.

    pictures: all, of preferences and captions; without labels.   own [Q, n]: a query's, as rows.
    pairs [P, 2]: (preferred, other), indices into a query's n.   trained, watched: queries.
    captioned [C]: rows of pictures.   first [C + 1]: where the captions of each begin in texts.
    backbone: identity of the starting model.
    """

    pictures: Labelled
    texts: tuple[str, ...]
    own: Rows
    pairs: Tensor
    trained: Rows
    watched: Rows
    captioned: Rows
    first: Rows
    backbone: str

    @property
    def digest(self) -> str:
        """Changes with anything that is here."""
        names = [self.backbone, *self.pictures.keys, *self.texts]
        facts = hashlib.sha256("\n".join(names).encode())
        for array in (self.own, self.pairs.cpu().numpy(), self.captioned, self.first):
            facts.update(np.ascontiguousarray(array).tobytes())
        return facts.hexdigest()


@dataclass(frozen=True, eq=False)
class Batch:
    """queries [B]: rows of texts.   pictures [U]: distinct rows.   own [B, n]: places in these."""

    queries: Rows
    pictures: Rows
    own: Tensor


def check_source(
    preferences: Preferences, backbone: BackboneSpec, file: Path, report: Callable[[str], None]
) -> None:
    """Whether this backbone may learn from these preferences, as far as their first line tells.

    report: hears that another model looked their pictures up.
    Raises DataError for pictures that are kept for measuring.
    """
    pool = preferences.facts.get("pool", ())
    kept = [f"the {each['part']} part of {each['name']}" for each in pool if _measured_on(each)]
    if kept:
        raise DataError(
            f"{file} has {' and '.join(kept)}, on which models are measured: they would have seen "
            "it. Make the file again with --part train."
        )
    model = preferences.facts.get("model")
    digest = model.get("digest") if isinstance(model, Mapping) else None
    if isinstance(model, Mapping) and digest is not None:
        own = f"sha256:{backbone.identity}"
        if digest != own or model.get("checkpoint") is not None:
            report(
                f"{file} was made with {model.get('name')}, and {backbone.name} is trained, whose "
                "own searches bring up other pictures: `imgrank data preferences --model "
                f"{backbone.name}` makes preferences of these"
            )


def _measured_on(each: Mapping[str, Any]) -> bool:
    return each.get("part") in ("validation", "test")


def problem_of(
    config: Config,
    preferences: Preferences,
    captioned: Sequence[Captioned],
    backbone: BackboneSpec,
    device: torch.device,
) -> Problem:
    """Of the captioned sets only the training part counts.

    Raises DataError if a query that is trained on is left of none.
    """
    own = preferences.matrix.reshape(len(preferences), -1)
    paths = dict(zip(preferences.keys, preferences.pictures, strict=True))
    told = list[tuple[str, tuple[str, ...]]]()
    for data in captioned:
        for row in data.rows("train"):
            paths.setdefault(data.keys[row], data.paths[row])
            told.append((data.keys[row], data.captions[row]))
    if captioned and len(told) < 2:
        raise DataError("the captioned sets have no two pictures in their training part.")
    keys = sorted(paths)
    row_of = {key: row for row, key in enumerate(keys)}
    held = min(int(config.held_out * len(preferences)), MOST_WATCHED)
    order = np.random.default_rng((config.seed, HELD_OUT)).permutation(len(preferences))
    ends = np.cumsum([len(preferences), *(len(texts) for _, texts in told)])
    return Problem(
        _pictures(keys, [paths[key] for key in keys], backbone),
        (*preferences.queries, *(text for _, texts in told for text in texts)),
        np.array([row_of[key] for key in preferences.keys], dtype=np.intp)[own],
        torch.from_numpy(order_pairs(*preferences.matrix.shape[1:])).to(device),
        np.sort(order[held:]),
        np.sort(order[:held]),
        np.array([row_of[key] for key, _ in told], dtype=np.intp),
        ends.astype(np.intp),
        backbone.identity,
    )


def _pictures(keys: Sequence[str], paths: Sequence[Path], spec: BackboneSpec) -> Labelled:
    """As the model's own preprocessing sees them, which is how a search does."""
    nothing = Labels("none", "", "", np.full(len(keys), np.nan, np.float32))
    part: Part = "train"
    seen = f"{spec.resize_mode}-{spec.interpolation}-{spec.fill_color}"
    plain = (spec.resize_mode, spec.interpolation) == ("squash", "bicubic")
    return Labelled(
        "pictures",
        tuple(paths),
        tuple(keys) if plain else tuple(f"{key}|{seen}" for key in keys),
        (part,) * len(keys),
        tuple(keys),
        (nothing,),
        render=partial(_render, tuple(paths), spec),
        mirrored=False,
    )


def _render(paths: Sequence[Path], spec: BackboneSpec, index: int, size: int) -> Pixels:
    image = read_picture(paths[index], size)
    return to_input(image, size, spec.interpolation, spec.resize_mode, spec.fill_color)


def draw_queries(problem: Problem, config: Config, step: int) -> Batch:
    """The queries of a step; each once an epoch, but for what does not fill a batch."""
    queries = problem.trained[_drawn(len(problem.trained), config.batch, config, QUERIES, step)]
    return batch_of(problem, queries)


def batch_of(problem: Problem, queries: Rows) -> Batch:
    """These queries and their pictures."""
    pictures, places = np.unique(problem.own[queries], return_inverse=True)
    own = torch.from_numpy(places.reshape(len(queries), -1)).to(problem.pairs.device)
    return Batch(queries, pictures, own)


def draw_captions(problem: Problem, config: Config, step: int) -> tuple[Rows, Rows]:
    """Rows of C pictures and of one caption each, the stream of the contrastive term."""
    chosen = _drawn(len(problem.captioned), config.captions, config, CAPTIONS, step)
    first, stop = problem.first[chosen], problem.first[chosen + 1]
    rng = np.random.default_rng((config.seed, CAPTIONS, step, 1))
    return problem.captioned[chosen], rng.integers(first, stop)


def _drawn(count: int, batch: int, config: Config, stream: int, step: int) -> Rows:
    """`batch` of 0..count-1, another part of each epoch's order at each step."""
    batch = min(batch, count)
    epoch, part = divmod(step, count // batch)
    rng = np.random.default_rng((config.seed, stream, epoch))
    found: Rows = rng.permutation(count)[part * batch : (part + 1) * batch]
    return found
