"""Our checkpoint folder: what trained, imported, embedded, pulled and pushed models are.

    config.json         plain values; see below
    model.safetensors   the tensors that are this checkpoint's own, float16 or float32; those named
                        `tower.NAME` stand in for the tensors NAME of the backbone
    README.md           the model card

`config.json` has at least `format` (1), `kind` ("adapter", "linear", "l2rclip", ...), `name`, and,
written by `save_checkpoint`, `weights`: {"sha256": "<64 hex>"}. A frozen backbone is named, not
copied: `backbone`: {"name", "digest", ...}; `replaced` in it names the towers ("image", "text")
that have `tower.` tensors, `views` how a picture becomes a square. Everything but the tensors is
read without torch.

`tasks`: key of a known task (tasks.toml), or of an instruction in somebody's own words, which is
then its prompt -> what this model gives for it:

    prompt      what the text tower was given in training; `{}` in it stands for the subject
    unit        of the scores, "" if they have none
    range       [low, high], the scale's ends; null: open
    order       "descending": higher is better
    measured    one table a data set, part and choice of queries: data, n, figures and their 95 %
                intervals, by which command
    subjects    what `{}` was in training: ["cats", "objects in red"], or with other words for
                them: {"people": ["pedestrians"], "cats": []}. Number, articles and word order need
                no other word. Absent: any subject, or none
    closeness   prompt for "closest to 3 dogs": "sort images by closeness to {n} {}."; the score is
                then minus the distance to n, in `unit`. Absent: the distance of the score to 3
    closeness_to    the highest n that was trained; absent: 12, the paper's
    classes     names of the classes 0, 1, ... if scores are such indices; then no number in the
                task's unit can be asked for
    offset, scale   the head was trained on (value - offset) / scale: its answer x scale + offset is
                in `unit`. Absent: 0 and 1
    note        one line that a user should know: "trained on photographs of New York, 1910s to ..."

    ranks       of an l2rclip task: template, words, values, starts, names; see `models/ranks.py`
    calibration of an l2rclip task: temperature, tail, mass, level, on; see `rankers/levels.py`
    domain      of an l2rclip task: what it was trained on; see `rankers/domain.py`
    crop        of an age: where a face lies in the crops that it was trained on; see
                `images/face_crop.py`. Absent: as in those of UTKFace

An adapter's task needs `prompt` and `unit`, a linear one's `unit`, the one task of an l2rclip
checkpoint `unit` and `ranks`, a rarl one's `prompt`, `unit` and `range`; all others may be absent.
A "retrieval" checkpoint has no tasks, and `measured` beside them: `models/retrieval_checkpoint.py`.

A "rarl" checkpoint rests on a folder of transformers (`models/vlm_spec.py`), which `backbone` names
by that folder's identity; `prompt` is the rule that the model is told, and `range` the two ends of
the values that it gives. Its `model`: `models/rarl_checkpoint.py`.

    lora            {"rank", "alpha", "targets"} of the factors in `model.safetensors`; null: it
                    has all tensors
    max_pixels      of a picture; larger ones are made smaller
    max_new_tokens  of an answer
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.errors import CheckpointError
from imgrank.models.atomic import write_bytes, write_json
from imgrank.models.config_values import (
    RARL,
    RETRIEVAL,
    missing_values,
    of_transformers,
    wrong_values,
)
from imgrank.models.digests import known_sha256
from imgrank.models.spec import PREPROCESSING, to_verify

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = [
    "CARD",
    "CONFIG",
    "FORMAT",
    "RARL",
    "RETRIEVAL",
    "WEIGHTS",
    "check_replaced",
    "identity",
    "load_arrays",
    "load_logit_scale",
    "load_overrides",
    "load_tensors",
    "read_config",
    "save_checkpoint",
    "towers_of",
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
        write_bytes(folder / WEIGHTS, data)
        write_bytes(folder / CARD, card.encode())
        write_json(folder / CONFIG, full)
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
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}). Fetch it again.") from error
    if isinstance(config, dict) and "format" not in config and "model_type" in config:
        raise CheckpointError(f"{folder} holds {of_transformers(config)}.")
    if not isinstance(config, dict) or "format" not in config:
        raise CheckpointError(f"{path} is not a checkpoint's config: it has no `format`.")
    if config["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has format {config['format']!r}, this imgrank reads {FORMAT}. Upgrade imgrank."
        )
    missing, wrong = missing_values(config), wrong_values(config)
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}. Fetch the checkpoint again.")
    if wrong:
        raise CheckpointError(
            f"{path} has another kind of value than is expected as {', '.join(wrong)}. Fetch the "
            "checkpoint again."
        )
    if kind is not None and config["kind"] != kind:
        raise CheckpointError(f"{folder} holds a model of kind {config['kind']!r}, not {kind!r}.")
    if not (folder / WEIGHTS).is_file():
        raise CheckpointError(f"{folder / WEIGHTS} is missing. Fetch the checkpoint again.")
    return config


def identity(folder: Path, backbone: str = "") -> str:
    """A short text that changes whenever this checkpoint's scores may change. No torch.

    From the recorded digest of the weights, the model's sizes, the tasks' prompts (and what else of
    them the scores depend on), the backbone's recorded digest, the version of the preprocessing
    and, if given, `backbone`: the identity of the backbone that will really be used. A key of the
    store.
    """
    config = read_config(folder)
    prompts = {name: task.get("prompt") for name, task in config.get("tasks", {}).items()}
    scales = {
        name: (task.get("offset", 0), task.get("scale", 1))
        for name, task in config.get("tasks", {}).items()
        if "offset" in task or "scale" in task
    }
    levels = {
        name: (task["ranks"], task.get("calibration"))
        for name, task in config.get("tasks", {}).items()
        if "ranks" in task
    }
    told = config.get("tasks", {}) if config["kind"] == RARL else {}
    ends = {name: task["range"] for name, task in told.items()}
    facts = {
        **({"scales": scales} if scales else {}),
        **({"levels": levels} if levels else {}),
        **({"ends": ends} if ends else {}),
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

    Without those that stand in for the backbone's.   as_stored: all, in the file's precision, and
    whatever their values.
    Raises CheckpointError if the file is missing, damaged or not the one that the config names, if
    its towers are not those that the config says it replaces, or if a value is not finite.
    """
    tensors = _open(folder, lambda name: as_stored or not name.startswith(TOWER), "pt")
    return tensors if as_stored else _as_float32(folder, tensors)


