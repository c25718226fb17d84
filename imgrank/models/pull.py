"""Fetch a model from the Hub: all of it, checked, or nothing.

Files gather in a hidden folder beside the models, `.pull-NAME`. There each is compared with what
the Hub, the registry and the lock file promise, a pickle or a head is converted, OpenCLIP loads a
backbone and OpenCV a face detector once, a checkpoint is held against its backbone. Of a Qwen2.5-VL
transformers loads the processor, and the heads of the weights are held against their index: to load
gigabytes takes too long. Only then one rename makes it a model.
Whatever interrupts this (Ctrl-C, kill -9, a full disk, a server that lies) leaves no model behind;
whole files of the hidden folder are not fetched again, and a large one goes on where it stopped.
"""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from imgrank.errors import CheckpointError, ModelUnavailable
from imgrank.models import checkpoint
from imgrank.models.convert import to_safetensors, write_config
from imgrank.models.digests import remember
from imgrank.models.hub import Repository, fetch, refuse_offline
from imgrank.models.hub_parts import part_name
from imgrank.models.lock import Locked, lock, locked
from imgrank.models.origin import ORIGIN, Origin, write_origin
from imgrank.models.plan import (
    Plan,
    backbone_by_digest,
    check_disk,
    origin_there,
    plan,
    staging,
)
from imgrank.models.registry import DETECTOR, VLM, find
from imgrank.models.resting import backbone_kind
from imgrank.models.spec import CONFIG, RECORD, WEIGHTS, file_sha256
from imgrank.models.vlm_spec import INDEX, needed_files
from imgrank.settings import Settings

__all__ = ["Plan", "alone", "plan", "pull"]

Notify = Callable[[str], None]
Facts = dict[str, dict[str, Any]]


def pull(
    found: Plan,
    settings: Settings,
    *,
    progress: Callable[[int, int], None] | None = None,
    notify: Notify = lambda text: None,
) -> Path:
    """Do what the plan says; the folder of the model.

    progress: called with bytes done and bytes in all, the needed backbone's included.
    notify: called with a line before each step that takes long.
    Raises ModelUnavailable, CheckpointError; then the model is as it was before.
    """
    counter = _Counter(_bytes(found), progress)
    if found.here is None or found.needs:
        refuse_offline(settings, f"fetching {found.wish}")
        check_disk(found, settings)
    try:
        return _pull(found, settings, counter, notify)
    except OSError as error:
        raise ModelUnavailable(f"cannot write into {settings.models_dir}: {error}.") from error


class _Counter:
    """Bytes of all files together."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self.done, self.total, self._progress = 0, total, progress

    def add(self, count: int) -> None:
        self.done += count
        if self._progress:
            self._progress(max(0, min(self.done, self.total)), self.total)

    def end_at(self, done: int) -> None:
        """The client's count of a file may be off by what it fetched twice or compressed."""
        self.add(done - self.done)


def _bytes(found: Plan | None) -> int:
    return sum(file.bytes for file in found.files) + _bytes(found.needs) if found else 0


