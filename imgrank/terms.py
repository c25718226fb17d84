"""What a search asks for: words and pictures, each with a weight. Plain values; no model is asked.

    score(y) = cos(v, f_v(y)),   v = sum_i w_i e_i, normalised,

with e_i the unit embedding of a term: f_l of words, which go to the text tower as they stand (no
template), or f_v of a picture. QUERY counts 1, a --minus its weight below zero.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgrank.errors import UsageError
from imgrank.instruction import split_weight

__all__ = ["LONGEST", "Term", "spelled", "terms_of"]

LONGEST = 10_000
"""Characters of one text: a rephrased query repeated many times is far below."""

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Term:
    """text: words, or a picture's path as it was named.   weight: below zero for less of it."""

    text: str
    weight: float = 1.0
    picture: bool = False


def terms_of(
    query: str | None,
    like: PathLike | Iterable[PathLike] = (),
    plus: str | Iterable[str] = (),
    minus: str | Iterable[str] = (),
) -> tuple[Term, ...]:
    """QUERY, then all --plus, --minus and --like, in this order.

    Raises UsageError for an empty or endless text, a weight that is not a positive number, and if
    nothing is asked for, or only what is not wanted.
    """
    terms = [] if query is None else [Term(_checked(query, "the query"))]
    terms += (Term(_checked(text, "--plus"), weight) for text, weight in _weighted(plus, "--plus"))
    terms += (
        Term(_checked(text, "--minus"), -weight) for text, weight in _weighted(minus, "--minus")
    )
    terms += (Term(path, weight, picture=True) for path, weight in _pictures(like))
    if not any(term.weight > 0 for term in terms):
        what = "--minus says only what is not wanted" if terms else "nothing was asked for"
        raise UsageError(f'{what}: give a query, such as "a dog on a beach", --like or --plus.')
    return tuple(terms)


def spelled(terms: Sequence[Term]) -> str:
    """One line for people, and for the outputs: "'a dog' + 0.5 'at night' - like cat.jpg"."""
    return " ".join(_spelled(terms))


def _spelled(terms: Sequence[Term]) -> Iterator[str]:
    for place, term in enumerate(terms):
        if place or term.weight < 0:
            yield "-" if term.weight < 0 else "+"
        if abs(term.weight) != 1:
            yield f"{abs(term.weight):g}"
        yield f"like {term.text}" if term.picture else f"'{term.text}'"


def _checked(text: str, what: str) -> str:
    """Words as they are, but for space around them, which no tokenizer sees."""
    text = text.strip()
    if not text:
        raise UsageError(f'{what} is empty. Say what to look for, such as "a dog on a beach".')
    if len(text) > LONGEST:
        raise UsageError(f"{what} is longer than {LONGEST:,} characters.")
    return text


def _weighted(specs: str | Iterable[str], what: str) -> Iterator[tuple[str, float]]:
    for spec in [specs] if isinstance(specs, str) else specs:
        text, weight = split_weight(spec)
        yield text, _positive(weight, f"{what} {spec!r}")


def _pictures(specs: PathLike | Iterable[PathLike]) -> Iterator[tuple[str, float]]:
    """A file of the very name, "=" and all, goes before a weight."""
    for spec in [specs] if isinstance(specs, str | os.PathLike) else specs:
        path, weight = (os.fspath(spec), None)
        if not os.path.lexists(path):
            path, weight = split_weight(path)
        if not path:
            raise UsageError("--like names no picture.")
        if Path(path).is_dir():
            raise UsageError(f"--like {path} is a folder; it takes a picture.")
        yield path, _positive(weight, f"--like {os.fspath(spec)!r}")


def _positive(weight: float | None, what: str) -> float:
    if weight is None:
        return 1.0
    if not (math.isfinite(weight) and weight > 0):
        raise UsageError(f"{what}: a weight must be a positive number, not {weight:g}.")
    return weight
