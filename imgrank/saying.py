"""What people are told of a run: who answers, what ran where, why nothing could be sorted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from imgrank.images import Skip
from imgrank.rankers.base import WINDOWED, Job, Score
from imgrank.results.ranking import Column

__all__ = ["announced", "lacking", "nothing"]

LISTED = 10  # reasons that an error gives one by one


def announced(job: Job) -> Iterator[str]:
    """Who answers, then what a user should know of that; lines."""
    windowed = job.answer.method in WINDOWED  # whose prompt is a page
    words = job.query.subject or job.query.prompt if windowed else job.answer.prompt
    task = job.query.task or f"'{words}'"
    yield f"{task.replace('_', ' ')}: {job.answer.label}"
    for remark in (job.query.reason if job.query.ambiguous else "", job.answer.note):
        if remark:
            yield f"  {remark}"


def lacking(cells: Sequence[Score | None], columns: Sequence[Column]) -> str:
    """Why a picture has no place in the order: "has no date"."""
    missing = [_called(c) for cell, c in zip(cells, columns, strict=True) if cell is None]
    return f"has no {' and no '.join(missing)}"


def _called(column: Column) -> str:
    """What a picture has none of: a property, or what a model was asked for and did not say."""
    windowed = column.method in WINDOWED
    return f"value in {column.model}'s answers" if windowed else column.prompt


def nothing(skips: Sequence[Skip], without: Sequence[Skip] = ()) -> str:
    """skips: could not be read.   without: were, but have no such property."""
    said = "not one picture could be read."
    if without:
        missing = dict.fromkeys(skip.reason.removeprefix("has no ") for skip in without)
        said = f"no picture has a {' or '.join(missing)}; there is nothing to sort."
    elif not skips:
        return "no picture was found there."
    reasons = "".join(f"\n  {skip.path}: {skip.reason}" for skip in skips[:LISTED])
    more = f"\n  and {len(skips) - LISTED} more" if len(skips) > LISTED else ""
    return f"{said}{reasons}{more}"