def _pull(found: Plan, settings: Settings, counter: _Counter, notify: Notify) -> Path:
    if found.needs:
        _pull(found.needs, settings, counter, notify)
    if found.here is not None:
        if found.parsed.key not in locked(settings):  # interrupted before, or a copied folder
            lock(settings, found.parsed.key, Locked(found.revision))
        return found.here
    folder, target = staging(settings, found.name), settings.models_dir / found.name
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        notify(f"fetching {found.name} from {found.repository}@{found.revision[:12]}")
        fetched = _fetch(found, settings, folder, counter)
        source = _convert(found, settings, folder, notify)
        kept = {name: facts for name, facts in fetched.items() if name not in source}
        _tidy(folder, found)
        if found.kind == "backbone":
            _try_backbone(found, folder, notify)
            kept.pop(RECORD, None)  # describes this very folder, so it was written anew
        elif found.kind == DETECTOR:
            _try_detector(found, folder)
        elif found.kind == VLM:
            _try_vlm(found, folder, notify)
        else:
            _try_checkpoint(found, settings, folder)
        names = [path.name for path in folder.iterdir() if path.name not in (RECORD, ORIGIN)]
        kept |= {name: _facts(folder / name) for name in sorted(names) if name not in kept}
        origin = Origin(
            origin=found.parsed.origin,
            repository=found.repository,
            revision=found.revision,
            asked=found.asked,
            files=kept,
            licence=found.licence,
            pulled=datetime.datetime.now(datetime.UTC).date().isoformat(),
            source=source,
        )
        write_origin(folder, origin)
        origin_there(target, found.parsed)  # minutes have passed since the plan: still nobody's?
        _into_place(folder, target)
    for file in found.files if found.kind == VLM else ():
        remember(target / file.name, fetched[file.name]["sha256"])  # or they are read once more
    lock(settings, found.parsed.key, Locked(found.revision, fetched))
    return target


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One pull of a name at a time; folder: its staging.

    The lock ends with the process, however that ends. Raises ModelUnavailable if it is taken.
    """
    from filelock import FileLock, Timeout

    place = folder.with_name(f"{folder.name}.lock")
    try:
        with FileLock(place, timeout=0):
            try:
                yield
            finally:
                with suppress(OSError):  # Windows deletes no open file
                    place.unlink()
    except Timeout:
        raise ModelUnavailable(
            f"another imgrank is fetching {folder.name.removeprefix('.pull-')} right now. Wait "
            "for it."
        ) from None


def _fetch(found: Plan, settings: Settings, folder: Path, counter: _Counter) -> Facts:
    """All files of the plan, checked; their sha256 and sizes by name."""
    promises = _promises(found, settings)
    files = {file.name: file for file in found.files}
    # The client's half files; and whatever an earlier pull under this name, of another repository
    # or commit, has left: OpenCLIP takes weights and config by their names. Parts of these stay.
    _only(folder, {*files, *map(part_name, found.files)})
    repository = Repository(found.repository, found.revision, files, found.licence)
    facts: Facts = {}
    end = counter.done
    for file in found.files:
        path = fetch(repository, file.name, folder, counter.add)
        end += file.bytes
        counter.end_at(end)
        facts[file.name] = _facts(path, file.sha256)
        for who, promised in promises.items():
            wanted = promised.get(file.name, {}).get("sha256", "")
            if wanted and facts[file.name]["sha256"] != wanted:
                path.unlink()
                raise ModelUnavailable(
                    f"{file.name} of {found.repository} is not the file that {who} names (its "
                    "sha256 differs). It was deleted, and no model was made of it: the repository "
                    "was rewritten, or this is not the Hub. Compare it with its page."
                )
    return facts


def _promises(found: Plan, settings: Settings) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """By whom: the files' facts that hold for this commit. Small files, of which the Hub says no
    sha256, can be compared only once they are here."""
    known, row = found.parsed.listed, locked(settings).get(found.parsed.key)
    return {
        "the registry": known.files if known else {},
        "models.lock.json": row.files if row and row.revision == found.revision else {},
    }


def _facts(path: Path, sha256: str = "") -> dict[str, Any]:
    return {"sha256": sha256 or file_sha256(path), "bytes": path.stat().st_size}


def _convert(found: Plan, settings: Settings, folder: Path, notify: Notify) -> Facts:
    """What was fetched only to be turned into something else: its name and facts; it is gone."""
    path = folder / found.weights
    head = found.parsed.listed is not None and bool(found.parsed.listed.convert)
    if found.kind == "backbone" and not (folder / CONFIG).is_file():
        write_config(folder / CONFIG, dict(found.config))
    if head:
        source = {found.weights: _facts(path)}
        notify(f"converting {found.weights}")
        _convert_head(found, settings, path, folder)
    elif found.kind == "backbone" and path.name not in WEIGHTS:
        source = {found.weights: _facts(path)}
        if path.suffix == ".safetensors":
            path.rename(folder / WEIGHTS[0])
        else:
            notify(f"converting {found.weights} to safetensors")
            to_safetensors(path, folder / WEIGHTS[0])
    else:
        return {}
    if found.weights != checkpoint.WEIGHTS:
        path.unlink(missing_ok=True)
    return source


def _convert_head(found: Plan, settings: Settings, path: Path, folder: Path) -> None:
    from imgrank.models.linear import convert_head

    assert found.parsed.listed is not None
    backbone = found.needs.name if found.needs else found.parsed.listed.backbone
    convert_head(
        path,
        folder,
        backbone_folder=find(backbone, settings.models_dir).folder,
        name=found.name,
        licence=found.licence,
        origin=found.parsed.origin,
    )


def _tidy(folder: Path, found: Plan) -> None:
    """Only what belongs to the model stays: nothing of the client's, of an earlier attempt."""
    keep = {file.name for file in found.files} | {CONFIG, *WEIGHTS}
    if found.kind not in ("backbone", DETECTOR, VLM):
        keep = {checkpoint.CONFIG, checkpoint.WEIGHTS, checkpoint.CARD}
    _only(folder, keep)


