"""Which backbone a checkpoint rests on, whether it is here, how to get it. No torch, no network.

A digest decides, never a name. To know that of a folder without a record its weights may have to
be hashed once, so nothing here is called for a sort. The backbone of a "rarl" checkpoint is a
Qwen2.5-VL ("vlm"), which may also lie outside the models folder (`models/elsewhere.py`), of all
others an OpenCLIP folder; only what may be it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from imgrank.errors import CheckpointError
from imgrank.models.checkpoint import RARL
from imgrank.models.elsewhere import elsewhere
from imgrank.models.registry import VLM, Entry, Listed, entries, listed, listed_as
from imgrank.models.spec import read_spec
from imgrank.models.vlm_spec import read_vlm
from imgrank.settings import Settings

__all__ = [
    "backbone_by_digest",
    "backbone_kind",
    "lacking",
    "listed_base",
    "resting_on",
    "way_to",
]


def backbone_kind(config: Mapping[str, Any]) -> str:
    """What a checkpoint of this config rests on: "backbone" or "vlm"."""
    return VLM if config.get("kind") == RARL else "backbone"


def backbone_by_digest(digest: str, settings: Settings, kind: str = "backbone") -> Path | None:
    """The folder of a backbone on this machine that has this identity ("sha256:" or bare hex).

    kind: "backbone" or "vlm", as `backbone_kind` says; a "vlm" may lie outside the models folder.
    """
    return next(_of_digest(digest, entries(settings.models_dir), kind), None)


def listed_base(config: Mapping[str, Any]) -> Listed | None:
    """What the package's list knows of the backbone that a checkpoint's config names."""
    facts = config.get("backbone")
    if not isinstance(facts, dict):
        return None
    origin = str(facts.get("origin") or "").partition("@")[0]
    return listed_as(origin) if origin else listed().get(str(facts.get("name") or ""))


def lacking(entry: Entry, settings: Settings) -> str:
    """What is wrong if a checkpoint's backbone is not here; "" if it is, or none is needed."""
    digest = _digest(entry)
    kind = backbone_kind(entry.config)
    if entry.problem or not digest or backbone_by_digest(digest, settings, kind):
        return ""
    return f"its backbone '{entry.backbone}' is not here"


def way_to(entry: Entry) -> str:
    """How to get the backbone of a checkpoint: a command, or in words where there is none."""
    wish = str(_facts(entry).get("origin") or "")
    known = listed().get(entry.backbone)
    if not wish.startswith(("hf:", "open_clip:")):
        wish = known.name if known and known.origin else ""
    if wish:
        return f"imgrank models pull {wish}"
    if backbone_kind(entry.config) == VLM:
        return "imgrank models info FOLDER, the folder of that Qwen2.5-VL, which is then known"
    return "imgrank models import backbone FOLDER"


def resting_on(backbone: Entry, here: list[Entry]) -> list[str]:
    """Names of the checkpoints that need this backbone, and for which no other here is the same."""
    return [
        entry.name
        for entry in here
        if _digest(entry) and backbone_kind(entry.config) == backbone.kind
        if list(_of_digest(_digest(entry), here, backbone.kind)) == [backbone.folder]
    ]


def _of_digest(digest: str, here: list[Entry], kind: str) -> Iterator[Path]:
    wanted = digest.removeprefix("sha256:")
    folders = [entry.folder for entry in here if entry.kind == kind]
    if kind == VLM:
        own = {folder.resolve() for folder in folders}
        folders += [folder for folder in elsewhere() if folder not in own]
    for folder in folders:
        with suppress(CheckpointError):
            spec = read_vlm(folder) if kind == VLM else read_spec(folder)
            if spec.identity == wanted:
                yield folder


def _digest(entry: Entry) -> str:
    return str(_facts(entry).get("digest") or "")


def _facts(entry: Entry) -> dict[str, Any]:
    facts = entry.config.get("backbone")
    return facts if isinstance(facts, dict) else {}
