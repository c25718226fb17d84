"""COCO: photographs with the number of objects of each of 80 categories, a query a category.

Lin et al., Microsoft COCO: Common objects in context (ECCV 2014), in its 2017 release. A picture
without an object of a category has 0 of it. An annotation file is one JSON object:

    images       [{id, file_name, ...}]
    categories   [{id, name, ...}]   numbers from 1 to 90 with gaps
    annotations  [{image_id, category_id, iscrowd, segmentation, ...}]   one an object

A region that is marked as a crowd (`iscrowd`) covers objects that nobody counted. It counts as one
here, as every annotation does, so that such a picture never passes for one without the object: the
count is then a lower bound. Their number is reported. (Paper 001, appendix C, names those pictures
as ones whose annotated counts are too low; how many objects it took them for, it does not say.)

The part of the set that is used where the whole is too much is `images/` and `labels.csv`, a row
(filepath, category, count) for each category that a picture shows.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgrank.data.coco_categories import CATEGORIES, plural
from imgrank.data.labelled import About, Labelled, Labels, ReadOptions, present
from imgrank.data.split import Part, split_by_name
from imgrank.errors import DataError

__all__ = [
    "ABOUT",
    "PUBLISHED",
    "SALT",
    "VALIDATION",
    "Instances",
    "read",
    "read_instances",
    "there",
]

Counts = npt.NDArray[np.float32]
VALIDATION = 0.02  # of the 118,287 training pictures of the whole set
SALT = "coco|0"
PUBLISHED = 123_287  # pictures of the two annotated parts of the whole set
ABOUT = About(
    title="COCO 2017: photographs with all objects of 80 categories",
    paper="Lin et al., Microsoft COCO: Common objects in context, ECCV 2014",
    source="cocodataset.org (2017 train images, val images, train/val annotations)",
    licence="annotations CC BY 4.0; the pictures belong to others: Flickr's terms of use",
    layout="annotations/instances_train2017.json\n"
    "annotations/instances_val2017.json\n"
    "train2017/*.jpg (118,287)\n"
    "val2017/*.jpg (5,000)\n"
    "or, a part of the set: images/*.jpg, labels.csv (filepath, category, count)",
    split="official: train2017, of which 2 % are validation (ours, by picture), and val2017 as "
    "test; of a part of the set ours, by picture: 80 % training, 10 % validation, 10 % test",
    queries="count of each of 80 categories (cats, people, wine glasses, ...)",
    note="A crowd region counts as one object, so that such a count is a lower bound.",
)


@dataclass(frozen=True, slots=True)
class Instances:
    """One annotation file, the folder of its pictures, and the part that they are."""

    file: Path
    pictures: Path
    part: Part


def read(root: Path, options: ReadOptions) -> Labelled:
    """The counts of all categories, of the whole set or of a part of it, see `ABOUT.layout`.

    Raises DataError if neither is there, and as `read_instances` does.
    """
    annotations = root / "annotations"
    if annotations.is_dir():
        files = (
            Instances(annotations / "instances_train2017.json", root / "train2017", "train"),
            Instances(annotations / "instances_val2017.json", root / "val2017", "test"),
        )
        return read_instances("coco", files, options)
    if (root / "labels.csv").is_file():
        return _read_part(root, options)
    raise DataError(f"{root} holds neither annotations/ nor labels.csv: it is no folder of COCO.")


def read_instances(name: str, files: Sequence[Instances], options: ReadOptions) -> Labelled:
    """The counts of one set from its annotation files; 2 % of the training pictures validate.

    Raises DataError if a file is missing (unless `options.partial` and another is there), damaged
    or not of COCO's form, or if a picture is missing, see `present`.
    """
    paths: list[Path] = []
    parts: list[Part] = []
    columns: list[Counts] = []
    crowds = 0
    for each in there(name, files, options):
        names, counts, crowded = _counted(each.file)
        paths += [each.pictures / picture for picture in names]
        drawn = split_by_name(names, SALT, VALIDATION, test=0)
        parts += drawn if each.part == "train" else [each.part] * len(names)
        columns.append(counts)
        crowds += crowded
    if crowds:
        options.report(f"{name}: regions marked as crowds, each counted as one object: {crowds}")
    return _labelled(name, paths, parts, np.concatenate(columns, axis=1), options)


def there(name: str, files: Sequence[Instances], options: ReadOptions) -> list[Instances]:
    """Those annotation files that are there.

    Raises DataError if one is missing, unless `options.partial`; and if all are.
    """
    found = [each for each in files if each.file.is_file()]
    gone = ", ".join(str(each.file) for each in files if each not in found)
    if gone and not (found and options.partial):
        rest = " (--partial goes on without it)" if found else ""
        raise DataError(f"{name}: {gone} is missing{rest}.")
    if gone:
        options.report(f"{name}: {gone} is missing; its pictures are left out")
    return found


def _counted(file: Path) -> tuple[list[str], Counts, int]:
    """Names of the pictures [N], counts [80, N], and how many regions are marked as crowds."""
    try:
        with file.open(encoding="utf-8") as stream:
            whole = json.load(stream, object_hook=_slim)
        images: list[tuple[int, str]] = whole["images"]
        row = {number: n for n, (number, _) in enumerate(images)}
        known = {name: n for n, name in enumerate(CATEGORIES)}
        category = {number: known[name] for number, name in whole["categories"]}
        counts = np.zeros((len(CATEGORIES), len(images)), dtype=np.float32)
        marked = [(category[c], row[image]) for image, c, _ in whole["annotations"]]
        where = np.array(marked, dtype=np.intp).reshape(-1, 2)
        np.add.at(counts, (where[:, 0], where[:, 1]), 1)
        crowds = sum(crowd for _, _, crowd in whole["annotations"])
        return [name for _, name in images], counts, crowds
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is damaged or cut off: {error}. Fetch it again.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file} is no file of COCO's object instances: {error!r}.") from error


def _slim(thing: dict[str, Any]) -> Any:
    """What is needed of one object of the JSON, as soon as it is read.

    The outlines of all objects would take gigabytes of memory, and the counts need none.
    """
    if "category_id" in thing:
        return thing["image_id"], thing["category_id"], int(thing.get("iscrowd", 0))
    if "file_name" in thing:
        return thing["id"], thing["file_name"]
    if "name" in thing and "id" in thing:  # a category, or a licence, which nobody asks for
        return thing["id"], thing["name"]
    return None if "counts" in thing else thing


def _read_part(root: Path, options: ReadOptions) -> Labelled:
    """`root`/labels.csv; pictures that it does not name do not belong to the set."""
    table = root / "labels.csv"
    known = {name: n for n, name in enumerate(CATEGORIES)}
    found: dict[str, Counts] = {}
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = {"filepath", "category", "count"} - set(reader.fieldnames or ())
        if missing:
            raise DataError(f"{table} has no column {', '.join(sorted(missing))}.")
        for number, line in enumerate(reader, start=2):
            if line["category"] not in known:
                raise DataError(f"{table}, row {number}: COCO has no {line['category']!r}.")
            try:
                count = int(line["count"])
            except (TypeError, ValueError):
                raise DataError(f"{table}, row {number}: no count: {line['count']!r}.") from None
            counts = found.setdefault(line["filepath"], np.zeros(len(CATEGORIES), np.float32))
            counts[known[line["category"]]] += count
    if not found:
        raise DataError(f"{table} is empty.")
    paths = [root / name for name in found]
    parts = split_by_name([path.name for path in paths], SALT)
    return _labelled("coco", paths, parts, np.stack(list(found.values()), axis=1), options)


def _labelled(
    name: str, paths: Sequence[Path], parts: Sequence[Part], counts: Counts, options: ReadOptions
) -> Labelled:
    """counts: [80, N]. A category that no picture shows is no query: it has nothing to order."""
    kept = present(name, paths, options)
    counts = counts[:, kept]
    labels = tuple(
        _labels(category, column)
        for category, column in zip(CATEGORIES, counts, strict=True)
        if column.any()
    )
    if not labels:
        raise DataError(f"{name}: not one object is marked in its {len(kept)} pictures.")
    names = tuple(paths[n].name for n in kept)
    return Labelled(
        name,
        paths=tuple(paths[n] for n in kept),
        keys=tuple(f"coco/{each}" for each in names),  # COCO-ReM has the same pictures
        parts=tuple(parts[n] for n in kept),
        groups=names,
        labels=labels,
        published=PUBLISHED if name == "coco" else 0,
    )


def _labels(category: str, values: Counts) -> Labels:
    many = plural(category)
    return Labels(category, "count", f"sort images by the number of {many}.", values, subject=many)
