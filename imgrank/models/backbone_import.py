"""A local OpenCLIP folder -> a backbone of ours: copied, described, its pickle turned if allowed.

The user's folder is only read. Weights keep their name; a pickle becomes
`open_clip_model.safetensors`. The `origin.json` says "imported", and under `asked` from where.
"""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

from imgrank.errors import CheckpointError
from imgrank.models.imported import provenance
from imgrank.models.origin import ORIGIN, Origin, read_origin, write_origin
from imgrank.models.spec import CONFIG, PICKLES, RECORD, WEIGHTS, BackboneSpec, read_spec
from imgrank.models.vlm_spec import is_vlm

__all__ = ["import_backbone"]

SMALL = (".json", ".txt", ".gz", ".model", ".md")
"""Endings of what is taken beside the weights: config, tokenizer, licence, card."""
KNOWN_PICKLES = ("open_clip_pytorch_model.bin", "open_clip_model.bin")


def import_backbone(
    source: Path, folder: Path, *, name: str, allow_pickle: bool, licence: str = ""
) -> BackboneSpec:
    """Copies a folder that OpenCLIP's `local-dir:` could load into `folder`, and describes it.

    allow_pickle: weights that are there only as a pickle are read with `weights_only`.
    licence: as recorded, "" for that of an import or a pull before this one, if there was any.
    Raises CheckpointError or ModelUnavailable if it cannot be used.
    """
    from imgrank.models.backbone import describe

    if not (source / CONFIG).is_file() and is_vlm(source):
        raise CheckpointError(
            f"{source} is a Qwen2.5-VL, which needs no import: name the folder, as --model "
            f"rarl:{source} or as --backbone of `imgrank train rarl`."
        )
    if not (source / CONFIG).is_file():
        raise CheckpointError(
            f"{source} is no OpenCLIP folder: it has no {CONFIG}. Save one with OpenCLIP's "
            "push_to_hf_hub or save_for_hf, or fetch its repository."
        )
    weights = next((source / each for each in WEIGHTS if (source / each).is_file()), None)
    record: dict[str, Any] = {}
    if weights is not None and (source / RECORD).is_file():
        read_spec(source)  # raises if it is damaged
        record = json.loads((source / RECORD).read_text(encoding="utf-8"))
    for path in sorted(source.iterdir()):
        if path.is_file() and _small(path):
            shutil.copyfile(path, folder / path.name)
    pickled = {}
    if weights is not None:
        shutil.copyfile(weights, folder / weights.name)
    elif (pickle := _pickle(source)) is not None and allow_pickle:
        from imgrank.models.convert import to_safetensors

        to_safetensors(pickle, folder / WEIGHTS[0])
        pickled = {pickle.name: _facts(pickle)}
    elif pickle is not None:
        raise CheckpointError(
            f"{source} holds its weights only as a pickle ({pickle.name}), which can run programs "
            "when it is read, so it is not. If you trust where it came from, give the same line "
            "with --allow-pickle: it is then read so that nothing runs."
        )
    else:
        read_spec(source)  # says what is missing
    spec = describe(folder, name, record.get("statistics", ()), record.get("image_size"))
    files = {path.name: _facts(path) for path in sorted(folder.iterdir()) if path.name != RECORD}
    before = read_origin(source)
    licence = licence or (before.licence if before else "")
    place, today = str(source.resolve()), date.today().isoformat()
    write_origin(folder, Origin("imported", "", "", place, files, licence, today, pickled))
    return spec


def _small(path: Path) -> bool:
    own = path.name.startswith(".") or path.name in (RECORD, ORIGIN)
    return path.suffix in SMALL and not own


def _pickle(source: Path) -> Path | None:
    """The folder's pickled weights: one of OpenCLIP's names, or the only one there."""
    found = sorted(path for path in source.iterdir() if path.suffix in PICKLES)
    named = [path for path in found if path.name in KNOWN_PICKLES]
    if len(found) > 1 and not named:
        raise CheckpointError(
            f"{source} holds several pickles ({', '.join(p.name for p in found)}). Rename the one "
            f"to take to {KNOWN_PICKLES[0]}."
        )
    return next(iter(named or found), None)


def _facts(path: Path) -> dict[str, Any]:
    facts = provenance(path)
    del facts["file"]
    return facts
