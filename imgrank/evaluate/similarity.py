"""How alike the embeddings of a model's ranks are, as a picture: Figure 3 of paper 000.

Cell (i, j) is s_ij = r_i^T r_j. Where the ranks keep their order, each row falls to both sides of
the diagonal; the share of steps to the right that fall is the ordinality score in the title.
Needs matplotlib (extra `train`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgrank.errors import MissingExtra, UsageError
from imgrank.evaluate.calibration import ordinality_score

__all__ = ["draw", "similarity_figure"]

NAMED = 12  # names along an axis; of more ranks every so-many-th is named


def similarity_figure(r: npt.ArrayLike, names: Sequence[str], title: str) -> Any:
    """Embeddings r [M, E], lowest rank first, and their names [M] -> a Figure.

    Raises MissingExtra without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("a plot of similarities", "train") from error
    embeddings = np.asarray(r, dtype=np.float64)
    embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    figure = Figure(figsize=(5.6, 5.0), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(embeddings @ embeddings.T, cmap="coolwarm", interpolation="nearest")
    figure.colorbar(image, label="cosine similarity", shrink=0.85)
    places = range(0, len(names), -(-len(names) // NAMED))
    shown = [names[place] for place in places]
    axis.set_xticks(places, shown, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(places, shown)
    score = ordinality_score(embeddings)
    axis.set_title(f"{title}\nordinality score {score:.2f} %", fontsize="medium")
    return figure


def draw(r: npt.ArrayLike, names: Sequence[str], title: str, path: Path) -> None:
    """Writes `similarity_figure` as a PNG. Raises MissingExtra; UsageError if it cannot be."""
    figure = similarity_figure(r, names, title)
    try:
        figure.savefig(path, format="png", dpi=120)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}.") from None
