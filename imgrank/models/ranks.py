"""Ordered ranks that are told to a text tower: ages, decades, levels. No torch.

A task has M ranks. Each has a word that goes into the template's slot ("1930" into "a photo taken
in the {}s."), a value on the task's scale, a name for people ("1930s"), and the lowest label that
belongs to it: a picture labelled y has the last rank whose `start` is at most y, or the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Ranks"]

SLOT = "{}"


@dataclass(frozen=True, slots=True)
class Ranks:
    """M ranks, lowest first.

    template: with one `{}`.   words: for the slot.   values: c_k, rising, in the task's unit.
    starts: lowest label of each rank, rising.   names: for people.
    Raises ValueError, one line, if they are no ranks.
    """

    template: str
    words: tuple[str, ...]
    values: tuple[float, ...]
    starts: tuple[float, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        sizes = {len(self.words), len(self.values), len(self.starts), len(self.names)}
        if len(sizes) != 1 or len(self.words) < 2:
            raise ValueError("words, values, starts, names must be lists of one length, 2 or more")
        if self.template.count(SLOT) != 1:
            raise ValueError(f"the template {self.template!r} must have one {SLOT}")
        for name in ("values", "starts"):
            if not all(a < b for a, b in pairwise(getattr(self, name))):
                raise ValueError(f"{name} must rise")
        if len(set(self.words)) != len(self.words):
            raise ValueError("two ranks have the same word")

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Ranks:
        """What `to_dict` gave, as it stands in a config. Raises ValueError."""
        try:
            return cls(
                str(table["template"]),
                tuple(map(str, table["words"])),
                tuple(map(float, table["values"])),
                tuple(map(float, table["starts"])),
                tuple(map(str, table["names"])),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"these are no ranks: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Lists and texts, for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @property
    def texts(self) -> list[str]:
        """The template of each rank, filled."""
        return [self.template.replace(SLOT, word) for word in self.words]

    @property
    def bounds(self) -> tuple[float, ...]:
        """M + 1 rising values: rank k covers the scale from bounds[k] to bounds[k + 1].

        They lie midway between the values; the ends are as far out as their neighbours are in.
        """
        middle = [(a + b) / 2 for a, b in pairwise(self.values)]
        first, last = self.values[0], self.values[-1]
        return (2 * first - middle[0], *middle, 2 * last - middle[-1])

    def of(self, labels: Sequence[float] | NDArray[np.floating]) -> NDArray[np.intp]:
        """Labels [N], in the task's unit -> the number of each one's rank, 0..M-1."""
        import numpy as np

        found = np.searchsorted(np.asarray(self.starts), np.asarray(labels), side="right") - 1
        return np.clip(found, 0, len(self) - 1)
