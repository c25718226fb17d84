"""Before a pull: what it would fetch, from where, how much, under which licence. Opens the network.

A plan fixes the commit; `models/pull.py` then fetches exactly that. The only file that a plan
reads is a small config, since it tells what else is needed (an extra, a backbone) before anything
large is on its way.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from imgrank.errors import CheckpointError, ModelUnavailable, UsageError
from imgrank.models import checkpoint
from imgrank.models.digests import known_sha256
from imgrank.models.hub import RemoteFile, Repository, look_up, refuse_offline
from imgrank.models.hub_parts import arrived
from imgrank.models.lock import Locked, locked
from imgrank.models.origin import ORIGIN, Origin, read_origin
from imgrank.models.published import backbone_config, detector_file, json_config, vlm_files
from imgrank.models.registry import (
    DETECTOR,
    EMBEDDED,
    VLM,
    find,
    listed,
    listed_as,
    size_text,
)
from imgrank.models.resting import backbone_by_digest, backbone_kind
from imgrank.models.spec import CONFIG
from imgrank.models.terms import licence_of, limits
from imgrank.models.verifying import differences
from imgrank.models.vlm_spec import INDEX
from imgrank.models.wish import (
    Wish,
    choose_backbone,
    choose_head,
    folder_name,
    parse_wish,
)
from imgrank.settings import Settings

__all__ = ["Plan", "backbone_by_digest", "check_disk", "origin_there", "plan", "staging"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pull will do.

    revision: the commit, 40 hex digits.   pinned: whether it was fixed before (by the wish, the
    registry or the lock file).   asked: what it was resolved from.   kind: "backbone", "vlm",
    "detector" or that of the checkpoint.   bytes_to_fetch: of this model alone, less what an
    interrupted pull left.   needs: the backbone that a checkpoint names, if it is not here.   here:
    the folder, if there is nothing to do.   config: of a backbone, as published or as OpenCLIP's
    tables give it.   research: whether its licence, or its backbone's, allows research only.
    """

    wish: str
    name: str
    repository: str
    revision: str
    pinned: bool
    files: tuple[RemoteFile, ...] = ()
    licence: str = ""
    research: bool = False
    gated: bool = False
    kind: str = ""
    bytes_to_fetch: int = 0
    needs: Plan | None = None
    warnings: tuple[str, ...] = ()
    asked: str = "main"
    here: Path | None = None
    weights: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    parsed: Wish = field(kw_only=True)

    @property
    def bytes_to_convert(self) -> int:
        """Written beside what is fetched, when that is no safetensors."""
        if self.weights.endswith(".safetensors") or self.kind == DETECTOR:
            return 0
        return sum(file.bytes for file in self.files if file.name == self.weights)


def plan(
    wish: str,
    settings: Settings,
    *,
    name: str | None = None,
    allow_pickle: bool = False,
    update: bool = False,
) -> Plan:
    """The plan for NAME, `hf:OWNER/REPOSITORY[@REVISION]` or `open_clip:ARCHITECTURE/TAG`.

    name: of the folder to be, instead of the model's own.   update: what names no commit is
    resolved again, whatever the lock file says, and what is here of another wish is replaced.
    What is already here at that commit opens no socket. Raises UsageError, ModelUnavailable (not
    found, no network, no room, only a pickle), MissingExtra, CheckpointError.
    """
    found = _plan(parse_wish(wish, name), settings, allow_pickle, update)
    check_disk(found, settings)
    return found


def staging(settings: Settings, name: str) -> Path:
    """Where a pull gathers a model; hidden, so that it is none before it is whole."""
    return settings.models_dir / f".pull-{name}"


def check_disk(found: Plan, settings: Settings) -> None:
    """Raises ModelUnavailable if what is to be fetched and converted does not fit on the disk."""
    plans = [found, *([found.needs] if found.needs else [])]
    needed = sum(each.bytes_to_fetch + each.bytes_to_convert for each in plans)
    folder = settings.models_dir
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ModelUnavailable(
            f"{found.wish} needs {size_text(needed)} in {settings.models_dir}, and "
            f"{size_text(free)} are free there. Make room, or move the data folder "
            "(IMGRANK_DATA_DIR)."
        )


