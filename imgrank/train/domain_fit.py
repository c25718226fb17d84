"""The domain of a task, fitted to the pictures that a checkpoint was trained on.

What it says, and the formula of the distance: `rankers/domain.py`. The limits are quantiles of
pictures that the fit had not seen: the rows are parted into `FOLDS` by their relatives, each fold
is measured by a fit to the others, and the fit that is kept is to all of them. That holds of
training and validation pictures together; a validation part of a hundred has no 99 % quantile.

A recipe calls `domain_of`, puts the table into its task as `domain` and the tensors beside its own:

    table, tensors = domain_of(data, tower, overrides=tuned)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from imgrank.data.labelled import Labelled
from imgrank.errors import DataError
from imgrank.images.colour import SIDE, chroma_of_pixels
from imgrank.models.backbone import Backbone
from imgrank.rankers.domain import TENSORS, Domain, distances

__all__ = ["DomainConfig", "chroma_of", "domain_of", "fit_domain", "pooled_of"]

Matrix = npt.NDArray[np.floating[Any]]
Arrays = dict[str, npt.NDArray[np.float32]]
Progress = Callable[[int, int], None]
FOLDS = 5
MOST, CHUNK = 4000, 32
MONOCHROME = 15.0  # chroma that all but one in a hundred of a set of monochrome pictures stay below
SMALLEST = 1e-6  # of a standard deviation: a number that never changes says nothing


@dataclass(frozen=True, slots=True)
class DomainConfig:
    """The table `[domain]` of a recipe.

    monochrome: a colour photograph is outside; None: if the pictures are monochrome.
    distance: so is what is far from all of training.   axes: K, how many main axes.
    quantile: of held-out pictures that is still inside.
    """

    monochrome: bool | None = None
    distance: bool = True
    axes: int = 30
    quantile: float = 0.99


def domain_of(
    data: Labelled,
    backbone: Backbone,
    config: DomainConfig | None = None,
    overrides: Mapping[str, torch.Tensor] | None = None,
    progress: Progress = lambda done, total: None,
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The domain of a data set's training and validation pictures, as `fit_domain` gives it.

    Of a large set `MOST` pictures are looked at, always the same.   overrides: tensors of a tuned
    image tower by their OpenCLIP names ("visual....").   progress(done, total).
    Raises DataError if there are too few pictures, or if one cannot be read.
    """
    rows = np.flatnonzero([part in ("train", "validation") for part in data.parts])
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST, replace=False))
    if overrides:
        backbone = Backbone(backbone.spec.folder, backbone.device, overrides)
    try:
        pooled = pooled_of(data, rows, backbone, progress)
        groups = [data.groups[row] for row in rows]
        return fit_domain(pooled, groups, chroma_of(data, rows), config, data.name)
    except ValueError as error:
        raise DataError(f"{data.name}: {error}; train without a domain.") from error


def fit_domain(
    pooled: Matrix,
    groups: Sequence[str],
    chroma: Sequence[float] | Matrix | None = None,
    config: DomainConfig | None = None,
    on: str = "",
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """-> the `domain` of the task's config, and the tensors `domain....` of the checkpoint.

    pooled: [N, E], embeddings of the training and validation pictures, plain views, as
    `BackboneSource` gives them.   groups: [N], relatives.   chroma: [N], see `chroma_of`; without
    it colour is not looked at.   on: names the pictures, for people.
    Raises ValueError if there are too few pictures or relatives.
    """
    config = config or DomainConfig()
    chroma_limit = distance = None
    tensors: dict[str, torch.Tensor] = {}
    if config.monochrome is not False and chroma is not None:
        limit = float(np.quantile(np.asarray(chroma), config.quantile))
        if config.monochrome or limit <= MONOCHROME:
            chroma_limit = limit
    if config.distance:
        x = np.asarray(pooled, dtype=np.float64)
        distance = float(np.quantile(_held_out(x, groups, config.axes), config.quantile))
        arrays = _fitted(x, config.axes)
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    domain = Domain(chroma_limit is not None, chroma_limit, distance, config.quantile, on)
    return domain.to_dict(), tensors


def chroma_of(
    data: Labelled, rows: Sequence[int] | npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """The colour beyond a tint of these pictures [n]. Raises DataError, which names the file."""
    return np.array([chroma_of_pixels(data.pixels(int(row), SIDE)) for row in rows])


def pooled_of(
    data: Labelled,
    rows: Sequence[int] | npt.NDArray[np.intp],
    backbone: Backbone,
    progress: Progress = lambda done, total: None,
) -> npt.NDArray[np.float16]:
    """Embeddings of these pictures [n, E]. Raises DataError, which names the file."""
    found: list[npt.NDArray[np.float16]] = []
    for start in range(0, len(rows), CHUNK):
        chunk = [int(row) for row in rows[start : start + CHUNK]]
        pictures = [data.pixels(row, backbone.image_size) for row in chunk]
        found += [each["pooled"] for each in backbone.encode_images(pictures)]
        progress(len(found), len(rows))
    return np.stack(found)


def _held_out(x: npt.NDArray[np.float64], groups: Sequence[str], axes: int) -> Matrix:
    """Distance of each picture [N] from a fit without it and its relatives."""
    folds = np.array([_fold(group) for group in groups])
    held = np.full(len(x), np.nan)
    for fold in range(FOLDS):
        own = folds == fold
        if own.any() and not own.all():
            held[own] = distances(x[own], _fitted(x[~own], axes))
    if not np.isfinite(held).all():
        raise ValueError("a domain needs pictures of more than one group of relatives")
    return held


def _fold(group: str) -> int:
    return int.from_bytes(hashlib.sha256(f"domain|{group}".encode()).digest()[:4]) % FOLDS


def _fitted(x: npt.NDArray[np.float64], axes: int) -> Arrays:
    """mean, std, axes, variances, rest of embeddings [N, E], by their names as tensors."""
    N, E = x.shape
    K = min(axes, E - 1, N - 2)
    if K < 1:
        raise ValueError(f"a domain cannot be fitted to {N} pictures")
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    mean, std = x.mean(axis=0), np.maximum(x.std(axis=0), SMALLEST)
    z = (x - mean) / std
    _, s, v = np.linalg.svd(z, full_matrices=False)
    variances = s**2 / N  # of all min(N, E) axes
    rest = np.array([variances[K:].sum() / (E - K)])
    found = (mean, std, v[:K], variances[:K], np.maximum(rest, SMALLEST))
    return {
        f"domain.{name}": np.ascontiguousarray(array, dtype=np.float32)
        for name, array in zip(TENSORS, found, strict=True)
    }
