"""What recipes have in common: a TOML file of plain values, checked before any work.

A recipe is a frozen dataclass. Its file has the same fields; what the table `[tiny]` holds replaces
the rest where the backbone is the embedded `tiny`: the papers' values are for backbones and data a
hundred times larger. Every field is checked against its own annotation. What is trained on other
data than the recipe's inherits neither what the recipe says of its data nor their licence.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from imgrank.data.catalogue import CATALOGUE, RETRIEVAL, about
from imgrank.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "UNKNOWN_LICENCE",
    "assignment",
    "check_bounds",
    "check_name",
    "check_rises",
    "check_type",
    "check_types",
    "dotted",
    "joined",
    "known_fields",
    "load",
    "notes_of",
    "overridden",
    "recipe_of",
    "recipes",
    "retold",
    "tuples",
]

UNKNOWN_LICENCE = "unknown: depends on the pictures it was trained on"
TINY = "tiny"  # the backbone that the table of this name is for
Table = Mapping[str, Any]
T = TypeVar("T")
C = TypeVar("C", bound="DataclassInstance")


def load(
    path: str | Path,
    backbone: str,
    made: Callable[[Table], T],
    merged: Callable[[Table, Table], dict[str, Any]],
) -> T:
    """A recipe of a TOML file, or of one by name beside this module in recipes/.

    backbone: name of the one to train on; for "tiny" the file's `[tiny]` applies.
    made(values): the recipe.   merged(values, more): `more` over `values`, such as `joined`.
    Raises UsageError if it is not there, or lacks or misspells a field.
    """
    file = Path(path)
    text = file if file.is_file() else resources.files("imgrank.train") / "recipes" / str(path)
    try:
        values = tomllib.loads(text.read_text(encoding="utf-8"))
        tiny = values.pop(TINY, {})
        return made(merged(values, tiny) if backbone == TINY else values)
    except FileNotFoundError:
        raise UsageError(f"there is no recipe {path}") from None
    except (ValueError, TypeError, UsageError) as error:
        raise UsageError(f"the recipe {path} cannot be used: {error}") from error


def recipes(kind: str) -> dict[str, str]:
    """Our own recipes of a kind ("adapter"): what they are of -> file name, by name."""
    folder = resources.files("imgrank.train") / "recipes"
    names = sorted(each.name for each in folder.iterdir())
    found = {name: re.fullmatch(rf"{kind}-(.+)\.toml", name) for name in names}
    return {match[1]: name for name, match in found.items() if match}


def recipe_of(kind: str, data: str) -> str | None:
    """The file name of our own recipe for a data set or an experiment, None if there is none."""
    return recipes(kind).get(data)


def joined(values: Table, more: Table) -> dict[str, Any]:
    """`more` over `values`; tables, and parts of a recipe, entry by entry."""
    found = dict(values)
    for name, value in more.items():
        before = found.get(name)
        if is_dataclass(before) and not isinstance(before, type):
            before = asdict(before)
        both = isinstance(value, Mapping) and isinstance(before, Mapping)
        found[name] = joined(before, value) if both else value  # type: ignore[arg-type]
    return found


def dotted(key: str, value: Any) -> dict[str, Any]:
    """ "model.width", 64 -> {"model": {"width": 64}}, as `joined` takes it."""
    for part in reversed(key.split(".")):
        value = {part: value}
    nested: dict[str, Any] = value
    return nested


def assignment(text: str) -> dict[str, Any]:
    """ "lr=1e-4" -> {"lr": 1e-4}, "model.width=64" -> {"model": {"width": 64}}; a value that is no
    TOML is a string. Raises UsageError."""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not re.fullmatch(r"[\w-]+(\.[\w-]+)*", key):
        raise UsageError(f"--set takes KEY=VALUE, not '{text}'.")
    try:
        return dotted(key, tomllib.loads(f"value = {value}")["value"])
    except tomllib.TOMLDecodeError:
        return dotted(key, value)


def tuples(table: Table) -> dict[str, Any]:
    """TOML has lists where a recipe has tuples."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in table.items()}


def known_fields(config: DataclassInstance, values: Table) -> dict[str, Any]:
    """The fields of a recipe. Raises UsageError if `values` names one that it does not have."""
    known = [each.name for each in fields(config)]
    if unknown := sorted(set(values) - set(known)):
        raise UsageError(
            f"the recipe has no field {', '.join(unknown)}; it has {', '.join(known)}."
        )
    return {name: getattr(config, name) for name in known}


