"""What a checkpoint knows nothing of: pictures unlike those that it was trained on. No torch.

A distribution over ranks always sums to one, also for a picture of a kind that no training picture
was of. A checkpoint may therefore say what it was trained on (`domain` of its task):

* `monochrome`: only monochrome pictures, toned or not. One whose colour beyond a uniform tint
  (`images/colour.py`) is above `chroma` is outside;
* `distance`: one whose embedding is farther than this from those of training is outside. With x the
  L2-normalised embedding, z = (x - mean) / std, P the K main axes of the training pictures' z with
  variances v_k, and r the mean variance of the other E - K directions (Tipping and Bishop,
  "Probabilistic principal component analysis", 1999):

      d = sum_k (P z)_k^2 / v_k + (|z|^2 - |P z|^2) / r

Both limits are the quantile `quantile` of pictures that were held out (`train/domain_fit.py`), so
about one in a hundred of the right kind is refused too. `on` names the pictures, for people.

Tensors: `domain.mean` [E], `domain.std` [E], `domain.axes` [K, E], `domain.variances` [K],
`domain.rest` [1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from imgrank.images.reading import DECODE_VERSION
from imgrank.rankers.base import Features
from imgrank.rankers.measured import MeasuredSource

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.floating[Any]]]

__all__ = ["COLOUR", "TENSORS", "Domain", "Outside", "distances"]

Outside = Literal["colour", "distance"]
TENSORS = ("mean", "std", "axes", "variances", "rest")
COLOUR_VERSION = 1  # raise it when a picture gets another chroma


def _chroma(data: bytes) -> Mapping[str, float | None]:
    from imgrank.images.colour import chroma  # loads numpy: not for known features

    return {"chroma": chroma(data)}


COLOUR = MeasuredSource(f"colour {COLOUR_VERSION}.{DECODE_VERSION}", frozenset({"chroma"}), _chroma)
"""`chroma` of a picture; kept in the store."""


@dataclass(frozen=True, slots=True)
class Domain:
    """The `domain` of a task, as it stands in a config.

    monochrome: colour is looked at; then `chroma` is the limit.   distance: None: not looked at.
    Raises ValueError, one line, if it is no domain.
    """

    monochrome: bool = False
    chroma: float | None = None
    distance: float | None = None
    quantile: float = 0.99
    on: str = ""

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.chroma, self.distance) if limit is not None]
        numbers = all(isinstance(limit, int | float) and limit >= 0 for limit in limits)
        if not numbers or self.monochrome != (self.chroma is not None):
            raise ValueError(f"this is no domain: {self}")

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Domain:
        """What stands in a config; absent fields are the defaults. Raises ValueError."""
        try:
            return cls(**table)
        except TypeError as error:
            raise ValueError(f"this is no domain: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}

    def outside(
        self, features: Sequence[Features], chroma: Sequence[float | None], arrays: Arrays
    ) -> list[Outside | None]:
        """Why each picture is outside, None if it is not.

        features: with `pooled`.   chroma: of each, read only if `monochrome`.
        arrays: of the checkpoint, read only if there is a `distance`.
        """
        why: list[Outside | None] = [None] * len(features)
        if self.distance is not None and features:
            far = distances([each["pooled"] for each in features], arrays) > self.distance
            why = ["distance" if each else None for each in far]
        if self.chroma is not None:
            for n, value in enumerate(chroma):
                if value is not None and value > self.chroma:
                    why[n] = "colour"
        return why


def distances(
    pooled: Sequence[NDArray[np.floating[Any]]] | NDArray[np.floating[Any]], arrays: Arrays
) -> NDArray[np.float64]:
    """d of embeddings [B, E] -> [B], no unit, about E for pictures like those of training."""
    import numpy as np

    mean, std, axes, variances, rest = (
        np.asarray(arrays[f"domain.{name}"], dtype=np.float64) for name in TENSORS
    )
    x = np.asarray(pooled, dtype=np.float64)
    z = (x / np.linalg.norm(x, axis=1, keepdims=True) - mean) / std  # [B, E]
    along = z @ axes.T  # [B, K]
    off = (z**2).sum(axis=1) - (along**2).sum(axis=1)
    found: NDArray[np.float64] = (along**2 / variances).sum(axis=1) + off / rest
    return found
