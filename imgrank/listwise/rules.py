"""The `Rule` of a task: what a vision-language model is asked to value, and between which ends.

Texts and usual ends are fields `rule` and `values` of tasks.toml. A rule kept in a checkpoint has
"{}" where what is counted goes (`template`, `kept`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from imgrank.errors import DataError, InstructionError, UsageError
from imgrank.instruction import parse
from imgrank.listwise.prompt import Rule
from imgrank.tasks import tasks

__all__ = ["FREE", "as_asked", "kept", "rule_of", "template"]

Ends = tuple[float, float]

FREE: Ends = (0.0, 10.0)  # of free text, which has no scale of its own
FRAME = 'the degree to which the image shows "{}"'
# Their unit has ends that all data sets share, so that models of two data sets can be compared;
# the ends of a few labels (ages of 3 to 61) would only mislead. MOS has other ends in every set.
SHARED = frozenset({"age", "count"})


def rule_of(
    task: str | None,
    prompt_or_text: str,
    subject: str,
    ends: Ends | None = None,
    chosen: Ends | None = None,
    *,
    unit: str = "",
) -> Rule:
    """The rule of a task of tasks.toml, or of free text if `task` is None or is not in it.

    prompt_or_text: the free text, if `subject` is empty; not looked at for a known task.
    subject: what is counted, or the free text.   ends: of the labels of a data set; they win over
    the task's usual ones, but not for ages (0..100) and counts (0..20).   chosen: the user's own
    ends; they win over all.   unit: of the labels, if known; one that is not the task's ("age
    group" for ages in years) is named in the text, and then its ends count for any task.
    Raises UsageError for a task that is not seen but measured (file size) and for chosen ends that
    do not rise, DataError for such ends of labels.
    """
    text = template(task, prompt_or_text, subject, unit=unit).replace("{}", subject or "objects")
    known = tasks().get(task or "")
    if chosen is not None:
        if not _rise(chosen):
            raise UsageError(
                f"The range of values must be two rising numbers, such as 0 and 100; it is "
                f"{chosen[0]:g} and {chosen[1]:g}."
            )
        return Rule(text, *map(float, chosen))
    if ends is not None and (task not in SHARED or _other(task, unit)):
        if not _rise(ends):
            raise DataError(
                f"The labels go from {ends[0]:g} to {ends[1]:g}, so there is nothing to order by "
                f"them. Take other data, or give the range of the values."
            )
        return Rule(text, *map(float, ends))
    low, high = known.values if known and known.values else FREE
    return Rule(text, float(low), float(high))


def template(task: str | None, prompt_or_text: str, subject: str = "", *, unit: str = "") -> str:
    """The text of `rule_of`'s rule as a checkpoint keeps it: "the number of {}", {} for the subject
    of a known task. Free text without a subject loses its frame: "by how cosy it looks" is "cosy".

    Raises UsageError for a task that is measured.
    """
    known = tasks().get(task or "")
    if known is None:
        words = (subject or _wish(prompt_or_text)).replace('"', "'").replace("{}", " ")
        return FRAME.format(" ".join(words.split()))
    if not known.rule:
        raise UsageError(
            f"The {known.phrases[0]} of a picture is measured, not guessed by a model. "
            f"Sort by it without --model."
        )
    text = known.rule.replace("{subject}", "{}")
    return f"{text} ({unit})" if _other(task, unit) else text


def kept(prompt: str, ends: Sequence[float], subject: str) -> Rule:
    """The rule of a task's facts in a checkpoint: its `prompt`, its `range` and what is counted."""
    return Rule(prompt.replace("{}", subject or "objects"), float(ends[0]), float(ends[1]))


def as_asked(kept_tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The tasks' facts of a checkpoint, the prompt of free text being what a user asks for: the
    words that `template` made a rule of."""
    frame = re.compile(re.escape(FRAME).replace(r"\{\}", "(.+)"))
    found: dict[str, Mapping[str, Any]] = {}
    for task, facts in kept_tasks.items():
        words = None if task in tasks() else frame.fullmatch(str(facts.get("prompt")))
        found[task] = {**facts, "prompt": words[1]} if words else facts
    return found


def _other(task: str | None, unit: str) -> bool:
    """Whether labels have another unit than their task."""
    known = tasks().get(task or "")
    return bool(known and known.unit and unit and unit != known.unit)


def _wish(text: str) -> str:
    """What a free text is about, without its frame; the text itself if it has none."""
    try:
        query = parse(text)
    except InstructionError:
        return text
    return query.subject if query.task is None and query.subject else text


def _rise(ends: Ends) -> bool:
    return math.isfinite(ends[0]) and math.isfinite(ends[1]) and ends[0] < ends[1]
