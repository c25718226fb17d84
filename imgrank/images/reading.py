"""Bytes of a file, or why there are none. Imports neither Pillow nor numpy, nor does a look at
versions: a sort whose scores are known needs no more of this room than this and `scan.py`.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["DECODE_VERSION", "MEASURE_VERSION", "Unreadable", "read_file"]

DECODE_VERSION = 1
"""Of `decode.py`; part of every feature's identity: rises when the same bytes give other pixels."""

MEASURE_VERSION = 1
"""Of `measure.py`; part of its rankers' identity: rises when a definition changes."""


class Unreadable(Exception):  # noqa: N818 (a state of the file, as `Skip` is)
    """A picture that cannot be used; the message is one line that a person can act on.

    It becomes a `Skip` value and never ends a run.
    """


def read_file(path: Path) -> bytes:
    """All bytes of a file. Raises `Unreadable` with the system's reason."""
    try:
        return path.read_bytes()
    except MemoryError:
        raise Unreadable("the file is larger than the memory of this machine") from None
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror or type(error).__name__}") from error
