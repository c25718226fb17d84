"""What a recipe of the ranking adapter says, and whether it can be used, told before any work.

A recipe is a TOML file with the fields of `Config`; `recipes/` beside this module holds our own.
Every field is checked against its own annotation, then for its bounds. What is trained on other
data than the recipe's does not inherit what the recipe says of its data and of the licence.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from imgrank.data.catalogue import CATALOGUE
from imgrank.errors import UsageError
from imgrank.models.adapter import AdapterConfig
from imgrank.train import losses

__all__ = ["UNKNOWN_LICENCE", "Config", "Source", "load_recipe", "override"]

UNKNOWN_LICENCE = "unknown: depends on the pictures it was trained on"


@dataclass(frozen=True)
class Source:
    """One data set and how batches are drawn from it. Raises UsageError for impossible values."""

    data: str  # a key of DATA_SETS
    share: float = 1.0  # of the batches
    groups: int = 0  # so many groups (photographs) a batch, all their rows; 0: rows by value
    value_step: float = 0.5  # values are uniform in steps of this size
    within: bool = False  # rank only pairs of one group

    def __post_init__(self) -> None:
        _check_types(self)
        _check_bounds(self, above_zero=("share", "value_step"), from_zero=("groups",))


@dataclass(frozen=True)
class Config:
    """A recipe: everything that changes the result. Paths and devices are arguments of `run`.

    Raises UsageError for impossible values.
    """

    name: str  # of the checkpoint
    task: str  # key of imgrank's known tasks
    prompt: str  # the instruction, as given to the text tower
    unit: str  # of the scores
    range: tuple[float, float]  # of the scores' scale
    licence: str  # of the trained weights: a name, then after ";" what it rests on
    sources: tuple[Source, ...]
    tokens: tuple[str, ...] = ("grid", "statistics")  # which of the backbone's image tokens
    notes: str = ""  # for the model card: data, their terms, limits; Markdown
    model: Mapping[str, Any] = field(default_factory=dict)  # fields of AdapterConfig
    rank_loss: Literal["rank_bce", "rank_hinge", "none"] = "rank_bce"
    reg_loss: Literal["reg_log_smooth_l1", "reg_smooth_l1"] = "reg_smooth_l1"
    alpha: float = losses.ALPHA  # weight of the regression loss
    batch: int = 64  # images a step, where rows are drawn by value
    steps: int = 2000
    lr: float = 1e-3  # peak
    warmup: int = 100  # steps
    weight_decay: float = 0.01  # not on biases, norms and single vectors
    clip: float = 1.0  # largest norm of the gradient
    average: float = 0.998  # decay of the averaged weights, which are what is kept
    seed: int = 0
    evaluate_every: int = 250  # steps
    save_every: int = 250  # steps

    def __post_init__(self) -> None:
        _check_types(self)
        _check_bounds(
            self,
            above_zero=("batch", "steps", "lr", "clip", "evaluate_every", "save_every"),
            from_zero=("alpha", "warmup", "weight_decay", "average", "seed"),
        )
        if self.average >= 1:
            raise UsageError(f"average = {self.average!r} must be below 1.")
        if not self.range[0] < self.range[1]:
            raise UsageError(f"range = {list(self.range)} must rise.")
        if not self.tokens or not self.sources:
            raise UsageError("a recipe needs at least one of `tokens` and one of `sources`.")
        if self.name in ("", ".", "..") or set(self.name) & set("/\\\0\n"):
            raise UsageError(f"name = {self.name!r} cannot be the name of a folder.")
        hints = get_type_hints(AdapterConfig)
        for name, value in self.model.items():
            if name not in hints:
                raise UsageError(f"model.{name}: an adapter has {', '.join(hints)}.")
            _check_type(f"model.{name}", value, hints[name])


def load_recipe(path: str | Path) -> Config:
    """A TOML recipe: a file, or the name of one beside this module in recipes/.

    Raises UsageError if it is not there, or lacks or misspells a field.
    """
    file = Path(path)
    text = file if file.is_file() else resources.files("imgrank.train") / "recipes" / str(path)
    try:
        return Config(**_shaped(tomllib.loads(text.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        raise UsageError(f"there is no recipe {path}") from None
    except (ValueError, TypeError, UsageError) as error:
        raise UsageError(f"the recipe {path} cannot be used: {error}") from error


def override(config: Config, values: Mapping[str, Any]) -> Config:
    """The recipe with other values of its fields, as TOML gives them; raises UsageError.

    Its notes and licence, unless given anew, are its own only with its own data sets: for others
    the notes name them and the licence is unknown. Other settings are named in the notes.
    """
    known = [each.name for each in fields(config)]
    if unknown := sorted(set(values) - set(known)):
        raise UsageError(f"the recipe has no field {', '.join(unknown)}.")
    try:
        changed = replace(config, **_shaped(values))
    except TypeError as error:
        raise UsageError(f"the recipe cannot take these values: {error}") from error
    if [source.data for source in changed.sources] != [source.data for source in config.sources]:
        said = {"licence": UNKNOWN_LICENCE, "notes": _notes_of_other_data(changed)}
    else:
        said = {"licence": config.licence, "notes": config.notes + _other_settings(config, changed)}
    told: dict[str, Any] = {name: text for name, text in said.items() if name not in values}
    return replace(changed, **told)


def _notes_of_other_data(config: Config) -> str:
    lines = [
        f"- {source.data}: {DATA_SETS[source.data].about}"
        for source in config.sources
        if source.data in DATA_SETS
    ]
    return "\n".join(
        [
            "## Data and their terms",
            "",
            *lines,
            "",
            "These were chosen by whoever trained this. What the terms of the pictures, and those "
            "of the backbone, allow to be done with it is theirs to settle; nothing was looked up.",
        ]
    )


def _other_settings(config: Config, changed: Config) -> str:
    before, after = asdict(config), asdict(changed)
    names = [n for n in after if n not in ("name", "licence", "notes") and after[n] != before[n]]
    if not names:
        return ""
    lines = [f"- {name}: {after[name]}, in the recipe {before[name]}" for name in names]
    said = "What stands above was written of the recipe as it is. Here these differ:"
    return "\n".join(["", "## Other settings than the recipe's", "", said, "", *lines, ""])


def _shaped(values: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has lists and tables where `Config` has tuples and sources."""
    shaped = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    if isinstance(shaped.get("sources"), tuple):
        shaped["sources"] = tuple(
            Source(**source) if isinstance(source, dict) else source for source in shaped["sources"]
        )
    return shaped


def _check_types(values: Config | Source) -> None:
    for name, hint in get_type_hints(type(values)).items():
        _check_type(name, getattr(values, name), hint)


def _check_type(name: str, value: Any, hint: Any) -> None:
    if not _fits(value, hint):
        wanted = hint.__name__ if isinstance(hint, type) else str(hint)
        for long in ("typing.", "collections.abc.", "imgrank.train.adapter_recipe."):
            wanted = wanted.replace(long, "")
        raise UsageError(f"{name} = {value!r} is not possible; it must be: {wanted}.")


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in arguments
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return len(kinds) == len(value) and all(map(_fits, value, kinds))
    if hint in (int, float):
        kinds = (int,) if hint is int else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    return hint is Any or isinstance(value, origin or hint)


def _check_bounds(values: object, above_zero: tuple[str, ...], from_zero: tuple[str, ...]) -> None:
    for name in (*above_zero, *from_zero):
        value = getattr(values, name)
        if value < 0 or (value == 0 and name in above_zero):
            least = "above 0" if name in above_zero else "0 or more"
            raise UsageError(f"{name} = {value!r} must be {least}.")
