"""Queries for text-to-image search, made of what sets say of their pictures; or read from a file.

Of a caption the text is kept as people wrote it, but for the marks that tokenised captions have
("A dog , in snow ." becomes "A dog, in snow"). People search with fewer words than a caption has: a
shortened query is its first words, and ends before an article or preposition that would be left
hanging. That is no summary, only shorter. Of OASIS the names of the themes are queries ("angry
face").
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from imgrank.data import catalogue
from imgrank.data.captions import CAPTIONED, Captioned, read_captioned
from imgrank.data.labelled import ReadOptions
from imgrank.data.layout import read_text
from imgrank.data.oasis import parts_of
from imgrank.data.split import Part
from imgrank.errors import DataError

__all__ = [
    "caption_queries",
    "cleaned",
    "distinct",
    "drawn",
    "read_queries",
    "set_queries",
    "sets_with_queries",
    "shortened",
    "theme_queries",
]

THEMED = "oasis"
HANGING = frozenset(
    (
        *("a", "an", "the", "and", "or", "but", "of", "in", "on", "at", "to", "by", "for", "from"),
        *("with", "into", "onto", "over", "under", "near", "as", "is", "are", "was", "were", "be"),
        *("being", "his", "her", "its", "their", "that", "which", "who", "while", "some", "two"),
    )
)


def cleaned(caption: str) -> str:
    """A caption as a query: single spaces, none before a mark, no full stop at the end."""
    text = " ".join(caption.split())
    text = re.sub(r"\s+([.,;:!?'])", r"\1", text)
    return text.rstrip(" .").strip(' "')


def shortened(text: str, words: int) -> str:
    """The first `words` words, without small words and marks at the end that lead nowhere."""
    kept = text.split()[:words]
    if len(kept) < len(text.split()):
        while len(kept) > 1 and kept[-1].strip(",;:").lower() in HANGING:
            kept.pop()
    return " ".join(kept).rstrip(",;:")


def caption_queries(data: Captioned, part: Part, words: int | None = None) -> list[str]:
    """All captions of one part as queries, each once, in the order of the pictures."""
    texts = [cleaned(caption) for n in data.rows(part) for caption in data.captions[n]]
    return distinct(texts if words is None else (shortened(text, words) for text in texts))


def theme_queries(pictures: Sequence[Path], part: Part) -> list[str]:
    """The names of OASIS's themes of one part, each once, by the pictures' names."""
    names = [
        re.sub(r"[\s_]*\d+\s*$", "", path.stem).replace("_", " ").strip().lower()
        for path, own in zip(pictures, parts_of(pictures), strict=True)
        if own == part
    ]
    return distinct(names)


def sets_with_queries(names: Sequence[str]) -> list[str]:
    """Those of these sets that have captions or themes."""
    return [name for name in names if name in (*CAPTIONED, THEMED)]


def set_queries(
    name: str, root: Path, part: Part, words: int | None = None, options: ReadOptions | None = None
) -> list[str]:
    """The queries of one part of a set: its captions, or OASIS's themes.

    words: of a caption, only so many; theme names are short. Raises UsageError for another set,
    DataError as its reader does, or if the part has none.
    """
    if name == THEMED:
        found = theme_queries(catalogue.read(name, root, options).paths, part)
    else:
        found = caption_queries(read_captioned(name, root, options), part, words)
    if not found:
        raise DataError(f"{name} has no query in its {part} part.")
    return found


def read_queries(file: Path) -> list[str]:
    """One query a line, each once; empty lines do not count. Raises DataError if there is none."""
    found = distinct(read_text(file).splitlines())
    if not found:
        raise DataError(f"{file} holds no query: write one a line.")
    return found


def distinct(texts: Iterable[str]) -> list[str]:
    """Each text once, whatever its case and white space; the first spelling counts, "" does not."""
    found: dict[str, str] = {}
    for text in texts:
        text = " ".join(text.split())
        if text:
            found.setdefault(text.casefold(), text)
    return list(found.values())


def drawn(queries: Sequence[str], limit: int | None, seed: int = 0) -> list[str]:
    """`limit` of the queries, drawn at random without replacement, in their own order."""
    if limit is None or limit >= len(queries):
        return list(queries)
    rows = sorted(random.Random(seed).sample(range(len(queries)), limit))
    return [queries[n] for n in rows]