def load_overrides(folder: Path) -> dict[str, Tensor]:
    """Tensors that stand in for the backbone's own, by their OpenCLIP names; {} for none.

    In the file they are named `tower.NAME`. Float32; raises as `load_tensors` does.
    """
    tensors = _open(folder, lambda name: name.startswith(TOWER), "pt")
    found = _as_float32(folder, tensors)
    return {name.removeprefix(TOWER): tensor for name, tensor in found.items()}


def load_logit_scale(folder: Path) -> float | None:
    """By what the model multiplies cosines, where that was tuned too; else None. No torch.

    Raises as `load_tensors` does.
    """
    import numpy as np

    found = _open(folder, lambda name: name == f"{TOWER}logit_scale", "numpy")
    _check_finite(folder, {name: bool(np.isfinite(value).all()) for name, value in found.items()})
    try:
        return next((math.exp(float(value.flat[0])) for value in found.values()), None)
    except (OverflowError, IndexError) as error:
        raise CheckpointError(
            f"{folder / WEIGHTS} holds no logit_scale that can be used ({error}). Use another "
            "checkpoint."
        ) from error


def check_replaced(folder: Path) -> None:
    """Raises CheckpointError if its file does not replace the towers that its config names."""
    _open(folder, lambda name: False, "numpy")


def load_arrays(folder: Path) -> dict[str, NDArray[np.float32]]:
    """As `load_tensors`, but numpy arrays, without torch."""
    import numpy as np

    arrays = _open(folder, lambda name: not name.startswith(TOWER), "numpy")
    found = {name: array.astype(np.float32) for name, array in arrays.items()}
    _check_finite(folder, {name: bool(np.isfinite(array).all()) for name, array in found.items()})
    return found


def _as_float32(folder: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {name: tensor.float() for name, tensor in tensors.items()}
    _check_finite(folder, {name: bool(t.isfinite().all()) for name, t in found.items()})
    return found


def _check_finite(folder: Path, finite: Mapping[str, bool]) -> None:
    """Scores that are no numbers would look as if the pictures had no such property."""
    if odd := sorted(name for name, fine in finite.items() if not fine):
        more = ", ..." if len(odd) > 5 else ""
        raise CheckpointError(
            f"{folder / WEIGHTS} has values that are no finite numbers, in {', '.join(odd[:5])}"
            f"{more}: its training failed or it was damaged. Use another checkpoint."
        )


def _open(folder: Path, wanted: Callable[[str], bool], framework: str) -> dict[str, Any]:
    """The wanted tensors of a checkpoint's file, as stored."""
    from safetensors import SafetensorError, safe_open

    config = read_config(folder)
    recorded = config["weights"].get("sha256")
    path = folder / WEIGHTS
    if known_sha256(path) != recorded:
        raise CheckpointError(
            f"{path} is not the file that {CONFIG} names (sha256 differs): it is damaged or was "
            f"exchanged. {to_verify(folder)}"
        )
    try:
        with safe_open(path, framework) as file:
            _check_towers(path, config, file.keys())
            return {name: file.get_tensor(name) for name in file.keys() if wanted(name)}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error


def towers_of(names: Iterable[str]) -> list[str]:
    """The towers ("image", "text") that tensors of these OpenCLIP names belong to, sorted.

    What cosines are multiplied with and shifted by belongs to neither.
    """
    own = [name for name in names if name not in _OF_NO_TOWER]
    return sorted({"image" if name.startswith("visual.") else "text" for name in own})


_OF_NO_TOWER = frozenset({"logit_scale", "logit_bias"})


def _check_towers(path: Path, config: Mapping[str, Any], names: Iterable[str]) -> None:
    """The towers that a config says are replaced are those that the file replaces.

    Features and texts are kept under identities made from the config. Tensors of a tower that it
    does not name would be lost, or give what is kept as the plain backbone's.
    """
    own = [name.removeprefix(TOWER) for name in names if name.startswith(TOWER)]
    found, said = set(towers_of(own)), set(config.get("backbone", {}).get("replaced", ()))
    scaled = not _OF_NO_TOWER.isdisjoint(own)  # an imported adapter counts these as the text's
    if found != said and not (scaled and found | {"text"} == said):
        raise CheckpointError(
            f"{path} holds tensors of the towers: {', '.join(sorted(found)) or 'none'}; its "
            f"{CONFIG} says: {', '.join(sorted(said)) or 'none'}. Fetch the checkpoint "
            "again."
        )
