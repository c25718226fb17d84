"""Flickr8k: photographs of people and dogs doing things, five captions each.

Hodosh, Young, Hockenmaier, Framing image description as a ranking task (JAIR 2013). Three layouts
are read:

* as published: `Flickr8k.token.txt` (a line a caption: "1.jpg#0", a tab, the caption), beside the
  pictures or in `Flickr8k_text/`. It names one picture, "2258277193_586949ec62.jpg.1", that is not
  in the archive of the pictures, and that is left out;
* as it is passed on: `captions.txt`, a CSV file with the columns image and caption;
* a part of the set: `captions.csv` (filepath, caption), see `captions.py`.

Split by the photograph's name alone, not as published: the published lists leave 91 photographs
out, and whoever has a part of the set has the same photograph in the same part.
"""

from __future__ import annotations

from pathlib import Path

from imgrank.data.captions import CSV, TEST, VALIDATION, Captioned, Told, captioned, read_csv
from imgrank.data.labelled import About, ReadOptions
from imgrank.data.layout import read_table, read_text, under
from imgrank.data.split import split_by_name
from imgrank.errors import DataError

__all__ = ["ABOUT", "read"]

PUBLISHED = 8091
FOLDERS = ("Flicker8k_Dataset", "Flickr8k_Dataset", "Images", "images", ".")
TOKENS = ("Flickr8k.token.txt", "Flickr8k_text/Flickr8k.token.txt")
TABLE = "captions.txt"
ABOUT = About(
    title="Flickr8k: photographs of people and dogs, five captions each",
    paper="Hodosh, Young, Hockenmaier, Framing image description as a ranking task, 2013",
    source="nlp.cs.illinois.edu/HockenmaierGroup/8k-pictures.html (Flickr8k_Dataset and "
    "Flickr8k_text)",
    licence="",
    layout="Flickr8k_text/Flickr8k.token.txt\n"
    "Flicker8k_Dataset/*.jpg (8,091)\n"
    "or: captions.txt (image, caption), Images/*.jpg\n"
    "or, a part of the set: images/*.jpg, captions.csv (filepath, caption)",
    split="ours, by photograph: 70 % training, 10 % validation, 20 % test",
    queries="a photograph by one of its captions",
)


def read(root: Path, options: ReadOptions) -> Captioned:
    """All photographs with their captions.

    Raises DataError if no list of captions is there, if one is damaged, or (unless
    `options.partial`) a picture is missing.
    """
    tokens = next((root / place for place in TOKENS if (root / place).is_file()), None)
    if (root / CSV).is_file():
        told = read_csv(root / CSV)
    elif tokens is not None:
        told = _told(root, _tokens(tokens))
    elif (root / TABLE).is_file():
        told = _told(root, _table(root / TABLE))
    else:
        raise DataError(f"{root} holds none of {TOKENS[0]}, {TABLE} and {CSV}.")
    told = [Told(each.path, each.path.name, each.captions) for each in told]
    parts = split_by_name([each.name for each in told], "flickr8k|0", VALIDATION, TEST)
    return captioned("flickr8k", told, parts, options, PUBLISHED)


def _tokens(file: Path) -> dict[str, list[str]]:
    """Captions by name of the picture; lines of names that no picture can have are left out."""
    found: dict[str, list[str]] = {}
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        name, tab, caption = line.partition("\t")
        picture, mark, _ = name.rpartition("#")
        if not line.strip():
            continue
        if not (tab and mark and caption.strip()):
            raise DataError(f"{file}, line {number}: no NAME#NUMBER, tab and caption: {line!r}.")
        if picture.lower().endswith(".jpg"):
            found.setdefault(picture, []).append(caption.strip())
    return found


def _table(file: Path) -> dict[str, list[str]]:
    """Captions by name of the picture; the caption is all that follows, quoted or not."""
    found: dict[str, list[str]] = {}
    for where, row in read_table(file, ("image", "caption")):
        image, caption, *rest = row.values()
        text = ",".join([caption, *(rest[0] if rest else ())]).strip()
        if not image.strip() or not text:
            raise DataError(f"{where}: no {'caption' if image.strip() else 'image'}.")
        found.setdefault(image.strip(), []).append(text)
    return found


def _told(root: Path, found: dict[str, list[str]]) -> list[Told]:
    if not found:
        raise DataError(f"{root}: its captions name no picture.")
    folder = under(root, FOLDERS, list(found))
    return [Told(folder / name, name, captions) for name, captions in found.items()]
