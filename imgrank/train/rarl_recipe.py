"""What a recipe of RARL says: a TOML file with the fields of `Config`, a table a stage.

What goes for every recipe is in `recipe_file.py`. Ours is `recipes/rarl.toml`. `Tuning` holds what
any training of a Qwen2.5-VL by answers needs; the recipe of plain fine-tuning has it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from imgrank.errors import UsageError
from imgrank.train import recipe_file
from imgrank.train.grpo import Loss
from imgrank.train.recipe_file import (
    UNKNOWN_LICENCE,
    check_bounds,
    check_name,
    check_types,
    joined,
    known_fields,
    retold,
    tuples,
)

__all__ = ["FIRST", "LARGEST", "RECIPE", "SECOND", "Config", "Stage", "Tuning"]
__all__ += ["load_recipe", "override", "trained_on"]

RECIPE = "rarl.toml"
FIRST, SECOND = "first", "second"
LARGEST = 8  # pictures of a prompt
OF_BOTH = ("steps", "generate_at_once")  # what may be given for both stages together
FROM_ZERO = ("alpha", "beta", "gamma", "mutation", "generate_at_once")  # of a stage
T = TypeVar("T", bound="Tuning")


@dataclass(frozen=True)
class Tuning:
    """What training by answers needs, whatever the loss. Paths and devices are arguments of `run`.

    Raises UsageError for impossible values.
    """

    name: str = "rarl"  # of the checkpoint
    backbone: str = ""  # what was trained on; written by `run`
    data: tuple[str, ...] = ()  # the set that licence and notes are for
    licence: str = UNKNOWN_LICENCE  # of the weights: a name, then after ";" what it rests on
    notes: str = ""  # for the model card: data, their terms, limits; "": those of the data set
    rank: int = 32  # of LoRA, on the language model's projections
    lora_alpha: float = 64.0  # the factors' product is multiplied by lora_alpha / rank
    full: bool = False  # all weights of the language model instead of LoRA
    prompts: int = 8  # a step, over all processes
    at_once: int = 0  # answers through a forward and backward pass together; 0: all of a process
    checkpointing: bool = False  # keeps no inner values of the layers: less memory, a third slower
    max_new_tokens: int = 512  # of an answer
    max_pixels: int = 200704  # of a picture: 256 tokens, about 448 x 448; larger are made smaller
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 where it is fast
    lr: float = 1e-5  # of AdamW, constant
    clip: float = 1.0  # largest norm of the gradient
    seed: int = 0
    report_every: int = 10  # steps
    save_every: int = 10  # steps

    def __post_init__(self) -> None:
        check_types(self)
        above = ["rank", "lora_alpha", "prompts", "max_new_tokens", "max_pixels", "lr", "clip"]
        above += ["report_every", "save_every"]
        check_bounds(self, tuple(above), ("at_once", "seed"))
        check_name(self.name)
        if self.name in (FIRST, SECOND):
            raise UsageError(f"name = {self.name!r} is that of a folder of a stage.")


@dataclass(frozen=True)
class Stage:
    """steps; sizes: numbers of pictures of a prompt, each as likely as another.

    alpha, beta, gamma: weights of the rewards R_reg, R_rank and R_fmt; beta = 0: no ranking reward.
    mutation: p of Response Mutation; 0: none.
    generate_at_once: answers that are drawn together, whole groups; 0: all of a process. The more,
    the faster, as memory allows: prompts of one picture leave room for more of them.
    """

    steps: int = 500
    sizes: tuple[int, ...] = (1,)
    alpha: float = 1.0
    beta: float = 0.0
    gamma: float = 0.5
    mutation: float = 0.0
    generate_at_once: int = 0


@dataclass(frozen=True)
class Config(Tuning):
    """A recipe of RARL: everything that changes the result."""

    stages: Literal["both", "first", "second"] = "both"  # which are run
    first: Stage = field(default_factory=Stage)
    second: Stage = field(default_factory=lambda: Stage(sizes=(1, 2, 4, 8), beta=1.0, mutation=0.5))
    group: int = 8  # G, answers to a prompt
    temperature: float = 1.0  # at which answers are drawn, and at which their tokens are scored
    scaled: bool = True  # advantages are divided by the group's standard deviation
    loss: Loss = "dapo"  # mean over all tokens; grpo: over each answer's, then over answers
    kl: float = 0.04  # coefficient of the divergence from the start of the stage; 0: none

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, ("temperature",), ("kl",))
        if self.group < 2:
            raise UsageError(f"group = {self.group}: fewer than 2 answers have no advantage.")
        for name, stage in ((FIRST, self.first), (SECOND, self.second)):
            check_types(stage, f"{name}.")
            check_bounds(stage, ("steps",), FROM_ZERO, f"{name}.")
            if not stage.sizes or any(not 1 <= n <= LARGEST for n in stage.sizes):
                raise UsageError(f"{name}.sizes = {list(stage.sizes)}: numbers from 1 to {LARGEST}")
            if stage.mutation > 1:
                raise UsageError(f"{name}.mutation = {stage.mutation!r} must be at most 1.")
            if not (stage.alpha or stage.beta or stage.gamma):
                raise UsageError(f"{name}: all weights of the rewards are 0.")

    def chosen(self) -> tuple[tuple[str, Stage], ...]:
        """(name, stage) of those that are run, in order."""
        both = ((FIRST, self.first), (SECOND, self.second))
        return tuple(each for each in both if self.stages in ("both", each[0]))


def load_recipe(path: str | Path = RECIPE) -> Config:
    """A TOML recipe: a file, or the name of one in recipes/.

    Raises UsageError if it is not there, or lacks or misspells a field.
    """
    return recipe_file.load(path, "", _made, joined)


def override(config: Config, values: Mapping[str, Any]) -> Config:
    """The recipe with other values of its fields, as TOML gives them; raises UsageError.

    Tables replace single entries: {"second": {"mutation": 0}}. `steps` and `generate_at_once` are
    those of both stages.
    """
    values = dict(values)
    given = {name: values.pop(name, None) for name in OF_BOTH}
    both = {name: value for name, value in given.items() if value is not None}
    if both:
        values = joined(dict.fromkeys((FIRST, SECOND), both), values)
    return retold(config, _made(joined(known_fields(config, values), values)), values, True)


def trained_on(config: T, data: str, backbone: str) -> T:
    """The recipe as used: licence and notes are those of its own data alone."""
    config = replace(config, backbone=backbone)
    if (data,) == config.data:
        return config
    same = not config.data  # a recipe that is for no set in particular
    licence, notes = (config.licence, config.notes) if same else (UNKNOWN_LICENCE, "")
    return replace(config, data=(data,), licence=licence, notes=notes)


def _made(values: Mapping[str, Any]) -> Config:
    known_fields(Config(), values)
    stages = {name: _stage(name, values[name]) for name in (FIRST, SECOND) if name in values}
    return Config(**{**tuples(values), **stages})


def _stage(name: str, values: Any) -> Stage:
    if isinstance(values, Stage):
        return values
    if not isinstance(values, Mapping):
        raise UsageError(f"{name} is a table of {', '.join(f.name for f in fields(Stage))}.")
    known_fields(Stage(), values)
    base = Config().second if name == SECOND else Stage()
    return replace(base, **tuples(values))
