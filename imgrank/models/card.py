"""The model card of a trained checkpoint, written from what its config records.

Everything measured stands in one table, which `with_measured` replaces, so that a card never
shows figures of other weights than those beside it. The metadata that the Hub reads (front matter:
licence, tags, base model, figures) is huggingface_hub's own ModelCardData; `for_hub` completes a
card that lacks some of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from imgrank.errors import CheckpointError
from imgrank.models.config_values import RARL, RETRIEVAL
from imgrank.models.ranks import Ranks

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

    from imgrank.models.origin import Origin

__all__ = [
    "backbone_card",
    "backbone_metadata",
    "for_hub",
    "front_matter",
    "levels_of",
    "metadata",
    "model_card",
    "named_towers",
    "vlm_metadata",
    "with_measured",
]

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"
# A figure's key in `measured` -> the Hub's name of the metric, and what people call it.
METRICS = {
    "srcc": ("spearmanr", "SRCC"),
    "plcc": ("pearsonr", "PLCC"),
    "mae": ("mae", "mean absolute error"),
    "accuracy": ("accuracy", "accuracy"),
    "class_mae": ("mae", "mean absolute error of scores rounded to classes"),
    "pair_accuracy": ("accuracy", "accuracy of pairs"),
    "pairs": ("accuracy", "accuracy of pairs within a photograph"),
}
# A figure's key in `measured` -> its column in a card.
COLUMNS = {
    "srcc": "SRCC",
    "ridge_srcc": "SRCC, ridge",
    "plcc": "PLCC",
    "mae": "MAE",
    "class_mae": "MAE, rounded",
    "ridge_mae": "MAE, ridge",
    "median_mae": "MAE of the median",
    "accuracy": "accuracy",
    "ridge_accuracy": "accuracy, ridge",
    "majority_accuracy": "accuracy of the majority",
    "level_mae": "MAE of the likeliest rank",
    "coverage": "interval holds",
    "set_coverage": "set holds",
    "set_size": "ranks in the set",
    "ece": "calibration error",
    "os": "ordinality",
    "pair_accuracy": "pair accuracy",
    "tau_2": "tau of 2",
    "tau_4": "tau of 4",
    "tau_8": "tau of 8",
    "pairs": "pairs within a photograph",
    "ridge_pairs": "pairs, ridge",
}
RIDGE_COLUMNS = {
    "plcc": "PLCC",
    "ridge_plcc": "PLCC, ridge",
    "mae": "MAE",
    "ridge_mae": "MAE, ridge",
    "median_mae": "MAE, median",
    "accuracy": "accuracy",
    "ridge_accuracy": "accuracy, ridge",
    "majority_accuracy": "accuracy, majority",
    "level_mae": "MAE of the likeliest rank",
    "coverage": "interval holds",
    "set_coverage": "set holds",
    "set_size": "ranks in the set",
    "ece": "calibration error",
    "os": "ordinality",
    "pairs": "pairs within a photograph",
    "ridge_pairs": "pairs, ridge",
}
ORDER = ["license", "license_name", "library_name", "pipeline_tag", "tags", "base_model"]
SHOWN = 6  # names of ranks up to which all are
TASK = "image-classification"  # the Hub's nearest name for a number or a class from a picture
WORDS = "zero-shot-image-classification"
TALKS = "image-text-to-text"


def model_card(config: Mapping[str, Any], notes: str, training: Sequence[str]) -> str:
    """Markdown: front matter, the instruction, how it was trained, notes, an empty table.

    notes: data, terms and limits, Markdown.   training: one line each: command, seed, time.
    """
    lines = [*front_matter(config), f"# {config['name']}", ""]
    for task, facts in config["tasks"].items():
        ends = facts.get("range")
        scale = f" ({ends[0]} to {ends[1]})" if ends else ""
        scores = f"scores in {facts['unit'] or 'no unit'}{scale}, the highest first."
        on = f'on the backbone `{config["backbone"]["name"]}` for "{task}"'
        if config["kind"] == "l2rclip":
            lines += [f"An L2RCLIP model {on}: {scores}", "", *_of_levels(config, facts)]
        else:
            lines.append(f'A ranking adapter {on}: instruction "{facts["prompt"]}", {scores}')
    lines += ["", "## Training", "", *(f"- {line}" for line in training)]
    lines += ["", "## Measured", "", BEGIN, "Not measured yet.", END, "", notes.strip(), ""]
    return "\n".join(lines)


def levels_of(facts: Mapping[str, Any]) -> list[str]:
    """What a task of an l2rclip config says of its ranks and their calibration, one line each.

    [] of other tasks, and of what are no ranks.
    """
    try:
        ranks = Ranks.from_dict(facts.get("ranks") or {})
    except ValueError:
        return []
    few = len(ranks) <= SHOWN
    names = ", ".join(ranks.names if few else (*ranks.names[:2], "...", ranks.names[-1]))
    lines = [f'{len(ranks)} ranks, told as "{ranks.template}": {names}']
    fitted = facts.get("calibration") or {}
    found = (fitted.get(name) for name in ("temperature", "tail", "mass", "level"))
    numbers = [float(each) for each in found if isinstance(each, int | float)]
    if fitted.get("on") and len(numbers) == 4:
        temperature, tail, mass, level = numbers
        lines.append(
            f"calibrated on {fitted['on']}: temperature {temperature:.3g}, interval from the "
            f"{tail:.1%} to the {1 - tail:.1%} quantile, set of a mass of {mass:.1%}; each to hold "
            f"the truth of {level:.0%}"
        )
    return lines


def _of_levels(config: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """What an L2RCLIP model gives and how, one list item each."""
    tuned = "image" in config["backbone"].get("replaced", ())
    tower = (
        "the image tower is tuned: this checkpoint holds the tensors that differ from the "
        "backbone's; `imgrank models export` writes the whole model for OpenCLIP"
        if tuned
        else "the image tower is the backbone's own"
    )
    lines = [
        *levels_of(facts),
        "each rank has a probability; the score is their mean, with an interval",
        tower,
    ]
    if "statistics" in config["model"]["features"]:
        lines.append("a linear map of the backbone's statistics is added to its embedding")
    return [f"- {line}" for line in lines]


def front_matter(config: Mapping[str, Any]) -> list[str]:
    """The first lines of a card, which the Hub reads."""
    return ["---", metadata(config).to_yaml(original_order=ORDER), "---", ""]


def metadata(config: Mapping[str, Any]) -> ModelCardData:
    """What a checkpoint's config says, as the Hub understands it."""
    from huggingface_hub import ModelCardData

    backbone = config.get("backbone") or {}
    origin = str(backbone.get("origin") or "").partition("@")[0]
    tasks = config.get("tasks") or {}
    figures = [result for facts in tasks.values() for result in _results(facts)]
    return ModelCardData(
        **_licence(str(config.get("licence") or "")),
        library_name="imgrank",
        pipeline_tag={RETRIEVAL: WORDS, RARL: TALKS}.get(config["kind"], TASK),
        tags=list(dict.fromkeys(["imgrank", "image-ranking", str(config["kind"]), *tasks])),
        base_model=origin.removeprefix("hf:") if origin.startswith("hf:") else None,
        model_name=str(config["name"]) if figures else None,
        eval_results=figures or None,
    )


