"""What a checkpoint of kind "retrieval" records: a CLIP-like model that was tuned for search.

It answers anything in words, as its backbone does, with other towers; so it has no tasks. Its
`model.safetensors` holds nothing but `tower.NAME`: the tensors that differ from the backbone's.
`logit_scale` and `logit_bias` belong to no tower: neither embeddings nor what is kept of them
depend on these.

`config.json`, beside what every checkpoint has (`models/checkpoint.py`):

    licence, made_by    as in every checkpoint
    backbone            name, digest, origin if it was pulled, views ["own"], tokens ["pooled"];
                        replaced: ["image"], ["text"] or both: the towers that have tensors here
    model               sizes, if there are any; {}
    training            what it was trained with, plain values: loss, data, steps, seed, ...
    measured            one table a data set and part of it: `data`, `n` (queries); figures by name
                        ("recall@10", "beauty", ...); NAME_interval: [low, high], 95 %;
                        NAME_before: the backbone's on the same queries; NAME_gain, and its
                        NAME_gain_interval: what was gained on it; `by`: the command

To write one: `save_checkpoint(folder, facts(...), tensors(...), card(...))`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.errors import CheckpointError
from imgrank.models.atomic import write_bytes, write_json
from imgrank.models.card import BEGIN, END, front_matter, named_towers
from imgrank.models.checkpoint import CARD, CONFIG, RETRIEVAL, TOWER, read_config, towers_of
from imgrank.models.imported import backbone_facts
from imgrank.models.spec import BackboneSpec

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["card", "facts", "record", "table", "tensors", "told"]

Row = Mapping[str, Any]


def facts(
    backbone: BackboneSpec,
    names: Iterable[str],
    *,
    name: str,
    licence: str,
    made_by: str,
    training: Mapping[str, Any],
    model: Mapping[str, Any] | None = None,
    measured: Sequence[Row] = (),
) -> dict[str, Any]:
    """The config for `save_checkpoint`; `licence`, "" if unknown.

    backbone: what was tuned.   names: of its tensors that are replaced, with or without `tower.`.
    made_by: the command.
    Raises ValueError if the names are of no tower: such a checkpoint would be its backbone.
    """
    replaced = towers_of(name.removeprefix(TOWER) for name in names)
    if not replaced:
        raise ValueError("no tensor of a tower is replaced")
    return {
        "kind": RETRIEVAL,
        "name": name,
        "licence": licence,
        "made_by": made_by,
        "backbone": {**backbone_facts(backbone, ["own"], ["pooled"]), "replaced": replaced},
        "model": dict(model or {}),
        "training": dict(training),
        "measured": [dict(row) for row in measured],
    }


def tensors(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], half: bool = True
) -> dict[str, Tensor]:
    """{"tower.NAME": tensor} of what differs, by OpenCLIP's names, on the CPU.

    before: of the backbone; what it lacks is left out.   after: of the tuned model, or of a part.
    half: floats as float16, as the embedded backbone has them; what is then equal is left out too.
    Raises CheckpointError if a value is no finite number, or none in float16.
    """
    import torch

    found = {}
    for name in sorted(before.keys() & after.keys()):
        old, new = before[name].detach().cpu(), after[name].detach().cpu()
        if half and new.is_floating_point():
            old, new = old.to(torch.float16), new.to(torch.float16)
        if new.is_floating_point() and not bool(new.isfinite().all()):
            raise CheckpointError(f"{name} holds values that are no finite numbers.")
        if not torch.equal(old.to(new.dtype), new):
            found[f"{TOWER}{name}"] = new.contiguous()
    return found


def card(config: Mapping[str, Any], notes: str, training: Sequence[str]) -> str:
    """The model card, Markdown.

    notes: data, terms and limits, Markdown.   training: one line each: command, data, seed, time.
    """
    facts = config["backbone"]
    lines = [
        *front_matter(config),
        f"# {config['name']}",
        "",
        f"`{facts['name']}` tuned for search: it was trained to prefer, among pictures that fit "
        "the words, those that people find beautiful, with no second model to re-rank them.",
        "",
        f"    imgrank search PHOTOS QUERY --model {config['name']}",
        "",
        f"- holds the tensors of the {named_towers(facts['replaced'])} that differ from the "
        "backbone's; "
        "`imgrank models export` writes the whole model for OpenCLIP",
        f"- licence: {config.get('licence') or 'unknown'}",
        "",
        "## Training",
        "",
        *(f"- {line}" for line in training),
        "",
        "## Measured",
        "",
        BEGIN,
        *table(config.get("measured") or ()),
        END,
        "",
        notes.strip(),
    ]
    return "\n".join([*lines, ""])


def record(folder: Path, measured: Sequence[Row]) -> None:
    """Put figures into a checkpoint's config and card, in place of those that are there.

    Raises CheckpointError if the folder is none of this kind, or cannot be written.
    """
    config = read_config(folder, RETRIEVAL)
    path = folder / CARD
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        before, begin, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        if begin and end:
            between = "\n".join([BEGIN, *table(measured), END])
            write_bytes(path, (before + between + after).encode())
        write_json(folder / CONFIG, {**config, "measured": [dict(row) for row in measured]})
    except OSError as error:
        raise CheckpointError(f"cannot write the checkpoint {folder}: {error}.") from error


def told(row: Row) -> list[str]:
    """A row of `measured` for people: what it is of, then a line a figure."""
    count = f" (n = {row['n']})" if "n" in row else ""
    by = f", by {row['by']}" if row.get("by") else ""
    lines = [f"{row.get('data', 'measured')}{count}{by}"]
    for name in _figures(row):
        before, value, gain = _cells(row, name)
        parts = [f"{name.replace('_', ' ')} {value}", f"before {before}", f"gain {gain}"]
        lines.append(f"  {'; '.join(part for part in parts if not part.endswith(' -'))}")
    return lines


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown: a line a data set and figure, beside what the backbone had."""
    if not rows:
        return ["Not measured yet."]
    commands = ", ".join(
        f"`{by}`" for by in dict.fromkeys(str(row["by"]) for row in rows if "by" in row)
    )
    lines = [f"By {commands}; 95 % intervals in brackets.", ""] if commands else []
    head = "| data | queries | figure | backbone | tuned | gain |"
    lines += [head, "| --- | ---: | --- | --- | --- | --- |"]
    for row in rows:
        for name in _figures(row):
            cells = [row.get("data", "-"), row.get("n", "-"), name.replace("_", " ")]
            lines.append(f"| {' | '.join(map(str, [*cells, *_cells(row, name)]))} |")
    return lines


def _figures(row: Row) -> list[str]:
    """Names of what was measured in a row."""
    found = [name for name, value in row.items() if _is_number(value) and name != "n"]
    return [name for name in found if not name.endswith(("_before", "_gain"))]


def _cells(row: Row, name: str) -> tuple[str, str, str]:
    """Of the backbone, of the tuned model, gain; "-" for what is not there."""
    return (
        _shown(row, f"{name}_before", ".3f"),
        _shown(row, name, ".3f"),
        _shown(row, f"{name}_gain", "+.3f"),
    )


def _shown(row: Row, name: str, how: str) -> str:
    """A figure with its interval. Whatever is none is left out: others may have written the row."""
    value, ends = row.get(name), row.get(f"{name}_interval")
    if not _is_number(value):
        return "-"
    if isinstance(ends, list | tuple) and len(ends) == 2 and all(map(_is_number, ends)):
        return f"{value:{how}} [{ends[0]:{how}}, {ends[1]:{how}}]"
    return f"{value:{how}}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
