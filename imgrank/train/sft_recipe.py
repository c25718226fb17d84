"""What a recipe of plain fine-tuning on true answers says: a TOML file with the fields of `Config`.

Most fields are those of RARL's (`rarl_recipe.Tuning`), which is what it is compared with. Ours is
`recipes/sft.toml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgrank.errors import UsageError
from imgrank.train import recipe_file
from imgrank.train.rarl_recipe import LARGEST, Tuning
from imgrank.train.recipe_file import check_bounds, joined, known_fields, overridden, tuples
from imgrank.train.run import cosine_with_warmup

__all__ = ["RECIPE", "Config", "load_recipe", "override"]

RECIPE = "sft.toml"


@dataclass(frozen=True)
class Config(Tuning):
    """A recipe of plain fine-tuning: everything that changes the result."""

    name: str = "sft"
    steps: int = 500
    sizes: tuple[int, ...] = (1, 2, 4, 8)  # pictures of a prompt, each as likely as another
    warmup: int = 20  # steps; of a shorter run than the recipe's its share

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, ("steps",), ("warmup",))
        if not self.sizes or any(not 1 <= n <= LARGEST for n in self.sizes):
            raise UsageError(f"sizes = {list(self.sizes)}: numbers from 1 to {LARGEST}")

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ...: linear up, then half a cosine to nothing."""
        return self.lr * cosine_with_warmup(step, self.steps, self.warmup)


def load_recipe(path: str | Path = RECIPE) -> Config:
    """A TOML recipe: a file, or the name of one in recipes/.

    Raises UsageError if it is not there, or lacks or misspells a field.
    """
    return recipe_file.load(path, "", _made, joined)


def override(config: Config, values: Mapping[str, Any]) -> Config:
    """The recipe with other values of its fields, as TOML gives them; raises UsageError.

    Other `steps` without a `warmup` have the same share of it.
    """
    return overridden(config, values)


def _made(values: Mapping[str, Any]) -> Config:
    known_fields(Config(), values)
    return Config(**tuples(values))
