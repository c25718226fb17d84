"""Ridge regression on frozen features: what any trained head has to beat.

    w = argmin |Z w - (y - mean y)|^2 + penalty |w|^2,    Z: features, standardised on training rows

The penalty and the set of features are chosen by SRCC on the validation part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgrank.data.features import TokenSet
from imgrank.data.labelled import Labels
from imgrank.evaluate.metrics import srcc

__all__ = ["Ridge", "fit_ridge", "pooled_features", "strongest_ridge"]

Matrix = npt.NDArray[np.float64]
PENALTIES = tuple(10.0 ** (n / 2) for n in range(2, 13))


@dataclass(frozen=True, slots=True)
class Ridge:
    """A fitted ridge. features: the name of the set it was fitted on."""

    features: str
    penalty: float
    mean: Matrix
    scale: Matrix
    weights: Matrix
    intercept: float

    def predict(self, x: Matrix) -> Matrix:
        """[N, F] -> [N]."""
        return ((x - self.mean) / self.scale) @ self.weights + self.intercept


def pooled_features(
    data: TokenSet, rows: npt.NDArray[np.intp], mirror: bool = False
) -> dict[str, Matrix]:
    """Feature sets of these rows [N, F]: `statistics`, and with them mean and standard deviation
    of the grid over its positions (`statistics+grid`). Of a cache without statistics `grid` alone,
    of one without the grid the statistics."""
    found: dict[str, list[Matrix]] = {}
    for start in range(0, len(rows), 256):
        part = rows[start : start + 256]
        tokens = data.cache.batch(part.tolist(), [mirror] * len(part))
        pooled = []
        if "statistics" in tokens:
            pooled.append(tokens["statistics"][:, 0].astype(np.float64))
            found.setdefault("statistics", []).append(pooled[0])
        if "grid" in tokens:
            grid = tokens["grid"].astype(np.float64)
            pooled += [grid.mean(1), grid.std(1)]
            name = "statistics+grid" if "statistics" in tokens else "grid"
            found.setdefault(name, []).append(np.concatenate(pooled, axis=1))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def fit_ridge(
    x: Matrix,
    y: npt.NDArray[np.floating],
    x_validation: Matrix,
    y_validation: npt.NDArray[np.floating],
    features: str = "",
) -> tuple[Ridge, float]:
    """The ridge with the penalty of the highest validation SRCC, and that SRCC."""
    mean, scale = x.mean(0), x.std(0) + 1e-6
    z, z_validation = (x - mean) / scale, (x_validation - mean) / scale
    intercept = float(y.mean())
    values, vectors = np.linalg.eigh(z.T @ z)
    rotated = vectors.T @ (z.T @ (y - intercept))
    best: tuple[Ridge, float] | None = None
    for penalty in PENALTIES:
        weights = vectors @ (rotated / (np.maximum(values, 0) + penalty))
        reached = srcc(y_validation, z_validation @ weights)
        if best is None or reached > best[1]:
            best = Ridge(features, penalty, mean, scale, weights, intercept), reached
    assert best is not None
    return best


def strongest_ridge(data: TokenSet, labels: Labels | None = None) -> Ridge:
    """The better feature set's ridge for one query of this data set, fitted on its training part.

    labels: the query; None: the first.   With mirrored tokens, both views are trained on.
    """
    labels = labels or data.data.labels[0]
    rows, validation = data.rows("train", labels), data.rows("validation", labels)
    train, y = pooled_features(data, rows), labels.values[rows]
    if data.cache.layout.mirrored:
        second = pooled_features(data, rows, mirror=True)
        train = {name: np.concatenate((x, second[name])) for name, x in train.items()}
        y = np.concatenate((y, y))
    held: Mapping[str, Matrix] = pooled_features(data, validation)
    fitted = [
        fit_ridge(x, y, held[name], labels.values[validation], name) for name, x in train.items()
    ]
    return max(fitted, key=lambda pair: pair[1])[0]
