"""Results -> the page of `page.py`: joined, with thumbnails, and addresses of the originals.

Several results become one page: pictures are the same if their paths are, or if one result has a
picture where another one says that it was filed, and criteria stand side by side. A criterion that
two results have in common (the same instruction and model, over two folders) is one, and then ranks
are given anew by its scores. A picture that some results lack has no value there.

A picture that is gone, or cannot be read, has a tile without a thumbnail and a note that says why.
The same results and pictures give the same page: there is no date in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote_from_bytes

from imgrank.images import Skip
from imgrank.images.thumbnail import Wanted, thumbnails
from imgrank.results.documents import Results, Tile, in_order
from imgrank.results.page import Criterion, Page, Picture

__all__ = ["Gallery", "address", "files_of", "join", "make", "there", "usual_side"]

LARGE = 1280
"""Pixels on the long side of the copy of a picture that browsers cannot show in full."""

LARGE_ONES = 200
"""How many of the first pictures may have such a copy (about 100 KB each)."""

SIDES = ((500, 480), (2000, 320), (5000, 256))
"""Up to so many pictures, thumbnails of so many pixels. A full page is of 15, 30, 50 MB."""

LEAST_SIDE = 192


@dataclass(frozen=True, slots=True)
class Gallery:
    """page: to be written.   without: pictures that have no thumbnail, and why."""

    page: Page
    without: Sequence[Skip]


def usual_side(pictures: int) -> int:
    """Pixels on the long side of a thumbnail, so that the page stays one that a browser opens."""
    return next((side for most, side in SIDES if pictures <= most), LEAST_SIDE)


def files_of(results: Results, root: Path) -> list[Path]:
    """Where each picture is: where the results say that it was copied, linked or moved, as with
    `--gallery` at once; where it came from, if it is not there (any more: it was taken back)."""
    return [_file(tile, root) for tile in results.tiles]


def make(
    results: Results,
    files: Sequence[Path],
    folder: Path | None,
    *,
    side: int | None = None,
    threads: int,
    title: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Gallery:
    """The page of some results.

    files: of the tiles, as `files_of` has them.   folder: that the page will be in; None if that is
    not known.   side: of the thumbnails in pixels, by default the usual one.
    """
    side = side or usual_side(len(files))
    wanted = (
        Wanted(file, side, max(side, LARGE) if i < LARGE_ONES else side)
        for i, file in enumerate(files)
    )
    pictures: list[Picture] = []
    without: list[Skip] = []
    small = thumbnails(wanted, threads=threads)
    progress(0, len(files))
    for tile, file, found in zip(results.tiles, files, small, strict=True):
        picture = _picture(tile, file, folder)
        if isinstance(found, Skip):
            without.append(found)
            notes = (picture.note, found.reason)
            picture = replace(picture, note="; ".join(filter(None, notes)))
        else:
            picture = replace(picture, thumbnail=found.webp, width=found.width, height=found.height)
        pictures.append(picture)
        progress(len(pictures), len(files))
    page = Page(
        title or results.title, _subtitle(results), results.criteria, pictures, results.skipped
    )
    return Gallery(page, without)


def address(file: Path, folder: Path | None) -> str:
    """Of a file for a page in a folder: relative, or a file URI where there is no way from there
    (another drive, an unknown folder). From the name's bytes. "" for a name that cannot be."""
    try:
        path = _without_parents(file)
        if folder is None or path.drive != (start := _without_parents(folder)).drive:
            return path.as_uri()
        return quote_from_bytes(os.fsencode(Path(os.path.relpath(path, start)).as_posix()))
    except (ValueError, OSError):  # a NUL, a surrogate that stands for no byte, a loop of links
        return ""


def _without_parents(path: Path) -> Path:
    """Absolute, without "..", which a browser takes away by words and a file system by links."""
    return path.resolve() if ".." in path.parts else path.absolute()


def _file(tile: Tile, root: Path) -> Path:
    if tile.place is not None and there(root / tile.place):
        return root / tile.place
    return root / tile.path


def there(path: Path) -> bool:
    """Something has this name; the name may be one that no file can have."""
    try:
        return os.path.lexists(path)
    except ValueError:  # a NUL in the name
        return False


