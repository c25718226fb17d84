"""Decade and aesthetic level of pictures (`imgrank decade`, `imgrank aesthetic`).

    from imgrank import decade, aesthetic
    for row in decade("photos").rows: print(row.path, row.status, row.level, row.levels)

The answer is a distribution over levels, by a checkpoint of kind l2rclip: the likeliest level, the
smallest set of levels that holds the truth in 80 of 100 cases, and a value on the scale with an
interval. A picture of a kind that the checkpoint knows nothing of (`rankers/domain.py`) has no
estimate but a reason: probabilities sum to one also where all levels are wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from imgrank.calls import Options, PathLike, pictures_of
from imgrank.errors import UsageError
from imgrank.estimates.found import Found, Reading, announce, estimator
from imgrank.images import ImageFile, Skip
from imgrank.images.reading import DECODE_VERSION, MEASURE_VERSION
from imgrank.instruction import parse
from imgrank.opening import open_store
from imgrank.pipeline import features_of
from imgrank.rankers import levels
from imgrank.rankers.base import Features, FeatureSource, Job
from imgrank.rankers.domain import COLOUR, Outside
from imgrank.rankers.l2rclip import L2RCLIPRanker
from imgrank.rankers.load import load_levels
from imgrank.rankers.measured import MeasuredSource
from imgrank.results.estimate import Estimate
from imgrank.scoring import Scored
from imgrank.settings import load_settings
from imgrank.store.store import Store

__all__ = ["TAKEN", "aesthetic", "decade"]

AT_ONCE = 256
"""Pictures that a ranker sees at once."""


def decade(
    paths: PathLike | Iterable[PathLike], *, exif: bool = False, options: Options | None = None
) -> Found:
    """The decade that each picture was taken in, from its look.

    exif: the year of DateTimeOriginal instead, where a file has one; scans often have that of the
    scan.   Raises UsageError for a missing path or a model that gives no decades, NothingReadable
    if no picture could be read, ModelUnavailable if no such model is here.
    """
    return _estimate("decade", paths, options or Options(), exif)


def aesthetic(paths: PathLike | Iterable[PathLike], *, options: Options | None = None) -> Found:
    """The aesthetic level of each picture, and its place on the scale. Raises as `decade` does."""
    return _estimate("aesthetics", paths, options or Options())


def _taken(data: bytes) -> Mapping[str, float | None]:
    from imgrank.images.measure import year_taken  # loads numpy: not for known features

    year = year_taken(data)
    return {"taken": math.nan if year is None else float(year)}


TAKEN = MeasuredSource(f"taken {MEASURE_VERSION}.{DECODE_VERSION}", frozenset({"taken"}), _taken)
"""`taken`: the year of EXIF DateTimeOriginal, NaN without one; kept in the store."""


# ---- one path for both ---------------------------------------------------------------------------


def _estimate(
    task: str, paths: PathLike | Iterable[PathLike], options: Options, exif: bool = False
) -> Found:
    settings = options.settings or load_settings()
    query = parse(f"by {task}")
    files, skips = pictures_of(paths, options)
    ranker = load_levels(task, settings, options.model)
    if (answer := ranker.answer(query)) is None:
        raise UsageError(f"{ranker.name} gives no probabilities of {task} levels.")
    announce(Job(query, ranker, answer), options)
    reading = Reading(skips)
    run = _Run(ranker, task, reading)
    with open_store(settings, [ranker.source], options.notify) as store:
        if exif:
            files = run.dated(files, store, settings.threads)
        first = len(reading.rows)

        def progress(done: int, total: int) -> None:
            if options.progress:
                options.progress(first + done, first + total)

        run.estimated(
            features_of(files, run.wanted, store, threads=settings.threads, progress=progress)
        )
    model = estimator(task, answer, ranker, levels=ranker.ranks.names)
    return reading.found(model, options, ranker.source)


@dataclass(slots=True)
class _Run:
    """The rows of one run, one task, one model; they go to `reading`."""

    ranker: L2RCLIPRanker
    task: str
    reading: Reading

    @property
    def wanted(self) -> list[tuple[FeatureSource, frozenset[str]]]:
        """What is needed of a picture. The date only to say whether it would help."""
        found: list[tuple[FeatureSource, frozenset[str]]] = [
            (self.ranker.source, self.ranker.needs)
        ]
        domain = self.ranker.domain
        if domain is not None and domain.monochrome:
            found.append((COLOUR, COLOUR.kept))
        if domain is not None and self.task == "decade":
            found.append((TAKEN, TAKEN.kept))
        return found

    def dated(
        self, files: Sequence[ImageFile], store: Store, threads: int | None
    ) -> list[ImageFile]:
        """Rows of those that have an EXIF date; the others are left to the model."""
        left = {file.path: file for file in files}
        for outcome in features_of(files, [(TAKEN, TAKEN.kept)], store, threads=threads):
            if isinstance(outcome, Skip):
                self.reading.skips.append(outcome)
                del left[outcome.path]
            elif (year := _year(outcome.features)) is not None:
                self.reading.count(outcome)
                name = f"{year - year % 10}s"
                self.reading.rows.append(
                    Estimate(outcome.path, value=year, level=name, source="exif")
                )
                del left[outcome.path]
        return list(left.values())

    def estimated(self, found: Iterable[Scored | Skip]) -> None:
        """Rows by the model."""
        pictures = self.reading.pictures(found)
        while batch := list(islice(pictures, AT_ONCE)):
            self.reading.rows += self._rows(batch)

    def _rows(self, batch: Sequence[Scored]) -> Iterator[Estimate]:
        ranker = self.ranker
        features = [item.features[ranker.source.identity] for item in batch]
        chroma = [_number(item.features, COLOUR, "chroma") for item in batch]
        p = ranker.distribution(features)
        likely = levels.chosen(p, ranker.calibration.mass)
        rows = zip(
            batch,
            ranker.outside(features, chroma),
            ranker.scores_of(p),
            p.tolist(),
            likely.tolist(),
            strict=True,
        )
        names = ranker.ranks.names
        for item, outside, score, probabilities, inside in rows:
            if outside is not None:
                reason = self._reason(outside, _year(item.features))
                yield Estimate(item.path, "out_of_range", reason=reason)
                continue
            value, low, high = score
            top = max(probabilities)
            yield Estimate(
                item.path,
                value=value,
                low=low,
                high=high,
                level=names[probabilities.index(top)],
                probability=top,
                levels=tuple(zip(names, probabilities, strict=True)),
                likely=tuple(name for name, own in zip(names, inside, strict=True) if own),
            )

    def _reason(self, outside: Outside, year: int | None) -> str:
        """Why there is no estimate, and what else would help. One line."""
        name, domain = self.ranker.name, self.ranker.domain
        assert domain is not None
        on = f" ({domain.on})" if domain.on else ""
        if outside == "colour":
            said = f"a colour photograph; {name} was trained on monochrome ones{on}"
        else:
            said = f"unlike the pictures that {name} was trained on{on}"
        if self.task != "decade":
            return f"{said}. What would help: a --model that was trained on such pictures"
        helps = [f"--exif (its EXIF date says {year})"] if year is not None else []
        helps += [
            "a --model that was trained on such photographs (colour ones with their decade: "
            "`imgrank train l2rclip --data hci`)"
        ]
        others = ", or ".join(helps)
        return f'{said}. What would help: {others}; to sort "by decade" does no better'


def _number(features: Mapping[str, Features], source: MeasuredSource, name: str) -> float | None:
    """Of a picture, whether just measured or read from the store; None: not asked for, or none."""
    if source.identity not in features:
        return None
    value = float(features[source.identity][name])
    return None if math.isnan(value) else value


def _year(features: Mapping[str, Features]) -> int | None:
    year = _number(features, TAKEN, "taken")
    return None if year is None else int(year)
