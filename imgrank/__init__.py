"""imgrank: sort folders of pictures by a plain instruction.

    from imgrank import sort, search, score, load_ranker
    for row in sort("photos", "by image quality"):
        print(row.rank, row.path, row.score)

Importing this costs nothing: a name is loaded when it is first used, torch when a picture's score
is not known yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgrank.api import Options, compare, index, load_ranker, score, search, sort
    from imgrank.estimates.age import age
    from imgrank.estimates.levels import aesthetic, decade

__all__ = [
    "Options",
    "aesthetic",
    "age",
    "compare",
    "decade",
    "index",
    "load_ranker",
    "score",
    "search",
    "sort",
]

_HOMES = {  # of names that are not api.py's
    "aesthetic": "imgrank.estimates.levels",
    "age": "imgrank.estimates.age",
    "decade": "imgrank.estimates.levels",
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(_HOMES.get(name, "imgrank.api")), name)
    raise AttributeError(f"module 'imgrank' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
