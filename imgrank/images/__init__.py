"""Pictures on disk: finding them, decoding them, measuring them. No torch here.

`ImageFile` and `Skip` are the plain values that the rest of the program passes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["ImageFile", "Skip"]


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A candidate picture as the scan found it; nothing has been opened yet.

    path: as the user would type it (the given folder joined with the name inside it).
    size: bytes.  mtime_ns: modification time; both only short-cut the hashing of content.
    """

    path: Path
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> ImageFile:
        """A picture that is known by its path. Raises OSError if it is not there."""
        found = path.stat()
        return cls(path, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Skip:
    """A picture, file or folder that could not be used, and why (one line, no traceback)."""

    path: Path
    reason: str
