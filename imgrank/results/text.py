"""Numbers and names as text: the same digits in every format, nothing that drives a terminal."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

from imgrank.results.ranking import Cell

__all__ = ["number", "shown", "visible"]

SECONDS = "s since 1970"


def number(value: float) -> str:
    """A score as text, and as JSON: "3.14159", "1700000000", "1e-07"."""
    text = f"{value:.0f}" if 1e6 <= abs(value) < 1e16 else f"{value:.6g}"
    return "0" if text == "-0" else text


def shown(cell: Cell, unit: str) -> str:
    """A score for eyes: "3.14 MOS", "34 (30 to 38) years", "2019-05-03 12:00:00", "-"."""
    if cell is None:
        return "-"
    value, low, high = cell
    if unit == SECONDS:
        try:
            return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S}"
        except (OverflowError, ValueError, OSError):
            return f"{number(value)} {unit}"
    text = _brief(value)
    if low is not None and high is not None:
        text += f" ({_brief(low)} to {_brief(high)})"
    return f"{text} {unit}".rstrip()


def _brief(value: float) -> str:
    """Four digits are enough to read down a column; more only before the point."""
    return number(value) if abs(value) >= 1000 else f"{value:.4g}"


def visible(text: str) -> str:
    """Control, direction and undecodable characters as escapes: a name cannot drive a terminal."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        ch
        if ch == "\u200d" or unicodedata.category(ch) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        else f"\\x{ord(ch) & 0xFF:02x}"
        if ord(ch) < 0x100 or 0xDC80 <= ord(ch) <= 0xDCFF
        else f"\\u{ord(ch):04x}"
        for ch in text
    )
