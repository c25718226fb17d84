"""What a recipe of L2RCLIP says, and the ranks that it makes of a data set's labels.

A recipe is a TOML file with the fields of `Config`, one table each for `ranks`, `text` (what is
learnt of the ranks' texts), `image` (what of the image tower), `stage1` and `stage2`; what goes for
every recipe is in `recipe_file.py`. Our own are `recipes/l2rclip-NAME.toml`, one a data set;
`l2rclip-csv.toml` serves a set that has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from imgrank.data.labelled import Labelled, Labels
from imgrank.errors import DataError, UsageError
from imgrank.models.rank_text import RankTextConfig
from imgrank.models.ranks import Ranks
from imgrank.train import recipe_file
from imgrank.train.domain_fit import DomainConfig
from imgrank.train.image_side import ImageSideConfig
from imgrank.train.l2rclip_losses import WeightNorm
from imgrank.train.recipe_file import (
    UNKNOWN_LICENCE,
    check_bounds,
    check_name,
    check_type,
    check_types,
    joined,
    known_fields,
    retold,
    tuples,
)

__all__ = [
    "TEMPLATES",
    "Baseline",
    "Config",
    "RanksOf",
    "Stage1",
    "Stage2",
    "baseline",
    "baselines",
    "labels_of",
    "load_recipe",
    "make_ranks",
    "override",
    "recipe_of",
]

ANY_DATA = "l2rclip-csv.toml"
LEVELS = ("unacceptable", "flawed", "ordinary", "professional", "exceptional")  # CrowdBeauty's
AMOUNTS = ("very low", "low", "medium", "high", "very high")
TEMPLATES = {
    "age": "A photo of {age} years old face.",
    "age-estimation": "Age estimation: a person at the age of {age}.",  # these: paper, Table 6
    "age-portrait": "The age of the person in the portrait is {age}.",
    "age-person": "The age of the person is {age}.",
    "age-face": "The age of the face is {age}.",
    "decade": "a photo taken in the {decade}s.",
    "aesthetics": "a photo with {level} aesthetic quality.",
}
MOST = 150  # whole numbers that become a rank each, where nothing else is said
Baseline = Literal["context", "interpolation", "vanilla"]


@dataclass(frozen=True)
class RanksOf:
    """How a task's ranks are made of the labels of a set.

    by: "classes": the set's own, whose labels are 0, 1, ...; "integers": every whole number from
    `low` to `high`; "steps": equal parts of the scale, such as decades; "quantiles": so many
    levels as there are words, of equal numbers of training pictures; "labels": whichever of
    classes, integers and quantiles the labels suggest.
    """

    by: Literal["classes", "integers", "steps", "quantiles", "labels"] = "labels"
    template: str = ""  # with one slot {}, or a name of TEMPLATES; "": as the task is asked
    words: tuple[str, ...] = ()  # for the slot; none: names of classes, numbers, LEVELS
    low: float | None = None  # the scale's ends; None: those of the labels
    high: float | None = None
    step: float = 10.0  # of "steps", in the task's unit

    def __post_init__(self) -> None:
        check_types(self, "ranks.")
        check_bounds(self, above_zero=("step",), from_zero=(), inside="ranks.")


@dataclass(frozen=True)
class Stage1:
    """The rank texts against frozen pictures. The weights are those of the losses."""

    epochs: int = 20  # 0: the texts stay as they are
    lr: float = 3.5e-4
    t2i: float = 0.1  # L_t2i
    i2t: float = 0.1  # L_i2t
    cop: float = 3.0  # L_cop
    gamma: float = 1.0  # of the text-to-text part of L_cop
    w_norm: WeightNorm = "largest"  # distances of ranks: divided by the largest, or as they are
    without_same: bool = False  # L_t2i without other pictures of the rank among the negatives

    def __post_init__(self) -> None:
        check_types(self, "stage1.")
        from_zero = ("epochs", "t2i", "i2t", "cop", "gamma")
        check_bounds(self, above_zero=("lr",), from_zero=from_zero, inside="stage1.")
        if not (self.t2i or self.i2t or self.cop or not self.epochs):
            raise UsageError("stage1 needs a loss (t2i, i2t, cop), or epochs = 0.")

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, 0, 1, ..."""
        return self.lr

    @property
    def shares(self) -> dict[str, float]:
        """Of the learning rate, by the start of parameters' names; see `run.Learner`."""
        return {}


