"""Plain English nouns: the plural of one, and whether two phrases name the same things.

Only as much grammar as instructions need: "closest to 1 berry" counts berries, and a model that was
trained to count "objects in red" is the one to ask for "the red objects".
"""

from __future__ import annotations

import re

__all__ = ["plural", "same_things"]

IRREGULAR = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "mouse": "mice",
    "goose": "geese",
    "sheep": "sheep",
    "fish": "fish",
    "knife": "knives",
}
_SINGULAR = {many: one for one, many in IRREGULAR.items()}
_ENDINGS = (  # of what may be a plural, and what stands there in the singular
    (r"(?<!s)s$", ""),
    (r"(?<=[sxzo])es$|(?<=[cs]h)es$", ""),
    (r"ies$", "y"),
    (r"ves$", "f"),
    (r"ves$", "fe"),
)
_ARTICLES = ("a", "an", "the", "all", "any", "some", "visible", "present")
_LINKS = ("of", "in", "on", "with", "that", "are", "is", "made", "colored")
_ANYTHING = ("object", "objects", "thing", "things", "item", "items")
_SAY_LITTLE = (  # left out if something is left then, in this order
    frozenset((*_ARTICLES, *_LINKS, *_ANYTHING)),
    frozenset((*_ARTICLES, *_LINKS)),
    frozenset[str](),
)


def plural(one: str) -> str:
    """ "cat" -> "cats", "berry" -> "berries", "cats" -> "cats"; the last word alone changes."""
    if one in IRREGULAR or one.endswith("s"):
        return IRREGULAR.get(one, one)
    if re.search("[^aeiou]y$", one):
        return one[:-1] + "ies"
    return one + ("es" if re.search("(?:x|ch|sh)$", one) else "s")


def same_things(one: str, other: str) -> bool:
    """Whether two phrases name the same things but for case, number, articles and word order.

    "a cat" and "Cats"; "red objects", "things in red" and "objects that are red"; "cubes" and
    "objects in cube". Words that only join others or stand for anything are passed over, unless
    there are no others.
    """
    mine, theirs = _words(one), _words(other)
    if len(mine) != len(theirs) or not mine:
        return False
    for forms in mine:
        found = next((each for each in theirs if forms & each), None)
        if found is None:
            return False
        theirs.remove(found)
    return True


def _words(phrase: str) -> list[set[str]]:
    """Of every word that says something: its own form and all that may be its singular."""
    words = re.findall(r"[^\W_]+(?:['-][^\W_]+)*", phrase.lower().replace("colour", "color"))
    left = ([word for word in words if word not in some] for some in _SAY_LITTLE)
    return [_forms(word) for word in next(filter(None, left), [])]


def _forms(word: str) -> set[str]:
    forms = {word, _SINGULAR.get(word, word)}
    return forms | {re.sub(ending, instead, word) for ending, instead in _ENDINGS}