def _plan(wish: Wish, settings: Settings, allow_pickle: bool, update: bool) -> Plan:
    folder = settings.models_dir / wish.name
    there = origin_there(folder, wish)
    row = locked(settings).get(wish.key)
    fixed = wish.asked if wish.by_commit else "" if update else _fixed(wish, row, there)
    if there and there.revision == fixed:
        return _nothing_to_do(wish, there, folder, settings, allow_pickle)
    refuse_offline(settings, f"fetching {wish.text}")
    repository = look_up(wish.repository, fixed or wish.asked or None)
    if fixed and repository.revision != fixed:
        raise ModelUnavailable(
            f"asked for {wish.repository}@{fixed}, the Hub answered with {repository.revision}. "
            "Try again; if HF_ENDPOINT names a mirror, use another."
        )
    if there and there.revision == repository.revision:
        return _nothing_to_do(wish, there, folder, settings, allow_pickle)
    if there and not update:
        _same_wish(wish, there, repository.revision)
    _agree(repository, wish, row if fixed else None)
    found = _contents(wish, repository, settings, allow_pickle)
    known = wish.listed or listed_as(f"hf:{wish.repository}")
    licence = licence_of(repository.licence, found.config, known)
    limited = limits(licence, found.config, known)
    found = replace(
        found,
        pinned=bool(fixed),
        licence=licence,
        research=bool(limited),
        bytes_to_fetch=_to_fetch(found, staging(settings, wish.name)),
    )
    return replace(found, warnings=_warnings(found, there, limited))


def _fixed(wish: Wish, row: Locked | None, there: Origin | None) -> str:
    """The commit that the lock file gives, or what is here of the same wish (a copied folder)."""
    if row:
        return row.revision
    return there.revision if there and there.asked == (wish.asked or "main") else ""


def _nothing_to_do(
    wish: Wish, there: Origin, folder: Path, settings: Settings, allow_pickle: bool
) -> Plan:
    """But for the backbone of a checkpoint, which may have been removed since."""
    try:
        entry = find(folder.name, settings.models_dir)
        damaged = bool(differences(entry, known_sha256))
    except CheckpointError:
        damaged = True
    if damaged:
        raise CheckpointError(
            f"{wish.name} is here at that revision, but damaged (imgrank models verify "
            f"{wish.name} says how). First imgrank models remove {wish.name}, then pull it again."
        )
    config = entry.config  # {} of what is no checkpoint
    return Plan(
        wish.text,
        wish.name,
        wish.repository,
        there.revision,
        pinned=True,
        licence=there.licence,
        kind=entry.kind,
        needs=_needs(config, wish.name, settings, allow_pickle),
        asked=wish.asked or "main",
        here=folder,
        parsed=wish,
    )


def origin_there(folder: Path, wish: Wish) -> Origin | None:
    """The origin of the model that has this name. Raises UsageError if it is another's."""
    if not folder.exists() and not folder.is_symlink():  # nor a link that leads nowhere
        return None
    there = read_origin(folder)
    if there is None and (folder / ORIGIN).is_file():
        raise UsageError(
            f"{folder / ORIGIN} cannot be read, so nobody knows whose model this is. If it was "
            f"pulled: imgrank models remove {folder.name}, then pull it again."
        )
    if there is None or there.repository != wish.repository:
        whose = f"from {there.origin}" if there else "your own"
        raise UsageError(
            f"{folder} is {whose}, and is not overwritten. Give another name: --as NAME."
        )
    return there