@dataclass(frozen=True)
class Stage2:
    """The image tower against frozen ranks."""

    epochs: int = 40  # 0: the tower stays as it is
    lr: float = 1e-5
    drop_epoch: int = 30  # from here on a tenth of it; 0: never
    ce: float = 1.0  # L_ce
    scop: float = 1.0  # L_scop
    w_norm: WeightNorm = "largest"
    statistics_lr: float = 0.0  # of the map of the statistics, which starts at zero; 0: as `lr`
    statistics_decay: float = 0.0  # times half its squared weights is added to the loss

    def __post_init__(self) -> None:
        check_types(self, "stage2.")
        from_zero = ("epochs", "drop_epoch", "ce", "scop", "statistics_lr", "statistics_decay")
        check_bounds(self, above_zero=("lr",), from_zero=from_zero, inside="stage2.")
        if not (self.ce or self.scop or not self.epochs):
            raise UsageError("stage2 needs a loss (ce, scop), or epochs = 0.")

    def rate(self, epoch: int) -> float:
        """As of stage 1: a tenth from `drop_epoch` on."""
        return self.lr * (0.1 if self.drop_epoch and epoch >= self.drop_epoch else 1.0)

    @property
    def shares(self) -> dict[str, float]:
        """As of stage 1."""
        return {"statistics.": self.statistics_lr / self.lr} if self.statistics_lr else {}


@dataclass(frozen=True)
class Config:
    """A recipe: everything that changes the result. Paths and devices are arguments of `run`.

    Raises UsageError for impossible values.
    """

    name: str  # of the checkpoint
    data: str  # a key of data.catalogue.CATALOGUE
    query: str = ""  # key of its labels; "": the only one
    task: str = ""  # of imgrank's known tasks; "": that of the labels
    fold: int = 0  # the test part of a set that is published in folds
    backbone: str = "tiny"  # what the values are for
    licence: str = UNKNOWN_LICENCE  # of the weights: a name, then after ";" what it rests on
    notes: str = ""  # for the model card: data, their terms, limits; "": those of the data set
    note: str = ""  # one line that whoever sorts by it should know
    ranks: RanksOf = field(default_factory=RanksOf)
    text: RankTextConfig = field(default_factory=RankTextConfig)
    image: ImageSideConfig = field(default_factory=ImageSideConfig)
    stage1: Stage1 = field(default_factory=Stage1)
    stage2: Stage2 = field(default_factory=Stage2)
    logit_scale: float = 0.0  # 1 / t; 0: the backbone's own
    batch: int = 64  # images a step
    weight_decay: float = 0.0  # of matrices; 0 is Adam
    clip: float = 0.0  # largest norm of the gradient; 0: as it is
    average: float = 0.0  # decay of averaged weights, which are what is kept; 0: none
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # of all but the losses
    few_shot: int = 0  # training pictures of each rank (Table 3); 0: all
    shift_ranks: int = 0  # ranks that lose most of their training pictures (Table 4)
    shift_drop: float = 0.8  # the share that they lose
    baselines: tuple[Baseline, ...] = ()  # other texts, trained in the same run to compare with
    domain: DomainConfig | None = None  # how the checkpoint tells pictures unlike its training's
    seed: int = 0
    evaluate_every: int = 1  # epochs
    save_every: int = 500  # steps

    def __post_init__(self) -> None:
        check_types(self)
        check_types(self.text, "text.")
        check_types(self.image, "image.")
        if self.domain is not None:
            check_types(self.domain, "domain.")
        check_bounds(
            self,
            above_zero=("batch", "evaluate_every", "save_every"),
            from_zero=(
                *("weight_decay", "clip", "average", "few_shot", "shift_ranks", "seed", "fold"),
                "logit_scale",
            ),
        )
        if self.average >= 1:
            raise UsageError(f"average = {self.average!r} must be below 1.")
        if not 0 < self.shift_drop < 1:
            raise UsageError(f"shift_drop = {self.shift_drop!r} must lie between 0 and 1.")
        check_name(self.name)


