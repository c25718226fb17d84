"""A "rarl" checkpoint and its Qwen2.5-VL -> one folder as transformers writes it.

`Qwen2_5_VLForConditionalGeneration.from_pretrained(FOLDER)` then answers as imgrank does with the
checkpoint, but for the rounding of the sum to the precision of the weights.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgrank.errors import CheckpointError
from imgrank.listwise.prompt import SYSTEM, instruct
from imgrank.listwise.rules import kept
from imgrank.models.card import ORDER, metadata
from imgrank.models.checkpoint import CARD, read_config
from imgrank.models.imported import new_folder
from imgrank.models.rarl_checkpoint import RARL, merge_checkpoint
from imgrank.models.vlm_spec import CONFIG, INDEX, VlmSpec, needed_files, read_vlm

__all__ = ["export_merged"]

SHARD = "5GB"


def export_merged(checkpoint: Path, backbone: Path, folder: Path, *, shard: str = SHARD) -> VlmSpec:
    """Write the merged model into `folder`, which must not be there yet.

    backbone: the Qwen2.5-VL that the checkpoint rests on.   shard: largest file of weights.
    The weights keep the precision that they have in `backbone`.
    Raises UsageError for the folder's name, CheckpointError if a file cannot be read or written,
    or the checkpoint rests on another model; MissingExtra without transformers.
    """
    from safetensors import SafetensorError

    from imgrank.models.vlm_loading import load_model, quietly

    config = read_config(checkpoint, RARL)
    target = folder.absolute()
    with new_folder(target.parent, target.name) as staging:
        model = load_model(backbone, "auto")
        merge_checkpoint(model, checkpoint, backbone)
        try:
            with quietly():
                model.save_pretrained(staging, max_shard_size=shard)
        except (ValueError, RuntimeError, SafetensorError) as error:  # the last: a full disk
            raise CheckpointError(f"transformers cannot write {target}: {error}") from error
        mode = (staging / CONFIG).stat().st_mode
        for weights in staging.glob("*.safetensors"):  # which nobody else may read
            weights.chmod(mode)
        own = {path.name for path in read_vlm(backbone).weights} | {CONFIG, INDEX}
        for file in needed_files(backbone):
            if file.name not in own:
                shutil.copyfile(file, staging / file.name)
        (staging / CARD).write_text(_card(config, target.name), encoding="utf-8")
    return read_vlm(target)


def _card(config: Mapping[str, Any], name: str) -> str:
    data = metadata(config)
    data.library_name, data.pipeline_tag = "transformers", "image-text-to-text"
    lines = [
        "---",
        data.to_yaml(original_order=ORDER),
        "---",
        "",
        f"# {name}",
        "",
        f"The Qwen2.5-VL `{config['backbone']['name']}` with the checkpoint `{config['name']}` "
        "merged into its weights (imgrank, kind rarl). imgrank itself rather takes that "
        "checkpoint, which knows the ends of its scales.",
        "",
        f"The system's message: `{SYSTEM}`",
        "",
        'A user\'s: 1 to 8 pictures, each after the text "Image 1: " (2, ...), then the task:',
        "",
        *(f"- {key}: `{_asked(task)}`" for key, task in config["tasks"].items()),
        "",
        f"Licence: {config.get('licence') or 'unknown'}.",
        "",
    ]
    return "\n".join(lines)


def _asked(task: Mapping[str, Any]) -> str:
    return instruct(kept(task["prompt"], task["range"], "{}"))
