"""The data sets by name: where the reader of each is, loaded when it is asked for.

Where a set lies: `--root` is its own folder, or the one that holds it under its name; without it,
NAME in the data folder of imgrank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from imgrank.data.labelled import About, Labelled, ReadOptions
from imgrank.errors import DataError, UsageError

__all__ = ["CATALOGUE", "Reader", "about", "place", "read"]


@dataclass(frozen=True, slots=True)
class Reader:
    """module: in `imgrank.data`; function: `read(root, options) -> Labelled` in it.

    made: in one line, what is made of other sets' pictures; "" for a published set, whose module
    has an `ABOUT`. A made set takes the folder that holds the others by name.
    """

    module: str
    function: str = "read"
    made: str = ""
    of: tuple[str, ...] = ()  # the sets whose folders it reads


CATALOGUE: Mapping[str, Reader] = {
    "agiqa3k": Reader("agiqa3k"),
    "agiqa3k-views": Reader(
        "agiqa3k", "read_views", "crops and smaller files of its training part", ("agiqa3k",)
    ),
    "utkface": Reader("utkface"),
    "oasis": Reader("oasis"),
    "oldnyc": Reader("oldnyc"),
    "distortions": Reader(
        "distorted",
        "read_distortions",
        "OASIS and Flickr8k photographs, made worse by known grades",
        ("oasis", "flickr8k"),
    ),
    "coco-distorted": Reader(
        "distorted",
        "read_coco_distorted",
        "COCO photographs, made worse; all of it test",
        ("coco",),
    ),
    "photographs": Reader(
        "distorted",
        "read_photographs",
        "your own: all photographs below ROOT, good ones only, made worse by known grades",
    ),
}


def reader(name: str) -> Reader:
    """Raises UsageError for a name that is not in the catalogue."""
    if name not in CATALOGUE:
        raise UsageError(f"there is no data set {name}; there are {', '.join(CATALOGUE)}.")
    return CATALOGUE[name]


def about(name: str) -> About:
    """What is known of a published set. Raises UsageError for a name that is not one."""
    found = reader(name)
    if found.made:
        raise UsageError(f"{name} is made of other pictures: {found.made}.")
    answer: About = import_module(f"imgrank.data.{found.module}").ABOUT
    return answer


def place(name: str, root: Path) -> Path:
    """The folder of a set: `root`/NAME if that is there, else `root` itself.

    A set that is made of several others takes `root`, one that is made of one the place of that.
    """
    of = reader(name).of
    if len(of) > 1:
        return root
    own = root / (of[0] if of else name)
    return own if own.is_dir() else root


def read(name: str, root: Path, options: ReadOptions | None = None) -> Labelled:
    """A data set from its folder, see `place`.

    Raises UsageError for an unknown name, DataError if the folder is wrong or incomplete; it says
    where the set comes from.
    """
    found = reader(name)
    function: Callable[[Path, ReadOptions], Labelled]
    function = getattr(import_module(f"imgrank.data.{found.module}"), found.function)
    folder = place(name, root)
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder. `imgrank data list` says how to lay out {name}.")
    return function(folder, options or ReadOptions())
