"""What a model wrote -> the images it valued, in the order in which it listed them.

    <think>...</think><answer>[{"image_id": 2, "value": 31}, ...]</answer>

`parse` takes what it can from any text and never raises; `well_formed` is the strict reading, the
format reward R_fmt of spec/rarl.md. Both take time linear in the text, whatever is in it: a model
in training writes anything.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from dataclasses import dataclass
from typing import Any

__all__ = ["Item", "parse", "well_formed"]

DEEPEST = 8  # brackets in brackets; an answer has 2. Parsers of Python recurse, these texts nest.
LITERAL = 20_000  # characters; a Python literal is an answer's, not a book's
LARGEST = 2**53  # an id of more is no image's, and floats could not tell it from the next

NUMBER = r"[+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?"
NUMERIC = re.compile(rf"\s*+({NUMBER})\s*+", re.ASCII)
OBJECT = re.compile(r"\{[^{}]*+\}")
BRACKETS = re.compile(r"[\[({\])}]")
FIELDS = {
    key: re.compile(
        rf"""(?<!\w)["']?{key}["']?\s*+:\s*+["']?\s*+({NUMBER})\s*+["']?\s*+[,}}]""", re.ASCII
    )
    for key in ("image_id", "value")
}
UNREADABLE = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, OverflowError)


@dataclass(frozen=True, slots=True)
class Item:
    """image_id: as written; it may name no image.   value: finite."""

    image_id: int
    value: float


def parse(text: str) -> tuple[Item, ...]:
    """All items of an answer in their listed order, () if there are none. Never raises.

    Read is the last answer block (one cut off in the middle reaches to the end), else the whole
    text; of it what is between the first "[" and the last "]": as JSON, then as a Python literal,
    then every complete {...} that has both fields; the first reading that finds an item counts.
    Numeric strings count. NaN, infinity, booleans, ids that are no integers give no item; further
    keys are passed over. Ids may repeat.
    """
    block = _block(text)
    start, end = block.find("["), block.rfind("]")
    if 0 <= start < end and not _deep(block[start : end + 1]):
        listed = block[start : end + 1]
        found = _items(_json(listed)) or _items(_literal(listed))
        if found:
            return found
    return _salvaged(block)


def well_formed(text: str) -> bool:
    """R_fmt: one think block, then one answer block, nothing beside them but white space.

    The answer is a JSON list of one item or more with exactly the keys image_id (an integer, no
    string) and value (a finite number). Which ids, and in which order, is not asked here.
    """
    text = text.strip()
    if any(text.count(tag) != 1 for tag in ("<think>", "</think>", "<answer>", "</answer>")):
        return False
    thought, _, rest = text.partition("</think>")
    answer = rest.lstrip()
    if not (thought.startswith("<think>") and answer.startswith("<answer>")):
        return False
    if not answer.endswith("</answer>"):
        return False
    listed = answer.removeprefix("<answer>").removesuffix("</answer>")
    if _deep(listed):
        return False
    items = _json(listed, strict=True)
    return isinstance(items, list) and bool(items) and all(map(_exact, items))


def _block(text: str) -> str:
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, end if end >= 0 else len(text))
    if start < 0:
        return text
    return text[start + len("<answer>") : end if end >= 0 else len(text)]


def _deep(text: str) -> bool:
    depth = 0
    for bracket in BRACKETS.finditer(text):
        depth += 1 if bracket[0] in "[({" else -1
        if depth > DEEPEST:
            return True
    return False


def _json(text: str, strict: bool = False) -> Any:
    """None if it is no JSON. strict: nor is an object that repeats a key."""
    try:
        return json.loads(text, object_pairs_hook=_once if strict else None)
    except UNREADABLE:
        return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key twice")
    return found


def _literal(text: str) -> Any:
    if len(text) > LITERAL:
        return None
    try:
        with warnings.catch_warnings():  # of strange escapes and the like, in what is not code
            warnings.simplefilter("ignore")
            return ast.literal_eval(text)
    except UNREADABLE:
        return None


def _items(found: Any) -> tuple[Item, ...]:
    if not isinstance(found, list):
        return ()
    read = (_item(entry.get("image_id"), entry.get("value")) for entry in _dicts(found))
    return tuple(item for item in read if item)


def _dicts(found: list[Any]) -> list[dict[Any, Any]]:
    return [entry for entry in found if isinstance(entry, dict)]


def _salvaged(text: str) -> tuple[Item, ...]:
    found = []
    for entry in OBJECT.finditer(text):
        image, value = (FIELDS[key].search(entry[0]) for key in ("image_id", "value"))
        item = _item(image[1], value[1]) if image and value else None
        if item:
            found.append(item)
    return tuple(found)


def _item(image_id: Any, value: Any) -> Item | None:
    image, number = _number(image_id), _number(value)
    if image is None or number is None or not image.is_integer() or abs(image) >= LARGEST:
        return None
    return Item(int(image), number)


def _number(value: Any) -> float | None:
    """Of a number or a numeric string; None of anything else, of NaN and of infinity."""
    if isinstance(value, str):
        numeric = NUMERIC.fullmatch(value)
        value = float(numeric[1]) if numeric else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an int beyond all floats
        return None


def _exact(item: Any) -> bool:
    if not isinstance(item, dict) or set(item) != {"image_id", "value"}:
        return False
    image, value = item["image_id"], item["value"]
    spelled = not isinstance(image, int) or isinstance(value, str)  # "1" or 1.0 for 1
    return not spelled and _item(image, value) is not None
