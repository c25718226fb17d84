"""Does a checkpoint tell pictures of a kind that it knows nothing of? What it refuses, counted.

    held out        test pictures of its own data set: about one in a hundred may be refused
    ... cropped     the middle 70 % of them, so without the mount and the border of a scanned print
    ... grey        without their tint; ... scanned anew: cropped, grey, smaller, JPEG
    modern          photographs of COCO, OASIS and Flickr8k: all but the monochrome ones among them
                    should be refused by a model of old monochrome photographs
    ... grey        the same in monochrome, which leaves nothing but the distance to tell them by

The four versions of the held-out pictures say what a print of another archive may meet; they are no
measure of it, for all are of one archive.

Run:  python -m imgrank.evaluate.domain --root DATA --model MODEL [--data oldnyc] [--most N]
"""

from __future__ import annotations

import argparse
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from PIL import Image

from imgrank.data import catalogue
from imgrank.data.distortions import find_photographs
from imgrank.errors import ImgrankError, UsageError
from imgrank.images.colour import chroma
from imgrank.images.decode import decode
from imgrank.images.reading import Unreadable, read_file
from imgrank.rankers.domain import Outside
from imgrank.rankers.l2rclip import L2RCLIPRanker
from imgrank.rankers.load import load_ranker

__all__ = ["MODERN", "VERSIONS", "Refused", "measure", "refused"]

Report = Callable[[str], None]
MODERN = ("coco", "oasis", "flickr8k")
COLOURLESS = 3.0  # chroma of a picture that is monochrome without doubt
CHUNK = 16


@dataclass(frozen=True, slots=True)
class Refused:
    """Of `count` pictures, how many are outside by colour, and by their distance alone."""

    count: int
    colour: int
    distance: int

    @property
    def share(self) -> float:
        """0 to 1."""
        return (self.colour + self.distance) / self.count if self.count else float("nan")

    def line(self, title: str) -> str:
        """Of a table."""
        return (
            f"{title:38}{self.count:6}{self.colour + self.distance:9} ({self.share:6.1%})"
            f"{self.colour:9}{self.distance:10}"
        )


HEAD = f"{'pictures':38}{'n':>6}{'refused':>18}{'colour':>9}{'distance':>10}"


def _cropped(image: Image.Image) -> Image.Image:
    width, height = image.size
    x, y = round(0.15 * width), round(0.15 * height)
    return image.crop((x, y, width - x, height - y))


def _grey(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def _scanned_anew(image: Image.Image) -> Image.Image:
    image = _grey(_cropped(image))
    image.thumbnail((400, 400))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=75)
    return Image.open(file).convert("RGB")


VERSIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "cropped": _cropped,
    "grey": _grey,
    "scanned anew": _scanned_anew,
}


def refused(ranker: L2RCLIPRanker, pictures: Iterable[bytes]) -> Refused:
    """What the checkpoint says of picture files, as the commands ask it. Raises Unreadable."""
    found: Counter[Outside | None] = Counter()
    waiting = iter(pictures)
    while some := list(islice(waiting, CHUNK)):
        features = ranker.source.compute([ranker.source.prepare(data) for data in some])
        found.update(ranker.outside(features, [chroma(data) for data in some]))
    return Refused(found.total(), found["colour"], found["distance"])


def measure(
    ranker: L2RCLIPRanker, root: Path, data: str, most: int, report: Report
) -> dict[str, Refused]:
    """Title -> what is refused of these pictures. Raises DataError, UsageError.

    most: pictures of each kind, evenly chosen; 0: all.   One that cannot be read is reported and
    does not count.
    """
    if ranker.domain is None:
        raise UsageError(f"{ranker.name} does not say what it was trained on: it refuses nothing.")
    held = catalogue.read(data, root)
    out: dict[str, Refused] = {}

    def add(title: str, pictures: Iterable[bytes]) -> None:
        out[title] = refused(ranker, pictures)
        report(out[title].line(title))

    report(HEAD)
    paths = list(_chromas(_some([held.paths[row] for row in held.rows("test")], most), report))
    add(f"{data}, test", _files(paths))
    for name, version in VERSIONS.items():
        add(f"{data}, test, {name}", _files(paths, version))
    for name in MODERN:
        found = _chromas(_some(find_photographs([root / name / "images"]), most), report)
        tinted = [path for path, colour in found.items() if colour > COLOURLESS]
        plain = [path for path, colour in found.items() if colour <= COLOURLESS]
        add(f"{name}, in colour", _files(tinted))
        add(f"{name}, those made grey", _files(tinted, _grey))
        if plain:
            add(f"{name}, monochrome already", _files(plain))
    return out


def _some(paths: Sequence[Path], most: int) -> list[Path]:
    return list(paths[:: max(1, -(-len(paths) // most))] if most else paths)


def _chromas(paths: Iterable[Path], report: Report) -> dict[Path, float]:
    """Of those that can be read; the others are reported."""
    found: dict[Path, float] = {}
    for path in paths:
        try:
            found[path] = chroma(read_file(path))
        except Unreadable as error:
            report(f"left out: {path}: {error}")
    return found


def _files(
    paths: Iterable[Path], version: Callable[[Image.Image], Image.Image] | None = None
) -> Iterable[bytes]:
    """Their bytes; of another version those of a PNG file of it."""
    for path in paths:
        data = path.read_bytes()
        if version is not None:
            file = io.BytesIO()
            version(decode(data)).save(file, "PNG", compress_level=1)
            data = file.getvalue()
        yield data


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description="Count what a checkpoint refuses.")
    parser.add_argument("--root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", required=True, help="name or folder of an l2rclip checkpoint")
    parser.add_argument("--data", default="oldnyc", help="what it was trained on")
    parser.add_argument("--most", type=int, default=0, help="pictures of each kind; 0: all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ranker = load_ranker(options.model)
    if not isinstance(ranker, L2RCLIPRanker):
        raise UsageError(f"{options.model} is no l2rclip checkpoint.")
    measure(ranker, options.root, options.data, options.most, lambda line: print(line, flush=True))


if __name__ == "__main__":
    try:
        main()
    except ImgrankError as error:
        sys.exit(f"imgrank: {error}")
