"""Finding pictures again on another machine: by their keys below a root, proved by their digests.

A picture is looked for by its set's reader, so that a set may lie in another of its layouts; one
that is not found by its key (a file that was renamed, a layout with other names) is found by its
content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imgrank.data.labelled import ReadOptions
from imgrank.data.pool import Pool, find_pictures, read_pool
from imgrank.errors import DataError
from imgrank.store.digest import digest_file

__all__ = ["locate"]

SHOWN = 5  # keys named in an error


def locate(
    keys: Sequence[str],
    digests: Sequence[str],
    pool: Sequence[Mapping[str, Any]],
    root: Path,
    file: Path,
) -> tuple[Path, ...]:
    """Where the pictures of these keys are.

    digests: hex sha256 of each.   pool: of each set {"name", "folder": whether it is a folder of
    yours}.   root: holds them under their names.   file: what asks, named in errors.
    Raises DataError if a set or a picture is missing, or not the same any more.
    """
    found = dict[str, Path]()
    for name, folder in dict.fromkeys((each["name"], bool(each.get("folder"))) for each in pool):
        here = _folder(name, root, file) if folder else _set(name, root)
        found.update(zip(here.keys, here.paths, strict=True))
    places = [found.get(key) for key in keys]
    wrong = [n for n, place in enumerate(places) if place is None or _digest(place) != digests[n]]
    if wrong:
        by_content = {_digest(place): place for place in found.values()}
        for n in wrong:
            places[n] = by_content.get(digests[n])
    if gone := [key for key, place in zip(keys, places, strict=True) if place is None]:
        raise DataError(
            f"{file}: {len(gone)} of {len(keys)} pictures are not below {root}, or are not the "
            f"same any more: {', '.join(gone[:SHOWN])}{', ...' if gone[SHOWN:] else ''}. Name "
            "another root, or make it again: imgrank data preferences."
        )
    return tuple(place for place in places if place is not None)


def _set(name: str, root: Path) -> Pool:
    return read_pool([name], root, ReadOptions(partial=True))


def _folder(name: str, root: Path, file: Path) -> Pool:
    """A folder of yours below `root`, or `root` itself if it is called so."""
    below = root / name
    own = root if not below.is_dir() and root.absolute().name == name else below
    if not own.is_dir():
        raise DataError(
            f"{file} is about pictures of a folder {name}, and there is no {below}. Put it there, "
            "or a link to it; or name the folder that holds it as the root."
        )
    return find_pictures(own, name=name)


def _digest(path: Path) -> str:
    try:
        return digest_file(path).hex()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
