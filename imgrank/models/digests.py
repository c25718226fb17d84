"""sha256 of large files, computed once: weights of gigabytes are not read again at every start.

What was computed is remembered in `digests.json` of the cache folder, by the file's absolute path
and its size, times of change and inode: {"<path>": [size, mtime_ns, ctime_ns, inode, "<64 hex>"]}.
A file whose content changes gets another time of change, also where a tool sets the modification
time back. The memory is a convenience: where it cannot be read or written, files are hashed.
`imgrank models verify` hashes always.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from pathlib import Path
from typing import Any

from imgrank.errors import UsageError
from imgrank.models.atomic import write_json

__all__ = ["cache_file", "file_sha256", "known_sha256", "read_memory", "remember", "write_memory"]

SETTLED = 2.0
"""Seconds that a file must be unchanged before its digest is kept: file systems may give two
changes within one tick of their clock the same time."""
MOST = 200
"""Files remembered; the oldest entries go first."""


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_sha256(path: Path, memory: Path | None = None) -> str:
    """Hex sha256 of a file's content, as `file_sha256` gives, from memory if it is unchanged.

    memory: the JSON file to use; None: `digests.json` in the user's cache folder.
    Raises OSError if the file cannot be read; never because of the memory.
    """
    memory = memory or cache_file("digests.json")
    key, state = str(path.absolute()), _state(path)
    known = read_memory(memory).get(key)
    if isinstance(known, list) and known[:-1] == state and len(str(known[-1])) == 64:
        return str(known[-1])
    digest = file_sha256(path)
    if _state(path) == state:
        remember(path, digest, memory)
    return digest


def remember(path: Path, digest: str, memory: Path | None = None) -> None:
    """Puts into memory what was just computed of a file's content, unless it changed just now.

    Raises OSError if the file is gone.
    """
    state = _state(path)
    if time.time() - max(state[1], state[2]) / 1e9 > SETTLED:
        memory = memory or cache_file("digests.json")
        write_memory(memory, str(path.absolute()), [*state, digest], MOST)


def read_memory(path: Path | None) -> dict[str, Any]:
    """What a small JSON file of the cache folder holds; {} if there is none or it is damaged."""
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def write_memory(path: Path | None, key: str, value: Any, most: int) -> None:
    """Puts one entry into such a file, as the newest of at most `most`; does nothing if it cannot.

    The file is replaced in one step. Of two writers at the same time one entry may be lost.
    """
    if path is None:
        return
    content = read_memory(path)
    content.pop(key, None)
    content[key] = value
    kept = dict(list(content.items())[-most:])
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, kept)


def _state(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def cache_file(name: str) -> Path | None:
    """A file of the user's cache folder; None where the settings cannot be read."""
    from imgrank.settings import load_settings

    try:
        return load_settings().cache_dir / name
    except UsageError:  # said elsewhere, where the user asked for something
        return None
