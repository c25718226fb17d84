"""What `config.json` of a checkpoint must say, by its kind, and of which type that is. No torch.

What each value means is told in `models/checkpoint.py`. A config may come from anywhere: whatever
passes here is taken for granted by the rest of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from imgrank.models.vlm_spec import MODEL_TYPE

__all__ = ["RARL", "RETRIEVAL", "missing_values", "of_transformers", "wrong_values"]

RETRIEVAL = "retrieval"
"""The one kind without tasks: it answers anything in words, as its backbone does."""

RARL = "rarl"
"""A tuned Qwen2.5-VL: the one kind whose backbone ("vlm") is no OpenCLIP folder."""

# Of a "rarl" config: more would fill the memory or never end, if it were believed.
LARGEST_RANK = 4096
LARGEST_END = 1e12  # of a scale; NaN and infinity are beyond it, too
PIXELS = (28 * 28, 8192 * 8192)  # of a picture: one token, and far more than such a model ever saw
LARGEST_ANSWER = 32_768  # tokens

_OF_TASK = {
    "adapter": ("prompt", "unit"),
    "linear": ("unit",),
    "l2rclip": ("unit", "ranks"),
    RARL: ("prompt", "unit", "range"),
}
"""What the config of a kind must say of each of its tasks."""

_OF_MODEL = {
    "adapter": ("model.image_widths",),
    "l2rclip": ("model.features", "model.logit_scale"),
    RARL: ("model.lora", "model.max_pixels", "model.max_new_tokens"),
}


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _table(value: Any) -> bool:
    return isinstance(value, dict)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _tables(value: Any) -> bool:
    return isinstance(value, list) and all(map(_table, value))


def _subjects(value: Any) -> bool:
    """A list of words, or a table from words to lists of others for them."""
    return all(map(_texts, value.values())) if isinstance(value, dict) else _texts(value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ends(value: Any) -> bool:
    """None, or the two ends of a scale."""
    numbers = isinstance(value, list) and all(isinstance(end, int | float) for end in value)
    return value is None or (numbers and len(value) in (0, 2))


def _rising(value: Any) -> bool:
    """Two finite numbers, the lower one first."""
    if not (isinstance(value, list) and len(value) == 2 and all(map(_number, value))):
        return False
    return all(abs(end) <= LARGEST_END for end in value) and value[0] < value[1]


def _count(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: _number(value) and isinstance(value, int) and least <= value <= most


def _lora(value: Any) -> bool:
    """Null, or the three facts of the factors."""
    if not isinstance(value, dict):
        return value is None
    rank, alpha, targets = value.get("rank"), value.get("alpha"), value.get("targets")
    if not _count(1, LARGEST_RANK)(rank) or not isinstance(alpha, int | float):
        return False
    return 0 < alpha <= LARGEST_END and bool(targets) and _texts(targets)


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "kind": _text,
    "name": _text,
    "weights": _table,
    "weights.sha256": _text,
    "measured": _tables,
    "backbone": _table,
    "backbone.name": _text,
    "backbone.digest": _text,
    "backbone.views": _texts,
    "backbone.replaced": _texts,
    "model": _table,
    "model.image_widths": _table,
    "model.features": _texts,
    "model.logit_scale": _number,
    "tasks": _table,
}
_TASK_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "prompt": _text,
    "unit": _text,
    "range": _ends,
    "subjects": _subjects,
    "closeness": _text,
    "closeness_to": lambda value: isinstance(value, int | float),
    "classes": _texts,
    "note": _text,
    "offset": _number,
    "scale": _number,
    "ranks": _table,
    "calibration": _table,
    "crop": _table,
    "domain": _table,
}


_RARL_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "model.lora": _lora,
    "model.max_pixels": _count(*PIXELS),
    "model.max_new_tokens": _count(1, LARGEST_ANSWER),
}
_RARL_TASK_TYPES = {**_TASK_TYPES, "range": _rising}


def _of_another_type(
    config: Any, types: Mapping[str, Callable[[Any], bool]], where: str = ""
) -> list[str]:
    """Which values are there and are not what the rest of the program relies on."""
    wrong = []
    for path, fits in types.items():
        value, keys = config, path.split(".")
        while keys and isinstance(value, dict) and keys[0] in value:
            value = value[keys.pop(0)]
        if not keys and not fits(value):
            wrong.append(where + path)
    return wrong


def missing_values(config: Mapping[str, Any]) -> list[str]:
    """Dotted names of what is not there."""
    needed = ["kind", "name", "weights.sha256"]
    if not _of_another_type(config, _TYPES):
        needed += _needed_of_kind(config)
    return [path for path in needed if not _has(config, path.split("."))]


def _needed_of_kind(config: Mapping[str, Any]) -> list[str]:
    kind = config.get("kind", "")
    if kind == RETRIEVAL:
        return ["backbone.name", "backbone.digest", "backbone.replaced"]
    if kind not in _OF_TASK:
        return []
    tasks = [f"tasks.{task}.{key}" for task in config.get("tasks", {}) for key in _OF_TASK[kind]]
    return ["backbone.name", "backbone.digest", "tasks", *_OF_MODEL.get(kind, ()), *tasks]


def wrong_values(config: Mapping[str, Any]) -> list[str]:
    """Dotted names of what is there and is not what the rest of the program relies on."""
    wrong = _of_another_type(config, _TYPES)
    tasks, kind = config.get("tasks", {}), config.get("kind")
    if not wrong and kind == RARL:
        wrong = _of_another_type(config, _RARL_TYPES)
    if not wrong and kind in _OF_TASK:
        types = _RARL_TASK_TYPES if kind == RARL else _TASK_TYPES
        return [w for t in tasks for w in _of_another_type(tasks[t], types, f"tasks.{t}.")]
    if not wrong and kind == RETRIEVAL:
        # Without a tower of its own it would be the plain backbone under another name.
        towers = config.get("backbone", {}).get("replaced", ["image"])
        wrong = [] if towers and set(towers) <= {"image", "text"} else ["backbone.replaced"]
        wrong += ["tasks"] if tasks else []
    return wrong


def of_transformers(config: Mapping[str, Any]) -> str:
    """What a folder holds whose config.json is one of transformers, and what is to be done."""
    if config.get("model_type") == MODEL_TYPE:
        return "a Qwen2.5-VL, no checkpoint of imgrank: use it as --model rarl:FOLDER or --backbone"
    found = str(config.get("model_type"))[:60]
    return (
        f"a model of transformers, of type {found!r}. Of those imgrank uses Qwen2.5-VL "
        f"({MODEL_TYPE!r}) alone: imgrank models list"
    )


def _has(value: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True
