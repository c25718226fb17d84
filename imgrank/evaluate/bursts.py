"""How well are near-duplicates told from pictures that are merely of the same kind?

Photographs of COCO, Flickr8k and OASIS are cut in two by name. On the CHOOSING half all levels were
chosen (`results/alike.py`, `results/bursts.py`); the REPORTING half served for none, nor did
AGIQA-3k, of which only `different` is reported, with its pairs by name, as it is of OldNYC, whose
prints on mounts moved the level from .6 to .65 and the rim out of account. Of every fourth
photograph near-duplicates are made (`data/near_duplicates.py`); all other photographs are there to
be taken for one. Pictures come in an order drawn with seed 0, and `results/alike.py` says which is
left out for which better one.

    kind       share of pairs (photograph and made one) of which one is left out
    recall     share of made pictures that are left out for another one of their photograph
    precision  share of those left out that are, as they should be, of one photograph with the one
               that stands for them
    whole      share of photographs with near-duplicates of which just one is kept, and nothing else
               was joined to it
    different  photographs, without made ones, that were left out for another photograph
    embedding alone
               the same by a cosine alone, at the lowest level that has a precision of .99 on the
               choosing half
    by time    pans of 15 to 30 % (`pan`), and different photographs, as if taken within 3 seconds
               by one camera: made-up times, since no real bursts are at hand

In brackets: 95 % intervals (Wilson), pictures taken for independent. Of two pairs of OASIS that are
one photograph under two names, one each is left out (`TWINS`).

Run:  python -m imgrank.evaluate.bursts --root DATA
with DATA/{coco,flickr8k,oasis,oldnyc,agiqa3k}/images; a set that is not there is left out.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgrank.bursts import LOOK, embedder, looks_of
from imgrank.data.labelled import read_picture
from imgrank.data.near_duplicates import KINDS, PAN, framed, made
from imgrank.data.oasis import theme
from imgrank.data.split import fold_by_name
from imgrank.errors import DataError, ImgrankError
from imgrank.images.reading import read_file
from imgrank.rankers.source import BackboneSource
from imgrank.results.alike import MARGIN, Looks, bests
from imgrank.results.bursts import ALIKE
from imgrank.settings import load_settings

__all__ = ["Part", "Tally", "main", "tally", "wilson"]

HALVED, WHOLE = ("coco", "flickr8k", "oasis"), ("oldnyc", "agiqa3k")
TWINS = {"Thunderstorm_8.jpg", "Surgery_2.jpg"}  # of Lightning_6.jpg, Doctor_8.jpg
EVERY, BATCH = 4, 32
LEVELS = (0.5, 0.55, 0.6, 0.65, 0.7)
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Part:
    """Pictures of one table. scene: [N], a number for each photograph.   kind: [N], "" for the
    photographs themselves, "first shift" for the other frame."""

    names: Sequence[str]
    scene: Places
    kind: npt.NDArray[np.str_]
    looks: Looks

    def some(self, rows: Places) -> Part:
        """These rows, in this order."""
        looks = self.looks
        chosen = (looks.embedding[rows], looks.sketch[rows], looks.taken[rows], looks.camera[rows])
        names = [self.names[row] for row in rows]
        return Part(names, self.scene[rows], self.kind[rows], Looks(*chosen))


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of an order: see `tally`."""

    made: int
    left_out: int
    right: int
    bursts: int
    whole: int


# ---- pictures ------------------------------------------------------------------------------------


def photographs(root: Path, sets: Sequence[str], half: int | None) -> list[Path]:
    """Of the sets that are there; of a half only those whose names fall into it."""
    found = []
    for name in sets:
        paths = sorted((root / name / "images").glob("*.jpg"))
        found += [
            path
            for path in paths
            if path.name not in TWINS
            and (half is None or fold_by_name(path.name, "bursts|0", 2) == half)
        ]
    return found