def backbone_metadata(licence: str) -> ModelCardData:
    """Of an OpenCLIP folder; licence: "" if unknown."""
    from huggingface_hub import ModelCardData

    return ModelCardData(
        **_licence(licence), library_name="open_clip", pipeline_tag=WORDS, tags=["clip", "imgrank"]
    )


def vlm_metadata() -> ModelCardData:
    """Of a Qwen2.5-VL of one's own: its licence is what the card says, or nobody knows it."""
    from huggingface_hub import ModelCardData

    return ModelCardData(library_name="transformers", pipeline_tag=TALKS, tags=["imgrank"])


def backbone_card(name: str, repository: str, origin: Origin | None) -> str:
    """Of an OpenCLIP folder that has none: how to get it, where it came from, what it allows.

    No front matter. A folder of this machine that it was imported from is not named.
    """
    source = f"{origin.origin} at {origin.revision}" if origin and origin.revision else "unknown"
    lines = [
        f"# {name}",
        "",
        "A CLIP-like model, as OpenCLIP loads it; imgrank sorts pictures by words with it:",
        "",
        f"    imgrank models pull hf:{repository}",
        "",
        f"- Licence: {(origin.licence if origin else '') or 'unknown'}",
        f"- Came from: {source}",
    ]
    return "\n".join([*lines, ""])


def for_hub(card: str, data: ModelCardData, name: str) -> str:
    """The card with what its front matter lacks; what it says itself stays, but for the figures.

    Raises CheckpointError if the front matter cannot be read.
    """
    from huggingface_hub import CardData, ModelCard

    try:
        own = ModelCard(card, ignore_metadata_errors=True)
        wanted: dict[str, Any] = data.to_dict()  # type: ignore[no-untyped-call]
        said: dict[str, Any] = own.data.to_dict()  # type: ignore[no-untyped-call]
    except Exception as error:  # YAML's and the client's own kinds
        raise CheckpointError(f"the front matter of {name} cannot be read: {error}") from error
    if "license" in said:
        wanted.pop("license_name", None)
    merged = {**wanted, **said}
    if "model-index" in wanted:
        merged["model-index"] = wanted["model-index"]
    tags = [*merged.get("tags", []), *wanted.get("tags", [])]
    merged["tags"] = list(dict.fromkeys(tags))
    return f"---\n{CardData(**merged).to_yaml(original_order=ORDER)}\n---\n\n{own.text.strip()}\n"


