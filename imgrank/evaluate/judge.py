"""A vision-language model as the judge between two searches (paper 003, section 3.2).

For a query the first pictures of A and of B are shown as two rows of one picture, twice, with the
rows swapped, since judges prefer the first row where they see little difference. Only if both
verdicts name the same search has it won; else the two are similar ("order consistency").

    win rate               W / (W + L)                  (13)
    win-and-similar rate   (W + S) / (W + S + L)        (14), of A

Equal lists are similar without a question. An answer that is not the JSON asked for is asked for
again (`chat.TRIES`), then the query counts as similar and as malformed. Verdicts are kept by the
pictures' contents, so that an interrupted or repeated run asks nothing twice; a malformed one is no
verdict. Prompts, in our own words, are data: `judge.toml`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from imgrank.images.rows import LAYOUT, two_rows
from imgrank.llm.chat import Chat, Question, Unusable, side_by_side
from imgrank.store.answers import Answers
from imgrank.store.digest import digest_file

__all__ = ["CRITERIA", "Case", "Judge", "Judged", "Outcome", "Pair", "Verdict", "read_verdict"]

CRITERIA = ("accuracy", "aesthetics", "diversity")
KIND = "verdict"
FILE = Path(__file__).with_suffix(".toml")
AT_ONCE = 4
"""Queries that are judged at a time."""

Outcome = Literal["win", "similar", "loss"]
Verdict = Mapping[str, int]  # criterion -> the row that is better, 1 or 2


@dataclass(frozen=True, slots=True)
class Pair:
    """What two searches found for a query, best first."""

    query: str
    a: tuple[Path, ...]
    b: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A pair, and what is known of it.

    keys: of the verdicts with A above and with B above; none where the lists are equal.
    known: those verdicts, None where the judge must be asked.
    """

    pair: Pair
    keys: tuple[str, ...]
    known: tuple[Verdict | None, ...]

    @property
    def missing(self) -> int:
        """How many questions are to be asked."""
        return sum(verdict is None for verdict in self.known)


@dataclass(frozen=True, slots=True)
class Judged:
    """verdicts: with A above, with B above; none where the lists are equal.

    malformed: why no verdict could be had, "" if they could.
    """

    pair: Pair
    verdicts: tuple[Verdict, ...]
    malformed: str = ""

    @property
    def identical(self) -> bool:
        return self.pair.a == self.pair.b

    def outcome(self, criterion: str) -> Outcome:
        """Of A: a win or a loss if both verdicts agree on it."""
        if len(self.verdicts) < 2:
            return "similar"
        a_above, b_above = (verdict[criterion] for verdict in self.verdicts)
        if a_above == b_above:  # the same row twice, so once either search
            return "similar"
        return "win" if a_above == 1 else "loss"


class Judge:
    """Asks for verdicts by some of the criteria, in their usual order; looks up and keeps them."""

    def __init__(
        self, chat: Chat, criteria: Sequence[str] = CRITERIA, kept: Answers | None = None
    ) -> None:
        self.criteria = tuple(name for name in CRITERIA if name in criteria)
        self._chat = chat
        self._kept = kept

    def cases(self, pairs: Sequence[Pair]) -> list[Case]:
        """What is known of each; reads the pictures' files for their digests, asks nobody."""
        digests: dict[Path, str] = {}

        def named(row: Sequence[Path]) -> list[str]:
            for path in row:
                if path not in digests:
                    digests[path] = _digest(path)
            return [digests[path] for path in row]

        found = []
        for pair in pairs:
            a, b = named(pair.a), named(pair.b)
            orders = [] if pair.a == pair.b else [(a, b), (b, a)]
            keys = tuple(self._key(pair.query, *rows) for rows in orders)
            found.append(Case(pair, keys, tuple(map(self._known, keys))))
        return found

    def judge(
        self,
        cases: Sequence[Case],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Judged]:
        """All of them, in their order. progress: hears how many are done, of how many.

        Raises ChatError, as soon as it comes; verdicts until then are kept.
        """
        done: list[Judged | None] = [None] * len(cases)
        with closing(side_by_side(self._one, cases, AT_ONCE)) as several:
            for count, (place, one) in enumerate(several, 1):
                done[place] = one
                progress(count, len(cases))
        return [one for one in done if one is not None]

    def _one(self, case: Case) -> Judged:
        pair = case.pair
        orders = ((pair.a, pair.b), (pair.b, pair.a))
        verdicts: list[Verdict] = []
        for key, known, rows in zip(case.keys, case.known, orders, strict=False):
            if known is None:
                try:
                    known = self._ask(pair.query, *rows)
                except Unusable as why:  # similar, whatever the other order would say
                    return Judged(pair, tuple(verdicts), str(why))
                if self._kept is not None:
                    self._kept.put(KIND, self._chat.endpoint.source, key, json.dumps(dict(known)))
            verdicts.append(known)
        return Judged(pair, tuple(verdicts))

    def _ask(self, query: str, above: Sequence[Path], below: Sequence[Path]) -> Verdict:
        prompts = _prompts()
        rules = "\n".join(f"- {c}: {prompts['criteria'][c].strip()}" for c in self.criteria)
        form = json.dumps({c: {"why": "...", "choice": 1} for c in self.criteria})
        system = prompts["system"].format(criteria=rules, form=form).strip()
        text = prompts["user"].format(query=query).strip()
        question = Question(system, text, two_rows(above, below))
        return self._chat.ask(question, lambda answer: read_verdict(answer, self.criteria))

    def _known(self, key: str) -> Verdict | None:
        if self._kept is None:
            return None
        found = self._kept.get(KIND, self._chat.endpoint.source, key)
        return None if found is None else json.loads(found)

    def _key(self, query: str, above: list[str], below: list[str]) -> str:
        """All that a verdict depends on."""
        key = {"query": query, "rows": [above, below], "criteria": self.criteria}
        return json.dumps({**key, "layout": LAYOUT, "prompts": _version()}, ensure_ascii=False)


def read_verdict(answer: str, criteria: Sequence[str]) -> Verdict:
    """The choices in a judge's answer. Raises Unusable, saying what is wrong with it.

    What stands around the JSON object (a fence, a sentence) does not count. A choice is
    {"choice": 1} or 1 itself, as a number or as text.
    """
    start, end = answer.find("{"), answer.rfind("}")
    try:
        found = json.loads(answer[start : end + 1], strict=False)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unusable("its verdict is no JSON object")
    said = {str(name).strip().lower(): value for name, value in found.items()}
    return {criterion: _choice(said.get(criterion), criterion) for criterion in criteria}


def _choice(said: Any, criterion: str) -> int:
    value = said.get("choice") if isinstance(said, dict) else said
    if isinstance(value, str) and value.strip() in ("1", "2"):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value in (1, 2):
        return value
    raise Unusable(f"its verdict has no choice of 1 or 2 for {criterion}")


@cache
def _prompts() -> dict[str, Any]:
    import tomllib

    return tomllib.loads(FILE.read_text(encoding="utf-8"))


@cache
def _version() -> str:
    text = json.dumps(_prompts(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _digest(path: Path) -> str:
    try:
        return digest_file(path).hex()[:32]
    except OSError:  # gone since it was found: an empty square
        return ""
