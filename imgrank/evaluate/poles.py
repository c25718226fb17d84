"""How well do words order pictures, with nothing trained? Pairs of poles, and ranks of a scale.

    UTKFace    apparent age in years, from the file names; 6,000 crops drawn with seed 0
    OldNYC     year, 1900 onwards (monochrome prints, most of the 1930s: look at `constant`; the
               ranks' values are first years of decades, so that MAE is 4 or 5 at the very best)
    OASIS      mean human rating of beauty, 1 to 7
    AGIQA-3k   mean opinion score of the quality of generated pictures
    OASIS      brightness, contrast, colourfulness and sharpness, as `images/measure.py` has them,
               and five grades of added noise on 60 of its photographs

Each set is cut in two with a fixed seed. On the CHOOSING part every pair, every template and some
temperatures stand side by side; what tasks.toml has was chosen there. On the REPORTING part there
is only what was chosen, with 95 % intervals (bootstrap over pictures; those of noise take the
grades of one photograph for independent), beside the bare instruction, which says next to nothing.
One exception: the three pairs of beauty were once chosen on all of OASIS.

    SRCC     of the score and the truth
    MAE      of the expectation over ranks, in the task's unit; `constant` is that of always saying
             the median of the choosing part
    closest  SRCC of |score - n| and |truth - n|, the mean over some n: how "closest to n" orders

Run:  python -m imgrank.evaluate.poles --root DATA [--backbone NAME|FOLDER]
with DATA/{utkface,oldnyc,oasis,agiqa3k} as published; a set that is not there is left out.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgrank.data.agiqa3k import read_agiqa3k
from imgrank.data.distortions import GRADES, Version, render
from imgrank.errors import DataError, ImgrankError
from imgrank.evaluate.metrics import bootstrap, mae, srcc
from imgrank.images.measure import measure as measure_pixels
from imgrank.images.reading import read_file
from imgrank.instruction import Query, parse
from imgrank.rankers.load import load_source
from imgrank.rankers.prompts import PromptRanker, expectation, pole_direction, rank_anchors
from imgrank.rankers.source import BackboneSource
from imgrank.settings import load_settings
from imgrank.tasks import Ranks, tasks

__all__ = ["SETS", "Embedded", "LabelledSet", "main", "measure", "read_ages", "read_beauty"]

Picture = Path | Version
Labelled = list[tuple[Picture, float]]
Vector = npt.NDArray[np.float64]
BATCH = 64
FACES, NOISY, NOISE_GRADES = 6000, 60, range(GRADES + 1)
TEMPERATURES = (25.0, 50.0, 100.0)  # beside the model's own
NUMBERS = {  # ranks that tasks.toml might have had: the bare numbers
    "age": ("a photo of a {} year old person.", "a person aged {}.", "age: {}"),
    "decade": ("a photo taken in {}.", "the year {}"),
}


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """instruction: what is asked.   folder: below the root.   near: numbers n of "closest to n".
    read: folder -> pictures and truths in the order of the draw.   choosing: share of the first
    that choices may be made on."""

    instruction: str
    folder: str
    read: Callable[[Path], Labelled]
    choosing: float = 0.5
    near: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Embedded:
    """Pictures as a backbone sees them: pooled [N, E]; truth [N]."""

    pooled: npt.NDArray[np.float32]
    truth: Vector

    def part(self, rows: slice) -> Embedded:
        """Some of them."""
        return Embedded(self.pooled[rows], self.truth[rows])


# ---- the sets ------------------------------------------------------------------------------------


def read_ages(root: Path) -> Labelled:
    """UTKFace as published: `UTKFace/AGE_GENDER_RACE_DATE.jpg.chip.jpg`; `FACES` drawn of them."""
    paths = sorted((root / "UTKFace").glob("*.jpg"))
    ages = [(p, float(p.name.split("_")[0])) for p in paths if p.name.split("_")[0].isdecimal()]
    if not ages:
        raise DataError(f"{root / 'UTKFace'} holds no UTKFace crops. Unpack the set there.")
    return list(random.Random(0).sample(ages, min(FACES, len(ages))))


def read_beauty(root: Path) -> Labelled:
    """OASIS: labels.csv with filepath and beauty_mean, pictures below the same folder."""
    return _shuffled(_read_table(root, "beauty_mean"))


def read_decades(root: Path) -> Labelled:
    """OldNYC: labels.csv with filepath and year; from 1900 on."""
    return _shuffled([row for row in _read_table(root, "year") if row[1] >= 1900])


def read_quality(root: Path) -> Labelled:
    """AGIQA-3k: mean opinion scores of quality."""
    return _shuffled([(row.path, row.quality) for row in read_agiqa3k(root)])


def read_measured(name: str) -> Callable[[Path], Labelled]:
    """OASIS pictures with a property of their pixels, see images/measure.py."""

    def read(root: Path) -> Labelled:
        paths = [path for path, _ in _read_table(root, "beauty_mean") if isinstance(path, Path)]
        return _shuffled([(path, measure_pixels(read_file(path))[name]) for path in paths])

    return read


def read_noise(root: Path) -> Labelled:
    """OASIS photographs with noise added; the truth is the grade, 0 to 5."""
    paths = [path for path, _ in read_beauty(root) if isinstance(path, Path)][:NOISY]
    return [
        (Version(path, "noise", float(grade), noise=seed), float(grade))
        for seed, path in enumerate(paths)
        for grade in NOISE_GRADES
    ]


def _read_table(root: Path, column: str) -> Labelled:
    table = root / "labels.csv"
    if not table.is_file():
        raise DataError(f"{table} is missing. Unpack the set with its labels there.")
    with table.open(encoding="utf-8", newline="") as file:
        return [(root / row["filepath"], float(row[column])) for row in csv.DictReader(file)]


def _shuffled(data: Labelled) -> Labelled:
    random.Random(0).shuffle(data)
    return data


SETS = (
    LabelledSet("by age", "utkface", read_ages, 2 / 3, (5, 30, 50, 70)),
    LabelledSet("by decade", "oldnyc", read_decades, near=(1910, 1930)),
    LabelledSet("by beauty", "oasis", read_beauty),
    LabelledSet("by quality", "agiqa3k", read_quality),
    LabelledSet("by brightness", "oasis", read_measured("brightness")),
    LabelledSet("by contrast", "oasis", read_measured("contrast")),
    LabelledSet("by colorfulness", "oasis", read_measured("colorfulness")),
    LabelledSet("by sharpness", "oasis", read_measured("sharpness")),
    LabelledSet("by noise", "oasis", read_noise),
)


def embed(source: BackboneSource, data: Labelled) -> Embedded:
    """Decodes and encodes as a sort does."""
    rows: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(data), BATCH):
        part = [source.prepare(_bytes(picture)) for picture, _ in data[start : start + BATCH]]
        rows += [features["pooled"] for features in source.compute(part)]
    return Embedded(np.stack(rows).astype(np.float32), np.array([truth for _, truth in data]))


def _bytes(picture: Picture) -> bytes:
    return read_file(picture) if isinstance(picture, Path) else render(picture)


# ---- the table -----------------------------------------------------------------------------------


def measure(ranker: PromptRanker, asked: LabelledSet, data: Embedded) -> list[str]:
    """The lines of one set: the choosing part, then the reporting part."""
    cut = int(len(data.truth) * asked.choosing)
    choosing, reporting = data.part(slice(cut)), data.part(slice(cut, None))
    lines = [f"{asked.instruction}: choosing on {cut}"]
    lines += _choices(ranker, asked, choosing)
    lines += [f"{asked.instruction}: reporting on {len(data.truth) - cut}"]
    return lines + _report(ranker, asked, reporting, float(np.median(choosing.truth)))


def _choices(ranker: PromptRanker, asked: LabelledSet, data: Embedded) -> list[str]:
    query = parse(asked.instruction)
    task = tasks()[query.task or ""]
    source, lines = ranker.source, []
    for pair in task.poles:
        score = data.pooled @ pole_direction(source, [pair])
        lines.append(_line(f"poles +{pair[0]} -{pair[1]}", data, score))
    lines.append(_line("poles, all", data, _poles(ranker, query, data)))
    if task.ranks is None:
        return lines
    own = source.logit_scale()
    for template in task.ranks.templates:
        one = replace(task.ranks, templates=(template,))
        score = expectation(data.pooled, rank_anchors(source, one), one.values, own)
        lines.append(_line(f"ranks '{template}'", data, score, asked.near))
    for template in NUMBERS[task.key]:
        one = _numbers(task.ranks, template)
        score = expectation(data.pooled, rank_anchors(source, one), one.values, own)
        lines.append(_line(f"ranks as numbers '{template}'", data, score, asked.near))
    anchors = rank_anchors(source, task.ranks)
    for scale in (own, *TEMPERATURES):
        score = expectation(data.pooled, anchors, task.ranks.values, scale)
        lines.append(_line(f"ranks, all templates, scale {scale:.3g}", data, score, asked.near))
    return lines


def _report(ranker: PromptRanker, asked: LabelledSet, data: Embedded, constant: float) -> list[str]:
    query = parse(asked.instruction)
    poles = _poles(ranker, query, data)
    lines = [_interval("poles", srcc, data.truth, poles)]
    if near := asked.near:
        ranks = _scores(ranker, replace(query, reference=near[0]), data)
        rows = np.arange(len(poles), dtype=np.float64)

        def difference(truth: Vector, drawn: Vector) -> float:
            at = drawn.astype(np.intp)
            return srcc(truth, poles[at]) - srcc(truth, ranks[at])

        always = mae(data.truth, np.full_like(data.truth, constant))
        lines += [
            _interval("ranks", srcc, data.truth, ranks),
            _interval("poles less ranks", difference, data.truth, rows),
            _interval("ranks, closest to", lambda t, s: _closeness(t, s, near), data.truth, ranks),
            _interval("ranks", mae, data.truth, ranks, "MAE"),
            f"  {'constant':64} MAE  {always:6.2f}",
        ]
    bare = _scores(ranker, replace(query, task=None), data)
    return [*lines, _interval("bare instruction", srcc, data.truth, bare)]


def _poles(ranker: PromptRanker, query: Query, data: Embedded) -> Vector:
    return _scores(ranker, replace(query, reference=None), data)


def _scores(ranker: PromptRanker, query: Query, data: Embedded) -> Vector:
    """Through the ranker's own door: what a sort would show, [N]."""
    cells = ranker.score([{"pooled": row} for row in data.pooled], [query])
    return np.array([cell.value for (cell,) in cells if cell is not None])


