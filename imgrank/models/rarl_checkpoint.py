"""What a checkpoint of kind "rarl" holds: a Qwen2.5-VL that was trained to put pictures in order.

`model.safetensors` has either the factors of one LoRA relative to the plain model,

    lora.MODULE.A   [r, inputs]      the weight of MODULE becomes W + B A: the scaling alpha / r is
    lora.MODULE.B   [outputs, r]     folded into B, nothing is left to multiply with

or, of full fine-tuning, `full.NAME`: tensors that stand in for the model's own. Module and tensor
names are those of transformers >= 5 in memory (`model.language_model.layers.0.mlp.up_proj`).
Trainings that began from another are one LoRA too: their factors stand side by side, the ranks add
up, and W + B1 A1 + B2 A2 is exactly W + [B1 B2] [A1; A2]. To use it needs no peft.

`config.json`, beside what every checkpoint has (`models/checkpoint.py`):

    licence, made_by    as in every checkpoint
    backbone            of the Qwen2.5-VL: name, digest ("sha256:" and the identity of `VlmSpec`),
                        origin with its revision if it was pulled
    model               lora: {"rank", "alpha", "targets"}, or null: full; alpha is the rank, as the
                        scaling is folded in; max_pixels of a picture, max_new_tokens of an answer
    tasks               by key: prompt (the text of the rule, `{}` in it for the subject), unit,
                        range, order, measured
    training            what it was trained with, plain values

To write one: `save_checkpoint(folder, facts(...), tensors, card(...))`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.errors import CheckpointError
from imgrank.models.card import BEGIN, END, front_matter
from imgrank.models.checkpoint import RARL, WEIGHTS, load_tensors, read_config
from imgrank.models.origin import read_origin
from imgrank.models.spec import to_verify
from imgrank.models.vlm_spec import VlmSpec, read_vlm

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "FULL",
    "LORA",
    "RARL",
    "card",
    "check_backbone",
    "facts",
    "from_peft",
    "full_tensors",
    "load_factors",
    "merge_checkpoint",
    "merge_into",
    "rank_of",
    "side_by_side",
]

LORA, FULL = "lora.", "full."
_PEFT = "base_model.model."


def facts(
    backbone: VlmSpec,
    tensors: Mapping[str, Tensor],
    *,
    name: str,
    licence: str,
    made_by: str,
    max_pixels: int,
    max_new_tokens: int,
    tasks: Mapping[str, Mapping[str, Any]],
    training: Mapping[str, Any],
) -> dict[str, Any]:
    """The config for `save_checkpoint`; `licence`, "" if unknown.

    tensors: what will be written beside it.   made_by: the command.
    """
    origin = read_origin(backbone.folder)
    pulled = {"origin": f"{origin.origin}@{origin.revision}"} if origin and origin.revision else {}
    return {
        "kind": RARL,
        "name": name,
        "licence": licence,
        "made_by": made_by,
        "backbone": {"name": backbone.name, **pulled, "digest": f"sha256:{backbone.identity}"},
        "model": {
            "lora": _lora(tensors),
            "max_pixels": max_pixels,
            "max_new_tokens": max_new_tokens,
        },
        "tasks": {key: dict(task) for key, task in tasks.items()},
        "training": dict(training),
    }


def from_peft(state: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """peft's factors as they are stored here, float32 on the CPU.

    state: of `get_peft_model_state_dict`.   scale: alpha / r, or alpha / sqrt(r) of rsLoRA.
    Raises ValueError for a tensor that is no factor of a plain LoRA.
    """
    found = {}
    for name, value in state.items():
        path, _, factor = name.removeprefix(_PEFT).removesuffix(".weight").rpartition(".")
        if factor not in ("lora_A", "lora_B"):
            raise ValueError(f"{name} is no factor of a LoRA")
        own = value.detach().cpu().float()
        if factor == "lora_A":
            found[f"{LORA}{path}.A"] = own.clone()
        else:
            found[f"{LORA}{path}.B"] = scale * own
    return found


def full_tensors(trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of full fine-tuning as they are stored here, on the CPU, in their own dtype."""
    return {f"{FULL}{name}": value.detach().cpu() for name, value in trained.items()}


