"""Rephrasing a search query, so that it says what a fitting and beautiful picture looks like.

Paper 003, section 2.2 and appendix F: a language model is given the query, a length in words (50)
and a method. Its prompts, in our own words, are data: `rephrasing.toml`.

    detail    visual details, in sentences
    k_list    details and style, comma-separated, the most significant first; the paper's choice
    kw_dict   key words with descriptions, "key: description; ..."
    reorg     several re-wordings, no detail added
    repeat    the query over and over; needs no model. In the paper length alone helps as well

The answer stands for the query; the query itself is not put before it. Answers are kept by model,
address, query, method, length and the digest of the prompts, so that no question is asked twice.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from imgrank.errors import ChatError, UsageError
from imgrank.llm.chat import Chat, Question, Unusable, side_by_side
from imgrank.store.answers import Answers

__all__ = ["METHODS", "WORDS", "Method", "cleaned", "repeated", "rephrase", "rephrase_all"]

Method = Literal["detail", "k_list", "kw_dict", "reorg", "repeat"]
METHODS: tuple[Method, ...] = get_args(Method)
WORDS = 50
"""The length that is asked for."""
AT_ONCE = 4
"""Questions under way at a time."""
GIVE_UP = 10
"""Failures in a row after which nobody is asked any more."""
KIND = "rephrased"
FILE = Path(__file__).with_suffix(".toml")
TRIMMED = 2.0
"""An answer of more words than so many times what was asked for is cut at its last comma or end of
a sentence before: text towers read no further anyway."""
RAMBLING = 10.0
"""An answer of more than so many times is no answer to the question."""


def rephrase(
    query: str,
    method: Method,
    chat: Chat | None = None,
    *,
    words: int = WORDS,
    kept: Answers | None = None,
) -> str:
    """The query in other words, one line.

    chat: who is asked; not needed for "repeat" nor for what is known.   words: about how long.
    kept: where answers are looked up and kept. Raises UsageError for an empty query and where
    somebody must be asked and nobody is named, ChatError where no answer can be had.
    """
    query = " ".join(query.split())
    if not query:
        raise UsageError("there is no query to rephrase.")
    if method == "repeat":
        return repeated(query, words)
    if chat is None:
        raise UsageError(
            f"rephrasing by {method} needs a language model: name one with --llm URL and "
            "--llm-model NAME. --rephrase repeat needs none."
        )
    question, key = _question(query, method, words)
    source = chat.endpoint.source
    if kept is not None and (known := kept.get(KIND, source, key)) is not None:
        return known
    try:
        answer = chat.ask(question, lambda text: cleaned(text, method, words))
    except Unusable as reason:
        raise ChatError(
            f"{source} gave nothing that can stand for '{query}': {reason}. Try another method, or "
            "--rephrase repeat, which needs no model."
        ) from None
    if kept is not None:
        kept.put(KIND, source, key, answer)
    return answer


def rephrase_all(
    queries: Sequence[str],
    method: Method,
    chat: Chat | None = None,
    *,
    words: int = WORDS,
    kept: Answers | None = None,
) -> Generator[str | ChatError]:
    """Each query rephrased, in their order, several asked at a time.

    A ChatError takes the place of an answer that could not be had; whoever asks decides whether the
    plain query will do. After GIVE_UP of them in a row nobody is asked any more, as each takes
    several tries. Other errors as `rephrase`.
    """
    failed = 0

    def one(query: str) -> str | ChatError:
        nonlocal failed
        try:
            answer = rephrase(query, method, chat, words=words, kept=kept)
        except ChatError as error:
            failed += 1
            if failed >= GIVE_UP and chat is not None:
                chat.close()
            return error
        failed = 0
        return answer

    early: dict[int, str | ChatError] = {}
    given = 0
    with closing(side_by_side(one, queries, AT_ONCE)) as done:
        for place, answer in done:
            early[place] = answer
            while given in early:
                yield early.pop(given)
                given += 1


def repeated(query: str, words: int = WORDS) -> str:
    """ "query. query. query.": at least twice, else as often as fits into so many words."""
    sentence = query.rstrip(" .!?,;:") or query
    return " ".join([f"{sentence}."] * max(2, words // max(1, len(sentence.split()))))


# ---- what is asked -------------------------------------------------------------------------------


def _question(query: str, method: Method, words: int) -> tuple[Question, str]:
    """What is asked, and the key that its answer is kept under."""
    prompts = _prompts()
    system, user, rule = prompts["system"], prompts["user"], prompts["methods"][method]
    digest = hashlib.sha256("\0".join((system, user, rule)).encode()).hexdigest()[:12]
    key = {"query": query, "method": method, "words": words, "prompts": digest}
    question = Question(
        " ".join(system.format(words=words, method=rule).split()), user.format(query=query).strip()
    )
    return question, json.dumps(key, ensure_ascii=False)


@cache
def _prompts() -> dict[str, Any]:
    import tomllib

    return tomllib.loads(FILE.read_text(encoding="utf-8"))


# ---- what is made of an answer -------------------------------------------------------------------

_SEPARATORS = {"detail": " ", "k_list": ", ", "kw_dict": "; ", "reorg": ", "}
_FENCE = re.compile(r"^[ \t]*```.*$", re.MULTILINE)
_BULLET = re.compile(r"^(?:#{1,6}\s|>\s|[-*•]\s|\d{1,2}[.)]\s)?\s*")
_MARKS = re.compile(r"\*\*|__|[`\"“”„«»]")
_OPENING = re.compile(
    r"(?:(?:sure|certainly|of course|okay|here (?:is|are)|here's)\b[^:.]{0,80}[:.!]\s*)+"
    r"|(?:search text|image description|description|rephrased(?: query| text)?|query|answer)"
    r"\s*:\s*",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"(?:i['’]?m sorry|i am sorry|sorry,|i can(?:no|['’])t|i am (?:not able|unable)|"
    r"i['’]m (?:not able|unable)|as an ai\b|unfortunately, i)",
    re.IGNORECASE,
)


def cleaned(answer: str, method: Method, words: int = WORDS) -> str:
    """One line of plain text from what a model said, at most TRIMMED times `words` long.

    Markup, quotation marks, list marks and an opening ("Sure, here is ...:") are taken
    off, lines joined as the method wants them. Raises Unusable for a refusal, for text that is no
    prose and for far too much of it.
    """
    text = _FENCE.sub("", answer).strip()
    if text.startswith(("{", "[", "<")):
        raise Unusable("it is not plain text")
    lines = [_MARKS.sub("", _BULLET.sub("", _printable(line).strip())) for line in text.split("\n")]
    lines = [line.strip().rstrip(",;").rstrip() for line in lines if line.strip()]
    lines[:1] = [line for line in (_OPENING.sub("", one, count=1) for one in lines[:1]) if line]
    text = " ".join(_SEPARATORS[method].join(lines).split())
    if len(text) > 1 and text[0] == text[-1] == "'":
        text = text[1:-1].strip()
    if not any(character.isalnum() for character in text):
        raise Unusable("it is empty")
    if _REFUSAL.match(text):
        raise Unusable("it refused to answer")
    return _shortened(text, words)


def _shortened(text: str, words: int) -> str:
    found = text.split(" ")
    if len(found) > RAMBLING * words:
        raise Unusable(f"it has {len(found)} words where about {words} were asked for")
    most = round(TRIMMED * words)
    if len(found) <= most:
        return text
    head = " ".join(found[:most])
    end = max(head.rfind(mark) for mark in (",", ";", "."))
    return head[:end] if end > len(head) // 2 else head


def _printable(line: str) -> str:
    """Without what drives a terminal or cannot be seen."""
    return "".join(
        " " if unicodedata.category(character) in ("Cc", "Zl", "Zp") else character
        for character in line
        if unicodedata.category(character) not in ("Cf", "Cs", "Co", "Cn")
    )
