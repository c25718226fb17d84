"""Which commit an unpinned model stands for on this machine: `models.lock.json`. No torch.

    {"format": 1, "models": {"hf:OWNER/REPOSITORY": {"revision": "<40 hex>",
                                    "files": {NAME: {"sha256": "<64 hex>", "bytes": 0}}}}}

A key is an origin, with `@REVISION` if one was asked for. The first pull of what names no commit
resolves it and writes it here; later pulls obey, on this machine and on every other that is given
the file, until `pull --update`. It is written after success only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgrank.errors import CheckpointError
from imgrank.models.atomic import write_json
from imgrank.models.origin import COMMIT
from imgrank.settings import Settings

__all__ = ["Locked", "lock", "lock_path", "locked"]

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Locked:
    """revision: 40 hex digits.   files: name -> sha256 and bytes, as they were fetched."""

    revision: str
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def lock_path(settings: Settings) -> Path:
    """The lock file, which may be absent."""
    return settings.data_dir / "models.lock.json"


def locked(settings: Settings) -> Mapping[str, Locked]:
    """All that is locked, by origin. Raises CheckpointError if the file cannot be used."""
    path = lock_path(settings)
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}). Repair or delete it.") from error
    try:
        if table["format"] != FORMAT:
            raise CheckpointError(
                f"{path} has format {table['format']!r}, this imgrank reads {FORMAT}. Upgrade it."
            )
        return {origin: _row(row) for origin, row in table["models"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a lock file ({error!r}). Repair or delete it."
        ) from error


def _row(row: Mapping[str, Any]) -> Locked:
    """Raises ValueError and whatever else a table of another shape raises."""
    revision, files = str(row["revision"]), dict(row.get("files", {}))
    if not COMMIT.fullmatch(revision):
        raise ValueError(f"{revision!r} is no commit of 40 digits")
    if not all(isinstance(facts, dict) for facts in files.values()):
        raise ValueError(f"files of {revision}")
    return Locked(revision, files)


def lock(settings: Settings, origin: str, entry: Locked) -> None:
    """Record one origin; the others stay. Raises CheckpointError if it cannot be written."""
    from filelock import FileLock

    path = lock_path(settings)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):  # another pull may end just now
            rows = sorted({**locked(settings), origin: entry}.items())
            models = {name: {"revision": row.revision, "files": row.files} for name, row in rows}
            write_json(path, {"format": FORMAT, "models": models})
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error}.") from error
