"""The two sources of `tiny-quality`, brought to one scale and with their tokens cached.

    agiqa3k      human opinion of AI-generated pictures, MOS 0 to 5; split by prompt
    distortions  OASIS and Flickr8k photographs, graded distortions; split by photograph
    coco         the same of COCO photographs, for measuring only: none of it is ever trained on

Folders under `root`, as unpacked: agiqa3k/, oasis/images/, flickr8k/images/, coco/images/. Grades
become targets on the MOS scale by a straight line, `ORIGINAL` for an undistorted photograph and
`STEP` less for each grade: a convention that puts both on one scale, not an opinion of anybody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imgrank.data.agiqa3k import read_agiqa3k
from imgrank.data.distortions import Version, find_photographs, plan_versions, render
from imgrank.data.features import Pixels, TokenLayout, TokenSet, fill, open_cache
from imgrank.data.split import split_by_group
from imgrank.images.decode import DECODE_VERSION, decode, to_square
from imgrank.models.backbone import Backbone
from imgrank.models.spec import PREPROCESSING

__all__ = ["ORIGINAL", "STEP", "load_agiqa3k", "load_distortions", "load_held_out", "tower_digest"]

ORIGINAL, STEP = 3.6, 0.6
Progress = Callable[[str, int, int], None]


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


def load_agiqa3k(root: Path, cache: Path, backbone: Backbone, progress: Progress) -> TokenSet:
    """AGIQA-3k, plain and mirrored; target: MOS of quality. Computes tokens that are missing."""
    rated = read_agiqa3k(root / "agiqa3k")
    size = backbone.image_size

    def pixels(index: int) -> Pixels:
        return to_square(decode(rated[index].path.read_bytes(), size), size)

    groups = tuple(row.subject for row in rated)
    return _cached(
        "agiqa3k",
        cache,
        backbone,
        [f"agiqa3k/{row.path.name}" for row in rated],
        pixels,
        [row.quality for row in rated],
        groups,
        mirrored=True,
        progress=progress,
    )


def load_distortions(root: Path, cache: Path, backbone: Backbone, progress: Progress) -> TokenSet:
    """Graded distortions of OASIS and Flickr8k photographs; groups: the photograph.

    Training photographs are cropped, mirrored and distorted at any grade, once by each kind; those
    of validation and test are as they are, at two whole grades of each kind.
    """
    photographs = find_photographs([root / "oasis" / "images", root / "flickr8k" / "images"])
    parts = split_by_group([_name(p) for p in photographs])
    seen = [p for p, part in zip(photographs, parts, strict=True) if part == "train"]
    kept = [p for p, part in zip(photographs, parts, strict=True) if part != "train"]
    versions = plan_versions(seen, 1, seed=0, augment=True)
    versions += plan_versions(kept, 2, seed=0, augment=False)
    return _of_versions("distortions", versions, cache, backbone, progress)


def load_held_out(root: Path, cache: Path, backbone: Backbone, progress: Progress) -> TokenSet:
    """Graded distortions of COCO photographs, one grade of each kind; for measuring only."""
    versions = plan_versions(find_photographs([root / "coco" / "images"]), 1, 0, augment=False)
    return _of_versions("coco", versions, cache, backbone, progress)


def _of_versions(
    name: str, versions: Sequence[Version], cache: Path, backbone: Backbone, progress: Progress
) -> TokenSet:
    size = backbone.image_size

    def pixels(index: int) -> Pixels:
        return to_square(decode(render(versions[index]), size), size)

    return _cached(
        name,
        cache,
        backbone,
        [version.key for version in versions],
        pixels,
        [ORIGINAL - STEP * version.grade for version in versions],
        tuple(_name(version.photograph) for version in versions),
        mirrored=False,
        progress=progress,
    )


def _cached(
    name: str,
    folder: Path,
    backbone: Backbone,
    keys: Sequence[str],
    pixels: Callable[[int], Pixels],
    targets: Sequence[float],
    groups: tuple[str, ...],
    *,
    mirrored: bool,
    progress: Progress,
) -> TokenSet:
    widths, tokens = backbone.spec.widths, backbone.spec.grid_tokens
    assert tokens is not None
    sources = (("grid", tokens, widths["grid"]), ("statistics", 1, widths["statistics"]))
    layout = TokenLayout(sources, mirrored)
    cache = open_cache(folder, tower_digest(backbone), keys, layout)
    if cache.missing:
        progress(f"{name}: {layout.bytes_for(len(keys)) / 1e9:.1f} GB of tokens", 0, len(keys))
        fill(cache, backbone, pixels, lambda done, total: progress(name, done, total))
    parts = tuple(split_by_group(groups))
    return TokenSet(name, cache, np.asarray(targets, dtype=np.float32), groups, parts)


def _name(photograph: Path) -> str:
    return "/".join(photograph.parts[-3:])
