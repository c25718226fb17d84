"""Who gives the second score of a search in two stages (`search --rerank`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imgrank.errors import UsageError
from imgrank.instruction import Query, parse, tasks
from imgrank.rankers.base import Job
from imgrank.rankers.load import load_ranker, route
from imgrank.settings import Settings

__all__ = ["AESTHETIC", "reranker"]

AESTHETIC = "aesthetics"  # the task
ANYBODY = ("aesthetic", "aesthetics")
"""Whoever answers "by aesthetics" here: the user's default for it, else the embedded model."""


def reranker(wish: str, settings: Settings) -> Job:
    """The job of `--rerank aesthetic|MODEL`. A model with several tasks answers "by aesthetics" if
    that is among them; a backbone answers it by words.

    Raises ModelUnavailable if the model is not here, UsageError if it is not clear what it is to
    answer.
    """
    if wish in ANYBODY:
        return route(_asked(AESTHETIC), settings)
    trained: Mapping[str, Any] = getattr(load_ranker(wish, settings), "tasks", {})
    if not trained or AESTHETIC in trained:
        return route(_asked(AESTHETIC), settings, wish)
    if len(trained) > 1 or "count" in trained:
        what = "counts things" if len(trained) == 1 else f"answers {', '.join(sorted(trained))}"
        raise UsageError(
            f"--rerank {wish}: that model {what}, and no beauty. Name one with a single task, or "
            "'aesthetic'."
        )
    ((task, facts),) = trained.items()
    return route(parse(facts["prompt"]) if task not in tasks() else _asked(task), settings, wish)


def _asked(task: str) -> Query:
    """ "by aesthetics", best first."""
    return parse(f"by {tasks()[task].phrases[0]}")