def named_towers(replaced: Sequence[str]) -> str:
    """ "image tower", "image and text towers"."""
    return f"{' and '.join(sorted(replaced))} tower{'s' if len(replaced) > 1 else ''}"


def _licence(text: str) -> dict[str, Any]:
    """A bare name; words that the Hub has no name for are "other", with a name made of them."""
    if not text:
        return {}
    if re.fullmatch(r"[\w.-]+", text):
        return {"license": text.lower()}
    words = re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
    return {"license": "other", "license_name": words[:60].rstrip("-.")}


def _results(facts: Mapping[str, Any]) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type=TASK,
            dataset_type=re.sub(r"[^a-z0-9]+", "-", str(row["data"]).lower()).strip("-"),
            dataset_name=str(row["data"]),
            metric_type=metric,
            metric_name=title,
            metric_value=row[key],
        )
        for row in facts.get("measured") or ()
        for key, (metric, title) in METRICS.items()
        if key in row
    ]


def with_measured(card: str, rows: Sequence[Mapping[str, Any]], command: str) -> str:
    """The card with its tables of figures replaced.

    rows: as in `measured` of the config's tasks, one a data set. Those with their `task` come by
    task, with whatever figures they have; those without are beside ridge, as `evaluate.embedded`
    measures them. `by` in a row: the command, if it is not `command`.
    Raises ValueError if the card has no place for the tables.
    """
    before, begin, rest = card.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the card has no {BEGIN} ... {END}")
    lines: list[str] = []
    for table, own in (
        (_by_task, [row for row in rows if "task" in row]),
        (_beside_ridge, [row for row in rows if "task" not in row]),
    ):
        if own:
            commands = dict.fromkeys(str(row.get("by", command)) for row in own)
            by = ", ".join(f"`{each}`" for each in commands)
            lines += [*([""] if lines else []), *table(own, by)]
    return "\n".join([before + begin, *lines, end + after])


def _by_task(rows: Sequence[Mapping[str, Any]], by: str) -> list[str]:
    """Columns that no row has are left out."""
    used = [key for key in COLUMNS if any(row.get(key) is not None for row in rows)]
    head = ["task", "data", "n", *(COLUMNS[key] for key in used)]
    lines = [
        f"By {by}; 95 % bootstrap intervals in brackets.",
        "",
        f"| {' | '.join(head)} |",
        f"| --- | --- | ---: |{' --- |' * len(used)}",
    ]
    for row in rows:
        n = f"{row['n']} ({row['queries']} queries)" if "queries" in row else str(row["n"])
        cells = [_figure(row.get(key), row.get(f"{key}_interval")) for key in used]
        lines.append(f"| {' | '.join([str(row['task']), str(row['data']), n, *cells])} |")
    return [*lines, *_by_age(rows)]


def _beside_ridge(rows: Sequence[Mapping[str, Any]], by: str) -> list[str]:
    """Columns that no row has are left out."""
    keys = [key for key in RIDGE_COLUMNS if any(key in row for row in rows)]
    head = ["data", "n", "SRCC", "SRCC, ridge", "gain", *(RIDGE_COLUMNS[key] for key in keys)]
    table = [
        f"By {by}; 95 % bootstrap intervals in brackets, over relatives.",
        "",
        "Gain: paired interval of SRCC less that of ridge; one that holds 0 shows no difference.",
        "",
        f"| {' | '.join(head)} |",
        f"| --- | ---: |{' --- |' * (len(head) - 2)}",
    ]
    for row in rows:
        cells = [
            _figure(row.get(key), row.get(f"{key}_interval"))
            for key in ("srcc", "ridge_srcc", *keys)
        ]
        gain = row.get("gain_interval")
        cells.insert(2, f"[{gain[0]:+.3f}, {gain[1]:+.3f}]" if gain else "-")
        table.append(f"| {row['data']} | {row['n']} | {' | '.join(cells)} |")
    return [*table, *_by_age(rows)]


def _by_age(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A paragraph for each row of ages."""
    lines: list[str] = []
    for row in rows:
        bands = (f"{each['band']} {each['mae']:.1f} ({each['n']})" for each in row.get("bands", ()))
        if found := ", ".join(bands):
            lines += ["", f"MAE by true age (pictures), {row['data']}: {found}."]
    return lines


def _figure(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "-"
    if interval is None:
        return f"{value:.3f}"
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
