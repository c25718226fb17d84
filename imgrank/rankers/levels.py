"""From a distribution over ranks to what people are told. Pure functions of arrays; no torch.

p [B, M]: a probability for each rank of each picture.

* the estimate: sum_k p_k c_k, c_k being the value of rank k;
* an interval: the quantiles `tail` and 1 - `tail` of p, spread evenly over the part of the scale
  that each rank covers (`Ranks.bounds`), so that the cumulative distribution is linear between;
* a set: the likeliest ranks that together reach `mass`.

`tail` and `mass` were chosen on held-out pictures so that interval and set hold the truth in 80 of
100 cases (`Calibration`); 0.1 and 0.8 would do so only if the model's probabilities were right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from imgrank.models.ranks import Ranks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

__all__ = ["Calibration", "chosen", "expected", "interval", "softmax"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted on held-out pictures.

    temperature: logits are divided by it.   tail: of the interval, 0 < tail < 0.5.
    mass: of the set, 0 < mass <= 1.   level: the share of truths that both were fitted to hold.
    on: the pictures, for people; "": not fitted.
    """

    temperature: float = 1.0
    tail: float = 0.1
    mass: float = 0.8
    level: float = 0.8
    on: str = ""

    def __post_init__(self) -> None:
        fitted = self.temperature > 0 and 0 < self.tail < 0.5 and 0 < self.mass <= 1
        if not (fitted and 0 < self.level < 1 and isinstance(self.on, str)):
            raise ValueError(f"this is no calibration: {self}")

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Calibration:
        """What stands in a config; absent fields are the defaults. Raises ValueError."""
        try:
            return cls(**table)
        except TypeError as error:
            raise ValueError(f"this is no calibration: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def softmax(logits: Matrix) -> Matrix:
    """[B, M] -> probabilities [B, M]."""
    import numpy as np

    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Matrix = weights / weights.sum(axis=1, keepdims=True)
    return found


def expected(p: Matrix, ranks: Ranks) -> Matrix:
    """sum_k p_k c_k, [B], in the task's unit."""
    import numpy as np

    means: Matrix = p @ np.asarray(ranks.values)
    return means


def interval(p: Matrix, ranks: Ranks, tail: float) -> tuple[Matrix, Matrix]:
    """Lower and upper ends [B], [B], in the task's unit, within the values of the ranks."""
    import numpy as np

    bounds, values = np.asarray(ranks.bounds), ranks.values
    rises = np.concatenate((np.zeros((len(p), 1)), np.cumsum(p, axis=1)), axis=1)  # [B, M + 1]
    ends = np.array([[np.interp(q, row, bounds) for q in (tail, 1 - tail)] for row in rises])
    low, high = np.clip(ends, values[0], values[-1]).reshape(-1, 2).T
    return low, high


def chosen(p: Matrix, mass: float) -> NDArray[np.bool_]:
    """Which ranks are in the set of each picture [B, M]: the likeliest ones that reach `mass`."""
    import numpy as np

    order = np.argsort(-p, axis=1, kind="stable")
    sorted_p = np.take_along_axis(p, order, axis=1)
    before = np.cumsum(sorted_p, axis=1) - sorted_p  # of those that are likelier
    inside = np.zeros(p.shape, dtype=bool)
    # A rounding error below the mass would ask for one rank more.
    np.put_along_axis(inside, order, before < mass - 1e-12, axis=1)
    return inside
