"""Who turns the words of a search into a vector: a backbone, or one that was tuned for search.

A search has no router: all its words go to one model, so that their cosines can be compared. No
torch until a text is embedded that the store does not know.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from imgrank.errors import CheckpointError, ModelUnavailable, UsageError
from imgrank.models.registry import DEFAULT_BACKBONE
from imgrank.models.spec import CONFIG
from imgrank.rankers.load import load_ranker, users_default
from imgrank.rankers.prompts import PromptRanker
from imgrank.settings import Settings

if TYPE_CHECKING:
    from imgrank.rankers.source import BackboneSource

__all__ = ["asks_another", "load_words", "words_read"]

USUAL_CONTEXT = 77  # tokens; OpenCLIP's default


def load_words(name: str | None, settings: Settings) -> PromptRanker:
    """The model that is named; else the user's default if it has words; else the embedded one.

    Raises ModelUnavailable if it is not here, UsageError if it has no text tower to ask.
    """
    ranker = load_ranker(name or _default(settings), settings)
    if isinstance(ranker, PromptRanker):
        return ranker
    if ranker.scope == "set":
        raise UsageError(
            f"{name} looks at several pictures at once and makes a vector of none, so it cannot "
            f"search; --rerank {name} orders the first of a search by what it says. Leave --model "
            f"away for {DEFAULT_BACKBONE}."
        )
    raise UsageError(
        f"{name} answers what it was trained for, not words, so it cannot search. Name a backbone, "
        f"or one that was tuned for search (imgrank models list), or leave --model away for "
        f"{DEFAULT_BACKBONE}; `imgrank sort PATH... INSTRUCTION --model {name}` asks this one."
    )


def _default(settings: Settings) -> str:
    own = users_default(settings)
    return settings.model if settings.model and own and own.by_words else DEFAULT_BACKBONE


def asks_another(source: BackboneSource, settings: Settings) -> bool:
    """Whether a search without --model needs other features than this source's."""
    with suppress(ModelUnavailable, CheckpointError):
        return load_words(None, settings).source.identity != source.identity
    return False  # a default that is gone is said when it is asked


def words_read(source: BackboneSource, text: str) -> int | None:
    """How many words of a text the text tower reads, None if it reads all of it.

    What is longer than the tower's context is cut off by the tokenizer, without a word. That is
    seen by ids that stay the same when words at the end are left out. Kept in the store, beside
    what the tower said: a known query loads no tokenizer.
    """
    import numpy as np

    if len(text.encode("utf-8", "replace")) + 2 <= _context(source):  # a byte is at most one token
        return None
    memory = source.memory
    kept = memory.text(source.text_identity, "words read", text) if memory else None
    if kept is None:
        kept = np.array([_counted(source, text.split())], np.float32)
        if memory:
            memory.put_text(source.text_identity, "words read", text, kept)
    return int(kept[0]) if kept[0] < len(text.split()) else None


def _context(source: BackboneSource) -> int:
    """Tokens that the text tower reads, marks of start and end among them."""
    config = json.loads((source.spec.folder / CONFIG).read_text(encoding="utf-8"))
    length: Any = config.get("model_cfg", {}).get("text_cfg", {}).get("context_length")
    return length if isinstance(length, int) else USUAL_CONTEXT


def _counted(source: BackboneSource, words: list[str]) -> int:
    """The fewest first words with the ids of all, by halving."""
    whole = _ids(source, words)
    low, high = 1, len(words)
    while low < high:
        middle = (low + high) // 2
        if _ids(source, words[:middle]) == whole:
            high = middle
        else:
            low = middle + 1
    return low


def _ids(source: BackboneSource, words: list[str]) -> list[int]:
    ids: list[int] = source.token_ids([" ".join(words)])[0].tolist()
    return ids