def read(paths: Sequence[Path], source: BackboneSource, *, also_made: bool = True) -> Part:
    """The photographs, and what is made of every fourth."""
    rows: list[tuple[str, int, str, dict[str, object]]] = []
    waiting: list[tuple[str, int, str, bytes]] = []

    def compute() -> None:
        pooled = source.compute([source.prepare(data) for *_, data in waiting])
        for (name, scene, kind, data), features in zip(waiting, pooled, strict=True):
            look = {"pooled": features["pooled"], **LOOK.prepare(data)}
            rows.append((name, scene, kind, look))
        waiting.clear()

    for scene, path in enumerate(paths):
        name = "/".join(path.parts[-3::2])
        for kind, data in _versions(path, also_made and scene % EVERY == 0):
            waiting.append((name, scene, kind, data))
        if len(waiting) >= BATCH:
            compute()
    if waiting:
        compute()
    features = [{source.identity: look, LOOK.identity: look} for *_, look in rows]
    scenes = np.array([row[1] for row in rows])
    kinds = np.array([row[2] for row in rows])
    return Part([row[0] for row in rows], scenes, kinds, looks_of(features, source))


def _versions(path: Path, also_made: bool) -> Iterator[tuple[str, bytes]]:
    yield "", read_file(path)
    if also_made:
        image = read_picture(path)
        for kind in (*KINDS, PAN):
            yield kind, made(image, kind, path.name)
        for kind in ("shift", PAN):
            yield f"first {kind}", framed(image, kind, path.name)


# ---- figures -------------------------------------------------------------------------------------


