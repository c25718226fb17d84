"""A checkpoint -> the whole model that it stands for: of tuned towers an OpenCLIP folder, of a
"rarl" checkpoint a folder as transformers writes it (`models/vlm_export.py`).

A checkpoint holds only the tensors that differ from its backbone's. Other programs want them all:
the backbone's files, those tensors in place of its own, each in the precision it is stored in.
`open_clip.create_model("local-dir:FOLDER")` then gives the embeddings that imgrank uses, and the
folder is a backbone for imgrank too. What a checkpoint puts on top (rank embeddings, a map of
statistics, an adapter) is not part of it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from imgrank.errors import CheckpointError, UsageError
from imgrank.models.card import ORDER, backbone_metadata, named_towers
from imgrank.models.checkpoint import CARD, RARL, RETRIEVAL, TOWER, load_tensors
from imgrank.models.digests import known_sha256
from imgrank.models.imported import new_folder
from imgrank.models.registry import VLM, Entry
from imgrank.models.resting import backbone_by_digest, backbone_kind, lacking, way_to
from imgrank.models.retrieval_checkpoint import table
from imgrank.models.spec import CONFIG, BackboneSpec, read_spec, to_verify
from imgrank.models.terms import TERMS
from imgrank.models.wish import TOKENIZER
from imgrank.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["export", "fill"]


def export(entry: Entry, folder: Path, settings: Settings) -> Path:
    """Write the tuned backbone of a checkpoint into `folder`, which must not be there yet; it.

    Raises UsageError if nothing of its towers was tuned, or for the folder's name;
    CheckpointError if its backbone is not here or a file cannot be read or written; MissingExtra.
    """
    facts = entry.config.get("backbone", {})
    if entry.kind == RARL:
        return _merged(entry, folder, settings)
    if not facts.get("replaced"):
        whole = {"backbone": "is a backbone", VLM: "is a Qwen2.5-VL, whole as it is"}
        kind = whole.get(entry.kind, "has no tower of its own")
        raise UsageError(
            f"{entry.name} {kind}: nothing was tuned that a folder of its own would hold. "
            f"`imgrank models info {entry.name}` tells where it is and what it rests on."
        )
    spec = read_spec(_base_of(entry, settings))
    target = folder.absolute()
    with new_folder(target.parent, target.name) as staging:
        fill(staging, target.name, entry, spec)
    return target


def _base_of(entry: Entry, settings: Settings) -> Path:
    digest = str(entry.config["backbone"]["digest"])
    base = backbone_by_digest(digest, settings, backbone_kind(entry.config))
    if base is None:
        raise CheckpointError(f"{lacking(entry, settings)}. Get it: {way_to(entry)}")
    return base


def _merged(entry: Entry, folder: Path, settings: Settings) -> Path:
    """With the text of the licence of what it rests on, which holds for both."""
    from imgrank.models.vlm_export import export_merged

    base = _base_of(entry, settings)
    spec = export_merged(entry.folder, base, folder)
    for name in TERMS:
        if (base / name).is_file():
            shutil.copyfile(base / name, spec.folder / name)
    return spec.folder


def fill(folder: Path, name: str, entry: Entry, spec: BackboneSpec, more: str = "") -> None:
    """Write the tuned backbone into a folder that is there and empty; it will be called `name`.

    spec: of the backbone that the checkpoint rests on.   more: text for the end of its card.
    Raises CheckpointError if a file cannot be read, OSError if one cannot be written.
    """
    from imgrank.models.backbone import describe

    tensors = _joined(entry, spec)
    for file in dict.fromkeys((CONFIG, *TOKENIZER, *([spec.merges.name] if spec.merges else []))):
        if (spec.folder / file).is_file():
            shutil.copyfile(spec.folder / file, folder / file)
    _save(folder / spec.weights.name, tensors)
    # safetensors makes a file that nobody else may read, unlike all others here.
    (folder / spec.weights.name).chmod((folder / CONFIG).stat().st_mode)
    (folder / CARD).write_text(_card(entry, name, spec) + more, encoding="utf-8")
    side = spec.image_size if spec.other_size else None
    describe(folder, name, spec.statistics, side)


def _joined(entry: Entry, spec: BackboneSpec) -> dict[str, Tensor]:
    """All tensors of the backbone, the checkpoint's in place of its own."""
    from safetensors.torch import load_file

    if known_sha256(spec.weights) != spec.weights_sha256:
        raise CheckpointError(
            f"{spec.weights} is not the file that its folder records. {to_verify(spec.folder)}"
        )
    tensors = load_file(spec.weights)
    stored = load_tensors(entry.folder, as_stored=True)
    own = {n.removeprefix(TOWER): value for n, value in stored.items() if n.startswith(TOWER)}
    odd = [n for n, v in own.items() if n not in tensors or tensors[n].shape != v.shape]
    if odd:
        raise CheckpointError(
            f"{entry.name} cannot be exported: {spec.weights} has no {', '.join(sorted(odd)[:3])} "
            "of that shape, as files of older names or another input size do not."
        )
    return {**tensors, **own}


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in tensors.items()}, path)


def _card(entry: Entry, name: str, spec: BackboneSpec) -> str:
    towers = named_towers(entry.config["backbone"]["replaced"])
    licence = str(entry.config.get("licence") or "")
    purpose = "search" if entry.kind == RETRIEVAL else ", ".join(entry.tasks)
    rest = "The rest of that checkpoint is not part of this folder."
    if entry.kind == RETRIEVAL:
        rest = "Nothing of that checkpoint is left out."
    rows = entry.config.get("measured")
    measured = ["", "## Measured", "", *table(rows)] if rows else []
    also = ""
    if "statistics" in entry.config.get("model", {}).get("features", ()):
        also = " before it adds its map of statistics"
    lines = [
        "---",
        backbone_metadata(licence).to_yaml(original_order=ORDER),
        "---",
        "",
        f"# {name}",
        "",
        f"The OpenCLIP model `{spec.name}` with the {towers} of `{entry.name}`, which was "
        f"trained for {purpose} (imgrank, kind {entry.kind}).",
        "",
        f'    model = open_clip.create_model("local-dir:{name}")',
        "",
        f"Its image embeddings are those that `{entry.name}` uses{also}. {rest}",
        "",
        f"Licence: {licence or 'unknown'}.",
        *measured,
    ]
    return "\n".join([*lines, ""])
