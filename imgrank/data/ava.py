"""AVA: over 250,000 photographs of contests with ten vote counts each, from 1 (worst) to 10 (best).

Murray, Marchesotti, Perronnin, AVA: A large-scale database for aesthetic visual analysis (CVPR
2012). Layout as published, and as its mirrors add the pictures:

    AVA.txt                                     a photograph a line, 15 numbers between blanks:
                                                index, id, votes for 1 .. 10, two tags, challenge
    aesthetics_image_lists/generic_test.jpgl    ids of the 19,930 test photographs, one a line
    images/ID.jpg                               (or image/, images/images/)

The score is the mean of the votes. Test is the authors' list; all the others are for training, of
which we keep a hundredth for validation.

Copies of AVA lack some pictures, and others end in the middle. `partial` leaves both out: a JPEG
counts as whole if its end-of-image mark (FF D9, ITU-T T.81) is in its last `TAIL` bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgrank.data.labelled import About, Labelled, Labels, ReadOptions, present
from imgrank.data.layout import find, read_text, under
from imgrank.data.split import Part, split_by_name
from imgrank.errors import DataError

__all__ = ["ABOUT", "TESTED", "Voted", "read", "read_votes"]

TESTED = 19_930  # photographs of the published test list
TABLES = ("AVA.txt", "AVA_dataset/AVA.txt", "AVA_Files/AVA.txt")
TESTS = "aesthetics_image_lists/generic_test.jpgl"
FOLDERS = ("images", "image", "images/images")
COLUMNS = 15
TAIL = 4096
ABOUT = About(
    title="AVA: photographs of contests with votes on their aesthetics",
    paper="Murray, Marchesotti, Perronnin, AVA: A large-scale database for aesthetic visual "
    "analysis, 2012",
    source="github.com/imfing/ava_downloader (lists and where to get the pictures), "
    "academictorrents.com",
    licence="rights to the pictures are the photographers'; not to be redistributed, says its "
    "README",
    layout=f"AVA.txt\n{TESTS}\nimages/*.jpg",
    split=f"the authors' {TESTED:,} test photographs; of the others 1 % validation, ours",
    queries="aesthetics (mean of the votes, 1 to 10)",
    note="Copies lack some pictures, and some files are cut off: use --partial.",
)


@dataclass(frozen=True, slots=True)
class Voted:
    """A line of AVA.txt.   mean: of the votes, 1 to 10."""

    id: str
    mean: float


def read(root: Path, options: ReadOptions) -> Labelled:
    """The mean vote of all photographs.

    Raises DataError if the table or the test list is missing or damaged, if a photograph is listed
    twice or without a vote, and if a picture is missing; with `options.partial` the last three are
    left out and reported, and cut-off files too.
    """
    table = find(root, *TABLES)
    tests = table.parent / TESTS
    if not tests.is_file() and not (root / TESTS).is_file():
        raise DataError(f"{tests} is missing: it holds the ids of the test photographs.")
    tested = set(read_text(tests if tests.is_file() else root / TESTS).split())
    voted = read_votes(table, options)
    ids = {row.id for row in voted}
    if not tested <= ids:
        example = sorted(tested - ids)[0]
        raise DataError(f"{tests} names {example}, which is not in {table}. Are both of AVA?")
    if len(tested) != TESTED:
        options.report(f"ava: {len(tested)} test photographs, where {TESTED} are published")
    base = table.parent if any((table.parent / name).is_dir() for name in FOLDERS) else root
    names = [f"{row.id}.jpg" for row in voted]
    images = under(base, FOLDERS, names)
    paths = [images / name for name in names]
    kept = present("ava", paths, options)
    if options.partial:
        kept = _whole(paths, kept, options)
    keys = tuple(f"ava/{names[n]}" for n in kept)
    means = np.array([voted[n].mean for n in kept], dtype=np.float32)
    prompt = "sort images by the image quality of MOS"
    return Labelled(
        "ava",
        paths=tuple(paths[n] for n in kept),
        keys=keys,
        parts=tuple(_parts([voted[n].id for n in kept], tested)),
        groups=keys,
        labels=(Labels("aesthetics", "aesthetics", prompt, means, unit="MOS", range=(1, 10)),),
    )


def read_votes(table: Path, options: ReadOptions) -> list[Voted]:
    """All lines of AVA.txt, in its order. Raises DataError as `read` does."""
    voted: dict[str, Voted] = {}
    twice, empty = 0, 0
    for line, text in enumerate(read_text(table).splitlines(), start=1):
        where, cells = f"{table}, line {line}", text.split()
        if not cells:
            continue
        if len(cells) != COLUMNS:
            raise DataError(f"{where}: {len(cells)} numbers, where AVA has {COLUMNS}.")
        votes = [_count(cell, where) for cell in cells[2:12]]
        if cells[1] in voted or not any(votes):
            if not options.partial:
                what = "is listed twice" if cells[1] in voted else "has no vote"
                raise DataError(f"{where}: {cells[1]} {what}. Go on without that: --partial.")
            twice, empty = twice + (cells[1] in voted), empty + (not any(votes))
            continue
        mean = sum(score * count for score, count in enumerate(votes, start=1)) / sum(votes)
        voted[cells[1]] = Voted(cells[1], mean)
    if twice or empty:
        options.report(f"ava: left out {twice} lines of photographs listed before, {empty} unvoted")
    if not voted:
        raise DataError(f"{table} has no photographs.")
    return list(voted.values())


def _count(cell: str, where: str) -> int:
    if not (cell.isascii() and cell.isdigit()):
        raise DataError(f"{where}: {cell!r} is no number of votes.")
    return int(cell)


def _parts(ids: list[str], tested: set[str]) -> list[Part]:
    drawn = split_by_name(ids, "ava|0", validation=0.01, test=0)
    return ["test" if own in tested else part for own, part in zip(ids, drawn, strict=True)]


def _whole(paths: list[Path], kept: list[int], options: ReadOptions) -> list[int]:
    """Those of `kept` whose files are neither empty nor JPEGs that end in the middle."""
    whole = [n for n in kept if not _cut_off(paths[n])]
    if gone := sorted(set(kept) - set(whole)):
        options.report(
            f"ava: {len(gone)} files are cut off and left out, the first {paths[gone[0]]}"
        )
    if not whole:
        raise DataError(f"ava: all of its {len(kept)} pictures are cut off. Get them again.")
    return whole


def _cut_off(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(2)
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL))
        return not head or (head == b"\xff\xd8" and b"\xff\xd9" not in file.read())
