"""Which models there are: in the package, in the user's data folder, known by name. No torch.

A model is a folder: a backbone (it holds `open_clip_config.json`), a checkpoint that names one
(`config.json`, see `models/checkpoint.py`), a Qwen2.5-VL (a `config.json` of transformers, see
`models/vlm_spec.py`), or a face detector, which has the name and the file of the list. One that was
pulled also holds `origin.json` (see `models/origin.py`). Folders of the user
may be named by path. Hidden ones are half-done pulls, never models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from imgrank.errors import CheckpointError, ModelUnavailable, UsageError
from imgrank.models.checkpoint import RARL, RETRIEVAL, read_config
from imgrank.models.elsewhere import remember
from imgrank.models.origin import ORIGIN, Origin, read_origin
from imgrank.models.spec import CONFIG, WEIGHTS, read_spec
from imgrank.models.vlm_spec import is_vlm, needed_files

__all__ = [
    "DEFAULT_BACKBONE",
    "DETECTOR",
    "EMBEDDED",
    "PREFIX",
    "VLM",
    "Entry",
    "Listed",
    "absent",
    "again",
    "answering",
    "entries",
    "find",
    "listed",
    "listed_as",
    "refuse_kind",
    "same_origin",
    "size_text",
    "tags_of",
]

EMBEDDED = Path(__file__).parents[1] / "weights"
REGISTRY = Path(__file__).with_name("registry.toml")
DETECTOR = "detector"
VLM = "vlm"
PREFIX = "rarl:"  # of a name: that model, which must look at several pictures at once
ANSWERS = "answers"  # the one table of that file which is no model
DEFAULT_BACKBONE = "tiny"
REMOTE = ("hf:", "open_clip:")


@dataclass(frozen=True, slots=True)
class Listed:
    """A model of registry.toml, whose comments say what each field means; it may not be here.

    revision: 40 hex digits, "" if unpinned.   bytes, image_size: 0 if unknown.
    licence: "" if unknown.   unpublished: why it cannot be pulled, "" if it can.
    instead: of one for research only, the name of another whose licence allows more, or "".
    """

    name: str
    kind: str
    origin: str = ""
    revision: str = ""
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))
    bytes: int = 0
    licence: str = ""
    research_only: bool = False
    architecture: str = ""
    tag: str = ""
    image_size: int = 0
    use: str = ""
    backbone: str = ""
    unpublished: str = ""
    convert: Literal["", "aesthetic-head"] = ""
    instead: str = ""

    @property
    def repository(self) -> str:
        """OWNER/REPOSITORY on the Hub, "" if unpublished."""
        return self.origin.removeprefix("hf:")


@cache
def listed() -> Mapping[str, Listed]:
    """All models that are known by name and not in the package, in the order of the file."""
    models = {name: table for name, table in _tables().items() if name != ANSWERS}
    return MappingProxyType({name: Listed(name=name, **table) for name, table in models.items()})


def answering() -> Mapping[str, str]:
    """Task -> the embedded model that answers it, of tasks that several were trained for."""
    return MappingProxyType(dict(_tables().get(ANSWERS, {})))


@cache
def _tables() -> Mapping[str, Mapping[str, Any]]:
    import tomllib

    with REGISTRY.open("rb") as file:
        return MappingProxyType(tomllib.load(file))


@dataclass(frozen=True, slots=True)
class Entry:
    """A model that is on this machine.

    name: of its folder, or, if that was given by path, what its config says.
    kind: "backbone", "vlm", "detector", a checkpoint's ("adapter", "rarl", ...), or "damaged", with
    the problem.
    tasks: task key -> what its config records (prompt, unit, range, measured quality).
    origin: of one that was pulled or imported, else None.
    """

    name: str
    kind: str
    folder: Path
    where: Literal["embedded", "pulled", "local"]
    config: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = None
    problem: str = ""

    @property
    def tasks(self) -> Mapping[str, Any]:
        found = self.config.get("tasks", {})
        tables = found.items() if isinstance(found, dict) else ()
        return {task: facts for task, facts in tables if isinstance(facts, dict)}

    @property
    def by_words(self) -> bool:
        """Whether it answers anything, by the likeness of pictures to words."""
        return self.kind in ("backbone", RETRIEVAL)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(f.stat().st_size for f in self.folder.iterdir() if f.is_file())

    @property
    def backbone(self) -> str:
        """Name of the backbone (or "vlm") that this checkpoint rests on, "" for what is one."""
        facts = self.config.get("backbone", {})
        return str(facts.get("name", "")) if isinstance(facts, dict) else ""


def entries(models: Path | None = None) -> list[Entry]:
    """All models: embedded ones first, then those below the user's `models` folder, by name.

    A damaged folder is an entry too, with its `problem`: it must not keep others from working.
    """
    found = []
    for folder in _folders(models):
        try:
            entry = _entry(folder, named=True)
            if entry is None and (folder / ORIGIN).is_file():
                raise CheckpointError(_no_model(folder))
        except CheckpointError as error:
            origin = read_origin(folder)
            where = _where(folder, origin)
            entry = Entry(folder.name, "damaged", folder, where, origin=origin, problem=str(error))
        if entry is not None:
            found.append(entry)
    return found


def find(name: str, models: Path | None = None) -> Entry:
    """A model on this machine.

    name: of its folder in the package or in `models`, the path of its folder, or, if it was
    pulled, `hf:OWNER/REPOSITORY[@REVISION]` or `open_clip:ARCHITECTURE/TAG`: of several the one
    that was pulled last, and none that reads pictures at another size than its own.
    With `rarl:` before it, it must be a checkpoint of that kind or a Qwen2.5-VL.

    Raises ModelUnavailable if it is not here, saying how to fetch one that is known,
    CheckpointError if its folder is damaged, and UsageError if `rarl:` names another kind.
    """
    if name.startswith(PREFIX):
        return _find_rarl(name, models)
    if name.startswith(REMOTE):
        here = [
            (not entry.problem, entry.origin.pulled, entry.name, entry)
            for entry in entries(models)
            if entry.origin is not None and same_origin(entry.origin, name)
            if not (entry.kind == "backbone" and read_spec(entry.folder).other_size)
        ]
        if not here:
            raise ModelUnavailable(absent(name, models))
        best = max(here)[-1]
        if best.problem:
            raise CheckpointError(best.problem)
        return best
    folders = [Path(name).expanduser()]
    plain = Path(name).name == name and not name.startswith(".")
    if plain:
        folders = [EMBEDDED / name, *([models / name] if models else []), *folders]
    for folder in folders:
        if folder.is_dir():
            entry = _entry(folder, named=folder.parent in (EMBEDDED, models))
            if entry is None:
                raise CheckpointError(_no_model(folder))
            if entry.kind == VLM and folder.parent not in (EMBEDDED, models):
                remember(folder)
            return entry
    raise ModelUnavailable(absent(name, models))


def _find_rarl(name: str, models: Path | None) -> Entry:
    rest = name.removeprefix(PREFIX)
    if not rest:
        raise UsageError(f"{PREFIX} needs a name or a folder behind it: {PREFIX}NAME.")
    try:
        entry = find(rest, models)
    except ModelUnavailable:
        if known := listed_as(rest):
            refuse_kind(name, known.kind)  # or one would fetch it in vain
        raise
    refuse_kind(name, entry.kind)
    return entry


def refuse_kind(name: str, kind: str) -> None:
    """Raises UsageError if a name begins with `rarl:` and stands for a model of another kind."""
    if name.startswith(PREFIX) and kind not in (RARL, VLM):
        rest = name.removeprefix(PREFIX)
        raise UsageError(
            f"'{name}': {rest} is of kind {kind}, and {PREFIX} stands before a checkpoint that "
            f"`imgrank train rarl` made, or a Qwen2.5-VL. Name it without: {rest}."
        )


def same_origin(origin: Origin, wish: str) -> bool:
    """Whether a pulled model is what `hf:...` or `open_clip:...` names.

    A revision may be given as it was asked for (a tag), or by at least 7 of its digits.
    """
    if wish.startswith("open_clip:"):
        known = listed_as(wish)
        return origin.origin == wish or (known is not None and known.origin == origin.origin)
    repository, _, revision = wish.removeprefix("hf:").partition("@")
    if origin.repository != repository:
        return False
    short = len(revision) >= 7 and origin.revision.startswith(revision)
    return short or revision in ("", origin.revision, origin.asked)


def absent(name: str, models: Path | None = None) -> str:
    """What to say of a model that is not on this machine, and how to get it. One line."""
    known = listed_as(name)
    if known is not None and known.unpublished:
        return f"'{name}' cannot be pulled: {known.unpublished}."
    if known is not None:
        facts = [size_text(known.bytes)] if known.bytes else []
        facts.append(f"licence {known.licence or 'unknown'}")
        facts += ["for research only"] if known.research_only else []
        about = f" ({', '.join(facts)})"
        wish = name if "@" in name else known.name
        return f"'{name}' is not on this machine{about}. Fetch it: imgrank models pull {wish}"
    if name.startswith("open_clip:") and not name.partition("/")[2]:
        return tags_of(name.removeprefix("open_clip:").rstrip("/"))
    if name.startswith(REMOTE):
        return f"'{name}' is not on this machine. Fetch it: imgrank models pull {name}"
    import difflib

    here = [folder.name for folder in _folders(models)]
    close = difflib.get_close_matches(name, [*here, *listed()], n=2)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return (
        f"there is no model '{name}'.{hint} On this machine are: {', '.join(here)}; "
        "`imgrank models list` shows what can be pulled, and a path names any folder."
    )


def tags_of(architecture: str, tag: str = "") -> str:
    """What to say of an OpenCLIP name whose tag is missing or unknown. Imports torch."""
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tags:
        wrong = f"OpenCLIP has no tag '{tag}' of {architecture}" if tag else "a tag is missing"
        return f"{wrong}: write open_clip:{architecture}/TAG. Its tags are {', '.join(tags)}."
    import difflib

    close = difflib.get_close_matches(architecture, open_clip.list_models(), n=2)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"OpenCLIP knows no such architecture: {architecture}.{hint}"


def listed_as(wish: str) -> Listed | None:
    """The entry of the list that a name, a repository or OpenCLIP's own name stands for."""
    if wish.startswith("hf:"):
        origin = wish.partition("@")[0]
        return next((each for each in listed().values() if each.origin == origin), None)
    if wish.startswith("open_clip:"):
        place = wish.replace("-quickgelu/", "/")
        for each in listed().values():
            architecture = each.architecture.removesuffix("-quickgelu")
            if place == f"open_clip:{architecture}/{each.tag}":
                return each
        return None
    return listed().get(wish)