def _numbers(ranks: Ranks, template: str) -> Ranks:
    return Ranks((template,), ranks.values, tuple((f"{value:g}",) for value in ranks.values))


def _closeness(truth: Vector, score: Vector, near: Sequence[float]) -> float:
    return float(np.mean([srcc(np.abs(truth - n), np.abs(score - n)) for n in near]))


def _line(
    name: str, data: Embedded, score: npt.NDArray[np.floating], near: Sequence[float] = ()
) -> str:
    text = f"  {name:64} SRCC {srcc(data.truth, score):6.3f}"
    if near:
        closest = _closeness(data.truth, score.astype(np.float64), near)
        text += f"  MAE {mae(data.truth, score):6.2f}  closest {closest:6.3f}"
    return text


def _interval(
    name: str, metric: Callable[..., float], truth: Vector, score: Vector, unit: str = "SRCC"
) -> str:
    low, high = bootstrap(metric, truth, score)
    digits = 3 if unit == "SRCC" else 2
    value = f"{metric(truth, score):6.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
    return f"  {name:64} {unit:4} {value}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Measure zero-shot orders by poles and by ranks.")
    parser.add_argument("--root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--backbone", default=None, help="name or folder; the embedded one")
    given = parser.parse_args(arguments)
    ranker = PromptRanker(load_source(given.backbone, load_settings()))
    here = [asked for asked in SETS if (given.root / asked.folder).is_dir()]
    if not here:
        names = ", ".join(sorted({asked.folder for asked in SETS}))
        raise DataError(f"{given.root} holds none of {names}. Unpack the sets there.")
    for asked in here:
        data = embed(ranker.source, asked.read(given.root / asked.folder))
        print("\n".join(measure(ranker, asked, data)), flush=True)


if __name__ == "__main__":
    try:
        main()
    except ImgrankError as error:
        sys.exit(f"imgrank: {error}")
