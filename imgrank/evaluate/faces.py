"""How many faces do the detectors find? Recall and precision on pictures boxed by hand.

`face_boxes.csv` has the boxes, drawn by eye on COCO, Flickr8k, OASIS and OldNYC photographs and on
UTKFace crops (columns: path below the root; x, y, width, height in pixels, from forehead to chin
and ear to ear; hard). No box was taken from a detector. A picture without a face is a row without
numbers. `hard` = 1: smaller than 16 pixels, or no one could tell an age from it (turned away,
covered, blurred); whether such a face is found counts neither way.

A face counts as found where the intersection over union of both boxes is at least 0.4: detectors
draw a square from the eyebrows to the chin, or the whole head, and 0.5 would measure that. A box
found on no face lowers precision, so does a second one on the same face.

The parameters of the detectors were chosen on these same pictures: expect a little less elsewhere.
Seconds are of this process, all threads together; only ratios within one run mean something.

Run:  python -m imgrank.evaluate.faces --root DATA [--detector NAME]... [--models FOLDER]
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from imgrank.errors import DataError, ImgrankError, UsageError
from imgrank.images.faces import DETECTORS, Detector, Face, detector
from imgrank.settings import load_settings

__all__ = ["BOXES", "Box", "Counts", "Matched", "iou", "main", "match", "measure", "read_boxes"]

BOXES = Path(__file__).with_name("face_boxes.csv")
SAME = 0.4  # least intersection over union
SAME_HARD = 0.2  # of hard ones, whose boxes are rough: only to forgive what was found there
SIZES = (("16-32 px", 0.0, 32.0), ("32-64 px", 32.0, 64.0), ("over 64 px", 64.0, np.inf))
_COLUMNS = ["path", "x", "y", "width", "height", "hard"]


@dataclass(frozen=True, slots=True)
class Box:
    """A face as drawn by hand, in pixels."""

    x: float
    y: float
    width: float
    height: float
    hard: bool

    @property
    def size(self) -> float:
        """The side of a square of the same area."""
        return float(np.sqrt(self.width * self.height))


@dataclass(frozen=True, slots=True)
class Matched:
    """One picture. found: of each box, whether a face was found there.   wrong: faces found where
    no box is."""

    found: tuple[bool, ...]
    wrong: int


@dataclass(frozen=True, slots=True)
class Counts:
    """faces: boxes that are not hard.   found: of these.   wrong: found where no face is."""

    faces: int = 0
    found: int = 0
    wrong: int = 0

    @property
    def recall(self) -> float:
        """Share of faces that were found; NaN without faces."""
        return self.found / self.faces if self.faces else float("nan")

    @property
    def precision(self) -> float:
        """Share of what was found that is a face; NaN if nothing was found."""
        both = self.found + self.wrong
        return self.found / both if both else float("nan")


def read_boxes(path: Path = BOXES) -> dict[str, list[Box]]:
    """Picture -> its faces, in the order of the file. Raises DataError, naming the line."""
    boxes: dict[str, list[Box]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames != _COLUMNS:
            raise DataError(f"{path} has other columns than {', '.join(_COLUMNS)}.")
        for row in rows:
            faces = boxes.setdefault(row["path"], [])
            if not row["x"]:
                continue
            try:
                x, y, width, height = (float(row[name]) for name in _COLUMNS[1:5])
                faces.append(Box(x, y, width, height, bool(int(row["hard"]))))
            except ValueError:
                raise DataError(f"{path}, line {rows.line_num}: no box.") from None
    return boxes


def iou(first: Face | Box, second: Face | Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    width = min(first.x + first.width, second.x + second.width) - max(first.x, second.x)
    height = min(first.y + first.height, second.y + second.height) - max(first.y, second.y)
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (first.width * first.height + second.width * second.height - both)


def match(faces: Sequence[Face], boxes: Sequence[Box]) -> Matched:
    """Pairs of a found face and a box, the closest pair first, each used once."""
    pairs = sorted(
        (-iou(face, box), i, j) for i, face in enumerate(faces) for j, box in enumerate(boxes)
    )
    used, found = set[int](), set[int]()
    for negative, i, j in pairs:
        least = SAME_HARD if boxes[j].hard else SAME
        if -negative >= least and i not in used and j not in found:
            used.add(i)
            found.add(j)
    return Matched(tuple(j in found for j in range(len(boxes))), len(faces) - len(used))


def measure(
    used: Detector, root: Path, boxes: Mapping[str, Sequence[Box]]
) -> tuple[dict[str, Counts], float]:
    """Counts of all pictures ("all"), by data set and by size (precision by size is not defined:
    its `wrong` is 0); and seconds of work a picture, decoding not counted.

    Raises DataError if a picture is not below the root.
    """
    counts: dict[str, Counts] = {}
    seconds = 0.0
    for path, drawn in boxes.items():
        image = _read(root / path)
        start = time.process_time()
        faces = used.detect(image)
        seconds += time.process_time() - start
        matched = match(faces, drawn)
        for part in ("all", path.partition("/")[0]):
            _add(counts, part, drawn, matched.found, matched.wrong)
        for name, low, high in SIZES:
            here = [low <= box.size < high for box in drawn]
            some = [box for box, yes in zip(drawn, here, strict=True) if yes]
            hits = tuple(hit for hit, yes in zip(matched.found, here, strict=True) if yes)
            _add(counts, name, some, hits, 0)
    return counts, seconds / max(1, len(boxes))


def _add(
    counts: dict[str, Counts], part: str, boxes: Sequence[Box], found: tuple[bool, ...], wrong: int
) -> None:
    had = counts.get(part, Counts())
    easy = [hit for hit, box in zip(found, boxes, strict=True) if not box.hard]
    counts[part] = Counts(had.faces + len(easy), had.found + sum(easy), had.wrong + wrong)


def _read(path: Path) -> Image.Image:
    if not path.is_file():
        raise DataError(f"{path} is missing. Unpack the data sets below --root.")
    with Image.open(path) as image:
        return image.convert("RGB")


def _lines(name: str, counts: Mapping[str, Counts], seconds: float, fastest: float) -> list[str]:
    lines = [f"{name}   time a picture: {seconds / fastest:.1f} x the fastest"]
    sizes = [name for name, *_ in SIZES]
    for part in ("all", *sizes, *sorted(counts.keys() - {"all", *sizes})):
        count = counts[part]
        line = f"  {part:11} recall {count.recall:.2f} ({count.found} of {count.faces})"
        if part not in sizes:
            line += f"   precision {count.precision:.2f}, {count.wrong} wrong"
        lines.append(line)
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description="Measure face detectors on boxes drawn by hand.")
    parser.add_argument("--root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--detector", action="append", choices=DETECTORS, help="default: all here")
    parser.add_argument("--models", type=Path, help="folder of the user's models")
    options = parser.parse_args(arguments)
    models = options.models or load_settings().models_dir
    try:
        boxes = read_boxes()
        results = {}
        for name in options.detector or DETECTORS:
            try:
                used = detector(models, name)
            except UsageError as error:
                if options.detector:
                    raise
                print(f"{name} is left out: {error}")
                continue
            results[used.identity] = measure(used, options.root, boxes)
    except ImgrankError as error:
        sys.exit(f"{error}")
    faces = sum(not box.hard for drawn in boxes.values() for box in drawn)
    print(f"{len(boxes)} pictures, {faces} faces that count; found: IoU of at least {SAME}")
    fastest = min(seconds for _, seconds in results.values())
    for name, (counts, seconds) in results.items():
        print("\n".join(_lines(name, counts, seconds, fastest)))


if __name__ == "__main__":
    main()