def tally(scene: Places, best: Places) -> Tally:
    """scene: [N] of pictures in order.   best: [N], who stands for each, by place."""
    rows = np.arange(len(scene))
    out = best != rows
    right = out & (scene == scene[best])
    counts = np.bincount(scene)
    kept = np.bincount(scene[~out], minlength=len(counts))
    touched = np.zeros(len(counts), bool)
    touched[scene[out & ~right]] = touched[scene[best[out & ~right]]] = True
    bursts = counts > 1
    whole = bursts & (kept == 1) & ~touched
    n = int((counts[bursts] - 1).sum())
    return Tally(n, int(out.sum()), int(right.sum()), int(bursts.sum()), int(whole.sum()))


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share; (0, 1) of nothing."""
    if not n:
        return 0.0, 1.0
    z, share = 1.959964, hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def by_cosine(embedding: npt.NDArray[np.float32], level: float) -> Places:
    """`bests` by the embedding alone."""
    best = np.arange(len(embedding))
    kept = np.zeros(len(embedding), bool)
    for i, each in enumerate(embedding):
        near = np.flatnonzero((embedding[:i] @ each >= level) & kept[:i])
        kept[i] = not len(near)
        best[i] = near[0] if len(near) else i
    return best


def ordered(part: Part) -> Part:
    """The part without pans and other frames, in the order of seed 0."""
    rows = np.flatnonzero(np.isin(part.kind, ("", *KINDS)))
    return part.some(np.random.default_rng(0).permutation(rows))


def _timed(looks: Looks, taken: float) -> Looks:
    same = np.zeros(len(looks))
    return Looks(looks.embedding, looks.sketch, same + taken, same + 1)


def _pairs(part: Part, kind: str) -> list[tuple[int, int]]:
    """Rows of a photograph, or the other frame of it, and of what was made of it."""
    first = {
        int(part.scene[row]): int(row)
        for row in np.flatnonzero(part.kind == (f"first {kind}" if kind in ("shift", PAN) else ""))
    }
    return [(first[int(part.scene[r])], int(r)) for r in np.flatnonzero(part.kind == kind)]


def joined(part: Part, pairs: Sequence[tuple[int, int]], timed: bool = False) -> int:
    """How many of the pairs are joined if there is nothing else."""
    hits = 0
    for pair in pairs:
        looks = part.some(np.array(pair)).looks
        hits += int(bests(_timed(looks, 0.0) if timed else looks, ALIKE)[1] == 0)
    return hits


def close(part: Part) -> dict[str, list[tuple[int, int]]]:
    """Pairs of different photographs that might follow each other: of an OASIS theme, of any."""
    rows = list(map(int, np.flatnonzero(part.kind == "")))
    themes: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        if part.names[row].startswith("oasis/"):
            themes[theme(Path(part.names[row]).stem)].append(row)
    near = [pair for some in themes.values() for pair in pairwise(some)]
    drawn = map(int, np.random.default_rng(0).permutation(rows))
    return {"one OASIS theme": near, "any two photographs": list(pairwise(drawn))}


# ---- the table -----------------------------------------------------------------------------------


def _share(name: str, hits: int, n: int) -> str:
    if not n:
        return f"  {name:28} none"
    low, high = wilson(hits, n)
    return f"  {name:28} {hits / n:6.3f} [{low:.3f}, {high:.3f}]  of {n}"


def _tallied(name: str, found: Tally) -> list[str]:
    return [
        _share(f"{name} recall", found.right, found.made),
        _share(f"{name} precision", found.right, found.left_out),
        _share(f"{name} whole", found.whole, found.bursts),
    ]


def choose(part: Part) -> tuple[list[str], float]:
    """Levels side by side; and the level of a cosine alone."""
    some = ordered(part)
    lines = ["choosing half"]
    for level in LEVELS:
        lines += _tallied(f"detail {level:.2f}", tally(some.scene, bests(some.looks, level)))
    for level in np.arange(0.80, 1.0, 0.005):
        found = tally(some.scene, by_cosine(some.looks.embedding, level))
        if found.right >= 0.99 * found.left_out:
            break
    lines += _tallied(f"embedding {level:.3f}", found)
    return lines, float(level)


def report(name: str, part: Part, cosine: float) -> list[str]:
    """Figures at the levels that were chosen."""
    some = ordered(part)
    lines = [f"{name}, {int((part.kind == '').sum())} photographs"]
    for kind in KINDS:
        pairs = _pairs(part, kind)
        lines.append(_share(kind, joined(part, pairs), len(pairs)))
    found = bests(some.looks, ALIKE)
    lines += _tallied("all", tally(some.scene, found))
    lines += _tallied("embedding alone", tally(some.scene, by_cosine(some.looks.embedding, cosine)))
    lines += different(part)
    lines.append(f"  by time (cosine {ALIKE + MARGIN:.2f}), made-up times")
    pans = _pairs(part, PAN)
    lines.append(_share("pan, no time", joined(part, pans), len(pans)))
    lines.append(_share("pan, within 3 s", joined(part, pans, timed=True), len(pans)))
    for which, pairs in close(part).items():
        lines.append(_share(which, joined(part, pairs, timed=True), len(pairs)))
    return lines


def different(part: Part) -> list[str]:
    """Photographs that were left out for another one; by name, so that one can look at them."""
    alone = part.some(np.flatnonzero(part.kind == ""))
    best = bests(alone.looks, ALIKE)
    wrong = [i for i, kept in enumerate(map(int, best)) if kept != i]
    named = [f"    {alone.names[i]} for {alone.names[best[i]]}" for i in wrong]
    return [_share("different left out", len(wrong), len(best)), *named]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description="Measure how near-duplicates are found.")
    parser.add_argument("--root", type=Path, required=True, help="folder of the data sets")
    root = parser.parse_args(arguments).root
    source = embedder(load_settings())
    halves = [photographs(root, HALVED, half) for half in (0, 1)]
    if not all(halves):
        raise DataError(f"{root} holds too few of {', '.join(HALVED)}. Unpack the sets there.")
    lines, cosine = choose(read(halves[0], source))
    print("\n".join(lines), flush=True)
    print("\n".join(report("reporting half", read(halves[1], source), cosine)), flush=True)
    for name in WHOLE:
        if paths := photographs(root, [name], None):
            found = different(read(paths, source, also_made=False))
            print("\n".join([f"{name}, {len(paths)} photographs", *found]), flush=True)


if __name__ == "__main__":
    try:
        main()
    except ImgrankError as error:
        sys.exit(f"imgrank: {error}")
