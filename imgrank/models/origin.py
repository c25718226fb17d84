"""Where a model's folder came from: `origin.json`, beside its files. No torch, no network.

    {"format": 1, "origin": "hf:OWNER/REPOSITORY", "repository": "OWNER/REPOSITORY",
     "revision": "<40 hex>", "asked": "main", "files": {NAME: {"sha256": "<64 hex>", "bytes": 0}},
     "licence": "mit", "pulled": "2026-11-22"}

* `revision`: the commit that the files are of; `asked`: what it was resolved from, a branch, a tag
  or the commit itself.
* `files`: what the folder holds of it, a converted file as it is now; not `imgrank.json`, which
  describes this very folder.
* `source`: of a pickle or a head that was converted, the file as it was fetched, by its name; it is
  not kept, and absent if nothing was converted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from imgrank.errors import CheckpointError
from imgrank.models.atomic import write_json

__all__ = ["COMMIT", "ORIGIN", "Origin", "read_origin", "write_origin"]

FORMAT = 1
ORIGIN = "origin.json"
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Origin:
    """An `origin.json`, as the module's docstring explains it."""

    origin: str
    repository: str
    revision: str
    asked: str
    files: Mapping[str, Mapping[str, Any]]
    licence: str = ""
    pulled: str = ""
    source: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_origin(folder: Path) -> Origin | None:
    """The origin of a model's folder, None if it has none or one that cannot be read."""
    try:
        table = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        if table.pop("format") != FORMAT:
            return None
        origin = Origin(**{name: table[name] for name in Origin.__slots__ if name in table})
        return origin if _usable(origin) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _usable(origin: Origin) -> bool:
    """Whether all is of the kind that others rely on, whatever somebody wrote into the file."""
    texts = (getattr(origin, field.name) for field in fields(Origin) if field.type == "str")
    tables = (origin.files, origin.source)
    return all(isinstance(text, str) for text in texts) and all(
        isinstance(table, dict) and all(isinstance(facts, dict) for facts in table.values())
        for table in tables
    )


def write_origin(folder: Path, origin: Origin) -> None:
    """Write `origin.json` into the folder. Raises CheckpointError if that cannot be done."""
    table = {"format": FORMAT, **asdict(origin)}
    if not origin.source:
        del table["source"]
    try:
        write_json(folder / ORIGIN, table)
    except OSError as error:
        raise CheckpointError(f"cannot write {folder / ORIGIN}: {error}.") from error
