"""Text -> Query: what the user wants, as a plain value. A pure function; no model is asked.

An instruction is read from the outside in:

1. the frame is taken off: politeness, "sort these photos by ...", "reverse";
2. clauses about direction are taken off either end: "worst first", "from dark to bright",
   "descending", and "closest to 3", which makes the order one by distance;
3. what is left is a known task if it is, as a whole, one of the phrases of tasks.toml, "the number
   of X" or "how ADJECTIVE it is"; anything else is free text for the model. A task's word inside
   a longer text ("a bright red car") means nothing.

A direction without a subject names the task by itself ("darkest first"). "Oldest first" could be
the date or the age: it is the date, since every picture has one, unless people or faces are spoken
of ("oldest person first", "sort faces, oldest first", "by age, oldest first").
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from decimal import Decimal

from imgrank import wording
from imgrank.errors import InstructionError
from imgrank.tasks import End, Task, tasks
from imgrank.wording import Peeled, known

__all__ = ["Query", "Task", "canonical", "explain", "parse", "parse_by", "split_weight", "tasks"]


@dataclass(frozen=True, slots=True)
class Query:
    """What the user wants, as the rest of the program sees it.

    text: the instruction as typed.
    task: key of a known task in tasks.toml ("quality", "brightness", ...), None for free text.
    prompt: the sentence a model is given for it.
    subject: what is counted ("cats") or described (the free text), "" if the task has none.
    descending: True if the highest score comes first; with a reference, if the nearest does.
    reference: "closest to 3 dogs" -> 3.0, in the task's unit; the order is then by distance.
    weight: of this criterion among several.
    reason: why the text was read this way, one line.
    ambiguous: the text may mean something else ("oldest first"), so the reason is worth saying.
    """

    text: str
    task: str | None
    prompt: str
    subject: str = ""
    descending: bool = True
    reference: float | None = None
    weight: float = 1.0
    reason: str = ""
    ambiguous: bool = False


LONGEST = 1000  # characters; a wish is a line, not a document


def parse(text: str, weight: float = 1.0) -> Query:
    """An instruction as typed -> Query.

    Raises InstructionError if it is empty, contradicts itself or asks for what this parser
    cannot give (several criteria at once, a negation), or if the weight is not positive and finite.
    """
    if not (math.isfinite(weight) and weight > 0):
        raise InstructionError(f"A weight must be a positive number, not {weight:g}.")
    if len(text) > LONGEST:
        raise InstructionError(f"The instruction is longer than {LONGEST} characters.")
    wish = wording.normal(text)
    if not wish:
        raise InstructionError(
            f"The instruction {text!r} is empty. Say what to sort by, such as 'by image quality'."
        )
    return replace(_read(wish), text=text, weight=weight)


def parse_by(spec: str) -> Query:
    """`--by 'TEXT[=WEIGHT]'` -> Query. An "=" that no number follows belongs to the text.

    Raises InstructionError as `parse` does; "quality=0", "quality=-1", "quality=nan" among them.
    """
    text, weight = split_weight(spec)
    return parse(text) if weight is None else parse(text, weight)


def split_weight(spec: str) -> tuple[str, float | None]:
    """ "a cat=0.5" -> ("a cat", 0.5); ("a=b", None) where no number follows the last "="."""
    text, equals, weight = spec.rpartition("=")
    number = r"\s*[+-]?(?:[0-9]{1,30}\.?[0-9]{0,30}(?:e[+-]?[0-9]{1,4})?|\.[0-9]{1,30}|inf|nan)\s*"
    if equals and re.fullmatch(number, weight, re.IGNORECASE):
        return text, float(weight)
    return spec, None


def canonical(query: Query) -> str:
    """One spelling for all instructions that mean the same; `parse` reads it as the same query."""
    if query.task is None:
        return f"{query.subject}, {'highest' if query.descending else 'lowest'} first"
    what = f"the number of {query.subject}" if query.task == "count" else _name(query.task)
    if query.reference is not None:
        where = "closest to" if query.descending else "farthest from"
        return f"by {what}, {where} {Decimal(repr(query.reference)).normalize():f}"
    return f"by {what}, {'highest' if query.descending else 'lowest'} first"


def explain(query: Query) -> str:
    """One line: how the instruction was read, and why."""
    what = f"free text '{query.subject}'"
    if query.task:
        what = f"number of {query.subject}" if query.task == "count" else _name(query.task)
    if query.reference is not None:
        order = (
            f"{'closest to' if query.descending else 'farthest from'} {query.reference:.15g} first"
        )
    elif query.task is None:
        order = "best match first" if query.descending else "worst match first"
    else:
        task = tasks()[query.task]
        order = f"{(task.high if query.descending else task.low)[0]} first"
    weight = "" if query.weight == 1 else f", weight {query.weight:g}"
    return f"{what}, {order}{weight} ({query.reason})"


def _name(task: str) -> str:
    return task.replace("_", " ")


def _read(wish: str) -> Query:
    """A normalised wish -> Query without the text as typed and the weight."""
    said = wording.peel(wish)
    if wording.NEGATION.match(said.rest):
        raise InstructionError(
            f"'{wish}' says what not to do. Say what comes first: 'worst first', 'least scary "
            "first'."
        )
    if said.reference is not None:
        query = _by_distance(said)
    elif not said.rest or (_specific(said) and wording.only_people(said.rest)):
        query = _by_ends(said)
    else:
        found = known(said.rest)
        if found is None:
            _refuse_two_criteria(said.rest)
            reason = "no known task has that name"
            end = End(None, high=_side(said, End(None, high=True), said.rest))
            query = Query("", None, said.rest, said.rest, end.high, reason=reason)
        else:
            end, subject, reason = found
            query = _of_task(End(end.task, _side(said, end, said.rest)), subject, reason)
    return replace(query, descending=not query.descending) if said.reverse else query


def _of_task(end: End, subject: str, reason: str) -> Query:
    assert end.task is not None
    prompt = tasks()[end.task].prompt.replace("{subject}", subject)
    return Query("", end.task, prompt, subject, end.high, reason=reason)


def _side(said: Peeled, natural: End, what: str) -> bool:
    """Whether the high end comes first: what the clauses agree on, else the natural order.

    A word of the task's own scale counts as such ("youngest"); a general one ("highest") is
    relative to the name that was used: by darkness, highest first, is darkest first.
    """
    sides = set()
    for clause in said.clauses:
        own = [end.high for end in clause.ends if end.task and end.task == natural.task]
        general = [end.high == natural.high for end in clause.ends if end.task is None]
        if not own and not general:
            raise InstructionError(
                f"'{clause.said}' is not an order of '{what}'. Give several criteria as several "
                "--by; an order is 'highest first' or 'lowest first'."
            )
        sides.add((own or general)[0])
    if len(sides) > 1:
        both = "' and '".join(clause.said for clause in reversed(said.clauses))
        raise InstructionError(f"'{both}' contradict each other.")
    return sides.pop() if sides else natural.high


def _specific(said: Peeled) -> list[set[str]]:
    """The tasks that each clause can be about, for clauses with words of a task's own scale."""
    named = ({end.task for end in clause.ends if end.task} for clause in said.clauses)
    return [names for names in named if names]


