"""The papers' own figures, from published.toml: to be shown beside ours, as theirs."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from imgrank.data.catalogue import about, place
from imgrank.data.split import Part

__all__ = ["another_split", "figures_of", "published"]

FIRST = "001"  # the paper of rows that name none
FILE = Path(__file__).with_name("published.toml")


@cache
def published() -> Mapping[str, Mapping[str, Any]]:
    """Data set -> what published.toml says of it; its first lines tell what that is."""
    with FILE.open("rb") as file:
        return tomllib.load(file)


def figures_of(data: str, keys: Collection[str], own: bool = False) -> list[dict[str, Any]]:
    """The rows that papers print for a data set's queries and means; `paper` says which.

    own: only those of a paper's own model.
    """
    rows = published().get(data, {}).get("figures", ())
    return [
        {"paper": FIRST, **row} for row in rows if row["of"] in keys and (row.get("own") or not own)
    ]


def another_split(data: str, root: Path, part: Part, n: int, partial: bool) -> str:
    """Why n pictures of `part` are not what the paper measured; "" if nothing shows that.

    A split that the reader's `ABOUT` calls "ours" is one, unless the folder has the paper's lists;
    and even these may not say all.
    """
    if part != "test":
        return f"these are {part} pictures, the paper's are test pictures"
    if partial:
        return "some pictures are missing here"
    known = published().get(data, {})
    for key, where in (("test", "in the paper"), ("official", "in the published split")):
        if n != known.get(key, n):
            return f"another split: {n} pictures here, {known[key]} {where}"
    if lists := known.get("lists"):
        here = all((place(data, root) / name).is_file() for name in lists)
        return str(known.get("unclear", "")) if here else "another split than the paper's"
    return "another split than the paper's" if about(data).split.startswith("ours") else ""
