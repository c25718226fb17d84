"""COCO-ReM: the photographs of COCO with annotations that were revised and made exhaustive.

Singh et al., Benchmarking object detectors with COCO: A new path forward (2024). Two annotation
files in the form of COCO's (`coco.py`); the pictures are COCO's own, beside it as its authors lay
them out, or in its folder. Paper 001 trains and measures counting on it.
"""

from __future__ import annotations

from pathlib import Path

from imgrank.data.coco import Instances, read_instances
from imgrank.data.labelled import About, Labelled, ReadOptions

__all__ = ["ABOUT", "read"]

ABOUT = About(
    title="COCO-ReM: COCO 2017 with revised, exhaustive annotations",
    paper="Singh et al., Benchmarking object detectors with COCO: A new path forward, ECCV 2024",
    source="cocorem.xyz or github.com/kdexd/coco-rem (annotations); pictures: see coco",
    licence="annotations CC BY 4.0; the pictures belong to others: Flickr's terms of use",
    layout="instances_trainrem.json\n"
    "instances_valrem.json\n"
    "train2017/*.jpg (118,287) and val2017/*.jpg (5,000), or both in ../coco",
    split="official: COCO's train2017, of which 2 % are validation (ours, by picture), and val2017 "
    "as test",
    queries="count of each of 80 categories (cats, people, wine glasses, ...)",
    note="A crowd region counts as one object, so that such a count is a lower bound.",
)


def read(root: Path, options: ReadOptions) -> Labelled:
    """The counts of all categories. Raises DataError as `read_instances` does."""
    inside = root / "annotations"
    files = inside if inside.is_dir() else root
    beside = root.parent / "coco"

    def pictures(folder: str) -> Path:
        return root / folder if (root / folder).is_dir() else beside / folder

    parts = (
        Instances(files / "instances_trainrem.json", pictures("train2017"), "train"),
        Instances(files / "instances_valrem.json", pictures("val2017"), "test"),
    )
    return read_instances("coco-rem", parts, options)