def _by_ends(said: Peeled) -> Query:
    """Directions alone: "darkest to brightest", "oldest first", "faces, oldest first"."""
    if not said.clauses:
        raise InstructionError(
            "The instruction names nothing to sort by, such as 'by image quality'."
        )
    word = said.clauses[-1].said
    specific = _specific(said)
    if not specific:
        raise InstructionError(f"'{word}' of what? Say for instance 'by image quality, {word}'.")
    together = set.intersection(*specific)
    candidates = [task for task in tasks() if task in together]
    if not candidates:
        both = "' and '".join(clause.said for clause in reversed(said.clauses))
        raise InstructionError(f"'{both}' are about different things; give each its own --by.")
    people = said.people or wording.only_people(said.rest)
    task = "age" if people and "age" in candidates else candidates[0]
    reason = f"'{word}' is about {_name(task)}"
    general = any(end.task is None for end in said.clauses[-1].ends)  # "best" is no puzzle
    ambiguous = len(candidates) > 1 and not general
    if ambiguous:
        why = "people are spoken of" if people and task == "age" else "that is the usual meaning"
        others = " or ".join(_name(other) for other in candidates if other != task)
        reason = f"'{word}' could also be about {others}; read as {_name(task)}, since {why}"
    end = End(task, _side(said, End(task, tasks()[task].descending), word))
    return replace(_of_task(end, "", reason), ambiguous=ambiguous)


def _by_distance(said: Peeled) -> Query:
    """ "closest to 3 dogs", "by age, nearest to 30", "farthest from 1950"."""
    reference = said.reference
    assert reference is not None
    if said.clauses:
        raise InstructionError(f"'{said.clauses[0].said}' contradicts '{reference.said}'.")
    end, subject = End(reference.task, high=True), reference.subject
    if end.task is None:
        found = known(said.rest)
        assert found is not None  # wording.peel takes no other
        end, subject = found[0], found[1]
    value = reference.value
    if end.task == "date":
        value = wording.seconds(value)
    elif value < 0:
        raise InstructionError(f"'{reference.said}': {_name(end.task or '')} is never negative.")
    reason = f"a number to be close to: '{reference.said}'"
    query = _of_task(End(end.task, reference.nearest), subject, reason)
    return replace(query, reference=value)


def _refuse_two_criteria(wish: str) -> None:
    parts = [part.strip() for part in re.split(r",| and | then | plus |/", wish)]
    if len(parts) > 1 and all(known(part) for part in parts):
        options = " ".join(f"--by '{part}'" for part in parts)
        raise InstructionError(f"'{wish}' is several criteria. Give each its own option: {options}")
    if "," in wish and known(parts[0]):
        raise InstructionError(
            f"'{parts[0]}' is understood, '{wish[len(parts[0]) :].strip(' ,')}' is not. An order "
            "is 'highest first' or 'lowest first'."
        )
