"""The adapter authors' checkpoints -> our checkpoint folder.

A released file holds everything: towers and adapter. Ours holds what is its own: the adapter with
the step in front of it, and those tensors of the towers that differ from the stock backbone's. The
authors trained the text side's token embedding, positional embedding and final LayerNorm; whatever
else differs is kept too, and said. The backbone itself is named, not copied.

Not equal to the file: pictures are always squashed bilinearly, as the authors' inference does, and
the backbone's tokens pass through float16, as all kept features do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.errors import CheckpointError, UsageError
from imgrank.models.checkpoint import TOWER, save_checkpoint
from imgrank.models.imported import backbone_facts, card, provenance, read_state_dict
from imgrank.models.spec import CONFIG, BackboneSpec

if TYPE_CHECKING:
    from torch import Tensor

    from imgrank.models.adapter import AdapterConfig

__all__ = ["TRAINED_TEXT", "Imported", "check_names", "import_adapter"]

TRAINED_TEXT = (
    "ln_final.bias",
    "ln_final.weight",
    "positional_embedding",
    "token_embedding.weight",
)
LICENCE = "unknown; the authors' code is Apache-2.0"
VIEW = "squash-bilinear"
LISTED = 40  # names in an error


@dataclass(frozen=True, slots=True)
class Imported:
    """What was taken from the file.

    same: how many tensors of the towers equal the backbone's and were not copied.
    replaced: names of those that differ and were, by OpenCLIP's names.
    """

    same: int
    replaced: tuple[str, ...]

    @property
    def unexpected(self) -> tuple[str, ...]:
        """Those that differ although the released recipe trained the text side's ends alone."""
        return tuple(name for name in self.replaced if name not in TRAINED_TEXT)


def import_adapter(
    file: Path,
    folder: Path,
    *,
    name: str,
    backbone: BackboneSpec,
    tasks: Mapping[str, Mapping[str, Any]],
    heads: int = 8,
    encoder_heads: int = 8,
    rank_heads: int = 8,
) -> Imported:
    """Writes the checkpoint folder of an official file.

    tasks: task key -> prompt (may hold `{}` for what is counted), unit and, if known, range.
    heads, ...: as in `adapter_config`. Raises CheckpointError if the file cannot be read, or its
    names or shapes are not those of an adapter on this backbone; UsageError for heads that do not
    fit.
    """
    from imgrank.models.official import adapter_config, adapter_tensors

    official = read_state_dict(file)
    shapes = {name: tuple(tensor.shape) for name, tensor in official.items()}
    model = adapter_config(
        shapes,
        heads=heads,
        encoder_heads=encoder_heads,
        rank_heads=rank_heads,
        norm_eps=_norm_eps(backbone),
    )
    for count in (heads, encoder_heads, rank_heads):
        if count < 1 or model.width % count:
            raise UsageError(f"{count} heads do not divide the adapter's width {model.width}.")
    try:
        towers = check_names(shapes, _shapes_of(backbone), model)
    except CheckpointError as error:
        raise CheckpointError(f"{file} is no ranking adapter on {backbone.name}: {error}") from None
    replaced = _differing(official, towers, backbone)
    config = {
        "kind": "adapter",
        "name": name,
        "licence": LICENCE,
        "made_by": f"imgrank models import official-adapter {file.name}",
        "origin": "imported",
        "source": provenance(file),
        "backbone": {
            **backbone_facts(backbone, [VIEW], ["grid"]),
            "replaced": sorted({_tower_of(name) for name in replaced}),
        },
        "model": model.to_dict(),
        "tasks": {task: dict(facts) for task, facts in tasks.items()},
    }
    own = {name: official[name] for name in shapes.keys() - set(towers)}
    tensors = {**adapter_tensors(own), **{TOWER + n: t for n, t in replaced.items()}}
    result = Imported(len(towers) - len(replaced), tuple(sorted(replaced)))
    save_checkpoint(folder, config, tensors, _card(config, result))
    return result