def _only(folder: Path, keep: Collection[str]) -> None:
    """Everything else in the folder goes."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in keep:
            path.unlink()


def _try_backbone(found: Plan, folder: Path, notify: Notify) -> None:
    """Have OpenCLIP load it and its record written. Raises ModelUnavailable if that fails."""
    from imgrank.models.backbone import describe

    notify(f"loading {found.name} once, to see that it works")
    record = _record(folder)
    size = found.parsed.image_size or record.get("image_size")
    own = found.config.get("model_cfg", {}).get("vision_cfg", {}).get("image_size")
    options: dict[str, Any] = {} if size in (None, own) else {"image_size": size}
    try:
        describe(folder, found.name, record.get("statistics", ()), **options)
    except CheckpointError as error:
        shutil.rmtree(folder)
        raise ModelUnavailable(
            f"{found.repository} was fetched whole, but cannot be used: {error} Nothing was kept."
        ) from error


def _try_detector(found: Plan, folder: Path) -> None:
    """Have OpenCV look for faces in an empty picture. Raises ModelUnavailable if it cannot."""
    from PIL import Image

    from imgrank.images.faces import YuNetDetector

    try:
        YuNetDetector(folder / found.weights).detect(Image.new("RGB", (64, 48)))
    except CheckpointError as error:
        shutil.rmtree(folder)
        reason = str(getattr(error.__cause__, "err", error)).rstrip(".")
        raise ModelUnavailable(
            f"{found.repository} was fetched whole, but OpenCV cannot use it: {reason}. Nothing "
            "was kept."
        ) from error


def _try_vlm(found: Plan, folder: Path, notify: Notify) -> None:
    """Its weights are whole and hold what their index names, and transformers loads its processor.

    Raises ModelUnavailable if not. Where only the processor is unknown to the transformers that is
    installed, what was fetched stays: another one may know it.
    """
    from imgrank.models.vlm_loading import load_processor

    try:
        _check_weights(folder)
    except (ValueError, CheckpointError) as error:
        shutil.rmtree(folder)
        raise ModelUnavailable(
            f"{found.repository} was fetched whole, but its weights cannot be used: {error}. Its "
            "owners published it so; nothing was kept."
        ) from error
    notify(f"loading the processor of {found.name} once, to see that it works")
    try:
        load_processor(folder)
    except CheckpointError as error:
        raise ModelUnavailable(
            f"{found.repository} was fetched whole, but {error} If another version of transformers "
            f"can, the same pull then needs no download; imgrank models remove {found.name} "
            "deletes what was fetched."
        ) from error


def _check_weights(folder: Path) -> None:
    """Raises ValueError, CheckpointError; only the heads of the files are read."""
    from safetensors import SafetensorError, safe_open

    needed_files(folder)
    held: dict[str, set[str]] = {}
    try:
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "numpy") as file:
                held[path.name] = set(file.keys())
    except SafetensorError as error:
        raise ValueError(f"{path.name}: {error}") from error
    index = folder / INDEX
    named = json.loads(index.read_bytes())["weight_map"] if index.is_file() else {}
    if wrong := sorted(name for name, file in named.items() if name not in held[file]):
        raise ValueError(f"{named[wrong[0]]} has no {wrong[0]}, which {INDEX} says it has")


def _record(folder: Path) -> dict[str, Any]:
    """What a backbone of ours was published with; all but these choices is found out anew."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        choices = {"statistics": [int(index) for index in record.get("statistics", ())]}
        return choices | {"image_size": record.get("image_size")}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _try_checkpoint(found: Plan, settings: Settings, folder: Path) -> None:
    """Its weights are those that its config names, and its backbone is here, by digest."""
    config = checkpoint.read_config(folder)
    if _facts(folder / checkpoint.WEIGHTS)["sha256"] != config["weights"].get("sha256"):
        shutil.rmtree(folder)
        raise ModelUnavailable(
            f"{found.repository}: {checkpoint.WEIGHTS} is not the file that its own config names. "
            "Its owners published it so; nothing was kept."
        )
    facts: Mapping[str, Any] = config.get("backbone") or {}
    if facts.get("replaced"):
        try:
            checkpoint.check_replaced(folder)
        except CheckpointError as error:
            shutil.rmtree(folder)
            raise ModelUnavailable(
                f"{found.repository}: {checkpoint.WEIGHTS} does not hold what its own config says. "
                "Its owners published it so; nothing was kept."
            ) from error
    digest = facts.get("digest")
    if digest and backbone_by_digest(str(digest), settings, backbone_kind(config)) is None:
        raise ModelUnavailable(
            f"{found.name} was made on the backbone '{facts.get('name')}' of digest {digest}, and "
            "the one that was fetched for it is another (other weights, preprocessing or version). "
            "Scores would be wrong, so it was not installed; ask its owners for the revision."
        )


def _into_place(folder: Path, target: Path) -> None:
    """The rename that makes it a model; one of another revision steps aside and then goes."""
    old = target.with_name(f".old-{target.name}")
    _discard(old)  # of a pull that was killed right here
    if not target.exists():
        folder.rename(target)
        return
    target.rename(old)
    try:
        folder.rename(target)
    except OSError:
        old.rename(target)
        raise
    _discard(old)


def _discard(old: Path) -> None:
    """A link goes, and not what it leads to."""
    if old.is_symlink():
        old.unlink()
    shutil.rmtree(old, ignore_errors=True)
