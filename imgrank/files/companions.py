"""Which files of a folder travel together: a picture, its sidecars, the RAW and JPEG of one shot.

A family is
* a picture with what has its whole name and a sidecar's suffix after it (`IMG.NEF.xmp`,
  `IMG.jpg.json`, also the `IMG.jpg.supplemental-metadata.json` of Google Takeout, which shortens
  that word as it likes), and
* where any file of a stem is a RAW or a sidecar of its own (`IMG.xmp`, the `IMG.mov` of a live
  photo), all pictures and sidecars of this stem. Else pictures of one stem (`a.jpg`, `a.png`) are
  strangers.

Suffixes count in any case (`IMG.JPG`, `img.Xmp`), stems as they are written. Each file belongs to
one family; a sidecar that could be of two is of the picture whose whole name it has. Twins that
differ by case alone (`IMG.jpg`, `IMG.JPG`) could not lie together on every file system: the second
is no member, with what has its whole name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from imgrank.files.naming import clash_key
from imgrank.images.formats import RAW_SUFFIXES, SUFFIXES

__all__ = ["Family", "families", "is_known", "split", "ties"]

SIDECARS = frozenset((".aae", ".dop", ".pp3", ".thm", ".xmp"))
FILMS = frozenset((".mov",))
APPENDED = SIDECARS | {".json"}
TAKEOUT = "supplemental-metadata"

_TYING = RAW_SUFFIXES | SIDECARS | FILMS
_KNOWN = SUFFIXES | _TYING


@dataclass(frozen=True, slots=True)
class Family:
    """Files of one folder that stay together and change their names together.

    stem: all names begin with it.   rests: what follows it in each, suffixes or "", sorted.
    tied: by their stem, so that no other file of this stem may come beside them.
    """

    stem: str
    rests: tuple[str, ...]
    tied: bool

    @property
    def names(self) -> list[str]:
        return [self.stem + rest for rest in self.rests]


def split(name: str) -> tuple[str, str]:
    """Stem and suffix, the latter in lower case."""
    stem, dot, suffix = name.rpartition(".")  # pathlib is slow for 100,000 names
    return (stem, dot + suffix.lower()) if stem.strip(".") else (name, "")


def is_known(suffix: str) -> bool:
    """Whether a suffix (lower case) is one of a picture, a sidecar or a live photo's film."""
    return suffix in _KNOWN


def ties(suffix: str) -> bool:
    """Whether a file of this suffix (lower case) makes a family of all that have its stem."""
    return suffix in _TYING


def families(names: Collection[str]) -> dict[str, Family]:
    """The files of one folder (no folders among them) -> the family of each, by name."""
    known = set(names)
    stems: dict[str, list[str]] = {}  # of files that are of a kind that we know, and no one's own
    owners: dict[str, str] = {}
    for name in known:
        stem, suffix = split(name)
        owner = _owner(stem, suffix, known)
        if owner is not None and split(owner)[1] in _KNOWN:
            owners[name] = owner
        elif suffix in _KNOWN:
            stems.setdefault(stem, []).append(name)
        elif owner is not None:
            owners[name] = owner
    heads: dict[str, tuple[str, bool]] = {}  # of a family: its stem, and whether it is tied
    for stem, same in stems.items():
        suffixes = {split(name)[1] for name in same}
        same = _without_twins(same)
        pictures = not suffixes.isdisjoint(SUFFIXES)
        if pictures and not suffixes.isdisjoint(_TYING):
            heads |= dict.fromkeys(same, (stem, True))
        elif not pictures and stem in known:  # sidecars of a picture without a suffix
            owners |= dict.fromkeys((name for name in same if split(name)[1] in SIDECARS), stem)
    for owned in _by_owner(owners).values():
        for twin in set(owned).difference(_without_twins(owned)):
            del owners[twin]
    members: dict[tuple[str, bool, str], list[str]] = {}
    for name in known:
        first = name
        while first in owners:  # shorter each time
            first = owners[first]
        stem, tied = heads.get(first, (split(first)[0], False))
        members.setdefault((stem, tied, "" if tied else first), []).append(name)
    found: dict[str, Family] = {}
    for (stem, tied, _), same in members.items():
        rests = tuple(sorted(name[len(stem) :] for name in same))
        family = Family(stem, rests, tied or any(ties(rest.lower()) for rest in rests))
        found |= dict.fromkeys(same, family)
    return found


def _without_twins(names: Iterable[str]) -> list[str]:
    """Of names that clash only the first."""
    return list({clash_key(name): name for name in sorted(names, reverse=True)}.values())


def _by_owner(owners: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, owner in owners.items():
        found.setdefault(owner, []).append(name)
    return found


def _owner(stem: str, suffix: str, known: Collection[str]) -> str | None:
    """The file whose whole name this one has, before a sidecar's suffix."""
    if suffix not in APPENDED:
        return None
    if stem in known:
        return stem
    base, dot, word = stem.rpartition(".")
    if suffix == ".json" and dot and word and TAKEOUT.startswith(word) and base in known:
        return base
    return None
