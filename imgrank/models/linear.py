"""LAION's aesthetic head (github.com/christophschuhmann/improved-aesthetic-predictor) as a vector.

The published `linearMSE` heads are five Linear layers, `layers.0, 2, 4, 6, 7`, with nothing but
dropout between, on the L2-normalised embedding of OpenAI's ViT-L/14. Without an activation the
chain is one affine map: W_5 (... (W_1 x + b_1) ...) + b_5 = w x + b, so w [E] and b are all that is
kept. Another numbering leaves room for activations and is refused; so is a file whose name says
`relu`, since a numbering cannot prove that nothing was between.

The heads were fitted to ratings from 1 to 10.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from imgrank.errors import CheckpointError
from imgrank.models.checkpoint import save_checkpoint
from imgrank.models.imported import backbone_facts, card, provenance, read_state_dict
from imgrank.models.spec import read_spec

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["convert_head", "fold"]

LAYOUT = (0, 2, 4, 6, 7)
TASK, UNIT, RANGE = "aesthetics", "MOS", (1, 10)


def convert_head(
    file: Path, folder: Path, *, backbone_folder: Path, name: str, licence: str, origin: str
) -> None:
    """Writes the checkpoint folder, of kind "linear", of a published head.

    licence: as recorded, "" if unknown.   origin: "hf:OWNER/REPOSITORY" or "imported".
    Raises CheckpointError if the file is no such head or does not fit the backbone's embedding.
    """
    spec = read_spec(backbone_folder)
    if "relu" in file.name.lower():
        raise CheckpointError(
            f"{file} has ReLU between its layers, by its name, so it is no single vector. imgrank "
            "converts the linearMSE heads."
        )
    try:
        weight, bias = fold(read_state_dict(file))
    except ValueError as error:
        raise CheckpointError(f"{file} is no linear aesthetic head: {error}.") from None
    embed = spec.widths.get("embed")
    if embed is not None and len(weight) != embed:
        raise CheckpointError(
            f"{file} is a head for embeddings of {len(weight)} numbers; those of {spec.name} have "
            f"{embed}. Name the backbone that it was made for with --backbone."
        )
    source = provenance(file)
    config = {
        "kind": "linear",
        "name": name,
        "licence": licence or "unknown",
        "made_by": f"imgrank, from {file.name} ({origin})",
        "origin": origin,
        "source": source,
        "backbone": backbone_facts(spec, ["own"], ["pooled"]),
        "model": {"width": len(weight)},
        "tasks": {TASK: {"unit": UNIT, "range": list(RANGE), "order": "descending"}},
    }
    what = f"A linear head for {TASK} on the pooled embedding of the backbone `{spec.name}`."
    notes = [
        f"Source: {file.name}, sha256 {source['sha256']}; its five layers as one vector.",
        "Not measured by imgrank.",
    ]
    tensors = {"weight": weight.float(), "bias": bias.float()}
    save_checkpoint(folder, config, tensors, card(config, what, notes))


def fold(head: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """{"layers.N.weight" [out, in], "layers.N.bias" [out]} -> w [E], b [1], in float64.

    Names may have any other common prefix. Raises ValueError saying why it is no affine chain.
    """
    layers: dict[int, dict[str, Tensor]] = {}
    prefixes = set()
    for name, tensor in head.items():
        match = re.fullmatch(r"(.*?)(\d+)\.(weight|bias)", name)
        if match is None:
            raise ValueError(f"it holds {name!r}")
        prefixes.add(match[1])
        layers.setdefault(int(match[2]), {})[match[3]] = tensor.double()
    numbers = tuple(sorted(layers))
    if numbers != LAYOUT or len(prefixes) != 1:
        raise ValueError(
            f"its layers are numbered {', '.join(map(str, numbers))}, not "
            f"{', '.join(map(str, LAYOUT))}, so there may be activations between them, and it is "
            "no single vector"
        )
    try:
        (weight, bias), *later = [(layers[n]["weight"], layers[n]["bias"]) for n in LAYOUT]
        for W, b in later:
            weight, bias = W @ weight, W @ bias + b
        if weight.ndim != 2 or weight.shape[0] != 1 or bias.shape != (1,):
            raise ValueError(f"it gives {weight.shape[0]} numbers, not one")
    except (KeyError, RuntimeError) as error:
        raise ValueError("its layers are incomplete or do not follow each other") from error
    return weight[0], bias
