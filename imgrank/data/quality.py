"""The two sources of `tiny-quality`, brought to one scale and with their tokens cached.

    agiqa3k      human opinion of AI-generated pictures, MOS 0 to 5; split by prompt
    distortions  OASIS and Flickr8k photographs, graded distortions; split by photograph
    coco         the same of COCO photographs, for measuring only: none of it is ever trained on

and `agiqa3k-views`: more views of the training pictures of AGIQA-3k (cropped, mirrored, smaller
files), with the opinion of the whole picture.

Folders under `root`, as unpacked: agiqa3k/, oasis/images/, flickr8k/images/, coco/images/. Grades
become targets on the MOS scale by a straight line, `ORIGINAL` for an undistorted photograph and
`STEP` less for each grade: a convention that puts both on one scale, not an opinion of anybody.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imgrank.data.agiqa3k import read_agiqa3k
from imgrank.data.distortions import (
    Version,
    find_photographs,
    plan_versions,
    read_picture,
    render,
)
from imgrank.data.features import Pixels, TokenLayout, TokenSet, fill, open_cache
from imgrank.data.split import Part, split_by_group
from imgrank.images.decode import decode, to_square
from imgrank.images.reading import DECODE_VERSION
from imgrank.models.backbone import Backbone
from imgrank.models.spec import PREPROCESSING

__all__ = [
    "DATA_SETS",
    "ORIGINAL",
    "STEP",
    "DataSet",
    "Tokens",
    "another_view",
    "load_agiqa3k",
    "load_agiqa3k_views",
    "load_distortions",
    "load_held_out",
    "load_photographs",
    "tower_digest",
]

ORIGINAL, STEP = 3.6, 0.6
VIEWS = 4  # of each training picture of AGIQA-3k
Progress = Callable[[str, int, int], None]


def _say_nothing(line: str) -> None:
    """For those who do not ask which pictures were left out."""


def tower_digest(backbone: Backbone) -> str:
    """Hex sha256 of what image tokens depend on: the trunk's weights, not its text tower or head.

    So tokens outlive a change of the text tower, which changes `backbone.identity`.
    """
    spec = backbone.spec
    facts = (PREPROCESSING, DECODE_VERSION, spec.statistics, spec.mean, spec.std, spec.image_size)
    digest = hashlib.sha256(repr(facts).encode())
    visual: Any = backbone.visual
    trunk = getattr(visual, "trunk", visual)
    for name, tensor in sorted(trunk.state_dict().items()):
        if not name.startswith("classifier"):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Tokens:
    """Where a data set lies and how its pictures become tokens, computed once and kept.

    root: folder of the data sets.  cache: folder of the kept tokens.  sources: which image tokens.
    report: takes a line about each picture that is left out.
    """

    root: Path
    cache: Path
    backbone: Backbone
    progress: Progress
    sources: Sequence[str] = ("grid", "statistics")
    report: Callable[[str], None] = _say_nothing

    def of(
        self,
        name: str,
        keys: Sequence[str],
        pixels: Callable[[int], Pixels],
        targets: Sequence[float],
        parts: Sequence[Part],
        groups: tuple[str, ...],
        *,
        mirrored: bool,
    ) -> TokenSet:
        """The tokens of a set, one row a key; those that are missing are computed now.

        mirrored: also of every picture turned left to right.
        """
        spec = self.backbone.spec
        assert spec.grid_tokens is not None
        sizes = {"grid": spec.grid_tokens, "statistics": 1}
        shapes = tuple((source, sizes[source], spec.widths[source]) for source in self.sources)
        layout = TokenLayout(shapes, mirrored)
        cache = open_cache(self.cache, tower_digest(self.backbone), keys, layout)
        if cache.missing:
            size = layout.bytes_for(len(keys)) / 1e9
            self.progress(f"{name}: {size:.1f} GB of tokens", 0, len(keys))
            fill(cache, self.backbone, pixels, lambda done, of: self.progress(name, done, of))
        return TokenSet(name, cache, np.asarray(targets, dtype=np.float32), groups, tuple(parts))


def load_agiqa3k(tokens: Tokens) -> TokenSet:
    """AGIQA-3k, plain and mirrored; target: MOS of quality."""
    rated = read_agiqa3k(tokens.root / "agiqa3k")
    size = tokens.backbone.image_size

    def pixels(index: int) -> Pixels:
        return to_square(read_picture(rated[index].path, size), size)

    groups = tuple(row.subject for row in rated)
    return tokens.of(
        "agiqa3k",
        [f"agiqa3k/{row.path.name}" for row in rated],
        pixels,
        [row.quality for row in rated],
        split_by_group(groups),
        groups,
        mirrored=True,
    )


def load_agiqa3k_views(tokens: Tokens) -> TokenSet:
    """`VIEWS` more views of each training picture of AGIQA-3k; all rows are training rows."""
    rated = read_agiqa3k(tokens.root / "agiqa3k")
    parts = split_by_group([row.subject for row in rated])
    seen = [row for row, part in zip(rated, parts, strict=True) if part == "train"]
    size = tokens.backbone.image_size

    def pixels(index: int) -> Pixels:
        image = read_picture(seen[index // VIEWS].path)
        return to_square(another_view(image, random.Random(index)), size)

    return tokens.of(
        "agiqa3k-views",
        [f"agiqa3k/{row.path.name}|view {n}" for row in seen for n in range(VIEWS)],
        pixels,
        [row.quality for row in seen for _ in range(VIEWS)],
        ["train"] * (VIEWS * len(seen)),
        tuple(row.subject for row in seen for _ in range(VIEWS)),
        mirrored=False,
    )


def another_view(image: Image.Image, draw: random.Random) -> Image.Image:
    """At least 75 % of each side, mirrored half of the time, as a file of any size down to 224."""
    width, height = image.size
    w, h = (round(side * draw.uniform(0.75, 1)) for side in (width, height))
    left, top = draw.randint(0, width - w), draw.randint(0, height - h)
    image = image.crop((left, top, left + w, top + h))
    if draw.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    smaller = draw.uniform(min(1.0, 224 / min(w, h)), 1)
    return image.resize((round(w * smaller), round(h * smaller)), Image.Resampling.BICUBIC)


def load_distortions(tokens: Tokens) -> TokenSet:
    """Graded distortions of OASIS and Flickr8k photographs; groups: the photograph.

    Training photographs are cropped, mirrored and distorted at any grade, once by each kind; those
    of validation and test are as they are, at two whole grades of each kind.
    """
    photographs = find_photographs(
        [tokens.root / "oasis" / "images", tokens.root / "flickr8k" / "images"]
    )
    parts = split_by_group([_name(p) for p in photographs])
    seen = [p for p, part in zip(photographs, parts, strict=True) if part == "train"]
    kept = [p for p, part in zip(photographs, parts, strict=True) if part != "train"]
    versions = plan_versions(seen, 1, seed=0, augment=True)
    versions += plan_versions(kept, 2, seed=0, augment=False)
    return _of_versions(tokens, "distortions", versions)


def load_photographs(tokens: Tokens) -> TokenSet:
    """Three grades of every distortion of all photographs below `root` itself.

    They should be good ones: each is taken for undistorted. Those that cannot be read are reported
    and left out; raises DataError if none is left.
    """

    def left_out(path: Path, reason: str) -> None:
        tokens.report(f"left out: {path}: {reason}")

    photographs = find_photographs([tokens.root], left_out)
    versions = plan_versions(photographs, 3, seed=0, augment=False)
    return _of_versions(tokens, "photographs", versions)


def load_held_out(tokens: Tokens) -> TokenSet:
    """Graded distortions of COCO photographs, one grade of each kind; all rows are test rows."""
    versions = plan_versions(
        find_photographs([tokens.root / "coco" / "images"]), 1, 0, augment=False
    )
    return _of_versions(tokens, "coco", versions)


def _of_versions(tokens: Tokens, name: str, versions: Sequence[Version]) -> TokenSet:
    size = tokens.backbone.image_size
    groups = tuple(_name(version.photograph) for version in versions)
    parts: list[Part] = ["test" for _ in groups] if name == "coco" else split_by_group(groups)

    def pixels(index: int) -> Pixels:
        return to_square(decode(render(versions[index]), size), size)

    return tokens.of(
        name,
        [version.key for version in versions],
        pixels,
        [ORIGINAL - STEP * version.grade for version in versions],
        parts,
        groups,
        mirrored=False,
    )


def _name(photograph: Path) -> str:
    return "/".join(photograph.parts[-3:])


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set that a recipe can name. about: one line for people."""

    about: str
    load: Callable[[Tokens], TokenSet]


DATA_SETS = {
    "agiqa3k": DataSet("AI-generated pictures with human opinions of quality", load_agiqa3k),
    "agiqa3k-views": DataSet("crops and smaller files of its training part", load_agiqa3k_views),
    "distortions": DataSet(
        "OASIS and Flickr8k photographs, made worse by known grades", load_distortions
    ),
    "photographs": DataSet(
        "your own: all photographs below ROOT, good ones only, made worse by known grades",
        load_photographs,
    ),
}
