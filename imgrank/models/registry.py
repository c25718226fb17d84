"""Which models there are: those in the package and those in the user's data folder. No torch.

A model is a folder: a backbone (it holds `open_clip_config.json`) or a checkpoint that names one
(`config.json`, see `models/checkpoint.py`). Folders of the user may be named by path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from imgrank.errors import CheckpointError, ModelUnavailable
from imgrank.models.checkpoint import WEIGHTS, read_config
from imgrank.models.spec import file_sha256, read_spec

__all__ = ["DEFAULT_BACKBONE", "EMBEDDED", "Entry", "Listed", "entries", "find", "listed", "verify"]

EMBEDDED = Path(__file__).parents[1] / "weights"
REGISTRY = Path(__file__).with_name("registry.toml")
DEFAULT_BACKBONE = "tiny"


@dataclass(frozen=True, slots=True)
class Listed:
    """A table of registry.toml, whose comments say what each field means; it may not be here.

    revision: 40 hex digits, "" if unpinned.   bytes, image_size: 0 if unknown.
    licence: "" if unknown.   unpublished: why it cannot be pulled, "" if it can.
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

    @property
    def repository(self) -> str:
        """OWNER/REPOSITORY on the Hub, "" if unpublished."""
        return self.origin.removeprefix("hf:")


@cache
def listed() -> Mapping[str, Listed]:
    """All models that are known by name and not in the package, in the order of the file."""
    import tomllib

    with REGISTRY.open("rb") as file:
        tables = tomllib.load(file)
    return MappingProxyType({name: Listed(name=name, **table) for name, table in tables.items()})


@dataclass(frozen=True, slots=True)
class Entry:
    """A model that is on this machine.

    kind: "backbone", the checkpoint's kind ("adapter", ...), or "damaged", with the problem.
    tasks: task key -> what its config records (prompt, unit, range, measured quality).
    """

    name: str
    kind: str
    folder: Path
    where: Literal["embedded", "local"]
    config: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def tasks(self) -> Mapping[str, Any]:
        found = self.config.get("tasks", {})
        return found if isinstance(found, dict) else {}

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(f.stat().st_size for f in self.folder.iterdir() if f.is_file())


def entries(models: Path | None = None) -> list[Entry]:
    """All models: embedded ones first, then those below the user's `models` folder, by name.

    A damaged folder is an entry too, with its `problem`: it must not keep others from working.
    """
    found = []
    for root in [EMBEDDED, *([models] if models else [])]:
        for folder in sorted(root.iterdir()) if root.is_dir() else ():
            try:
                entry = _entry(folder)
            except CheckpointError as error:
                entry = Entry(folder.name, "damaged", folder, _where(folder), problem=str(error))
            if entry is not None:
                found.append(entry)
    return found


def find(name: str, models: Path | None = None) -> Entry:
    """A model by the name of its folder in the package or in `models`, or by its folder's path.

    Raises ModelUnavailable if there is none, CheckpointError if its folder is damaged.
    """
    folders = [Path(name).expanduser()]
    if Path(name).name == name:
        folders = [EMBEDDED / name, *([models / name] if models else []), *folders]
    for folder in folders:
        if folder.is_dir():
            entry = _entry(folder)
            if entry is None:
                raise CheckpointError(
                    f"{folder} is no model: it holds neither config.json nor open_clip_config.json."
                )
            return entry
    known = ", ".join(entry.name for entry in entries(models))
    raise ModelUnavailable(
        f"there is no model '{name}' on this machine. Here are: {known}; or give its folder."
    )


def verify(entry: Entry) -> None:
    """Reads a model's weights against the digest that its folder records.

    Raises CheckpointError if they differ. No torch.
    """
    if entry.problem:
        raise CheckpointError(entry.problem)
    if entry.kind == "backbone":
        spec = read_spec(entry.folder)
        weights, recorded = spec.weights, spec.weights_sha256
    else:
        weights, recorded = entry.folder / WEIGHTS, entry.config["weights"]["sha256"]
    if file_sha256(weights) != recorded:
        raise CheckpointError(
            f"{weights} is damaged or was exchanged (its sha256 is not the one recorded). "
            "Fetch it again; an embedded one by installing imgrank again."
        )


def _entry(folder: Path) -> Entry | None:
    if (folder / "open_clip_config.json").is_file():
        return Entry(read_spec(folder).name, "backbone", folder, _where(folder))
    if (folder / "config.json").is_file():
        config = read_config(folder)
        return Entry(config["name"], config["kind"], folder, _where(folder), config)
    return None


def _where(folder: Path) -> Literal["embedded", "local"]:
    return "embedded" if folder.parent == EMBEDDED else "local"
