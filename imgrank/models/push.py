"""Publish a model's folder on the Hub: exactly the files that make it, in one commit.

A pull of that commit, `hf:OWNER/REPOSITORY@COMMIT`, gives the same model. What the card lacks of
the metadata that the Hub reads is added to the copy that is sent; the folder stays as it is.
`origin.json` (where this copy came from) and everything else in the folder stay here. A checkpoint
whose config does not say where its backbone can be had is sent with that, if it is known here; of a
backbone that was pushed, the address is remembered for this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from imgrank.errors import ModelUnavailable, UsageError
from imgrank.models import checkpoint
from imgrank.models.address import address, remember
from imgrank.models.card import (
    backbone_card,
    backbone_metadata,
    for_hub,
    metadata,
    vlm_metadata,
)
from imgrank.models.hub import endpoint, quiet, refuse_offline, uploading
from imgrank.models.hub_errors import without_password
from imgrank.models.origin import read_origin
from imgrank.models.registry import EMBEDDED, Entry, listed
from imgrank.models.resting import backbone_by_digest, backbone_kind
from imgrank.models.spec import CONFIG, RECORD, file_sha256, read_spec
from imgrank.models.terms import TERMS
from imgrank.models.vlm_spec import is_vlm, needed_files
from imgrank.models.wish import TOKENIZER
from imgrank.settings import Settings

__all__ = ["push", "remarks"]

_REPOSITORY = re.compile(r"(?:hf:)?([\w.-]+/[\w.-]+)")


def push(
    folder: Path,
    repository: str,
    settings: Settings,
    *,
    private: bool = True,
    message: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Upload the folder of a backbone, a Qwen2.5-VL or a checkpoint; the commit, 40 hex digits.

    repository: OWNER/REPOSITORY, made if there is none (private: readable by its owners alone;
    one that exists stays as visible as it is).   progress: bytes done and bytes in all; the
    client counts none on the way, so it is called at the start and at the end.
    A backbone's folder, and that of a Qwen2.5-VL, gets a `published.json`, see `models/address.py`.
    Raises UsageError, CheckpointError for a folder that is no whole model, ModelUnavailable.
    """
    match = _REPOSITORY.fullmatch(repository.strip())
    if match is None:
        raise UsageError(f"'{repository}' is no repository: write OWNER/REPOSITORY.")
    name = match[1]
    files, made = _contents(folder, name, settings)
    refuse_offline(settings, f"publishing {folder.name}", here=True)
    total = sum(path.stat().st_size for path in files) + sum(map(len, made.values()))
    if progress:
        progress(0, total)
    with uploading(name) as api:
        from huggingface_hub import CommitOperationAdd

        if not api.token:
            raise ModelUnavailable(
                f"publishing at {without_password(endpoint())} needs a token that may write: make "
                "one in the settings of your account, then set HF_TOKEN or run `hf auth login`."
            )
        api.create_repo(name, private=private, exist_ok=True)
        operations = [CommitOperationAdd(path.name, str(path)) for path in files]
        operations += [CommitOperationAdd(path, data) for path, data in made.items()]
        done = api.create_commit(
            name, operations, commit_message=message or f"{folder.name}, from imgrank"
        )
    if progress:
        progress(total, total)
    if ((folder / CONFIG).is_file() or is_vlm(folder)) and folder.parent != EMBEDDED:
        remember(folder, name, str(done.oid))
    return str(done.oid)


def remarks(entry: Entry, settings: Settings) -> list[str]:
    """What somebody should know before this model is published; one line each."""
    name = entry.backbone
    if not name or _with_address(entry.config, settings)["backbone"].get("origin"):
        return []
    known = listed().get(name)
    if (known and known.origin) or (EMBEDDED / name).is_dir():
        return []
    return [
        f"warning: its backbone '{name}' is only on this machine: push that first, or nobody can "
        f"use {entry.name}"
    ]


def _with_address(config: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """A checkpoint's config that says where its backbone is, if that is known and needs saying."""
    facts = config.get("backbone")
    full = dict(config)
    if isinstance(facts, dict) and facts.get("digest") and not facts.get("origin"):
        folder = backbone_by_digest(str(facts["digest"]), settings, backbone_kind(config))
        if folder is not None and folder.parent != EMBEDDED and (place := address(folder)):
            full["backbone"] = {**facts, "origin": place}
    return full


def _contents(
    folder: Path, repository: str, settings: Settings
) -> tuple[list[Path], dict[str, bytes]]:
    """The files to send as they are; and by name what is made for sending, the card among it."""
    made: dict[str, bytes] = {}
    path = folder / checkpoint.CARD
    text = path.read_text(encoding="utf-8") if path.is_file() else f"# {folder.name}\n"
    if is_vlm(folder):
        files = [*needed_files(folder), *(folder / name for name in TERMS)]
        with quiet():
            made[checkpoint.CARD] = for_hub(text, vlm_metadata(), str(path)).encode()
        return [path for path in files if path.is_file()], made
    if (folder / CONFIG).is_file():
        spec = read_spec(folder)
        origin = read_origin(folder)
        data = backbone_metadata(origin.licence if origin else "")
        text = text if path.is_file() else backbone_card(folder.name, repository, origin)
        recorded = spec.weights_sha256
        names = [CONFIG, RECORD, *TOKENIZER, *([spec.merges.name] if spec.merges else [])]
        files = [spec.weights, *(folder / name for name in dict.fromkeys(names))]
    else:
        config = checkpoint.read_config(folder)
        full = _with_address(config, settings)
        data = metadata(full)
        recorded = config["weights"]["sha256"]
        files = [folder / checkpoint.WEIGHTS]
        if full == config:
            files.append(folder / checkpoint.CONFIG)
        else:
            made[checkpoint.CONFIG] = json.dumps(full, indent=2).encode() + b"\n"
    if file_sha256(files[0]) != recorded:
        raise UsageError(
            f"{files[0]} is not the file that the model records (its sha256 differs), so it is "
            "not published."
        )
    with quiet():  # about a card without metadata
        card = for_hub(text, data, str(path))
    made[checkpoint.CARD] = card.encode()
    return [path for path in files if path.is_file()], made
