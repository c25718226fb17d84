"""Answers of language models, which cost time and often money: kept until they are cleared.

kind       what was wanted of it: "rephrased", "verdict", "window" (pictures seen together)
source     who answered: model and address
question   all that the answer depends on, as JSON that a person can read
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from imgrank.errors import StoreError
from imgrank.store.database import Database

__all__ = ["Answers"]


class Answers:
    """Of one store; its methods may be called from any thread.

    Where nothing can be kept, `put` does nothing after one notice, as everywhere in the store.
    """

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock

    def get(self, kind: str, source: str, question: str) -> str | None:
        """The answer, None if it is not known."""
        key = tuple(map(_text, (kind, source, question)))

        def work(db: sqlite3.Connection) -> str | None:
            row = db.execute(
                "SELECT answer FROM answers WHERE kind = ? AND source = ? AND question = ?", key
            ).fetchone()
            return None if row is None else str(row[0])

        return self._database.read(work, None)

    def put(self, kind: str, source: str, question: str, answer: str) -> None:
        """Keeps it, in place of an earlier one."""
        row = (*map(_text, (kind, source, question)), self._clock(), _text(answer))
        statement = (
            "REPLACE INTO answers (kind, source, question, kept, answer) VALUES (?, ?, ?, ?, ?)"
        )
        try:
            self._database.write(lambda db: db.execute(statement, row) and None, None)
        except StoreError as error:
            self._database.stop_keeping(error)


def _text(text: str) -> str:
    # A lone surrogate (a command line that is not UTF-8) is nothing that SQLite takes.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
