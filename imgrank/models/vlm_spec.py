"""What can be known about a Qwen2.5-VL folder without loading it: identity, size, completeness.
No torch, no transformers.

Such a folder ("vlm") is what transformers writes and the Hub has:

    config.json                     `model_type: "qwen2_5_vl"`, and no `format`: that is how it
                                    differs from a checkpoint of imgrank
    model.safetensors               the weights, or shards of them named by
    model.safetensors.index.json    {"weight_map": {tensor: file}}
    tokenizer.json, ...             see TOKENIZER
    preprocessor_config.json, ...   see PROCESSOR: how pictures are scaled; the chat's template

Weights are read from safetensors only: a pickle can run programs.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgrank.errors import CheckpointError
from imgrank.models.digests import file_sha256, known_sha256

__all__ = [
    "MAX_PIXELS",
    "MODEL_TYPE",
    "PROMPTING",
    "TELLING",
    "VlmSpec",
    "is_vlm",
    "needed_files",
    "read_vlm",
    "unusable",
    "weight_names",
    "without",
]

MODEL_TYPE = "qwen2_5_vl"
MAX_PIXELS = 256 * 28 * 28
"""To which a larger picture is scaled down where no checkpoint says otherwise: 256 tokens."""
PROMPTING = 1
"""Version of everything between a prompt with pictures and the model's input, and between what it
writes and the text of the answer. Raise it when either changes: kept values are then stale."""

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
    *("special_tokens_map.json", "added_tokens.json"),
)
TEMPLATES = ("chat_template.jinja", "chat_template.json")
PROCESSOR = ("processor_config.json", "preprocessor_config.json", *TEMPLATES)
TELLING = ("tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
"""Files whose `chat_template` may stand for one of `TEMPLATES`."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
LARGEST_HEADER = 100_000_000  # bytes; what safetensors itself accepts


@dataclass(frozen=True, slots=True)
class VlmSpec:
    """A Qwen2.5-VL folder.

    name: of the folder.
    identity: hex sha256 over the digests of weights, tokenizer and processor files, the config and
    `PROMPTING`; a key of the store, and what a checkpoint that rests on it names.
    weights: the safetensors files, in the order of their names.
    parameters: numbers in them.   bytes: their size.
    """

    folder: Path
    name: str
    identity: str
    weights: tuple[Path, ...]
    parameters: int
    bytes: int


