"""Photographs made worse by known grades, as data sets of one query: image quality.

    distortions  OASIS and Flickr8k photographs; split by photograph
    photographs  your own
    coco-distorted  COCO photographs, for measuring only: none of it is ever trained on

Grades become targets on the MOS scale by a straight line, `ORIGINAL` for an undistorted photograph
and `STEP` less for each grade: a convention that puts both on one scale, not an opinion of anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from imgrank.data.distortions import Version, find_photographs, plan_versions, render
from imgrank.data.labelled import About, Labelled, Labels, Pixels, ReadOptions
from imgrank.data.oasis import parts_of
from imgrank.data.split import Part, split_by_group
from imgrank.images.decode import decode, to_square

__all__ = [
    "COCO_DISTORTED",
    "DISTORTIONS",
    "ORIGINAL",
    "PHOTOGRAPHS",
    "STEP",
    "of_versions",
    "read_coco_distorted",
    "read_distortions",
    "read_photographs",
]

ORIGINAL, STEP = 3.6, 0.6
QUERIES = "quality (a grade as MOS: 3.6 for the photograph, 0.6 less for each grade of distortion)"
DISTORTIONS = About(
    title="photographs of OASIS and Flickr8k, made worse by known grades",
    paper="",
    source="made of oasis and of Flickr8k's pictures",
    licence="that of the photographs",
    layout="oasis/images/*.jpg\nflickr8k/images/*.jpg",
    split="ours, by photograph: 80 % training, 10 % validation, 10 % test",
    queries=QUERIES,
)
COCO_DISTORTED = About(
    title="photographs of COCO, made worse by known grades, for measuring only",
    paper="",
    source="made of the part of coco that lies in images/",
    licence="that of the photographs",
    layout="images/*.jpg",
    split="all test",
    queries=QUERIES,
)
PHOTOGRAPHS = About(
    title="your own photographs, good ones only, made worse by known grades",
    paper="",
    source="you: --root FOLDER",
    licence="that of the photographs",
    layout="any folders with *.jpg, *.jpeg and *.png",
    split="ours, by photograph: 80 % training, 10 % validation, 10 % test",
    queries=QUERIES,
)


def read_distortions(root: Path, options: ReadOptions) -> Labelled:
    """Graded distortions of the photographs in `root`/oasis and `root`/flickr8k.

    Training photographs are cropped, mirrored and distorted at any grade, once by each kind; those
    of validation and test are as they are, at two whole grades of each kind. Training rows whose
    photograph is in another part of OASIS itself, which is split by theme, have no label.
    """
    photographs = find_photographs([root / "oasis" / "images", root / "flickr8k" / "images"])
    parts = split_by_group([_name(p) for p in photographs])
    seen = [p for p, part in zip(photographs, parts, strict=True) if part == "train"]
    kept = [p for p, part in zip(photographs, parts, strict=True) if part != "train"]
    versions = plan_versions(seen, 1, seed=0, augment=True)
    versions += plan_versions(kept, 2, seed=0, augment=False)
    data = of_versions("distortions", versions)
    oasis = [path for path in photographs if path.is_relative_to(root / "oasis")]
    held = {path for path, part in zip(oasis, parts_of(oasis), strict=True) if part != "train"}
    rows = [n for n in data.rows("train") if data.paths[n] in held]
    (quality,) = data.labels
    values = quality.values.copy()
    values[rows] = np.nan  # left out of the rows altogether, they would give kept tokens new names
    return replace(data, labels=(replace(quality, values=values),))


def read_photographs(root: Path, options: ReadOptions) -> Labelled:
    """Three grades of every distortion of all photographs below `root` itself.

    They should be good ones: each is taken for undistorted. Those that cannot be read are reported
    and left out; raises DataError if none is left.
    """

    def left_out(path: Path, reason: str) -> None:
        options.report(f"left out: {path}: {reason}")

    photographs = find_photographs([root], left_out)
    return of_versions("photographs", plan_versions(photographs, 3, seed=0, augment=False))


def read_coco_distorted(root: Path, options: ReadOptions) -> Labelled:
    """Graded distortions of the photographs in `root`, one grade of each kind; all test."""
    versions = plan_versions(find_photographs([root / "images"]), 1, 0, augment=False)
    return of_versions("coco-distorted", versions, ["test"] * len(versions))


def of_versions(
    name: str, versions: Sequence[Version], parts: Sequence[Part] | None = None
) -> Labelled:
    """A data set of versions; groups: the photograph.   parts: None: split by photograph."""
    groups = tuple(_name(version.photograph) for version in versions)

    def picture(index: int, size: int) -> Pixels:
        return to_square(decode(render(versions[index]), size), size)

    values = np.array([ORIGINAL - STEP * version.grade for version in versions], dtype=np.float32)
    return Labelled(
        name,
        paths=tuple(version.photograph for version in versions),
        keys=tuple(version.key for version in versions),
        parts=tuple(parts or split_by_group(groups)),
        groups=groups,
        labels=(
            Labels(
                "quality",
                "quality",
                "sort images by the image quality of MOS",
                values,
                unit="MOS",
                range=(0, 5),
            ),
        ),
        render=picture,
        mirrored=False,
    )


def _name(photograph: Path) -> str:
    return "/".join(photograph.parts[-3:])
