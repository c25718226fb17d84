"""What a recipe of the ranking adapter says, and whether it can be used, told before any work.

A recipe is a TOML file with the fields of `Config`; `recipes/` beside this module holds our own,
one an experiment of the paper, and those of the embedded adapters. What goes for every recipe is
in `recipe_file.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

import torch

from imgrank.errors import UsageError
from imgrank.models.adapter import Adapter, AdapterConfig
from imgrank.models.spec import BackboneSpec
from imgrank.train import losses, recipe_file
from imgrank.train.recipe_file import (
    UNKNOWN_LICENCE,
    check_bounds,
    check_name,
    check_rises,
    check_type,
    check_types,
    joined,
    known_fields,
    retold,
    tuples,
)

__all__ = [
    "Config",
    "Source",
    "Task",
    "fitted",
    "load_recipe",
    "notes_of_data",
    "override",
    "recipe_of",
]

TINY = recipe_file.TINY


@dataclass(frozen=True)
class Source:
    """One data set and how batches are drawn from it. Raises UsageError for impossible values."""

    data: str  # a key of data.catalogue.CATALOGUE
    share: float = 1.0  # of the batches
    queries: tuple[str, ...] = ()  # keys of its labels; none: all of them
    groups: int = 0  # so many groups (photographs) a batch, all their rows; 0: rows by value
    within: bool = False  # rank only pairs of one group
    value_step: float = 0.5  # values are uniform in steps of this size
    negatives: float = 0.0  # rho: share of a batch that has value 0, as pictures without cats
    relative: float = 0.0  # probability of "closeness to n" for a count (appendix B.1)
    relative_to: int = 12  # n is 0 to this
    attributes: bool = False  # instead of its labels: contrast, colourfulness, brightness
    fold: int = 0  # the test part of a set that is published in folds

    def __post_init__(self) -> None:
        check_types(self)
        from_zero = ("groups", "negatives", "relative", "relative_to", "fold")
        check_bounds(self, above_zero=("share", "value_step"), from_zero=from_zero)
        if self.negatives >= 1 or self.relative > 1:
            raise UsageError("negatives must be below 1, relative at most 1.")
        if self.groups and (self.negatives or self.relative):
            raise UsageError("groups are drawn whole, without negatives or relative counts.")


@dataclass(frozen=True)
class Task:
    """What a recipe says of a task otherwise than its data sets; None: as they have it.

    Targets are trained as (value - offset) / scale and come out of the checkpoint on their own
    scale again. Needed where several tasks of different scales share an adapter.
    """

    prompt: str | None = None  # {}: what is counted
    unit: str | None = None
    range: tuple[float, float] | None = None
    offset: float = 0.0
    scale: float = 1.0
    note: str = ""  # one line that whoever sorts by it should know

    def __post_init__(self) -> None:
        check_types(self)
        check_bounds(self, above_zero=("scale",), from_zero=())
        check_rises(self.range)


@dataclass(frozen=True)
class Config:
    """A recipe: everything that changes the result. Paths and devices are arguments of `run`.

    Raises UsageError for impossible values.
    """

    name: str  # of the checkpoint
    sources: tuple[Source, ...]
    tasks: Mapping[str, Task] = field(default_factory=dict)  # by key of imgrank's known tasks
    backbone: str = TINY  # what the values are for
    licence: str = UNKNOWN_LICENCE  # of the weights: a name, then after ";" what it rests on
    notes: str = ""  # for the model card: data, their terms, limits; "": those of the data sets
    tokens: tuple[str, ...] = ("grid", "statistics")  # which of the backbone's image tokens
    model: Mapping[str, Any] = field(default_factory=dict)  # fields of AdapterConfig
    rank_loss: Literal["rank_bce", "rank_hinge", "none"] = "rank_bce"
    reg_loss: Literal["reg_log_smooth_l1", "reg_smooth_l1"] = "reg_smooth_l1"
    alpha: float = losses.ALPHA  # weight of the regression loss
    bce: float = 0.0  # weight of "is there anything to count at all"
    batch: int = 64  # images a step, where rows are drawn by value
    steps: int = 2000
    lr: float = 1e-3  # peak
    warmup: int = 100  # steps
    weight_decay: float = 0.01  # not on biases, norms and single vectors
    clip: float = 1.0  # largest norm of the gradient
    average: float = 0.998  # decay of the averaged weights, which are what is kept; 0: none
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # of all but the losses
    features: Literal["disk", "pictures"] = "disk"  # tokens: kept, or made anew at each step
    train_text: bool = False  # the two ends of the text tower, as the released checkpoints did
    train_projection: bool = False  # of the grid, where the model has one
    warm_start: bool = False  # see warm_start.py
    seed: int = 0
    evaluate_every: int = 250  # steps
    save_every: int = 250  # steps

    def __post_init__(self) -> None:
        check_types(self)
        check_bounds(
            self,
            above_zero=("batch", "steps", "lr", "clip", "evaluate_every", "save_every"),
            from_zero=("alpha", "bce", "warmup", "weight_decay", "average", "seed"),
        )
        if self.average >= 1:
            raise UsageError(f"average = {self.average!r} must be below 1.")
        if not self.tokens or not self.sources:
            raise UsageError("a recipe needs at least one of `tokens` and one of `sources`.")
        if self.rank_loss == "none" and not (self.alpha or self.bce):
            raise UsageError("a recipe needs a loss: rank_loss, alpha or bce.")
        if self.bce and any(getattr(task, "offset", 0) for task in self.tasks.values()):
            raise UsageError("bce asks whether a target is above 0: no offset goes with it.")
        if self.warm_start and self.features == "pictures":
            raise UsageError("warm_start reads all tokens: features = disk, or warm_start = false.")
        check_name(self.name)
        for name, task in self.tasks.items():
            check_type(f"tasks.{name}", task, Task)
        hints = get_type_hints(AdapterConfig)
        for name, value in self.model.items():
            if name not in hints:
                raise UsageError(f"model.{name}: an adapter has {', '.join(hints)}.")
            check_type(f"model.{name}", value, hints[name])


def load_recipe(path: str | Path, backbone: str = "") -> Config:
    """A TOML recipe: a file, or the name of one beside this module in recipes/.

    backbone: name of the one to train on; for "tiny" the recipe's `[tiny]` applies.
    Raises UsageError if it is not there, or lacks or misspells a field.
    """
    return recipe_file.load(path, backbone, lambda values: Config(**_shaped(values)), _merged)


def recipe_of(data: str) -> str | None:
    """The file name of our own recipe for a data set or an experiment, None if there is none."""
    return recipe_file.recipe_of("adapter", data)


def override(config: Config, values: Mapping[str, Any]) -> Config:
    """The recipe with other values of its fields, as TOML gives them; raises UsageError.

    Tables replace single entries: {"model": {"width": 64}}, {"tasks": {"age": {"scale": 20}}},
    {"sources": {NAME: {"share": 2}}} of the source with that data; a list replaces all sources.
    Notes and licence, unless given anew, are the recipe's only with its own data sets: for others
    the notes name them and the licence is unknown. Other settings are named in the notes.
    """
    own = known_fields(config, values)
    try:
        changed = replace(config, **_shaped(_merged(own, values)))
    except TypeError as error:
        raise UsageError(f"the recipe cannot take these values: {error}") from error
    before, after = ([source.data for source in each.sources] for each in (config, changed))
    return retold(config, changed, values, before == after)


def fitted(config: Config, backbone: BackboneSpec) -> Config:
    """The recipe with the widths of the backbone. Raises UsageError if they cannot make a model."""
    widths = backbone.widths
    if "text" not in widths or backbone.grid_tokens is None:
        raise UsageError(
            f"{backbone.folder} has no imgrank.json, which tells the sizes of its tokens. Import "
            "it: imgrank models import backbone."
        )
    if unknown := [name for name in config.tokens if name not in ("grid", "statistics")]:
        raise UsageError(f"there are no tokens {', '.join(unknown)}, only grid and statistics.")
    if absent := [name for name in config.tokens if name not in widths]:
        raise UsageError(f"the backbone {backbone.name} has no tokens {', '.join(absent)}.")
    shape = {"image_widths": {n: widths[n] for n in config.tokens}, "text_width": widths["text"]}
    config = replace(config, model={**shape, **config.model}, backbone=backbone.name)
    try:
        with torch.device("meta"):  # shapes only
            Adapter(AdapterConfig.from_dict(config.model))
    except (TypeError, ValueError, AssertionError, RuntimeError, ZeroDivisionError) as error:
        raise UsageError(f"the recipe's `model` makes no adapter: {error}") from error
    return config


def notes_of_data(config: Config) -> str:
    """For a card of a recipe that has no notes: what is known of the data sets."""
    return recipe_file.notes_of(source.data for source in config.sources)


def _merged(values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """`more` over `values`; tables entry by entry, sources by the name of their data."""
    more = dict(more)
    sources = values.get("sources")
    if isinstance(more.get("sources"), Mapping) and isinstance(sources, list | tuple):
        more["sources"] = _merged_sources(sources, more["sources"])
    return joined(values, more)


def _merged_sources(sources: Any, more: Mapping[str, Any]) -> list[Any]:
    """The sources with other values of those that are named by their data."""
    rows = [asdict(each) if isinstance(each, Source) else dict(each) for each in sources]
    if unknown := set(more) - {row.get("data") for row in rows}:
        raise UsageError(f"sources: the recipe has none of {', '.join(sorted(unknown))}.")
    if odd := [name for name, entry in more.items() if not isinstance(entry, Mapping)]:
        raise UsageError(f"sources.{odd[0]} must be a table: sources.{odd[0]}.share=2")
    return [{**row, **more.get(str(row.get("data")), {})} for row in rows]


def _shaped(values: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has lists and tables where `Config` has tuples, sources and tasks."""
    shaped = tuples(values)
    if isinstance(shaped.get("sources"), tuple):
        shaped["sources"] = tuple(
            Source(**tuples(each)) if isinstance(each, dict) else each for each in shaped["sources"]
        )
    if isinstance(shaped.get("tasks"), Mapping):
        shaped["tasks"] = {
            name: Task(**tuples(each)) if isinstance(each, dict) else each
            for name, each in shaped["tasks"].items()
        }
    return shaped