def is_vlm(folder: Path) -> bool:
    """Whether `config.json` says that this is a Qwen2.5-VL, whole or not."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return (
        isinstance(config, dict)
        and config.get("model_type") == MODEL_TYPE
        and "format" not in config
    )


def read_vlm(folder: Path) -> VlmSpec:
    """The folder's spec. The weights are hashed the first time: some 10 seconds for 7.5 GB.

    Raises CheckpointError if it is no Qwen2.5-VL, or if a file is missing or cut short.
    """
    config = _config(folder)
    weights = _weights(folder)
    parameters = sum(_parameters(path) for path in weights)
    beside = _beside(folder)
    try:
        named = {
            "weights": {path.name: known_sha256(path) for path in weights},
            "config": config,
            "files": {path.name: file_sha256(path) for path in beside},
            "prompting": PROMPTING,
        }
        size = sum(path.stat().st_size for path in weights)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be read: {error}.") from error
    text = json.dumps(named, sort_keys=True)
    return VlmSpec(
        folder=folder,
        name=folder.absolute().name,
        identity=hashlib.sha256(text.encode()).hexdigest(),
        weights=weights,
        parameters=parameters,
        bytes=size,
    )


def needed_files(folder: Path) -> list[Path]:
    """All files of the folder that its model is made of: what a copy of it needs.

    Raises CheckpointError as `read_vlm` does, but for the inside of the weights.
    """
    _config(folder)
    index = [folder / INDEX] if not (folder / WEIGHTS).is_file() else []
    own = [folder / CONFIG, folder / "generation_config.json", *index, *_weights(folder)]
    return [path for path in [*own, *_beside(folder)] if path.is_file()]


# ---- of a folder or a repository: why it is of no use, as the end of a sentence ------------------


def unusable(config: Mapping[str, Any]) -> str:
    """Of the config of a Qwen2.5-VL; "" if it can be used."""
    if not isinstance(config.get("vision_config"), dict):
        return "has no `vision_config`: the model could not see"
    if "quantization_config" in config:
        return (
            "is of quantised weights, which imgrank neither trains nor merges anything into: take "
            "the model that they were made from"
        )
    return ""


def weight_names(index: Mapping[str, Any]) -> list[str]:
    """The files of weights that an index names, by name. Raises ValueError."""
    files = index.get("weight_map")
    if not isinstance(files, dict) or not files:
        raise ValueError("names no files of weights")
    names = sorted({str(name) for name in files.values()})
    if odd := [n for n in names if Path(n).name != n or not n.endswith(".safetensors")]:
        raise ValueError(f"names {odd[0]!r}, which is no safetensors file beside it")
    return names


def without(names: Collection[str], templated: Callable[[], bool]) -> str:
    """What files of these names lack of a tokenizer and a processor; "" if nothing.

    templated: whether one of `TELLING` holds the chat's template; asked if no file of it is there.
    """
    there = set(names)
    if "tokenizer.json" not in there and not {"vocab.json", "merges.txt"} <= there:
        return "has no tokenizer (tokenizer.json)"
    if "tokenizer_config.json" not in there:
        return "does not say where a text ends (tokenizer_config.json)"
    if there.isdisjoint({"processor_config.json", "preprocessor_config.json"}):
        return "does not say how pictures are scaled (preprocessor_config.json)"
    if there.isdisjoint(TEMPLATES) and not templated():
        return "has no template of a chat (chat_template.json)"
    return ""


# ---- of a folder ---------------------------------------------------------------------------------


def _config(folder: Path) -> Mapping[str, Any]:
    config = _read_json(folder / CONFIG)
    if "format" in config or config.get("model_type") != MODEL_TYPE:
        found = config.get("model_type", "none")
        raise CheckpointError(
            f"{folder} holds no Qwen2.5-VL: `model_type` of its {CONFIG} is {found!r}, not "
            f"{MODEL_TYPE!r}. Use another folder."
        )
    if why := unusable(config):
        raise CheckpointError(f"{folder / CONFIG} {why}.")
    return config


def _weights(folder: Path) -> tuple[Path, ...]:
    """The files of weights; all of them are there."""
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    if not (folder / INDEX).is_file():
        raise _no_weights(folder)
    try:
        names = weight_names(_read_json(folder / INDEX))
    except ValueError as error:
        raise CheckpointError(f"{folder / INDEX} {error}. Use another folder.") from error
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise CheckpointError(
            f"{folder} lacks {len(missing)} of its {len(names)} files of weights: "
            f"{', '.join(missing[:3])}{', ...' if missing[3:] else ''}. Fetch the model again."
        )
    return tuple(folder / name for name in names)


def _no_weights(folder: Path) -> CheckpointError:
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if not pickles:
        return CheckpointError(
            f"{folder} holds no weights ({WEIGHTS} or {INDEX}). Fetch the model again."
        )
    return CheckpointError(
        f"{folder} holds its weights only as a pickle ({', '.join(pickles[:3])}), which can run "
        "programs when it is read, so it is not. Get the model as safetensors."
    )


def _beside(folder: Path) -> list[Path]:
    """Files of the tokenizer and the processor."""
    there = [folder / name for name in (*TOKENIZER, *PROCESSOR) if (folder / name).is_file()]
    names = [path.name for path in there]
    telling = (folder / name for name in TELLING if name in names)
    if lacks := without(names, lambda: any(_read_json(p).get("chat_template") for p in telling)):
        raise CheckpointError(f"{folder} {lacks}. Fetch the model again.")
    return there


def _parameters(path: Path) -> int:
    """How many numbers a safetensors file holds, by its head; the file's size must fit.

    The file: 8 bytes with the length of a JSON table, the table, the tensors' bytes; the table
    gives shape and place (counted from its end) of every tensor.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(LARGEST_HEADER, size - 8):
                raise ValueError("it does not begin as such a file")
            table = json.loads(file.read(length))
        tensors = [entry for name, entry in table.items() if name != "__metadata__"]
        end = max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
        if size != 8 + length + end:
            raise ValueError(f"it has {size} bytes and should have {8 + length + end}")
        return sum(math.prod(entry["shape"]) for entry in tensors)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is no whole safetensors file ({error}): it was not fetched, or not to its "
            "end. Fetch the model again."
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing. Check the name, or fetch it again.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}). Fetch it again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object. Fetch it again.")
    return content
