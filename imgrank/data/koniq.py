"""KonIQ-10k: 10,073 photographs from the web with a mean opinion score of their quality.

Hosu, Lin, Sziranyi, Saupe, KonIQ-10k: An ecologically valid database for deep learning of blind
image quality assessment (IEEE TIP 2020). Layout as published:

    koniq10k_distributions_sets.csv    image_name, c1 .. c5, c_total, MOS, SD, set
    1024x768/*.jpg                     or 512x384/*.jpg, the same at half the size

c1 .. c5: the shares of the ratings 1 to 5; MOS: of ratings normalised by rater, on a scale of 1 to
100; set: training, validation or test, the authors' split (2,015 photographs are test).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imgrank.data.labelled import About, Labelled, Labels, ReadOptions, present
from imgrank.data.layout import find, number, read_table, under
from imgrank.data.split import Part
from imgrank.errors import DataError

__all__ = ["ABOUT", "PUBLISHED", "read"]

PUBLISHED = 10_073  # photographs of the whole set
TABLE = "koniq10k_distributions_sets.csv"
WITHOUT_SPLIT = "koniq10k_scores_and_distributions.csv"  # comes with the pictures
FOLDERS = (
    "1024x768",
    "512x384",
    "koniq10k_1024x768/1024x768",
    "koniq10k_512x384/512x384",
    "koniq10k_1024x768",
    "koniq10k_512x384",
)
PARTS: dict[str, Part] = {"training": "train", "validation": "validation", "test": "test"}
ABOUT = About(
    title="KonIQ-10k: photographs from the web with human opinions of their quality",
    paper="Hosu, Lin, Sziranyi, Saupe, KonIQ-10k: An ecologically valid database for deep "
    "learning of blind image quality assessment, 2020",
    source="database.mmsp-kn.de/koniq-10k-database.html (pictures), github.com/subpic/koniq "
    f"(metadata/{TABLE})",
    licence="",
    layout=f"{TABLE}\n1024x768/*.jpg (or 512x384/*.jpg)",
    split="the authors': 2,015 test, 8,058 training and validation",
    queries="quality (MOS, 1 to 100)",
)


def read(root: Path, options: ReadOptions) -> Labelled:
    """The quality of all photographs.

    Raises DataError if the table, one of its columns, a number or (unless `options.partial`) a
    picture is missing, and for a row of an unknown set.
    """
    if not (root / TABLE).is_file() and (root / WITHOUT_SPLIT).is_file():
        raise DataError(
            f"{root / WITHOUT_SPLIT} has no split. Put {TABLE} beside it, from the folder "
            "metadata of the authors' repository github.com/subpic/koniq."
        )
    rows = read_table(find(root, TABLE), ("image_name", "MOS", "set"))
    names = [row["image_name"] for _, row in rows]
    values = [number(row["MOS"], where, "MOS") for where, row in rows]
    parts = [_part(row["set"], where) for where, row in rows]
    if len(rows) != PUBLISHED:
        options.report(f"koniq: {len(rows)} rows, where the published table has {PUBLISHED}")
    images = under(root, FOLDERS, names)
    paths = [images / name for name in names]
    kept = present("koniq", paths, options)
    keys = tuple(f"koniq/{images.name}/{names[n]}" for n in kept)
    mos = np.array([values[n] for n in kept], dtype=np.float32)
    prompt = "sort images by the image quality of MOS"
    return Labelled(
        "koniq",
        paths=tuple(paths[n] for n in kept),
        keys=keys,
        parts=tuple(parts[n] for n in kept),
        groups=keys,
        labels=(Labels("quality", "quality", prompt, mos, unit="MOS", range=(1, 100)),),
        published=PUBLISHED,
    )


def _part(text: str, where: str) -> Part:
    if text not in PARTS:
        raise DataError(f"{where}: set is {text!r}, neither {' nor '.join(PARTS)}.")
    return PARTS[text]
