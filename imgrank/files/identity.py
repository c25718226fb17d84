"""Is this still the same file? What `lstat` says of a file, kept, and compared later.

A file is the same if size, modification time and kind are, and the inode where the device is the
same. FAT, exFAT and sshfs number their files anew each time they are read from the drive, and give
them the modification time as change time: there an inode says nothing. (On other file systems a
file that was put in place later, with an old modification time, has a change time of its own.)
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Seen", "look", "same", "same_bytes", "unchanged"]

PIECE = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was seen. Times in nanoseconds since 1970; `text` of a symbolic link alone."""

    size: int
    mtime_ns: int
    ctime_ns: int
    device: int
    inode: int
    mode: int
    text: str | None = None

    @property
    def regular(self) -> bool:
        """A file with bytes in it: no folder, link, pipe or device."""
        return stat.S_ISREG(self.mode)

    @property
    def link(self) -> bool:
        """A symbolic link."""
        return stat.S_ISLNK(self.mode)


def look(path: Path, *, follow: bool = False) -> Seen | None:
    """The file at `path`, None if there is none; with `follow`, what a link leads to.

    Raises OSError if it cannot be looked at (no permission, a broken drive).
    """
    try:
        found = os.stat(path, follow_symlinks=follow)  # noqa: PTH116 - half the time of Path.stat
        text = os.readlink(path) if stat.S_ISLNK(found.st_mode) else None  # noqa: PTH115
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Seen(
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
        found.st_dev,
        found.st_ino,
        found.st_mode,
        text,
    )


def same(now: Seen | None, then: Seen | None, *, moved: bool = False) -> bool:
    """The same file, with the same content; a link is where it leads.

    moved: it may have come to another file system.
    """
    if now is None or then is None or stat.S_IFMT(now.mode) != stat.S_IFMT(then.mode):
        return False
    if now.link:
        return now.text == then.text
    if (now.size, now.mtime_ns) != (then.size, then.mtime_ns):
        return False
    if moved or now.device != then.device or now.inode == then.inode:
        return True
    return now.ctime_ns == now.mtime_ns


def unchanged(now: Seen | None, then: Seen | None) -> bool:
    """Not even touched: the change time, which nobody can set, is as it was."""
    return same(now, then) and now is not None and then is not None and now == then


def same_bytes(one: Path, other: Path) -> bool:
    """Both are regular files of the same content. Raises OSError if one cannot be read."""
    with one.open("rb", buffering=0) as left, other.open("rb", buffering=0) as right:
        sizes = [os.fstat(stream.fileno()) for stream in (left, right)]
        if sizes[0].st_size != sizes[1].st_size or not all(stat.S_ISREG(s.st_mode) for s in sizes):
            return False
        while True:
            piece = left.read(PIECE)
            if piece != right.read(PIECE):
                return False
            if not piece:
                return True
