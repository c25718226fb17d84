"""Text -> Query."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Query"]


@dataclass(frozen=True, slots=True)
class Query:
    """What the user wants, as the rest of the program sees it.

    text: the instruction as typed.
    task: key of a known task in tasks.toml ("quality", "brightness", ...), None for free text.
    prompt: the sentence a model is given for it.
    subject: what is counted ("cats") or described (the free text), "" if the task has none.
    descending: True if the highest score comes first.
    reference: "closest to 3 dogs" -> 3.0; the order is then by distance, nearest first.
    weight: of this criterion among several.
    reason: why the text was read this way, one line.
    """

    text: str
    task: str | None
    prompt: str
    subject: str = ""
    descending: bool = True
    reference: float | None = None
    weight: float = 1.0
    reason: str = ""
