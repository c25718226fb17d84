"""What a checkpoint's config says of its tasks, met by what a user asks for. No torch.

The fields of a task are described in `models/checkpoint.py`. A task that tasks.toml does not know,
as a CSV file in one's own words gives, is asked for by its prompt. The router asks `trained_for`; a
ranker that was named by the user answers a count of anything, and `remarks` tells what it was never
trained to count.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from imgrank.errors import CheckpointError, InstructionError
from imgrank.instruction import Query, parse
from imgrank.instruction import tasks as known_tasks
from imgrank.models.spec import BackboneSpec
from imgrank.nouns import same_things

__all__ = [
    "by_closeness",
    "check_backbone",
    "in_unit",
    "prompt_of",
    "refusal",
    "remarks",
    "subjects_of",
    "task_of",
    "trained_for",
    "trained_subject",
]

Facts = Mapping[str, Any]
SHOWN = 5  # subjects that a remark names
RELATIVE_TO = 12  # the paper's highest n of "closeness to n" (appendix B.1)


def check_backbone(folder: Path, config: Mapping[str, Any], spec: BackboneSpec) -> None:
    """Raises CheckpointError unless `spec` is of the backbone that a checkpoint was made for."""
    facts = config["backbone"]
    if str(facts["digest"]).removeprefix("sha256:") != spec.identity:
        raise CheckpointError(
            f"{folder} was made for another {facts['name']} backbone than the one here (digests "
            "differ), so its scores would mean nothing."
        )


def task_of(tasks: Mapping[str, Facts], query: Query) -> str | None:
    """The key of the task that a query is about, None if it is none of these.

    Free text is about the task whose prompt reads as the same text, of those that tasks.toml does
    not know.
    """
    if query.task is not None:
        return query.task if query.task in tasks else None
    own = (task for task in tasks if task not in known_tasks())
    return next((task for task in own if _same_text(tasks[task].get("prompt"), query)), None)


def trained_for(tasks: Mapping[str, Facts], query: Query) -> bool:
    """Whether a checkpoint with these tasks was trained for just this.

    Not for the count of another thing, nor, where scores are indices of classes, for being close
    to a number of the task's own unit.
    """
    task = task_of(tasks, query)
    if task is None or _only_classes(tasks[task], query):
        return False
    facts = tasks[task]
    return not subjects_of(facts) or trained_subject(facts, query.subject) is not None


def refusal(model: str, tasks: Mapping[str, Facts], query: Query) -> str:
    """Why this checkpoint cannot answer at all, one line; "" if it can."""
    task = task_of(tasks, query)
    if task is None:
        known = ", ".join(sorted(_called(task, tasks[task]) for task in tasks)) or "nothing else"
        return f"{model} was not trained for '{query.text}'; it knows {known}."
    facts = tasks[task]
    if _only_classes(facts, query):
        listed = ", ".join(f"{index}: {name}" for index, name in enumerate(facts["classes"]))
        return (
            f"{model} gives {task} as one of its classes ({listed}), so no picture can be "
            f"'{query.text}'. Ask for the order instead: 'by {task}'."
        )
    return ""


def subjects_of(facts: Facts) -> Mapping[str, Sequence[str]]:
    """Word -> other words for it; empty for a task that is about nothing, or about anything."""
    subjects = facts.get("subjects") or ()
    return subjects if isinstance(subjects, Mapping) else dict.fromkeys(subjects, ())


def trained_subject(facts: Facts, subject: str) -> str | None:
    """The word of the config that names the same things, None if there is none."""
    for word, others in subjects_of(facts).items():
        if any(same_things(subject, each) for each in (word, *others)):
            return word
    return None


def by_closeness(facts: Facts, query: Query) -> bool:
    """Whether the task has a prompt of its own for being close to this number.

    It was trained for whole numbers up to `closeness_to`; others are met by distance.
    """
    if query.reference is None or not facts.get("closeness"):
        return False
    highest = float(facts.get("closeness_to", RELATIVE_TO))
    return query.reference.is_integer() and query.reference <= highest


def in_unit(facts: Facts, query: Query) -> tuple[float, float]:
    """offset and scale of a task: its value is offset + scale x what the head says; a distance to
    a number has no offset."""
    offset = 0.0 if by_closeness(facts, query) else float(facts.get("offset", 0))
    return offset, float(facts.get("scale", 1))


def prompt_of(facts: Facts, query: Query) -> str:
    """The text that was trained with: the subject in the config's own words, the number if any."""
    subject = trained_subject(facts, query.subject) or query.subject
    prompt = str(facts["closeness" if by_closeness(facts, query) else "prompt"])
    if query.reference is not None:
        prompt = prompt.replace("{n}", f"{query.reference:g}")
    return prompt.replace("{}", subject)


def remarks(model: str, facts: Facts, query: Query) -> str:
    """What a user should know of an answer; "" if there is nothing."""
    said = [str(facts["note"])] if facts.get("note") else []
    subjects = list(subjects_of(facts))
    if subjects and trained_subject(facts, query.subject) is None:
        near = difflib.get_close_matches(query.subject, subjects, n=SHOWN, cutoff=0.5)
        shown = list(dict.fromkeys([*near, *subjects]))[:SHOWN]
        more = f" and {len(subjects) - SHOWN} more" if len(subjects) > SHOWN else ""
        said.append(
            f"{model} was not trained for {query.subject}, but for {', '.join(shown)}{more}; "
            "do not trust these scores unchecked"
        )
    return "; ".join(said)


def _same_text(prompt: object, query: Query) -> bool:
    """prompt: of a config that others wrote."""
    with suppress(InstructionError):
        meant = parse(prompt if isinstance(prompt, str) else "")
        return meant.task is None and meant.subject == query.subject
    return False


def _called(task: str, facts: Facts) -> str:
    """What a user may ask for: the name of a known task, or a prompt."""
    return task if task in known_tasks() or not facts.get("prompt") else f"'{facts['prompt']}'"


def _only_classes(facts: Facts, query: Query) -> bool:
    return query.reference is not None and bool(facts.get("classes"))