def _same_wish(wish: Wish, there: Origin, revision: str) -> None:
    """Raises UsageError if what is here was asked for in other words: it stays, unless --update."""
    if there.asked != (wish.asked or "main"):
        raise UsageError(
            f"{wish.name} is here at revision {there.revision[:12]} ({there.asked}), and "
            f"{wish.text} is revision {revision[:12]}. To have both, give another name: --as NAME; "
            "to replace what is here: --update."
        )


def _agree(repository: Repository, wish: Wish, row: Locked | None) -> None:
    """Raises ModelUnavailable if the Hub promises other content than registry or lock file."""
    promises = [
        (
            "the registry",
            wish.listed.files if wish.listed else {},
            _past_the_registry(wish),
        ),
        ("models.lock.json", row.files if row else {}, f"imgrank models pull {wish.text} --update"),
    ]
    for who, files, instead in promises:
        for name, facts in files.items():
            remote = repository.files.get(name)
            wanted = facts.get("sha256", "")
            differs = remote and remote.sha256 and wanted and remote.sha256 != wanted
            if remote is None or differs:
                how = "its sha256 differs" if differs else "it is gone"
                raise ModelUnavailable(
                    f"{name} of {wish.repository}@{repository.revision[:8]} is not what {who} "
                    f"says ({how}): the repository was rewritten, or this is not the Hub. Nothing "
                    f"was fetched; if you trust what is there now: {instead}"
                )


def _past_the_registry(wish: Wish) -> str:
    """The command that takes what a repository holds now, under another name than the list's."""
    if wish.listed and wish.listed.convert:
        return f"get the file by hand, then imgrank models import {wish.listed.convert} FILE"
    name = f"{wish.name}-new" if wish.name in listed() else wish.name
    return f"imgrank models pull hf:{wish.repository} --as {name}"


def _contents(wish: Wish, repository: Repository, settings: Settings, allow_pickle: bool) -> Plan:
    names = repository.files.keys()
    base = Plan(
        wish.text,
        wish.name,
        wish.repository,
        repository.revision,
        pinned=False,
        gated=repository.gated,
        asked=wish.asked or "main",
        parsed=wish,
    )
    if wish.listed and wish.listed.convert:
        weights = choose_head(repository, wish.listed)
        needs = _needs_by_name(wish.listed.backbone, settings, allow_pickle)
        return _with(base, repository, wish.listed.kind, weights, (), needs=needs)
    if wish.listed and wish.listed.kind == DETECTOR:
        return _with(base, repository, DETECTOR, detector_file(wish.listed), ())
    if CONFIG in names or wish.architecture:
        weights, small = choose_backbone(repository, wish, allow_pickle)
        config = backbone_config(wish, repository)
        return _with(base, repository, "backbone", weights, small, config)
    if checkpoint.CONFIG in names and not names.isdisjoint((checkpoint.WEIGHTS, INDEX)):
        config = json_config(repository)
        if "format" not in config:
            *before, last = vlm_files(repository)
            return _with(base, repository, VLM, last, tuple(before), config)
        if wish.carries:  # it may even say that it rests on itself
            raise ModelUnavailable(
                f"{wish.repository} is said to be what a checkpoint rests on, and is a checkpoint "
                "itself. Ask the owners of what you asked for; nothing was fetched."
            )
        if checkpoint.WEIGHTS in names:
            small = tuple(name for name in (checkpoint.CONFIG, checkpoint.CARD) if name in names)
            needs = _needs(config, repository.name, settings, allow_pickle)
            return _with(base, repository, config["kind"], checkpoint.WEIGHTS, small, config, needs)
    known = listed_as(f"hf:{wish.repository}")
    raise ModelUnavailable(
        f"{wish.repository} holds no model that imgrank can use: neither {CONFIG} (a backbone) "
        f"nor {checkpoint.CONFIG} with {checkpoint.WEIGHTS} (a checkpoint, or a Qwen2.5-VL). "
        + (
            f"By its name it can be pulled: imgrank models pull {known.name}"
            if known
            else "If OpenCLIP knows it by a tag, pull it as open_clip:ARCHITECTURE/TAG."
        )
    )


