"""Which backbone a checkpoint rests on, whether it is here, how to get it. No torch, no network.

A digest decides, never a name. To know that of a folder without a record its weights may have to
be hashed once, so nothing here is called for a sort.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from imgrank.errors import CheckpointError
from imgrank.models.registry import Entry, entries, listed
from imgrank.models.spec import read_spec
from imgrank.settings import Settings

__all__ = ["backbone_by_digest", "lacking", "resting_on", "way_to"]


def backbone_by_digest(digest: str, settings: Settings) -> Path | None:
    """The folder of a backbone on this machine that has this identity ("sha256:" or bare hex)."""
    return next(_of_digest(digest, entries(settings.models_dir)), None)


def lacking(entry: Entry, settings: Settings) -> str:
    """What is wrong if a checkpoint's backbone is not here; "" if it is, or none is needed."""
    digest = _digest(entry)
    if entry.problem or not digest or backbone_by_digest(digest, settings):
        return ""
    return f"its backbone '{entry.backbone}' is not here"


def way_to(entry: Entry) -> str:
    """How to get the backbone of a checkpoint: a command, or in words where there is none."""
    wish = str(_facts(entry).get("origin") or "")
    known = listed().get(entry.backbone)
    if not wish.startswith(("hf:", "open_clip:")):
        wish = known.name if known and known.origin else ""
    return f"imgrank models pull {wish}" if wish else "imgrank models import backbone FOLDER"


def resting_on(backbone: Entry, here: list[Entry]) -> list[str]:
    """Names of the checkpoints that need this backbone, and for which no other here is the same."""
    return [
        entry.name
        for entry in here
        if _digest(entry) and list(_of_digest(_digest(entry), here)) == [backbone.folder]
    ]


def _of_digest(digest: str, here: list[Entry]) -> Iterator[Path]:
    wanted = digest.removeprefix("sha256:")
    for entry in here:
        with suppress(CheckpointError):
            if entry.kind == "backbone" and read_spec(entry.folder).identity == wanted:
                yield entry.folder


def _digest(entry: Entry) -> str:
    return str(_facts(entry).get("digest") or "")


def _facts(entry: Entry) -> dict[str, Any]:
    facts = entry.config.get("backbone")
    return facts if isinstance(facts, dict) else {}