PARTS = {
    "ranks": RanksOf,
    "text": RankTextConfig,
    "image": ImageSideConfig,
    "stage1": Stage1,
    "stage2": Stage2,
    "domain": DomainConfig,
}


def load_recipe(path: str | Path, backbone: str = "") -> Config:
    """A TOML recipe: a file, or the name of one in recipes/.

    backbone: name of the one to train on; for "tiny" the recipe's `[tiny]` applies.
    Raises UsageError if it is not there, or lacks or misspells a field.
    """
    return recipe_file.load(path, backbone, lambda values: Config(**_shaped(values)), joined)


def recipe_of(data: str) -> str:
    """The file name of our own recipe for a data set; a part of one ("crowdbeauty-people") has that
    of the whole, what has none the general one."""
    whole = data.partition("-")[0]
    own = (recipe_file.recipe_of("l2rclip", name) for name in (data, whole))
    return next(filter(None, own), ANY_DATA)


def override(config: Config, values: Mapping[str, Any]) -> Config:
    """The recipe with other values of its fields, as TOML gives them; raises UsageError.

    Tables replace single entries: {"stage1": {"cop": 0}}. Notes and licence, unless given anew,
    are the recipe's only with its own data set; other settings are named in the notes.
    """
    own = known_fields(config, values)
    try:
        changed = replace(config, **_shaped(joined(own, values)))
    except TypeError as error:
        raise UsageError(f"the recipe cannot take these values: {error}") from error
    return retold(config, changed, values, config.data == changed.data)


def baseline(config: Config, way: Baseline) -> Config:
    """The recipe with other texts, and without the losses that teach an order."""
    return replace(
        config,
        text=replace(config.text, way=way),
        stage1=replace(config.stage1, cop=0.0),
        stage2=replace(config.stage2, scop=0.0),
    )


def baselines(config: Config) -> list[Config]:
    """The recipes of `config.baselines`. Raises UsageError for one that is named twice or has the
    recipe's own texts: they are told apart by their texts."""
    ways = (config.text.way, *config.baselines)
    if len(set(ways)) < len(ways):
        raise UsageError(
            f"baselines = {list(config.baselines)}: name each once, and not the recipe's own "
            f"texts, {config.text.way}."
        )
    return [baseline(config, way) for way in config.baselines]


