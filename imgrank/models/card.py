"""The model card of a trained checkpoint, written from what its config records.

Everything measured stands in one table, which `with_measured` replaces, so that a card never
shows figures of other weights than those beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["model_card", "with_measured"]

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"


def model_card(config: Mapping[str, Any], notes: str, training: Sequence[str]) -> str:
    """Markdown: front matter, the instruction, how it was trained, notes, an empty table.

    notes: data, terms and limits, Markdown.   training: one line each: command, seed, time.
    """
    # A bare name, or words that the Hub has no name for.
    plain = re.fullmatch(r"[\w.-]+", config["licence"])
    licence = config["licence"].lower() if plain else "other"
    lines = ["---", f"license: {licence}", "library_name: imgrank"]
    lines += ["---", "", f"# {config['name']}", ""]
    for task, facts in config["tasks"].items():
        low, high = facts["range"]
        lines.append(
            f'A ranking adapter on the backbone `{config["backbone"]["name"]}` for "{task}": '
            f'instruction "{facts["prompt"]}", scores in {facts["unit"] or "no unit"} '
            f"({low} to {high}), the higher the better."
        )
    lines += ["", "## Training", "", *(f"- {line}" for line in training)]
    lines += ["", "## Measured", "", BEGIN, "Not measured yet.", END, "", notes.strip(), ""]
    return "\n".join(lines)


def with_measured(card: str, rows: Sequence[Mapping[str, Any]], command: str) -> str:
    """The card with its table of figures replaced. rows: `measured` of a task, one a data set.

    Raises ValueError if the card has no place for the table.
    """
    before, begin, rest = card.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the card has no {BEGIN} ... {END}")
    table = [
        f"By `{command}`; 95 % bootstrap intervals in brackets, over prompts or photographs.",
        "",
        "Gain: paired interval of SRCC less that of ridge; one that holds 0 shows no difference.",
        "",
        "| data | n | SRCC | SRCC, ridge | gain | pairs within a photograph | pairs, ridge |",
        "| --- | ---: | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cells = [
            _figure(row.get(key), row.get(f"{key}_interval"))
            for key in ("srcc", "ridge_srcc", "pairs", "ridge_pairs")
        ]
        low, high = row["gain_interval"]
        cells.insert(2, f"[{low:+.3f}, {high:+.3f}]")
        table.append(f"| {row['data']} | {row['n']} | {' | '.join(cells)} |")
    return "\n".join([before + begin, *table, end + after])


def _figure(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "-"
    if interval is None:
        return f"{value:.3f}"
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
