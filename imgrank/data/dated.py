"""OldNYC and, above it, photographs of our time whose year is a convention.

A model of OldNYC alone gives a colour photograph of a telephone some year between the wars. So that
mixed folders sort sensibly, photographs of OASIS and Flickr8k are taken to be of the year `YEAR`,
as they are and, half of them, also in monochrome. Nobody dated them; it is only known when the sets
were published (2017 and 2013). There is nothing between 1942 and these: a score in that gap says
"neither", not a date.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imgrank.data import oldnyc
from imgrank.data.distortions import find_photographs
from imgrank.data.labelled import About, Labelled, Labels, Pixels, ReadOptions, read_picture
from imgrank.data.oasis import parts_of
from imgrank.data.split import split_by_name
from imgrank.images.decode import to_square

__all__ = ["ABOUT", "YEAR", "read"]

YEAR = 2010
ABOUT = About(
    title="OldNYC, and photographs of OASIS and Flickr8k taken to be of 2010",
    paper="",
    source="made of oldnyc, oasis and Flickr8k's pictures",
    licence="that of the photographs",
    layout="oldnyc/ (see there)\noasis/images/*.jpg\nflickr8k/images/*.jpg",
    split="OldNYC by sheet and OASIS by theme as everywhere, Flickr8k by photograph: 80 % "
    "training, 10 % validation, 10 % test",
    queries="year (of the modern ones by convention)",
)


def read(root: Path, options: ReadOptions) -> Labelled:
    """The pictures in `root`/oldnyc, /oasis and /flickr8k.

    Raises DataError as OldNYC's reader does, and for a folder without photographs.
    """
    old = oldnyc.read(root / "oldnyc", options)
    oasis = find_photographs([root / "oasis" / "images"])
    flickr = find_photographs([root / "flickr8k" / "images"])
    photographs = oasis + flickr
    parts = parts_of(oasis) + split_by_name([path.name for path in flickr], "flickr8k|0")
    every = list(zip(photographs, parts, strict=True))
    modern = [(path, part, False) for path, part in every]
    modern += [(path, part, True) for path, part in every[::2]]

    def picture(index: int, size: int) -> Pixels:
        if index < len(old):
            return old.pixels(index, size)
        path, _, monochrome = modern[index - len(old)]
        image = read_picture(path, size)
        return to_square(image.convert("L").convert("RGB") if monochrome else image, size)

    names = ["/".join(path.parts[-3:]) for path, _, _ in modern]
    colours = ["|L" if monochrome else "" for _, _, monochrome in modern]
    years = np.full(len(modern), YEAR, dtype=np.float32)
    (own,) = old.labels
    return Labelled(
        "dated",
        paths=old.paths + tuple(path for path, _, _ in modern),
        keys=old.keys + tuple(map("".join, zip(names, colours, strict=True))),
        parts=old.parts + tuple(part for _, part, _ in modern),
        groups=old.groups + tuple(names),
        labels=(
            Labels("year", own.task, own.prompt, np.concatenate((own.values, years)), unit="year"),
        ),
        render=picture,
        mirrored=False,
    )
