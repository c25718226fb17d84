"""Names of files and folders: when two of them clash, rank prefixes, what no file system takes.

Two names clash if they are equal after Unicode normalisation (NFC) and case folding, also where the
file system at hand would tell them apart: the outcome is the same on every machine, and a folder
filed here can be carried to any other.
"""

from __future__ import annotations

import os
import re
import unicodedata

__all__ = ["clash_key", "folder_name", "impossible", "is_numbered", "numbered"]

LONGEST = 255
"""Bytes of a name; less than that on no file system in common use."""

_PREFIX = re.compile(r"[0-9]{3,}__(?=.)", re.DOTALL)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)


def clash_key(name: str) -> str:
    """Equal for names that cannot lie in one folder everywhere. Names need not be UTF-8."""
    if name.isascii():
        return name.lower()
    folded = unicodedata.normalize("NFC", name).casefold()
    return unicodedata.normalize("NFC", folded)


def numbered(name: str, rank: int, width: int) -> str:
    """ "a.jpg" at rank 7 -> "007__a.jpg"; a rank prefix that is there already is replaced.

    width: digits at least; three is the least that is known again as a prefix.
    """
    return f"{rank:0{max(3, width)}d}__{_PREFIX.sub('', name, count=1)}"


def is_numbered(name: str) -> bool:
    """Whether a name begins with a rank prefix."""
    return _PREFIX.match(name) is not None


def impossible(name: str) -> str | None:
    """Why no file can have this name; None if one can."""
    length = len(os.fsencode(name))
    return f"its name would have {length} bytes, {LONGEST} at most" if length > LONGEST else None


def folder_name(text: str) -> str:
    """A name that every file system takes for a folder, as near to the text as that allows.

    Signs that some forbid become "-"; so do a dot or space at the end, and names of devices get one
    (Windows). Nothing at all is "none".
    """
    name = _FORBIDDEN.sub("-", text).strip(" ")
    name = re.sub(r"^\.+|[. ]+$", "-", name)
    while len(os.fsencode(name)) > LONGEST:
        name = name[:-1]
    return f"{name}-" if _RESERVED.fullmatch(name) else name or "none"