def side_by_side(*stages: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One LoRA that does what several do one after another; see the top of this module.

    Raises ValueError if one of them is none: full weights cannot be added up.
    """
    import torch

    names = sorted({name for stage in stages for name in stage})
    if full := [name for name in names if not name.startswith(LORA)]:
        raise ValueError(f"{full[0]} is no factor of a LoRA")
    return {
        name: torch.cat(
            [stage[name] for stage in stages if name in stage], int(name.endswith(".B"))
        )
        for name in names
    }


def rank_of(tensors: Mapping[str, Tensor]) -> int:
    """The largest rank of a module; 0 without a LoRA."""
    return max((len(value) for name, value in tensors.items() if _is_a(name)), default=0)


def load_factors(folder: Path) -> dict[str, Tensor]:
    """The tensors of a "rarl" checkpoint, as stored.

    Raises CheckpointError if the folder is of another kind, or its file is damaged or exchanged,
    or holds values that are no finite numbers.
    """
    config = read_config(folder, RARL)
    found = load_tensors(folder, as_stored=True)
    if odd := [name for name in found if not name.startswith((LORA, FULL))]:
        raise CheckpointError(
            f"{folder / WEIGHTS} holds {odd[0]!r}, which belongs to no checkpoint of this kind. "
            "Use another checkpoint."
        )
    if odd := [name for name, value in found.items() if not bool(value.isfinite().all())]:
        raise CheckpointError(
            f"{folder / WEIGHTS} has values that are no finite numbers, in {odd[0]}: its training "
            "failed or it was damaged. Use another checkpoint."
        )
    if (config.get("model", {}).get("lora") is None) == any(n.startswith(LORA) for n in found):
        raise CheckpointError(
            f"{folder} says of its weights that they are {'full' if _some(found) else 'a LoRA'}, "
            "and they are not. Use another checkpoint."
        )
    return found


def merge_into(model: Any, tensors: Mapping[str, Tensor], name: str = "the checkpoint") -> None:
    """Put tensors of a checkpoint into the weights of a model, in place: computed in float32, kept
    in the model's dtype.

    model: of transformers, without peft.   name: for the message.
    Raises CheckpointError if a tensor has no place or another shape; the model is then unchanged.
    """
    import torch

    modules = dict(model.named_modules())
    weights = {
        f"{path}.weight": module.weight
        for path, module in modules.items()
        if isinstance(module, torch.nn.Linear)
    }
    own = dict(model.state_dict(keep_vars=True))
    pairs = {n.removeprefix(LORA)[:-2]: n[:-2] for n in tensors if n.startswith(LORA)}
    odd = [
        module
        for module, at in pairs.items()
        if not _fit(weights.get(f"{module}.weight"), tensors.get(f"{at}.A"), tensors.get(f"{at}.B"))
    ]
    full = {n.removeprefix(FULL): value for n, value in tensors.items() if n.startswith(FULL)}
    odd += [n for n, value in full.items() if n not in own or own[n].shape != value.shape]
    if odd:
        more = f" and {len(odd) - 3} more" if odd[3:] else ""
        raise CheckpointError(
            f"{name} does not fit the model, which has no {', '.join(odd[:3])}{more} of that "
            "shape. Use the model that it was trained on."
        )
    with torch.no_grad():
        for n, value in full.items():
            own[n].copy_(value)
        for module, at in pairs.items():
            weight = weights[f"{module}.weight"]
            a, b = (tensors[f"{at}.{each}"].to(weight.device, torch.float32) for each in "AB")
            weight.copy_(weight.float() + b @ a)


def merge_checkpoint(model: Any, folder: Path, backbone: Path) -> dict[str, Any]:
    """Merge a "rarl" checkpoint into the model that was loaded from the folder `backbone`.

    Returns the `model` part of its config. Raises CheckpointError as `load_factors`,
    `check_backbone` and `merge_into` do.
    """
    config = read_config(folder, RARL)
    check_backbone(config, read_vlm(backbone), folder)
    merge_into(model, load_factors(folder), str(folder))
    return dict(config["model"])


def check_backbone(config: Mapping[str, Any], spec: VlmSpec, folder: Path) -> None:
    """Raises CheckpointError if a checkpoint's config names another Qwen2.5-VL than this one."""
    named = config["backbone"]
    if str(named["digest"]).removeprefix("sha256:") != spec.identity:
        raise CheckpointError(
            f"{folder} rests on the model {named['name']!r}, and {spec.folder} is not the one that "
            f"it was trained on (sha256 differs). {to_verify(spec.folder)}"
        )


def card(config: Mapping[str, Any], notes: str, training: Sequence[str]) -> str:
    """The model card, Markdown.

    notes: data, terms and limits, Markdown.   training: one line each: command, data, seed, time.
    """
    from imgrank.models.catalogue import example

    backbone, lora = config["backbone"]["name"], config["model"]["lora"]
    plain = config.get("training", {}).get("method") == "sft"
    learnt = "plain fine-tuning, SFT" if plain else "RARL"
    how = f"a LoRA of rank {lora['rank']}" if lora else "all weights that were tuned"
    lines = [
        *front_matter(config),
        f"# {config['name']}",
        "",
        f"The Qwen2.5-VL `{backbone}`, trained to value pictures side by side and to list them in "
        f"order ({learnt}): {how}.",
        "",
        f'    imgrank sort PHOTOS "{example(RARL, config["tasks"])}" --model rarl:{config["name"]}',
        "",
        *(f"- {_told(key, task)}" for key, task in config["tasks"].items()),
        f"- rests on `{backbone}`, which is needed beside it; `imgrank models export` writes both "
        "as one folder for transformers",
        f"- licence: {config.get('licence') or 'unknown'}",
        "",
        "## Training",
        "",
        *(f"- {line}" for line in training),
        "",
        "## Measured",
        "",
        *(BEGIN, "Not measured yet.", END, "", notes.strip(), ""),
    ]
    return "\n".join(lines)


def _told(key: str, task: Mapping[str, Any]) -> str:
    ends = task.get("range")
    scale = f", {ends[0]:g} to {ends[1]:g}" if ends else ""
    return f'{key}: "{task["prompt"]}", in {task.get("unit") or "no unit"}{scale}'


def _lora(tensors: Mapping[str, Tensor]) -> dict[str, Any] | None:
    modules = [name.removeprefix(LORA)[:-2] for name in tensors if _is_a(name)]
    if not modules:
        return None
    rank = rank_of(tensors)
    return {
        "rank": rank,
        "alpha": rank,
        "targets": sorted({module.rpartition(".")[2] for module in modules}),
    }


def _is_a(name: str) -> bool:
    return name.startswith(LORA) and name.endswith(".A")


def _some(tensors: Mapping[str, Tensor]) -> bool:
    return any(name.startswith(LORA) for name in tensors)


def _fit(weight: Tensor | None, a: Tensor | None, b: Tensor | None) -> bool:
    """Whether W [outputs, inputs], A [r, inputs], B [outputs, r] are all there and fit."""
    if weight is None or a is None or b is None or a.ndim != 2 or b.ndim != 2:
        return False
    return a.shape[0] == b.shape[1] and weight.shape == (b.shape[0], a.shape[1])