def _picture(tile: Tile, file: Path, folder: Path | None) -> Picture:
    return Picture(
        name=file.name,
        path=str(file),
        href=address(file, folder),
        thumbnail=None,
        width=0,
        height=0,
        rank=tile.rank,
        percentile=tile.percentile,
        values=tile.values,
        texts=tile.texts,
        labels=tile.labels,
        note=tile.note,
    )


def _subtitle(results: Results) -> str:
    """ "2,000 pictures · highest first · adapter tiny-quality"."""
    count = len(results.tiles)
    first = "highest first" if results.criteria[0].direction == "descending" else "lowest first"
    models = dict.fromkeys(c.model for c in results.criteria if c.model)
    return " · ".join([f"{count:,} {'picture' if count == 1 else 'pictures'}", first, *models])


# ---- several results -----------------------------------------------------------------------------


def join(several: Sequence[Results]) -> tuple[Results, int]:
    """One result of one or several, and how many pictures some criterion was not asked of."""
    if len(several) == 1:
        return several[0], 0
    criteria, columns = _side_by_side(several)
    tiles: dict[str, Tile] = {}
    filed = _filed(several)
    for results, places in zip(several, columns, strict=True):
        for tile in results.tiles:
            key = os.path.normpath(tile.path)
            key = filed.get(key, key)
            blank = Tile(tile.path, (None,) * len(criteria), ("",) * len(criteria))
            if results is several[0]:
                blank = replace(blank, rank=tile.rank, percentile=tile.percentile)
            tiles[key] = _added(tiles.get(key, blank), tile, places)
    lacking = sum("" in tile.texts for tile in tiles.values())
    joined = tuple(
        replace(tile, texts=tuple(text or "-" for text in tile.texts)) for tile in tiles.values()
    )
    if any(0 in places for places in columns[1:]):
        joined = in_order(joined, criteria[0])
    title = ", ".join(dict.fromkeys(results.title for results in several))
    skipped = dict.fromkeys(skip for results in several for skip in results.skipped)
    return Results(title, tuple(criteria), joined, skipped=tuple(skipped)), lacking


def _filed(several: Sequence[Results]) -> dict[str, str]:
    """Where pictures were copied, linked or moved -> where they came from."""
    return {
        os.path.normpath(tile.place): os.path.normpath(tile.path)
        for results in several
        for tile in results.tiles
        if tile.place is not None
    }


def _side_by_side(several: Sequence[Results]) -> tuple[list[Criterion], list[list[int]]]:
    """All criteria, and at which places among them those of each result are."""
    asked: list[Criterion | None] = []  # None: combined; what that means differs from set to set
    named: list[Criterion] = []
    columns: list[list[int]] = []
    for results in several:
        columns.append([])
        for i, criterion in enumerate(results.criteria):
            own = results.combined and i == 0
            if own or criterion not in asked:
                columns[-1].append(len(asked))
                asked.append(None if own else criterion)
                named.append(replace(criterion, name=_free_name(criterion, named)))
            else:
                columns[-1].append(asked.index(criterion))
    return named, columns


def _free_name(criterion: Criterion, taken: Sequence[Criterion]) -> str:
    """Its name; with its model, and numbered, if others of the page are called so."""
    names = {other.name for other in taken}
    tries = [
        criterion.name,
        *([f"{criterion.name} ({criterion.model})"] if criterion.model else []),
    ]
    tries += [f"{criterion.name} ({i})" for i in range(2, len(taken) + 2)]
    return next(name for name in tries if name not in names)


def _added(known: Tile, more: Tile, places: Sequence[int]) -> Tile:
    values, texts = list(known.values), list(known.texts)
    for place, value, text in zip(places, more.values, more.texts, strict=True):
        if not texts[place]:
            values[place], texts[place] = value, text
    notes = dict.fromkeys(note for note in (known.note, more.note) if note)
    return replace(
        known,
        values=tuple(values),
        texts=tuple(texts),
        labels=tuple(dict.fromkeys((*known.labels, *more.labels))),
        note="; ".join(notes),
        place=known.place or more.place,
    )
