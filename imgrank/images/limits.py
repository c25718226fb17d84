"""How large a picture may be: a cap on its pixels that follows from the machine's memory.

A file of 200 bytes can announce four thousand million pixels (a decompression bomb), so the size in
the header is checked before anything is decoded. Pillow's own limit is one number for the whole
process and knows nothing of the machine; it is left as it is for other users of Pillow.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

__all__ = ["available_memory", "machine_pixel_cap", "pixel_cap"]

BYTES_PER_PIXEL = 12
"""Peak while one picture is decoded: Pillow's 4 bytes a pixel as read, converted, and turned."""

SHARE = 4
"""One picture may take a quarter of the memory. Those above `LARGE` are decoded one at a time."""

LARGE = 50_000_000
"""Pixels from which on a picture waits until no other such picture is being decoded."""

LEAST = 16_000_000
"""Pixels that are always allowed: less would refuse the pictures of ordinary cameras."""

_UNKNOWN_MEMORY = 4 << 30


def pixel_cap(memory: int) -> int:
    """Most pixels (width x height) that a picture may have, for `memory` available bytes.

    16 GB allow 333 megapixels, 4 GB allow 83.
    """
    return max(LEAST, memory // (SHARE * BYTES_PER_PIXEL))


@functools.cache
def machine_pixel_cap() -> int:
    """`pixel_cap` of this machine, looked up once so that one run judges all pictures alike."""
    return pixel_cap(available_memory())


def available_memory() -> int:
    """Bytes that can be used without swapping: the kernel's estimate or a container's limit.

    Linux: `MemAvailable` of /proc/meminfo and what a control group (v2) has left; elsewhere half
    of the physical memory, or 4 GB where that is unknown too.
    """
    known = [n for n in (_meminfo(Path("/proc/meminfo")), _cgroup(Path("/sys/fs/cgroup"))) if n]
    return min(known) if known else _half_of_physical()


def _meminfo(file: Path) -> int | None:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
        return next(int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _cgroup(folder: Path) -> int | None:
    try:
        limit = int((folder / "memory.max").read_text(encoding="ascii"))
        used = int((folder / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no control group, or "max"
        return None
    return max(limit - used, 0)


def _half_of_physical() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return _UNKNOWN_MEMORY
