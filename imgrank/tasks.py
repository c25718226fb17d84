"""The known tasks of tasks.toml, and the words by which an instruction may mean them.

`tasks()` is for the rest of the program; `lexicon()` is for `imgrank.instruction`, which reads
instructions with it. Everything here is data of the package: nothing depends on the machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

__all__ = ["End", "Lexicon", "Ranks", "Task", "lexicon", "tasks"]


@dataclass(frozen=True, slots=True)
class Ranks:
    """Rungs of a scale, described in words for a model that can read.

    templates: each with one "{}".   values: [R] in the task's unit, rising.
    words: [R], of each rung one wording or more.
    """

    templates: tuple[str, ...]
    values: tuple[float, ...]
    words: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Task:
    """A table of tasks.toml; its comments say what each field means.

    descending: the natural order (quality: best first; date: newest first; age: oldest first;
    size: largest first).   poles: (high end, low end) pairs of prompts.   ranks: None without.
    rule: "" if no model can see it.   values: (lowest, highest) to be expected, () without a rule.
    """

    key: str
    phrases: tuple[str, ...]
    prompt: str
    unit: str
    descending: bool
    high: tuple[str, ...]
    low: tuple[str, ...]
    inverse: tuple[str, ...] = ()
    high_words: tuple[str, ...] = ()
    low_words: tuple[str, ...] = ()
    units: Mapping[str, float] = field(default_factory=dict)
    poles: tuple[tuple[str, str], ...] = ()
    ranks: Ranks | None = None
    rule: str = ""
    values: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """One end of a scale that a word names: the task (None: of any scale) and whether it is the
    high end."""

    task: str | None
    high: bool


@dataclass(frozen=True, slots=True)
class Lexicon:
    """phrases: phrase -> (task, high end first).   ends: "oldest" -> ends that it can name.
    adjectives: "old" -> the same, for "how old", "most old".   words: regex of all keys of `ends`
    and `adjectives`.   units: "years" -> (task, factor)."""

    phrases: Mapping[str, End]
    ends: Mapping[str, tuple[End, ...]]
    adjectives: Mapping[str, tuple[End, ...]]
    words: str
    units: Mapping[str, tuple[str, float]]


HIGHEST = ("highest", "most", "greatest", "top", "strongest", "high", "best")
LOWEST = ("lowest", "least", "fewest", "bottom", "weakest", "low", "worst")


@cache
def tasks() -> Mapping[str, Task]:
    """All known tasks by key, in the order of the file. Read once."""
    import tomllib

    with (Path(__file__).parent / "tasks.toml").open("rb") as file:
        tables = tomllib.load(file)
    return MappingProxyType({key: _task(key, table) for key, table in tables.items()})


def _task(key: str, table: dict[str, Any]) -> Task:
    table = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    descending = table.pop("order") == "descending"
    poles = tuple((good, bad) for good, bad in table.pop("poles", ()))
    units = MappingProxyType(table.pop("units", {}))
    ranks = _ranks(table.pop("ranks")) if "ranks" in table else None
    return Task(key=key, descending=descending, poles=poles, units=units, ranks=ranks, **table)


def _ranks(table: dict[str, Any]) -> Ranks:
    return Ranks(
        templates=tuple(table["templates"]),
        values=tuple(float(value) for value, *_ in table["words"]),
        words=tuple(tuple(words) for _, *words in table["words"]),
    )


def _comparative(word: str) -> str:
    """ "sharpest" -> "sharper", as one asks about two pictures."""
    irregular = {"best": "better", "worst": "worse"}
    return irregular.get(word) or re.sub("^([^ ]+)est$", r"\1er", word)


@cache
def lexicon() -> Lexicon:
    """`tasks()` turned inside out: from words to tasks."""
    phrases: dict[str, End] = {}
    ends: dict[str, list[End]] = {}
    adjectives: dict[str, list[End]] = {}
    units: dict[str, tuple[str, float]] = {}
    for key, task in tasks().items():
        phrases |= {phrase: End(key, task.descending) for phrase in (key, *task.phrases)}
        phrases |= {phrase: End(key, not task.descending) for phrase in task.inverse}
        units |= {unit: (key, factor) for unit, factor in task.units.items()}
        for high in (True, False) if key != "count" else ():  # "most", "fewest" are of any scale
            for word in task.high if high else task.low:
                for form in dict.fromkeys((word, _comparative(word))):
                    ends.setdefault(form, []).append(End(key, high))
            for word in task.high_words if high else task.low_words:
                adjectives.setdefault(word, []).append(End(key, high))
                for more in ("most", "more"):
                    ends.setdefault(f"{more} {word}", []).append(End(key, high))
                for less in ("least", "less"):
                    ends.setdefault(f"{less} {word}", []).append(End(key, not high))
    del phrases["count"]  # says of nothing what to count
    for words, high in ((HIGHEST, True), (LOWEST, False)):
        for word in words:
            ends.setdefault(word, []).append(End(None, high))
    longest_first = sorted({*ends, *adjectives}, key=lambda word: (-len(word), word))
    return Lexicon(
        phrases=phrases,
        ends={word: tuple(dict.fromkeys(found)) for word, found in ends.items()},
        adjectives={word: tuple(found) for word, found in adjectives.items()},
        words="|".join(map(re.escape, longest_first)),
        units=units,
    )