def retold(config: C, changed: C, values: Table, same_data: bool) -> C:
    """A changed recipe with the notes and the licence that go with it.

    Unless `values` give them anew, they are the recipe's only with its own data. Settings that
    differ from the recipe's are then named in the notes.
    """
    before: Any = config
    said = {"licence": UNKNOWN_LICENCE, "notes": ""}
    if same_data:
        said = {"licence": before.licence, "notes": before.notes + _differences(config, changed)}
    told: dict[str, Any] = {name: text for name, text in said.items() if name not in values}
    return replace(changed, **told)


def overridden(config: C, values: Table) -> C:
    """A recipe with `steps` and `warmup`, and other values of its fields, as TOML gives them.

    Fewer `steps` without a `warmup` have the same share of it. Raises UsageError.
    """
    before: Any = config
    known = known_fields(config, values)
    steps = values.get("steps")
    if isinstance(steps, int) and steps < before.steps and "warmup" not in values:
        values = {**values, "warmup": before.warmup * steps // before.steps}
    changed = replace(config, **tuples({**known, **values}))
    return retold(config, changed, values, same_data=True)


def _differences(config: DataclassInstance, changed: DataclassInstance) -> str:
    before, after = _flat(asdict(config)), _flat(asdict(changed))
    names = [n for n in {**before, **after} if before.get(n) != after.get(n)]
    names = [name for name in names if name not in ("name", "licence", "notes")]
    if not names or not before["notes"]:
        return ""
    lines = [f"- {n}: {after.get(n)}, in the recipe {before.get(n)}" for n in names]
    said = "What stands above was written of the recipe as it is. Here these differ:"
    return "\n".join(["", "## Other settings than the recipe's", "", said, "", *lines, ""])


def _flat(table: Table, start: str = "") -> dict[str, Any]:
    """Entries of tables by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        own = f"{start}{name}"
        found |= _flat(value, f"{own}.") if isinstance(value, Mapping) else {own: value}
    return found


def notes_of(data: Iterable[str]) -> str:
    """For a card of a recipe that has no notes: what is known of the data sets of these names."""
    lines, readers = [], {**CATALOGUE, **RETRIEVAL}
    for name in dict.fromkeys(data):
        if name not in readers:
            continue
        made = readers[name].made
        if made:
            lines.append(f"- {name}: {made}")
        else:
            known = about(name)
            terms = f"licence: {known.licence}" if known.licence else "its licence was not seen"
            lines.append(f"- {name}: {known.title}; {known.source}; {terms}")
    return "\n".join(
        [
            "## Data and their terms",
            "",
            *lines,
            "",
            "These were chosen by whoever trained this; what stands here is what imgrank knows of "
            "them. What the terms of the pictures, and those of the backbone, allow to be done "
            "with it is theirs to settle.",
        ]
    )


def check_types(values: DataclassInstance, inside: str = "") -> None:
    """Each field against its annotation; raises UsageError. inside: the table it stands in."""
    for name, hint in get_type_hints(type(values)).items():
        check_type(f"{inside}{name}", getattr(values, name), hint)


def check_type(name: str, value: Any, hint: Any) -> None:
    """Raises UsageError if a value is not what the annotation says."""
    if not _fits(value, hint):
        wanted = hint.__name__ if isinstance(hint, type) else str(hint)
        wanted = re.sub(r"(typing|collections\.abc|imgrank\.train\.\w+)\.", "", wanted)
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


def check_rises(ends: tuple[float, float] | None) -> None:
    """Raises UsageError if the first is not below the second."""
    if ends is not None and not ends[0] < ends[1]:
        raise UsageError(f"range = {list(ends)} must rise.")


def check_bounds(
    values: object, above_zero: tuple[str, ...], from_zero: tuple[str, ...], inside: str = ""
) -> None:
    """Raises UsageError for a field that is below its bound."""
    for name in (*above_zero, *from_zero):
        value = getattr(values, name)
        if value < 0 or (value == 0 and name in above_zero):
            least = "above 0" if name in above_zero else "0 or more"
            raise UsageError(f"{inside}{name} = {value!r} must be {least}.")


def check_name(name: str) -> None:
    """Raises UsageError if it cannot be the name of a folder."""
    if name in ("", ".", "..") or set(name) & set("/\\\0\n"):
        raise UsageError(f"name = {name!r} cannot be the name of a folder.")
