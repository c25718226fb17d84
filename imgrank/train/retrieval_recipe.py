"""What a recipe of aligned retrieval says: a TOML file with the fields of `Config`.

What goes for every recipe is in `recipe_file.py`. Ours is `recipes/retrieval.toml`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from imgrank.errors import UsageError
from imgrank.models.stages import Part
from imgrank.models.text_stages import TextPart
from imgrank.train import recipe_file
from imgrank.train.recipe_file import (
    UNKNOWN_LICENCE,
    check_bounds,
    check_name,
    check_types,
    joined,
    known_fields,
    overridden,
    tuples,
)
from imgrank.train.retrieval_losses import Policy
from imgrank.train.run import cosine_with_warmup

__all__ = ["RECIPE", "Config", "load_recipe", "override", "trained_on"]

RECIPE = "retrieval.toml"
LOWEST_RATE = 1e-12  # of the learning rate


@dataclass(frozen=True)
class Config:
    """A recipe: everything that changes the result. Paths and devices are arguments of `run`.

    Raises UsageError for impossible values.
    """

    name: str = "aligned"  # of the model and, with "-delta", of the checkpoint
    backbone: str = "tiny"  # what the values are for
    data: tuple[str, ...] = ()  # pools and captions that licence and notes are for
    licence: str = UNKNOWN_LICENCE  # of the weights: a name, then after ";" what it rests on
    notes: str = ""  # for the model card: data, their terms, limits; "": those of the data sets
    loss: Literal["dpo", "ipo", "rrhf"] = "dpo"
    beta: float = 0.05  # b of the loss; IPO has its own
    policy: Policy = "cosine_clamped"  # what pi is; see `retrieval_losses.log_policy`
    temperature: float = 0.0  # of the policy `logit` and of kl; 0: the starting model's own
    floor: float = 1e-3  # least cosine, or (1 + cosine) / 2, that has a logarithm
    weight: float = 1.0  # w_pt, of the contrastive term or of what stands in for it
    smoothing: float = 0.1  # of the labels of the contrastive term
    anchor: Literal["kl", "l2", "none"] = "kl"  # to the starting model, where there are no captions
    image: Part = "full"  # what of the image tower is trained; see `models/stages.py`
    image_layers: int = 1  # of a ViT, how many blocks `last` is
    text: TextPart = "full"  # see `models/text_stages.py`
    text_layers: int = 1  # blocks of `last`
    batch: int = 128  # queries a step
    captions: int = 256  # pictures with a caption a step
    at_once: int = 0  # pictures through the trained part together, which saves memory; 0: all
    steps: int = 650
    lr: float = 5e-5
    warmup: int = 200  # steps; of a shorter run than the recipe's its share
    decay: float = 0.9  # of the learning rate a layer, from the output to the input
    weight_decay: float = 0.0
    clip: float = 3.0  # largest norm of the gradient
    average: float = 0.0  # decay of averaged weights, which are what is kept; 0: none
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # of all but the losses
    held_out: float = 0.05  # share of the queries that are only watched, 512 at most
    most_clamped: float = 0.05  # a larger share of clamped cosines is a failure
    seed: int = 0
    evaluate_every: int = 50  # steps
    save_every: int = 50  # steps

    def __post_init__(self) -> None:
        check_types(self)
        above = ["beta", "floor", "batch", "captions", "steps", "lr", "decay", "clip"]
        above += ["image_layers", "text_layers", "evaluate_every", "save_every"]
        least = ["temperature", "weight", "smoothing", "warmup", "weight_decay", "average", "seed"]
        least += ["at_once", "held_out", "most_clamped"]
        check_bounds(self, tuple(above), tuple(least))
        for name in ("average", "smoothing", "held_out"):
            if getattr(self, name) >= 1:
                raise UsageError(f"{name} = {getattr(self, name)!r} must be below 1.")
        if self.decay > 1:
            raise UsageError(f"decay = {self.decay!r} must be at most 1.")
        if self.image == self.text == "frozen":
            raise UsageError("nothing is trained: image or text must be other than frozen.")
        check_name(self.name)

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ...: linear up, then half a cosine to nothing."""
        return max(self.lr * cosine_with_warmup(step, self.steps, self.warmup), LOWEST_RATE)


def load_recipe(path: str | Path = RECIPE, backbone: str = "") -> Config:
    """A TOML recipe: a file, or the name of one in recipes/.

    backbone: name of the one to train on; for "tiny" the recipe's `[tiny]` applies.
    Raises UsageError if it is not there, or lacks or misspells a field.
    """
    return recipe_file.load(path, backbone, _made, joined)


def _made(values: Mapping[str, Any]) -> Config:
    known_fields(Config(), values)
    return Config(**tuples(values))


def override(config: Config, values: Mapping[str, Any]) -> Config:
    """The recipe with other values of its fields, as TOML gives them; raises UsageError.

    Other `steps` without a `warmup` have the same share of it.
    """
    return overridden(config, values)


def trained_on(config: Config, data: Sequence[str]) -> Config:
    """The recipe as used on these pools and captions: licence and notes are those of its own data
    alone."""
    data = tuple(sorted(set(data)))
    if data == tuple(sorted(config.data)):
        return replace(config, data=data)
    return replace(config, data=data, licence=UNKNOWN_LICENCE, notes="")
