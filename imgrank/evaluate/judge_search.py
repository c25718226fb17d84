"""The two searches that a judge compares: the first pictures of both for every query.

As `imgrank search` does it: cosines of kept embeddings, ties by path; all queries in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgrank.errors import UsageError
from imgrank.evaluate.judge import Pair
from imgrank.evaluate.searched import Asked
from imgrank.evaluate.searchers import searchers, see
from imgrank.images import Skip
from imgrank.pipeline import Progress
from imgrank.settings import Settings

__all__ = ["Compared", "compare"]


@dataclass(frozen=True, slots=True)
class Compared:
    """pairs: a query each.   a, b: what the models are called."""

    pairs: list[Pair]
    a: str
    b: str
    skips: list[Skip]
    computed: int
    known: int


def compare(
    paths: Sequence[Path],
    queries: Sequence[str],
    models: tuple[str | None, str | None],
    top: int,
    settings: Settings,
    *,
    texts: Sequence[str] | None = None,
    notify: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
) -> Compared:
    """The first `top` pictures of both models for every query.

    texts: what A is asked for each query instead; B is asked the query. None in models: whom a
    search takes. Raises UsageError if A and B are one and the same, asked the same.
    """
    named = searchers(list(dict.fromkeys(models)), settings)
    if named[0].source.identity == named[-1].source.identity:
        named = searchers(models[:1], settings)  # one model, under its own name
    a, b = named[0], named[-1]
    if a is b and texts is None:
        raise UsageError(
            f"A and B are both {a.name}, so there is nothing to compare. Name another model with "
            "--against, or let A's queries be rephrased: --rephrase METHOD."
        )
    asked = Asked("judge", Path(), models, notify=notify, progress=progress)
    every = [*queries, *(texts or queries)]
    seen = see(list(paths), every, named, asked, settings)
    there = [paths[n] for n in seen.rows]
    first = seen.texts[0][len(queries) :] @ seen.pictures[0].T  # [Q, N]
    second = seen.texts[-1][: len(queries)] @ seen.pictures[-1].T
    pairs = [
        Pair(query, *(tuple(there[n] for n in _best(row, top)) for row in rows))
        for query, *rows in zip(queries, first, second, strict=True)
    ]
    return Compared(pairs, a.name, b.name, seen.skips, seen.computed, seen.known)


def _best(cosines: np.ndarray[tuple[int], np.dtype[np.float32]], top: int) -> list[int]:
    order = np.argsort(-cosines, kind="stable")
    return [int(n) for n in order[:top]]
