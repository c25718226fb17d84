"""Ranking by a vision-language model that looks at a window of pictures at once (RARL).

Two kinds of folders: a checkpoint that `imgrank train rarl` made, which answers the tasks of its
config; and a plain Qwen2.5-VL, which is asked for anything in words and was trained for none of it.
How windows become one order is `listwise/ordering.py`. No torch until a window is asked about that
the store does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imgrank.instruction import Query
from imgrank.rankers.base import Answer, Features, Scope, Score

__all__ = ["RARLRanker"]


class RARLRanker:
    """A "rarl" checkpoint, or a plain "vlm" folder.

    folder: of either.   backbone: the Qwen2.5-VL that a checkpoint rests on; None: `folder` is it.
    """

    scope: Scope = "set"
    needs: frozenset[str] = frozenset()
    window = 8

    def __init__(self, folder: Path, backbone: Path | None = None, device: str = "auto") -> None:
        raise NotImplementedError

    name: str
    identity: str
    tasks: Mapping[str, Mapping[str, Any]]

    @property
    def batch(self) -> int:
        """Windows at once: one on a CPU."""
        raise NotImplementedError

    def answer(self, query: Query) -> Answer | None:
        """The prompt (the text that the model is given), unit and range; None: not trained for it.

        `range` is the rule's value range: what the model was told.
        """
        raise NotImplementedError

    def ask(self, windows: Sequence[Sequence[Any]], query: Query) -> list[str]:
        """What the model writes about each window; see `SetRanker`."""
        raise NotImplementedError

    def score(
        self, features: Sequence[Features], queries: Sequence[Query]
    ) -> list[list[Score | None]]:
        """Raises UsageError: a picture alone has no score."""
        raise NotImplementedError
