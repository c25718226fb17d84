"""English around a wish: what `imgrank.instruction` takes off a text until only the wish is left.

`normal` gives the text one form; `peel` takes off frames ("please sort these photos by"),
directions ("worst first", "dark to bright") and references ("closest to 3"), and rewrites counts
("most cats first") to "number of cats"; `known` says whether what is left names a task, as a
whole. `peel` goes on until nothing changes, so peeling what it left does nothing more.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

from imgrank.errors import InstructionError
from imgrank.nouns import plural
from imgrank.tasks import End, lexicon

__all__ = ["NEGATION", "Clause", "Peeled", "Reference", "known", "normal", "only_people", "peel"]
__all__ += ["seconds"]


@dataclass(frozen=True, slots=True)
class Clause:
    """A direction: the ends that may come first, one of them per scale, and the words used."""

    ends: tuple[End, ...]
    said: str


@dataclass(frozen=True, slots=True)
class Reference:
    """ "closest to 3 dogs": task and subject are None and "" if the rest of the wish has them."""

    value: float
    nearest: bool
    task: str | None
    subject: str
    said: str


@dataclass(slots=True)
class Peeled:
    """What was found around the wish, last found last, and the `rest`: the wish itself."""

    rest: str
    clauses: list[Clause] = field(default_factory=list)
    reference: Reference | None = None
    reverse: bool = False
    people: bool = False


PICTURES = "photos?|photographs?|images?|imgs?|pictures?|pics?|shots?|snapshots?|files?|ones?"
PEOPLE = (
    "people|persons?|faces?|m[ae]n|wom[ae]n|child(?:ren)?|kids?|bab(?:y|ies)|boys?|girls?"
    "|portraits?|adults?|selfies?"
)
NUMBERS = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen"
    "|sixteen|seventeen|eighteen|nineteen|twenty"
)
PLURALS = "people|children|men|women|mice|geese|sheep|fish|deer|feet|teeth|.*[^suio]s|.*ios"
AGO, AHEAD = 1800, 2100  # a bare number between them is a year

NEGATION = re.compile(r"(?:not|never|don't|dont|do not|without|except|(?:any|every)thing but)\b")
_POLITE = re.compile(
    r"^(?:please|kindly|find|search for|which(?: one| photo| picture| image)? (?:is|looks)(?: the)?"
    r"|(?:similarity|resemblance|similar) to|(?:how much )?(?:it |they )?looks? like"
    r"|(?:can|could|would|will) you|(?:i )?(?:want|would like|i'd like)(?: you)? to)\b"
    r"|[ ,]+(?:please|thanks|thank you)$"
)
_FRAME = re.compile(
    r"^(?P<verb>(?:re-?)?(?:sort|order|rank|arrange)|organi[sz]e|list|show|display|put)\b(?! of\b)"
    r"(?P<me> me\b| out\b| up\b)?"
    rf"(?P<what>(?: (?:all|of|these|those|the|my|our|this|a|set|folder|every|each))*"
    rf" (?:{PICTURES}|{PEOPLE}|them|everything|it)\b(?: of [^,]{{1,60}}?(?= by\b))?)?"
    r"(?: here\b)?(?: in(?:to)? (?:an? )?order\b(?: of\b)?)?"
    r"(?P<by>[ ,]+(?:by|on|for|from|according to|based on|in order of|in terms of)\b)?"
)
_NEED_OBJECT = (
    "list",
    "show",
    "display",
    "put",
)  # alone they may be part of a picture: "show jumping"
_BY = re.compile(
    r"^(?:(?:sorted|ordered|ranked) )?(?:by|according to|based on|in order of|in terms of)\b"
)
_REVERSE = re.compile(
    r"^(?:in )?(?:reversed?|inverse)(?: order(?: of)?(?= |$)|(?= by )|(?= sort )|,|$)"
    r"|(?:,| in) (?:in )?(?:reversed?|inverse|inverted) order$|, (?:in )?(?:reversed?|inverted)$"
)
_ORDER = re.compile(
    r"(?:^|[ ,]+)(?:in |with )?(?:an? )?"
    r"(?P<said>(?P<high>desc|descending|decreasing)|asc|ascending|increasing)(?: order)?$"
)
_BEFORE = re.compile(
    r"^(?:in )?(?:the )?(?P<said>(?P<high>descending|decreasing|high(?:est)?|strong(?:est)?)"
    r"|ascending|increasing|low(?:est)?|weak(?:est)?)(?: order of| by)? (?P<x>.+?)(?: first)?$"
)
_REFERENCE = re.compile(
    r"^(?:(?P<head>.+?)[ ,]+)??(?:the )?(?P<said>"
    r"(?:(?P<near>closest|nearest|close|near|closeness|proximity|most similar)|furthest|farthest)"
    r" (?:to|from) (?:exactly |about |around |the )?(?P<age>age (?:of )?)?"
    rf"(?P<n>-?[0-9]{{1,30}}(?:\.[0-9]{{1,30}})?|(?:{NUMBERS}|(?:a )?dozen)\b)"
    r"(?P<of> ?[^0-9 .,][^,]*?)?)(?:,? first)?$"
)
_COUNT = re.compile(
    r"^(?:the )?(?:(?:(?P<high>most|highest|largest|greatest)|(?P<low>fewest|lowest|smallest|least)"
    r") )?(?:total )?(?:numbers?|counts?|amount|quantity) of (?:(?:the|visible|all) )*(?P<x>.+)$"
    r"|^how many (?P<y>.+?)(?: (?:there are|are there|are (?:visible|shown|present)|it has))?$"
    r"|^(?P<z>[^ ,]+) counts?$"
)
_COUNTED = "number of "
_PLACE = re.compile(
    r" (?:visible|present|shown|there are|(?:in|per|on)"
    rf" (?:(?:the|each|every|an?|one) )?(?:{PICTURES}|it|them))$"
)
_MOST = re.compile(
    r"^(?:the )?(?P<said>(?P<high>most)|(?P<few>fewest)|least)(?! of\b) (?P<x>[^,]+?)"
    r"(?: first|(?P<last> last))?$"
)
_HOW = re.compile(
    r"^how (?:much |very )?(?:(?P<one>[^ ,]+)$|(?P<x>.+?)"
    rf"(?: (?:it|this|that|(?P<who>they|he|she|(?:(?:the|each|every|an?) )?(?:{PEOPLE}))"
    rf"|(?:(?:the|each|every|an?) )?(?:{PICTURES})))?"
    r" (?:is|are|was|were|looks?|seems?|appears?|feels?)$)"
)
_AROUND = re.compile(
    r"^(?:the|their|its|overall) "
    rf"| (?:of|in) (?:(?:the|each|every|all|these|my) )*(?:{PICTURES})$"
    r"| of mos$| (?:level|score|value|rating)s?$"
)
_WHOLE = re.compile(rf"(?:(?:the|all|of|my) )*(?:{PEOPLE})")


def normal(text: str) -> str:
    """Lower case, American spelling, one space between words, ", " for all that parts clauses.

    "" if no letter, digit or symbol such as an emoji is in it.
    """
    text = text.encode("utf-8", "replace").decode()  # lone surrogates of an undecodable argument
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    text = "".join(
        " " if unicodedata.category(ch)[0] == "C" and ch != "\u200d" else ch for ch in text
    )
    text = re.sub(r"[‘’`´]", "'", text)
    before = ""
    while text != before:  # what one rule leaves may be food for another: "-_-"
        before = text
        text = re.sub(r"->|=>|[→⇒]", " to ", text).replace("&", " and ")
        text = re.sub(r"[;:()\[\]{}|–—…]|(?<![0-9])\.|\.(?![0-9])|(?<!\S)-+(?!\S)", " , ", text)
        text = re.sub(r"[\s\"!?*<>_“”«»\\]+", " ", text)
        text = re.sub(r"\bgrey\b", "gray", text.replace("colour", "color"))
        text = _tidy(re.sub(r"(?: ?, ?)+", ", ", text))
    meaning = any(
        unicodedata.category(ch)[0] in "LN" or unicodedata.category(ch) == "So" for ch in text
    )
    return text if meaning else ""


def _tidy(text: str) -> str:
    return text.strip(" ,'-=+/")


def known(wish: str) -> tuple[End, str, str] | None:
    """The task that a wish names as a whole: (task and the end that its name puts first,
    what is counted, why); None if it is free text."""
    if phrase := _phrase(wish):
        return lexicon().phrases[phrase], "", f"'{phrase}' is a known task"
    if wish.startswith(_COUNTED):
        return End("count", high=True), wish.removeprefix(_COUNTED), "a number of things is a count"
    if wish in ("count", "counts", "number", "the number", "amount"):
        raise InstructionError("Count what? Say for instance 'by the number of cats'.")
    return None


def _phrase(wish: str) -> str | None:
    """The phrase of tasks.toml that a wish is: "the quality of these photos" -> "quality"."""
    before = ""
    while wish != before:
        if wish in lexicon().phrases:
            return wish
        before, wish = wish, _AROUND.sub("", wish, count=1)
    return None


def only_people(wish: str) -> bool:
    """ "faces", "the people"."""
    return _WHOLE.fullmatch(wish) is not None


def seconds(value: float) -> float:
    """A year (1800 to 2100) -> Unix time of its start; any other number is Unix time already."""
    if AGO <= value <= AHEAD:
        return datetime(int(value), 1, 1, tzinfo=UTC).timestamp()
    return value


def peel(wish: str) -> Peeled:
    """Takes off everything around the wish, outermost first. Raises InstructionError."""
    said = Peeled(wish)
    steps = (_frame, _order, _direction, _refer, _count, _most, _how, _first)
    while said.rest and not NEGATION.match(said.rest):
        if said.rest in lexicon().phrases or not any(step(said) for step in steps):
            break
    return said


def _took(said: Peeled, rest: str) -> bool:
    """Sets the rest; True if that changed it."""
    before, said.rest = said.rest, _tidy(rest)
    return said.rest != before


def _frame(said: Peeled) -> bool:
    if match := _REVERSE.search(said.rest):
        said.reverse = not said.reverse
        return _took(said, said.rest[: match.start()] + said.rest[match.end() :])
    match = _FRAME.match(said.rest)
    if match and (match["what"] or match["by"] or match["me"] or match["verb"] not in _NEED_OBJECT):
        said.people |= bool(re.search(rf"\b(?:{PEOPLE})\b", match["what"] or ""))
        return _took(said, said.rest[match.end() :])
    return _took(said, _BY.sub("", _POLITE.sub("", said.rest, count=1), count=1))


def _refer(said: Peeled) -> bool:
    match = None if said.reference else _REFERENCE.match(said.rest)
    if not match:
        return False
    head, of = _tidy(_BY.sub("", match["head"] or "")), (match["of"] or "").strip()
    text = match["n"].removeprefix("a ")
    numbers = [*NUMBERS.split("|")]
    value = float(numbers.index(text) if text in numbers else 12 if text == "dozen" else text)
    of = _PLACE.sub("", of)
    found = known(_counted(head)) if head else None
    task, factor = lexicon().units.get(of, (None, 1.0))
    if head and not found:
        return False  # "a cat close to two dogs" is a picture, not an order
    if match["age"] and not of:
        task = "age"
    elif of and not task:
        task = "count"
    elif not of and not found:
        if not AGO <= value <= AHEAD:
            raise InstructionError(
                f"'{match['said']}' of what? Say '{match['said']} years' or '{match['said']} dogs'."
            )
        task = "decade"
    if found and task and found[0].task != task:
        raise InstructionError(f"'{head}' and '{match['said']}' are about different things.")
    subject = (plural(of) if value == 1 else of) if task == "count" else ""
    said.reference = Reference(value * factor, bool(match["near"]), task, subject, match["said"])
    said.rest = _counted(head)
    return True


def _order(said: Peeled) -> bool:
    if match := _ORDER.search(said.rest):
        said.clauses.append(Clause((End(None, bool(match["high"])),), match["said"]))
        return _took(said, said.rest[: match.start()])
    if (match := _BEFORE.match(said.rest)) and _phrase(match["x"]):
        said.clauses.append(Clause((End(None, bool(match["high"])),), match["said"]))
        return _took(said, match["x"])
    return False


@cache
def _directions() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """WORD first, WORD to WORD: at the end, at the start, and a superlative on its own."""
    words = lexicon().words
    word = rf"(?:the )?(?P<a>{words})(?P<noun> (?:{PICTURES}|{PEOPLE}))?"
    place = (
        r"(?: (?:comes? |goes |go |shown )?(?:(?P<first>first|at the top|on top|at the front)"
        r"|(?P<last>last|at the bottom|at the end))"
        rf"| (?:down |up )?to (?:the )?(?P<b>{words})(?: (?:{PICTURES}|{PEOPLE}))?)"
    )
    lead = r"(?P<comma>^|[ ,]+)(?:(?:with|from|in|and|but|go|going|show|put|the) )*"
    return (
        re.compile(rf"{lead}(?P<said>{word}{place})$"),
        re.compile(rf"^(?:from )?(?P<said>{word}{place})(?P<firm>, ?(?:by )?| by )? ?(?=.)"),
        re.compile(rf"^(?P<said>{word})$"),
    )


def _direction(said: Peeled) -> bool:
    at_end, at_start, alone = _directions()
    match = at_end.search(said.rest)
    if match:
        rest = _tidy(said.rest[: match.start()])
        if match["b"] and "," not in match["comma"] and rest and not known(_counted(rest)):
            return False  # "a street from dark to bright" is a picture, not an order
    elif match := at_start.match(said.rest):
        rest = said.rest[match.end() :]
        if not match["firm"] and not known(_counted(rest)):
            return False
    elif (match := alone.match(said.rest)) and re.search(
        r"e(?:st|r)$|^(?:most|least|worst|worse)", match["a"]
    ):
        rest = ""
    else:
        return False
    found = match.groupdict()
    ends = _ends(found["a"])
    if found.get("noun") and re.fullmatch(PEOPLE, found["noun"].strip()):
        ends = tuple(end for end in ends if end.task == "age")
    if found.get("last"):
        ends = tuple(End(end.task, not end.high) for end in ends)
    if found.get("b"):
        others = _ends(found["b"])
        across = tuple(end for end in ends if End(end.task, not end.high) in others)
        if not across and set(ends) & set(others):
            raise InstructionError(f"'{found['said']}' starts and ends at the same end.")
        ends = across
    if not ends:
        return False
    said.clauses.append(Clause(ends, found["said"]))
    return _took(said, rest)


def _ends(word: str) -> tuple[End, ...]:
    return (*lexicon().ends.get(word, ()), *lexicon().adjectives.get(word, ()))


def _counted(wish: str) -> str:
    """ "how many cats there are", "cat count" -> "number of cats", else the wish as it is."""
    match = None if _phrase(wish) else _COUNT.match(wish)
    if not match:
        return wish
    what = match["x"] or match["y"] or plural(match["z"])
    return _COUNTED + _PLACE.sub("", what)


def _count(said: Peeled) -> bool:
    match = None if _phrase(said.rest) else _COUNT.match(said.rest)
    if match and (match["high"] or match["low"]):
        said.clauses.append(
            Clause((End(None, bool(match["high"])),), match["high"] or match["low"])
        )
    return _took(said, _counted(said.rest))


def _most(said: Peeled) -> bool:
    """ "most cats first" counts; "least scary first" is the low end of "scary"."""
    match = _MOST.match(said.rest)
    if not match:
        return False
    what = match["x"]
    plural = re.fullmatch(PLURALS, what.split()[-1])
    high = bool(match["high"]) != bool(match["last"])
    said.clauses.append(Clause((End(None, high),), match["said"]))
    if not _phrase(what) and (match["few"] or plural):
        what = _counted(_COUNTED + what)
    return _took(said, what)


def _how(said: Peeled) -> bool:
    """ "how dark it is" puts the darkest first; "how scary it looks" is "scary"."""
    match = _HOW.match(said.rest)
    if not match:
        return False
    what = match["one"] or match["x"]
    ends = lexicon().adjectives.get(what, ())
    if match["who"]:
        ends = tuple(end for end in ends if end.task == "age") or ends
    if ends:
        said.clauses.append(Clause(ends, what))
    return _took(said, "" if ends else what)


def _first(said: Peeled) -> bool:
    """ "cutest dogs first", "how scary it looks, scariest first": first is the natural order."""
    rest = said.rest.removesuffix(" first")
    if rest == said.rest:
        return False
    head, comma, tail = rest.rpartition(", ")
    if comma and (match := re.fullmatch(r"(?:the )?([a-z]+?)i?est", tail)):
        if match[1] not in head:
            raise InstructionError(
                f"'{tail} first' is not an order of '{head}' that is known here."
            )
        return _took(said, head)
    return _took(said, re.sub(r"^(?:the )?([a-z]+)iest\b", r"\1y", rest))