def size_text(count: int) -> str:
    """Bytes for people: 1410000000 -> "1.4 GB", 19161538 -> "19.2 MB", 300000000 -> "300 MB"."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    if count >= 1e8:
        return f"{count / 1e6:.0f} MB"
    if count >= 1e6:
        return f"{count / 1e6:.1f} MB"
    return f"{count / 1e3:.0f} kB" if count >= 1e3 else f"{count} B"


def _detector_file(name: str) -> str:
    """Of the face detector that the list has by this name, "" if it has none."""
    known = listed().get(name)
    return next(iter(known.files)) if known and known.kind == DETECTOR else ""


def _no_model(folder: Path) -> str:
    file = _detector_file(folder.name)
    holds = f"no {file}" if file else f"neither config.json nor {CONFIG}"
    text = f"{folder} is no model: it holds {holds}."
    # OUT of a training holds its checkpoint as OUT/NAME, and what it needs to go on.
    inside = [path.parent for path in sorted(folder.glob("[!.]*/config.json"))]
    if inside:
        text = f"{text} Below it is {inside[0]}: name that."
    return f"{text} {again(folder)}" if (folder / ORIGIN).is_file() else text


def _folders(models: Path | None) -> Iterator[Path]:
    for root in [EMBEDDED, *([models] if models else [])]:
        for folder in sorted(root.iterdir()) if root.is_dir() else ():
            if folder.is_dir() and not folder.name.startswith("."):
                yield folder


def _entry(folder: Path, *, named: bool) -> Entry | None:
    """named: by its folder, not by path: then the folder's name is the model's."""
    origin = _origin(folder)
    _check_sizes(folder, origin)
    where = _where(folder, origin)
    if (folder / CONFIG).is_file():
        if not any((folder / weights).is_file() for weights in WEIGHTS):
            read_spec(folder)  # says which are missing; else it may hash them, which is slow
        name = folder.name if named else read_spec(folder).name
        return Entry(name, "backbone", folder, where, origin=origin)
    if is_vlm(folder):
        needed_files(folder)  # says which are missing
        return Entry(folder.absolute().name, VLM, folder, where, origin=origin)
    if (folder / "config.json").is_file():
        config = read_config(folder)
        name = folder.name if named else str(config["name"])
        return Entry(name, config["kind"], folder, where, config, origin)
    if (file := _detector_file(folder.name)) and (folder / file).is_file():
        return Entry(folder.name, DETECTOR, folder, where, origin=origin)
    return None


def _origin(folder: Path) -> Origin | None:
    origin = read_origin(folder)
    if origin is None and (folder / ORIGIN).is_file():
        raise CheckpointError(f"{folder / ORIGIN} cannot be read. {again(folder)}")
    return origin


def _check_sizes(folder: Path, origin: Origin | None) -> None:
    """The quick part of `differences`, for every use: a cut-off file is seen without reading it."""
    for name, facts in origin.files.items() if origin else ():
        path, size = folder / name, facts.get("bytes")
        if path.suffix in (".safetensors", ".onnx") and size and path.is_file():
            has = path.stat().st_size
            if has != size:
                raise CheckpointError(
                    f"{path} is damaged: {has} bytes, and {size} were pulled. {again(folder)}"
                )


def again(folder: Path) -> str:
    """What to do about a damaged model that was pulled."""
    return f"Fetch it again: imgrank models remove {folder.name}, then pull it."


def _where(folder: Path, origin: Origin | None) -> Literal["embedded", "pulled", "local"]:
    if folder.parent == EMBEDDED:
        return "embedded"
    return "pulled" if origin and origin.repository else "local"
