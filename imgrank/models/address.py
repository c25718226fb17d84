"""Where others find a backbone of this machine: it was pulled from there, or pushed to there.

A checkpoint that is published says so in its config, so that a pull of it brings the backbone. What
was pushed is remembered beside the backbone's files, in `published.json`:

    {"format": 1, "origin": "hf:OWNER/REPOSITORY", "revision": "<40 hex>"}

No torch, no network.
"""

from __future__ import annotations

import json
from pathlib import Path

from imgrank.models.atomic import write_json
from imgrank.models.origin import COMMIT, read_origin

__all__ = ["PUBLISHED", "address", "remember"]

FORMAT = 1
PUBLISHED = "published.json"


def address(folder: Path) -> str:
    """`hf:OWNER/REPOSITORY@COMMIT` of a model's folder, "" if nobody else is known to have it."""
    origin = read_origin(folder)
    if origin is not None and origin.repository and origin.revision:
        return f"hf:{origin.repository}@{origin.revision}"
    try:
        table = json.loads((folder / PUBLISHED).read_text(encoding="utf-8"))
        place, revision = table["origin"], table["revision"]
        known = table["format"] == FORMAT and place.startswith("hf:")
        usable = known and COMMIT.fullmatch(revision)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return ""
    return f"{place}@{revision}" if usable else ""


def remember(folder: Path, repository: str, commit: str) -> bool:
    """Notes where a folder was pushed to; False if it cannot be written, which does no harm."""
    table = {"format": FORMAT, "origin": f"hf:{repository}", "revision": commit}
    try:
        write_json(folder / PUBLISHED, table)
    except OSError:
        return False
    return True
