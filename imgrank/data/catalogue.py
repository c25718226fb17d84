"""The data sets by name: where the reader of each is, loaded when it is asked for.

Where a set lies: `--root` is its own folder, or the one that holds it under its name; without it,
NAME in the data folder of imgrank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from imgrank.data.labelled import About, Labelled, ReadOptions
from imgrank.errors import DataError, UsageError

__all__ = [
    "CATALOGUE",
    "RETRIEVAL",
    "Reader",
    "about",
    "how_to_get",
    "place",
    "read",
    "read_groups",
    "reader",
]


@dataclass(frozen=True, slots=True)
class Reader:
    """module: in `imgrank.data`; function: `read(root, options) -> Labelled` in it.

    about: name of the set's `About` in that module.
    made: in one line, what is made of other sets' pictures; "" for a published set.
    of: the sets whose folders a made one reads; of several it takes the folder that holds them.
    files: whether it reads any; a set that is drawn takes no notice of its folder.
    table: whether its folder may be a file, the table itself.
    """

    module: str
    function: str = "read"
    made: str = ""
    of: tuple[str, ...] = ()
    about: str = "ABOUT"
    files: bool = True
    table: bool = False


CATALOGUE: Mapping[str, Reader] = {
    "koniq": Reader("koniq"),
    "ava": Reader("ava"),
    "adience": Reader("adience"),
    "hci": Reader("hci"),
    "morph": Reader("morph"),
    "clap2015": Reader("clap2015"),
    "crowdbeauty": Reader("crowdbeauty"),
    **{
        f"crowdbeauty-{name}": Reader(
            "crowdbeauty",
            f"read_{name}",
            f"those photographs of CrowdBeauty that are of the category {name}",
            ("crowdbeauty",),
        )
        for name in ("animals", "nature", "people", "urban")
    },
    "csv": Reader("table", table=True),
    "agiqa3k": Reader("agiqa3k"),
    "agiqa3k-views": Reader(
        "agiqa3k",
        "read_views",
        "crops and smaller files of its training part",
        ("agiqa3k",),
        about="VIEWS_ABOUT",
    ),
    "utkface": Reader("utkface"),
    "oasis": Reader("oasis"),
    "oldnyc": Reader("oldnyc"),
    "dated": Reader(
        "dated",
        "read",
        "OldNYC, and modern photographs taken to be of 2010",
        ("oldnyc", "oasis", "flickr8k"),
    ),
    "coco": Reader("coco"),
    "coco-rem": Reader("coco_rem"),
    "clevr": Reader("clevr"),
    "renders": Reader("renders", "read", "drawn solids and flat shapes, counted", files=False),
    "distortions": Reader(
        "distorted",
        "read_distortions",
        "OASIS and Flickr8k photographs, made worse by known grades",
        ("oasis", "flickr8k"),
        about="DISTORTIONS",
    ),
    "coco-distorted": Reader(
        "distorted",
        "read_coco_distorted",
        "COCO photographs, made worse; all of it test",
        ("coco",),
        about="COCO_DISTORTED",
    ),
    "photographs": Reader(
        "distorted",
        "read_photographs",
        "your own: all photographs below ROOT, good ones only, made worse by known grades",
        about="PHOTOGRAPHS",
    ),
}

RETRIEVAL: Mapping[str, Reader] = {
    "flickr8k": Reader("flickr8k"),
    "coco-captions": Reader(
        "coco_captions", "read", "the captions of COCO's photographs", ("coco",)
    ),
    "captions": Reader("captions", table=True),
    "hpir": Reader("hpir"),
    "classes": Reader("classes"),
}
"""Sets for text-to-image search. Their modules have an `About`, and readers of their own: they hold
captions or groups of pictures and no values, so that `read` refuses them."""


def reader(name: str) -> Reader:
    """Raises UsageError for a name that is not in the catalogue."""
    known = {**CATALOGUE, **RETRIEVAL}
    if name not in known:
        raise UsageError(f"there is no data set {name}; there are {', '.join(known)}.")
    return known[name]


def about(name: str) -> About:
    """What is known of a set, published or made. Raises UsageError for an unknown name."""
    found = reader(name)
    answer: About = getattr(import_module(f"imgrank.data.{found.module}"), found.about)
    return answer


def place(name: str, root: Path) -> Path:
    """The folder of a set: `root`/NAME if that is there, else `root` itself.

    A set that is made of several others takes `root`, one that is made of one the place of that.
    """
    of = reader(name).of
    if len(of) > 1:
        return root
    own = root / (of[0] if of else name)
    return own if own.exists() else root


def read(name: str, root: Path, options: ReadOptions | None = None) -> Labelled:
    """A data set from its folder, see `place`.

    Raises UsageError for an unknown name and a set without values, DataError if the folder is
    missing, no folder, wrong or incomplete; it says where the set comes from and how to lay it out.
    """
    reader(name)
    if name in RETRIEVAL:
        raise UsageError(
            f"{name} has no values that pictures could be ordered by: it is for search "
            "(`imgrank train retrieval`, `imgrank eval`)."
        )
    data: Labelled = _read(name, root, options)
    return data


def read_groups(name: str, root: Path, options: ReadOptions | None = None) -> Any:
    """What the reader of `hpir` or `classes` gives. Raises as `read` does."""
    return _read(name, root, options)


def _read(name: str, root: Path, options: ReadOptions | None) -> Any:
    found = reader(name)
    function: Callable[[Path, ReadOptions], Any]
    function = getattr(import_module(f"imgrank.data.{found.module}"), found.function)
    folder = place(name, root)
    if found.files and not folder.exists():
        raise DataError(f"{name}: there is no folder {root / name}.\n{how_to_get(name)}")
    if found.files and not found.table and not folder.is_dir():
        raise DataError(f"{name}: {folder} is a file, not a folder.\n{how_to_get(name)}")
    try:
        return function(folder, options or ReadOptions())
    except DataError as error:
        if folder == root:  # it was not found by its name: perhaps it is not here at all
            raise DataError(f"{error}\n{how_to_get(name)}") from error
        if "imgrank data list" in str(error):
            raise
        raise DataError(f"{error}\n`imgrank data list {name}` says how to lay it out.") from error


def how_to_get(name: str) -> str:
    """Where a set comes from and its layout, in a few lines."""
    known = about(name)
    return "\n".join(
        [
            f"  {name}: {known.title}",
            f"  from: {known.source}",
            f"  lay it out so, in {name} of --root or of the data folder, or in --root itself:",
            *(f"    {line}" for line in known.layout.split("\n")),
            f"`imgrank data list {name}` says more.",
        ]
    )
