"""JSON that anybody may have written -> values of the kinds that are expected, or where they are
not. A file may have been edited, cut short, or made up to do harm.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

__all__ = ["JsonObject", "NotExpected", "json_values"]

LARGEST = 1e300  # of a number: sums and differences of two are finite
MOST = 1 << 53  # of a whole number: browsers have no larger ones


class NotExpected(Exception):  # noqa: N818 (a state of the file)
    """What is not as expected, and where."""


def json_values(data: bytes) -> Iterator[object]:
    """The JSON values that follow one another in UTF-8, or (a shell of Windows) UTF-16.

    Raises NotExpected.
    """
    try:
        text = data.decode(json.detect_encoding(data), "surrogatepass").removeprefix("\ufeff")
        decode = json.JSONDecoder(parse_constant=_no_number).raw_decode
        at = _end_of_space(text, 0)
        while at < len(text):
            value, end = decode(text, at)
            yield value
            at = _end_of_space(text, end)
    except RecursionError:
        raise NotExpected("nested too deeply") from None
    except ValueError as error:
        raise NotExpected(str(error)) from None


_SPACE = re.compile(r"\s*")


def _end_of_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


class JsonObject:
    """A JSON object whose members are asked for by their kind. All methods raise NotExpected.

    where: "images[3]", for messages; "" for the whole document.
    """

    def __init__(self, value: object, where: str = "") -> None:
        self.where = where
        if not isinstance(value, dict):
            raise NotExpected(f"{f'`{where}`' if where else 'the whole'} is not an object")
        self.members: dict[str, Any] = value

    def __contains__(self, key: str) -> bool:
        return key in self.members

    def text(self, key: str) -> str:
        value = self.members.get(key)
        return value if isinstance(value, str) else self.wrong(key, "a text")

    def number(self, key: str) -> float:
        """Finite, with room to reckon."""
        value = self.members.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool):
            self.wrong(key, "a number")
        return float(value) if abs(value) < LARGEST else self.wrong(key, "of a sensible size")

    def whole(self, key: str) -> int:
        """From 1."""
        value = self.members.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST:
            self.wrong(key, "a whole number from 1")
        return value

    def if_any(self, key: str) -> float | None:
        """A number, or None if it is null or absent."""
        return None if self.members.get(key) is None else self.number(key)

    def name(self, key: str) -> str:
        """A text, or a whole number as one; "" if it is null or absent."""
        value = self.members.get(key)
        return (value or "") if value is None or isinstance(value, str) else str(self.whole(key))

    def pair(self, key: str) -> tuple[float, float] | tuple[None, None]:
        """Two numbers, or Nones if it is null or absent."""
        value = self.members.get(key)
        if value is None:
            return None, None
        if not isinstance(value, list) or len(value) != 2:
            self.wrong(key, "a pair of numbers")
        both = JsonObject(dict(zip(("0", "1"), value, strict=True)), self._place(key))
        return both.number("0"), both.number("1")

    def texts(self, key: str) -> list[str]:
        """None of them if it is absent."""
        value = self.members.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self.wrong(key, "a list of texts")
        return value

    def objects(self, key: str) -> list[JsonObject]:
        value = self.members.get(key)
        if not isinstance(value, list):
            self.wrong(key, "a list")
        return [JsonObject(each, f"{self._place(key)}[{i}]") for i, each in enumerate(value)]

    def wrong(self, key: str, expected: str) -> NoReturn:
        what = f"is not {expected}" if key in self.members else f"is absent, not {expected}"
        raise NotExpected(f"`{self._place(key)}` {what}")

    def _place(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key
