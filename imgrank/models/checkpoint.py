"""Our checkpoint folder: what trained, imported, embedded, pulled and pushed models are.

    config.json         plain values; see below
    model.safetensors   the tensors that are this checkpoint's own, float16 or float32; those named
                        `tower.NAME` stand in for the tensors NAME of the backbone
    README.md           the model card

`config.json` has at least `format` (1), `kind` ("adapter", "linear", ...), `name`, and, written by
`save_checkpoint`, `weights`: {"sha256": "<64 hex>"}. A frozen backbone is named, not copied:
`backbone`: {"name", "digest", ...}; `replaced` in it names the towers ("image", "text") that have
`tower.` tensors, `views` how a picture becomes a square. Everything but the tensors is read without
torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.errors import CheckpointError
from imgrank.models.digests import known_sha256
from imgrank.models.spec import PREPROCESSING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = [
    "CARD",
    "CONFIG",
    "FORMAT",
    "WEIGHTS",
    "identity",
    "load_arrays",
    "load_overrides",
    "load_tensors",
    "read_config",
    "save_checkpoint",
]

FORMAT = 1
TOWER = "tower."
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def save_checkpoint(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], card: str
) -> dict[str, Any]:
    """Write a checkpoint folder; what was there under these names is replaced, config last.

    config: without `format` and `weights`, which are added here; needs `kind` and `name`.
    tensors: written with their own dtype.   card: text of the model card, Markdown.
    Returns the config as written. Raises CheckpointError if the folder cannot be written.
    """
    from safetensors.torch import save

    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    full = {"format": FORMAT, **config, "weights": {"sha256": digest}}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / WEIGHTS, data)
        _replace(folder / CARD, card.encode())
        _replace(folder / CONFIG, (json.dumps(full, indent=2, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise CheckpointError(f"cannot write the checkpoint {folder}: {error}.") from error
    return full


def read_config(folder: Path, kind: str | None = None) -> dict[str, Any]:
    """The folder's config. No torch, and the weights are not opened.

    kind: what it must be. Raises CheckpointError if the folder is incomplete, damaged, of another
    kind or of a later format.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing, so {folder} is no checkpoint. Check the name, or fetch it again."
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}). Fetch it again.") from error
    if not isinstance(config, dict) or "format" not in config:
        raise CheckpointError(f"{path} is not a checkpoint's config: it has no `format`.")
    if config["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has format {config['format']!r}, this imgrank reads {FORMAT}. Upgrade imgrank."
        )
    missing = [key for key in ("kind", "name", "weights") if key not in config]
    if config.get("kind") in _OF_TASK:
        missing += _missing_of_kind(config)
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}. Fetch the checkpoint again.")
    if kind is not None and config["kind"] != kind:
        raise CheckpointError(f"{folder} holds a model of kind {config['kind']!r}, not {kind!r}.")
    if not (folder / WEIGHTS).is_file():
        raise CheckpointError(f"{folder / WEIGHTS} is missing. Fetch the checkpoint again.")
    return config


_OF_TASK = {"adapter": ("prompt", "unit"), "linear": ("unit",)}
"""What the config of a kind must say of each of its tasks."""


def _missing_of_kind(config: Mapping[str, Any]) -> list[str]:
    needed = ["backbone.name", "backbone.digest", "tasks"]
    if config["kind"] == "adapter":
        needed.append("model.image_widths")
    for task in config.get("tasks", {}):
        needed += [f"tasks.{task}.{field}" for field in _OF_TASK[config["kind"]]]
    return [path for path in needed if not _has(config, path.split("."))]


def _has(value: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True


def identity(folder: Path, backbone: str = "") -> str:
    """A short text that changes whenever this checkpoint's scores may change. No torch.

    From the recorded digest of the weights, the model's sizes, the tasks' prompts, the backbone's
    recorded digest, the version of the preprocessing and, if given, `backbone`: the identity of
    the backbone that will really be used. A key of the store.
    """
    config = read_config(folder)
    prompts = {name: task.get("prompt") for name, task in config.get("tasks", {}).items()}
    facts = {
        "weights": config["weights"]["sha256"],
        "model": config.get("model"),
        "prompts": prompts,
        "backbone": config.get("backbone", {}).get("digest"),
        "preprocessing": PREPROCESSING,
        "used": backbone,
    }
    text = json.dumps(facts, sort_keys=True)
    return f"{config['kind']}:{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def load_tensors(folder: Path, as_stored: bool = False) -> dict[str, Tensor]:
    """The checkpoint's tensors in float32, after their digest was found to be the recorded one.

    Without those that stand in for the backbone's.   as_stored: all, in the file's precision.
    Raises CheckpointError if the file is missing, damaged or not the one that the config names.
    """
    tensors = _open(folder, lambda name: as_stored or not name.startswith(TOWER), "pt")
    return tensors if as_stored else {name: tensor.float() for name, tensor in tensors.items()}


def load_overrides(folder: Path) -> dict[str, Tensor]:
    """Tensors that stand in for the backbone's own, by their OpenCLIP names; {} for none.

    In the file they are named `tower.NAME`. Float32; raises as `load_tensors` does.
    """
    tensors = _open(folder, lambda name: name.startswith(TOWER), "pt")
    return {name.removeprefix(TOWER): tensor.float() for name, tensor in tensors.items()}


def load_arrays(folder: Path) -> dict[str, NDArray[np.float32]]:
    """As `load_tensors`, but numpy arrays, without torch."""
    import numpy as np

    arrays = _open(folder, lambda name: not name.startswith(TOWER), "numpy")
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _open(folder: Path, wanted: Callable[[str], bool], framework: str) -> dict[str, Any]:
    """The wanted tensors of a checkpoint's file, as stored."""
    from safetensors import SafetensorError, safe_open

    recorded = read_config(folder)["weights"].get("sha256")
    path = folder / WEIGHTS
    if known_sha256(path) != recorded:
        raise CheckpointError(
            f"{path} is not the file that {CONFIG} names (sha256 differs): it is damaged or was "
            "exchanged. Fetch the checkpoint again."
        )
    try:
        with safe_open(path, framework) as file:
            return {name: file.get_tensor(name) for name in file.keys() if wanted(name)}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error


def _replace(path: Path, data: bytes) -> None:
    """Write a file beside its place, then move it there, so that it is never half written."""
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(data)
    partial.replace(path)