def _shaped(values: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has tables where `Config` has parts. Raises UsageError, which names the part."""
    shaped = tuples(values)
    if isinstance(shaped.get("domain"), bool):
        shaped["domain"] = DomainConfig() if shaped["domain"] else None
    for name, part in PARTS.items():
        table = shaped.get(name)
        if not isinstance(table, Mapping):
            if table is not None:
                check_type(name, table, part)
            continue
        known = [each.name for each in fields(part)]
        if unknown := [key for key in table if key not in known]:
            raise UsageError(f"{name}.{unknown[0]}: there are {', '.join(known)}.")
        shaped[name] = part(**tuples(table))
    return shaped


def labels_of(config: Config, data: Labelled) -> Labels:
    """The query that is trained. Raises UsageError if the set has none of that name, or several
    and none is named; DataError if it has fewer than two different training labels."""
    keys = [labels.key for labels in data.labels]
    if config.query and config.query not in keys:
        raise UsageError(f"{data.name} has no query {config.query}; it has {', '.join(keys)}.")
    if not config.query and len(keys) > 1:
        raise UsageError(f"{data.name} has several queries: --set query={' or '.join(keys)}.")
    labels = data.labels[keys.index(config.query) if config.query else 0]
    if len(np.unique(labels.values[data.rows("train", labels)])) < 2:
        raise DataError(f"{data.name} has no two training pictures of different {labels.key}.")
    return replace(labels, task=config.task or labels.task)


def make_ranks(how: RanksOf, labels: Labels, data: Labelled) -> Ranks:
    """The M ranks of a query. Raises UsageError if its labels do not make such ranks."""
    y = labels.values[data.rows("train", labels)].astype(np.float64)
    by = _suggested(labels, y) if how.by == "labels" else how.by
    make = {"classes": _classes, "integers": _integers, "steps": _steps, "quantiles": _quantiles}
    try:
        return make[by](how, labels, y)
    except ValueError as error:
        raise UsageError(f"{data.name} does not make ranks by {by}: {error}.") from error


def _suggested(labels: Labels, y: np.ndarray[Any, Any]) -> str:
    if labels.classes:
        return "classes"
    whole = bool((y == np.rint(y)).all())
    return "integers" if whole and y.max() - y.min() < MOST else "quantiles"


def _classes(how: RanksOf, labels: Labels, y: np.ndarray[Any, Any]) -> Ranks:
    M = len(labels.classes)
    if not M:
        raise ValueError("its labels are no classes. Use integers, steps or quantiles")
    values = tuple(float(n) for n in range(M))
    starts = tuple(value - 0.5 for value in values)
    words = how.words or labels.classes
    return Ranks(_template(how, labels), words, values, starts, labels.classes)


def _integers(how: RanksOf, labels: Labels, y: np.ndarray[Any, Any]) -> Ranks:
    """A label between two whole numbers belongs to the nearest."""
    low, high = _ends(how, labels, y)
    values = tuple(float(n) for n in range(round(low), round(high) + 1))
    names = tuple(f"{value:.0f}" for value in values)
    starts = tuple(value - 0.5 for value in values)
    return Ranks(_template(how, labels), how.words or names, values, starts, names)


def _steps(how: RanksOf, labels: Labels, y: np.ndarray[Any, Any]) -> Ranks:
    """1930, 1931 ... 1939 are "1930s", whose value is their mean, 1934.5; where labels or steps
    are no whole numbers, the middle of the step."""
    low, high = (how.step * np.floor(end / how.step) for end in _ends(how, labels, y))
    starts = tuple(float(n) for n in np.arange(low, high + how.step / 2, how.step))
    whole = how.step == round(how.step) and bool((y == np.rint(y)).all())
    values = tuple(start + (how.step - whole) / 2 for start in starts)
    words = tuple(f"{start:g}" for start in starts)
    decades = how.step == 10 and labels.unit == "year"
    names = words if not decades else tuple(f"{word}s" for word in words)
    return Ranks(_template(how, labels), how.words or words, values, starts, names)


def _quantiles(how: RanksOf, labels: Labels, y: np.ndarray[Any, Any]) -> Ranks:
    """A level's value is the mean label of its training pictures."""
    words = how.words or (LEVELS if labels.task == "aesthetics" else AMOUNTS)
    cuts = np.quantile(y, np.arange(1, len(words)) / len(words))
    starts = (float(y.min()), *(float(cut) for cut in cuts))
    level = np.searchsorted(cuts, y, side="right")
    if set(level) != set(range(len(words))):
        raise ValueError(f"too few different labels for {len(words)} levels")
    values = tuple(float(y[level == k].mean()) for k in range(len(words)))
    return Ranks(_template(how, labels), words, values, starts, words)


def _ends(how: RanksOf, labels: Labels, y: np.ndarray[Any, Any]) -> tuple[float, float]:
    low, high = labels.range or (float(y.min()), float(y.max()))
    low, high = (low if how.low is None else how.low), (high if how.high is None else how.high)
    if not low < high:
        raise ValueError(f"ranks.low = {low:g} is not below ranks.high = {high:g}")
    return low, high


def _template(how: RanksOf, labels: Labels) -> str:
    """With the slot {}: the recipe's own, one of TEMPLATES, that of the task, or its prompt."""
    text = TEMPLATES.get(how.template, how.template) or TEMPLATES.get(labels.task, "")
    return re.sub(r"\{\w*\}", "{}", text or f"{labels.prompt.rstrip('.')}: {{}}")
