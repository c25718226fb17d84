"""Bytes of a file, or why there are none. Imports neither Pillow nor numpy, nor does a look at
versions: a sort whose scores are known needs no more of this room than this and `scan.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

from imgrank.images.formats import sniff
from imgrank.images.limits import available_memory

__all__ = ["DECODE_VERSION", "MEASURE_VERSION", "Unreadable", "read_file"]

DECODE_VERSION = 1
"""Of `decode.py`; part of every feature's identity: rises when the same bytes give other pixels."""

MEASURE_VERSION = 1
"""Of `measure.py`; part of its rankers' identity: rises when a definition changes."""


_HEAD = 1024  # bytes that `sniff` needs
_SMALL = 100_000_000  # bytes that are not worth asking for the free memory


class Unreadable(Exception):  # noqa: N818 (a state of the file, as `Skip` is)
    """A picture that cannot be used; the message is one line that a person can act on.

    It becomes a `Skip` value and never ends a run.
    """


def read_file(path: Path) -> bytes:
    """All bytes of a picture file.

    A file whose first bytes are of no picture, or that is larger than a quarter of the memory, is
    not read to its end. Raises `Unreadable` with the reason.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if head and sniff(head) is None:
                raise Unreadable("not a picture in a known format")
            size = os.fstat(file.fileno()).st_size
            if size > _SMALL and size > available_memory() // 4:
                raise Unreadable(f"{size / 1e9:.1f} GB; this machine has no memory for that")
            return head + file.read()
    except MemoryError:
        raise Unreadable("the file is larger than the memory of this machine") from None
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror or type(error).__name__}") from error
