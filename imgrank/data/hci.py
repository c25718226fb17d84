"""HCI: historical colour photographs of five decades, 1930s to 1970s.

Palermo, Hays, Efros, Dating historical color images (ECCV 2012). Layout as published, in the folder
`HistoricalColor-ECCV2012/data/imgs/decade_database` of its archive: a folder a decade.

    1930s/*.jpg   1940s/*.jpg   1950s/*.jpg   1960s/*.jpg   1970s/*.jpg

The archive has no split. In the literature on ordinal regression (which the paper of the adapter
follows) the 265 photographs of each decade are divided ten times, at random, into 210 for training,
5 for validation and 50 for test. Some who did that publish their lists, as JSON, and these are
taken where they lie beside the decades:

    fold_0.txt .. fold_9.txt    {"train": [["1930s", "NAME.jpg", 0], ...], "val": ..., "test": ...}

Else the ten divisions are ours, of the same sizes: the photographs of a decade in the order of a
digest of their names, as a ring; fold k tests the 50 (of 265) from k tenths of the ring on, and the
next 5 are for validation. So each photograph is tested in about two of the ten folds.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from imgrank.data.labelled import About, Labelled, Labels, ReadOptions, present
from imgrank.data.layout import find, read_text
from imgrank.data.split import Part
from imgrank.errors import DataError, UsageError
from imgrank.images.formats import SUFFIXES

__all__ = ["ABOUT", "DECADES", "FOLDS", "PUBLISHED", "read"]

FOLDS = 10
PUBLISHED = 1_325  # photographs of the whole set: 265 a decade
DECADES = ("1930s", "1940s", "1950s", "1960s", "1970s")
ARCHIVE = "HistoricalColor-ECCV2012/data/imgs/decade_database"
PLACES = ("", "decade_database", "data/imgs/decade_database", ARCHIVE)
NAMED_PARTS: dict[str, Part] = {"train": "train", "val": "validation", "test": "test"}
ABOUT = About(
    title="HCI: historical colour photographs of five decades",
    paper="Palermo, Hays, Efros, Dating historical color images, 2012",
    source="graphics.cs.cmu.edu/projects/historicalColor "
    "(HistoricalColor-ECCV2012-DecadeDatabase.tar)",
    licence="",
    layout="1930s/*.jpg, 1940s/*.jpg, 1950s/*.jpg, 1960s/*.jpg, 1970s/*.jpg "
    f"(here or in {ARCHIVE})\nfold_0.txt to fold_9.txt (optional: a published split)",
    split="ours, in ten folds of the literature's sizes (of 265 a decade 210 training, 5 "
    "validation, 50 test), or that of fold_*.txt",
    queries="decade (five classes, 1930s to 1970s)",
    folds=FOLDS,
)
Row = tuple[Path, int, Part]


def read(root: Path, options: ReadOptions) -> Labelled:
    """The decade of all photographs, in fold `options.fold`.

    Raises UsageError for a fold that there is not; DataError if a decade's folder is missing or
    empty, a list of the split is damaged, or (unless `options.partial`) names a picture that is not
    there.
    """
    if not 0 <= options.fold < FOLDS:
        raise UsageError(f"hci has the folds 0 to {FOLDS - 1}, not {options.fold}.")
    folder = _folder(root)
    rows = _listed(root, folder, options) or _ours(folder, options)
    decades = np.array([decade for _, decade, _ in rows], dtype=np.float32)
    prompt = "sort images by the taken date of the photo."
    keys = tuple(f"hci/{path.parent.name}/{path.name}" for path, _, _ in rows)
    labels = Labels(
        "decade", "decade", prompt, decades, unit="decade", range=(0, 4), classes=DECADES
    )
    return Labelled(
        "hci",
        paths=tuple(path for path, _, _ in rows),
        keys=keys,
        parts=tuple(part for _, _, part in rows),
        groups=keys,
        labels=(labels,),
        published=PUBLISHED,
    )


def _folder(root: Path) -> Path:
    """The folder of the five decades. Raises DataError if one of them is missing."""
    places = (root / place for place in PLACES)
    there = (place for place in places if any((place / name).is_dir() for name in DECADES))
    folder = next(there, None) or find(root, DECADES[0]).parent
    if missing := [name for name in DECADES if not (folder / name).is_dir()]:
        raise DataError(f"{folder} has no folder {', '.join(missing)}. Unpack the archive again.")
    return folder


def _ours(folder: Path, options: ReadOptions) -> list[Row]:
    """All photographs, by decade and in the order of the ring."""
    rows: list[Row] = []
    for decade, name in enumerate(DECADES):
        ring = sorted(_pictures(folder / name), key=_digest)
        n = len(ring)
        test, validation = max(1, round(n * 50 / 265)), max(1, round(n * 5 / 265))
        start = round(options.fold * n / FOLDS)
        for place, path in enumerate(ring):
            step = (place - start) % n
            part: Part = "test" if step < test else "train"
            if test <= step < test + validation and n > 2:
                part = "validation"
            rows.append((path, decade, part))
    if len(rows) != PUBLISHED:
        options.report(f"hci: {len(rows)} pictures, where {PUBLISHED} are published")
    return rows


def _pictures(folder: Path) -> list[Path]:
    found = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]
    if not found:
        raise DataError(f"{folder} holds no picture. Unpack the archive again.")
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(f"hci|0|{path.name}".encode()).hexdigest()


def _listed(root: Path, folder: Path, options: ReadOptions) -> list[Row]:
    """The rows of a published fold; none if no fold is published here. Raises DataError."""
    beside = next((place for place in (root, folder) if any(place.glob("fold_?.txt"))), None)
    if beside is None:
        return []
    path = beside / f"fold_{options.fold}.txt"
    if not path.is_file():
        raise DataError(f"{path} is missing, though other folds lie beside it.")
    try:
        table = json.loads(read_text(path))
        rows = [
            (folder / decade / name, DECADES.index(decade), part)
            for key, part in NAMED_PARTS.items()
            for decade, name, _ in table[key]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f'{path} is not {{"train": [["1930s", "NAME.jpg", 0], ...], "val": ..., '
            f'"test": ...}}: {error}.'
        ) from error
    return [rows[n] for n in present("hci", [place for place, _, _ in rows], options)]