def check_names(
    shapes: Mapping[str, tuple[int, ...]],
    stock: Mapping[str, tuple[int, ...]],
    model: AdapterConfig,
) -> list[str]:
    """The names in an official file that belong to its towers.

    shapes: of the file.   stock: of the backbone, by OpenCLIP's names.   model: from the file.
    Raises CheckpointError listing what is unknown, missing or of another shape.
    """
    import torch

    from imgrank.models.adapter import Adapter
    from imgrank.models.official import adapter_name, adapter_tensors, official_name

    with torch.device("meta"):
        wanted = {name: tuple(t.shape) for name, t in Adapter(model).state_dict().items()}
        part = {name: torch.empty(s) for name, s in shapes.items() if adapter_name(name) in wanted}
    given = {name: tuple(t.shape) for name, t in adapter_tensors(part).items()}
    towers = [name for name in shapes if name not in part]
    vit = model.grid_projection == "linear"
    missing = [official_name(name, vit) for name in wanted if name not in given]
    missing += [
        name
        for name, shape in stock.items()
        # The stock head behind the pooling, and single numbers (logit scale), change no token.
        if name not in shapes and shape and not name.startswith("visual.head.")
    ]
    unlike = [official_name(name, vit) for name in given if given[name] != wanted[name]]
    unlike += [name for name in towers if shapes[name] != stock.get(name, shapes[name])]
    problems = {
        "missing": set(missing),  # what both look for is named once
        "unknown": {name for name in towers if name not in stock},
        "of another shape": set(unlike),
    }
    said = [f"{problem}: {_listed(names)}" for problem, names in problems.items() if names]
    if said:
        raise CheckpointError(f"{'; '.join(said)}.")
    return towers


def _differing(
    official: Mapping[str, Tensor], names: Iterable[str], backbone: BackboneSpec
) -> dict[str, Tensor]:
    """Those of the named tensors that are not the backbone's own, in float32.

    A file in half precision is compared in half precision: rounding alone is no difference.
    """
    import torch
    from safetensors import safe_open

    found = {}
    with safe_open(backbone.weights, "pt") as stock:
        for name in names:
            theirs = official[name]
            if not torch.equal(stock.get_tensor(name).to(theirs.dtype), theirs):
                found[name] = theirs.float()
    return found


def _shapes_of(backbone: BackboneSpec) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(backbone.weights, "pt") as stock:
            names = list(stock.keys())
            return {name: tuple(stock.get_slice(name).get_shape()) for name in names}
    except SafetensorError as error:
        raise CheckpointError(f"{backbone.weights} cannot be read: {error}.") from error


def _norm_eps(backbone: BackboneSpec) -> float:
    """Epsilon of the last norm of the backbone's image tower, which no tensor tells.

    Raises CheckpointError if timm itself has no such tower; nothing is fetched.
    """
    import torch
    from timm import create_model

    config = json.loads((backbone.folder / CONFIG).read_text(encoding="utf-8"))
    trunk = config["model_cfg"]["vision_cfg"].get("timm_model_name")
    if trunk is None:
        return 1e-6  # no norm is taken over
    try:
        if ":" in trunk:
            raise ValueError("it is a place, no name of timm's")
        with torch.device("meta"):
            head = getattr(create_model(trunk, pretrained=False), "head", None)
    except Exception as error:  # of a name that is wrong: nearly anything is raised
        raise CheckpointError(
            f"timm cannot build the image tower {trunk!r} of {backbone.folder}: {error}"
        ) from error
    return float(getattr(getattr(head, "norm", None), "eps", 1e-6))


def _tower_of(name: str) -> str:
    return "image" if name.startswith("visual.") else "text"


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - LISTED} more" if len(ordered) > LISTED else ""
    return ", ".join(ordered[:LISTED]) + more


def _card(config: Mapping[str, Any], result: Imported) -> str:
    backbone = config["backbone"]["name"]
    notes = [
        f"Source: {config['source']['file']}, sha256 {config['source']['sha256']}.",
        f"{result.same} tensors of its towers are those of `{backbone}` and are not repeated here.",
    ]
    if result.replaced:
        notes.append(f"In place of the backbone's own: {', '.join(result.replaced)}.")
    notes.append("Not measured by imgrank.")
    what = f"A released ranking adapter, imported, on the backbone `{backbone}`."
    return card(config, what, notes)