def _with(
    base: Plan,
    repository: Repository,
    kind: str,
    weights: str,
    small: tuple[str, ...],
    config: Mapping[str, Any] | None = None,
    needs: Plan | None = None,
) -> Plan:
    files = tuple(repository.files[name] for name in (*small, weights))
    return replace(
        base, kind=kind, weights=weights, files=files, config=dict(config or {}), needs=needs
    )


def _needs(
    config: Mapping[str, Any], whose: str, settings: Settings, allow_pickle: bool
) -> Plan | None:
    """The backbone that a checkpoint names, unless one of its digest is here."""
    facts = config.get("backbone")
    if not isinstance(facts, dict) or not facts.get("digest"):
        return None
    if backbone_by_digest(str(facts["digest"]), settings, backbone_kind(config)):
        return None
    name = str(facts.get("name", ""))
    origin, _, commit = str(facts.get("origin") or "").partition("@")
    revision = str(facts.get("revision") or commit)
    known = listed().get(name)
    if known and known.origin and origin in ("", known.origin):
        wish = parse_wish(name, "backbone")
    elif origin:
        wish = parse_wish(origin, "backbone")
    else:
        raise ModelUnavailable(
            f"{whose} was made on the backbone '{name}', which is not here, and says "
            f"not where it is. Put that backbone's folder into {settings.models_dir}."
        )
    if revision and revision != wish.asked:
        listed_at = wish.listed and replace(wish.listed, revision=revision, files={})
        wish = replace(wish, asked=revision, listed=listed_at)  # its digests are of another commit
    wish = replace(wish, carries=True)
    usable = name if known or name.isidentifier() else wish.repository.partition("/")[2]
    return _plan(_named(wish, usable, settings), settings, allow_pickle, False)


def _needs_by_name(name: str, settings: Settings, allow_pickle: bool) -> Plan | None:
    """The backbone of a published head, which the registry names, unless it is here."""
    wish = parse_wish(name)
    with suppress(ModelUnavailable, CheckpointError):
        there = read_origin(find(name, settings.models_dir).folder)
        if there and there.repository == wish.repository:
            return None
    return _plan(_named(wish, name, settings), settings, allow_pickle, False)


def _named(wish: Wish, name: str, settings: Settings) -> Wish:
    """Under this name, or, if another model has it, with some digits of the commit behind it."""
    there = read_origin(settings.models_dir / name)
    known = listed().get(name)
    asked = (there.asked, there.revision) if there and there.repository == wish.repository else ()
    taken = (settings.models_dir / name).exists() or (EMBEDDED / name).exists()
    if (taken and (wish.asked or "main") not in asked) or (
        known and known.repository != wish.repository
    ):
        name = f"{name}-{wish.asked[:8] or 'hub'}"
    # A checkpoint's config, written by others, had a say in this: it must not lead elsewhere.
    return replace(wish, name=folder_name(re.sub(r"[^\w.+-]", "-", name)))


def _to_fetch(found: Plan, folder: Path) -> int:
    return sum(file.bytes - arrived(folder, file) for file in found.files)


def _warnings(found: Plan, there: Origin | None, limited: list[str]) -> tuple[str, ...]:
    warnings = []
    if not found.pinned:
        what = "a tag names no revision" if found.parsed.tag and not found.parsed.listed else ""
        warnings.append(
            f"unpinned: {what or f'{found.wish} names no revision'}; pinned from now on by "
            f"models.lock.json to {found.revision}"
        )
    warnings += limited
    if not limited and not found.licence:
        warnings.append("it names no licence: ask its owners what you may do with it")
    if found.kind == "backbone" and not found.weights.endswith(".safetensors"):
        warnings.append(f"{found.weights} is a pickle: it is read without running anything of it")
    if there:
        warnings.append(f"it replaces revision {there.revision[:12]}, which is here")
    return tuple(warnings)
