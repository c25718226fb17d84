"""COCO's captions: photographs of everyday scenes, five captions each.

Chen et al., Microsoft COCO captions: data collection and evaluation server (2015), in the 2017
release. An annotation file is one JSON object:

    images       [{id, file_name, ...}]
    annotations  [{image_id, id, caption}]   one a caption

Papers often give recall on 5,000 pictures that Karpathy chose; the test part here is val2017, other
5,000 pictures. The part of the set that is used where the whole is too much is `images/` and
`captions.csv` (filepath, caption), see `captions.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from imgrank.data import coco
from imgrank.data.captions import CSV, TEST, VALIDATION, Captioned, Told, captioned, read_csv
from imgrank.data.labelled import About, ReadOptions
from imgrank.data.split import Part, split_by_name
from imgrank.errors import DataError

__all__ = ["ABOUT", "read"]

ABOUT = About(
    title="COCO 2017: photographs of everyday scenes, five captions each",
    paper="Chen et al., Microsoft COCO captions: data collection and evaluation server, 2015",
    source="cocodataset.org (2017 train images, val images, train/val annotations)",
    licence="annotations CC BY 4.0; the pictures belong to others: Flickr's terms of use",
    layout="annotations/captions_train2017.json\n"
    "annotations/captions_val2017.json\n"
    "train2017/*.jpg (118,287)\n"
    "val2017/*.jpg (5,000)\n"
    "or, a part of the set: images/*.jpg, captions.csv (filepath, caption)",
    split="official: train2017, of which 2 % are validation (ours, by picture), and val2017 as "
    "test; of a part of the set ours, by picture: 70 % training, 10 % validation, 20 % test",
    queries="a photograph by one of its captions",
)


def read(root: Path, options: ReadOptions) -> Captioned:
    """All photographs with their captions, of the whole set or of a part of it.

    Raises DataError if neither form is there, if a file is missing (unless `options.partial` and
    another is there) or damaged, or if a picture is missing, see `present`.
    """
    annotations = root / "annotations"
    if not annotations.is_dir() and (root / CSV).is_file():
        told = [Told(each.path, each.path.name, each.captions) for each in read_csv(root / CSV)]
        names = [each.name for each in told]
        parts = split_by_name(names, coco.SALT, VALIDATION, TEST)
        return captioned("coco", told, parts, options, coco.PUBLISHED)
    if not annotations.is_dir():
        raise DataError(f"{root} holds neither annotations/ nor {CSV}: it is no folder of COCO.")
    files = (
        coco.Instances(annotations / "captions_train2017.json", root / "train2017", "train"),
        coco.Instances(annotations / "captions_val2017.json", root / "val2017", "test"),
    )
    told, parts = [], []
    for each in coco.there("coco", files, options):
        found = _captions(each.file)
        told += [Told(each.pictures / name, name, texts) for name, texts in found.items()]
        drawn: list[Part] = split_by_name(list(found), coco.SALT, coco.VALIDATION, test=0)
        parts += drawn if each.part == "train" else [each.part] * len(found)
    return captioned("coco", told, parts, options, coco.PUBLISHED)


def _captions(file: Path) -> dict[str, list[str]]:
    """Captions by the picture's file name, in the order of the file. Raises DataError."""
    try:
        with file.open(encoding="utf-8") as stream:
            whole: dict[str, Any] = json.load(stream)
        names = {image["id"]: str(image["file_name"]) for image in whole["images"]}
        found: dict[str, list[str]] = {name: [] for name in names.values()}
        for each in whole["annotations"]:
            if text := str(each["caption"]).strip():
                found[names[each["image_id"]]].append(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is damaged or cut off: {error}. Fetch it again.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file} is no file of COCO's captions: {error!r}.") from error
    return {name: texts for name, texts in found.items() if texts}
