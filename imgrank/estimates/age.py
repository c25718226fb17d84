"""Apparent age of every face in pictures (`imgrank age`): what Python users and the command call.

    from imgrank import age
    for row in age("photos").rows: print(row.path, row.face, row.value, row.low, row.high)

An estimate of how old a face looks, by a model whose error is measured (`imgrank models info`); it
is not for decisions about people.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from imgrank.calls import Options, PathLike, pictures_of
from imgrank.errors import CheckpointError, MissingExtra, UsageError
from imgrank.estimates.found import Found, Reading, announce, estimator
from imgrank.images.face_crop import CropGeometry
from imgrank.images.faces import Detector, detector
from imgrank.instruction import Query, parse
from imgrank.opening import open_store
from imgrank.pipeline import features_of
from imgrank.rankers.base import Answer, Features, Ranker
from imgrank.rankers.faces import FACES, FaceSource
from imgrank.rankers.l2rclip import L2RCLIPRanker
from imgrank.rankers.load import route
from imgrank.rankers.source import BackboneSource
from imgrank.results.estimate import Box, Estimate
from imgrank.results.groups import AGE_GROUPS, age_group
from imgrank.settings import Settings, load_settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MIN_CONFIDENCE", "Which", "age"]

Which = Literal["all", "largest"]

MIN_CONFIDENCE = 0.5
"""Of a detector: as likely a face as not, by its own reckoning. Less sure finds are kept too."""

_NOWHERE = Path()

AT_ONCE = 64
"""Faces that a ranker sees at once, or as many as the last picture has more; a picture without a
face counts as one, so that a folder of landscapes does not pile up."""


def age(
    paths: PathLike | Iterable[PathLike],
    *,
    faces: Which = "all",
    min_confidence: float = MIN_CONFIDENCE,
    options: Options | None = None,
) -> Found:
    """The apparent age of every face, or of the largest face of each picture.

    Rows are by path, then by face, the largest first; a picture without a face is one row.
    min_confidence: of the detector, 0 to 1; faces that it is less sure of do not count.
    Raises UsageError for a missing path, a min_confidence that is none or a model that gives no
    years, NothingReadable if no picture could be read, ModelUnavailable if a named model is not
    here.
    """
    if not 0 <= min_confidence <= 1:  # not a number compares false
        raise UsageError(f"--min-confidence {min_confidence:g} does not lie between 0 and 1.")
    options = options or Options()
    settings = options.settings or load_settings()
    query = parse("by age")
    files, skips = pictures_of(paths, options)
    job = route(query, settings, options.model)
    _check(job.answer)
    if job.ranker.scope == "set":
        raise UsageError(
            f"{job.answer.model} looks at several whole pictures at once, not at faces; `imgrank "
            f"sort PATH 'by age' --model {options.model or job.answer.model}` asks it. Leave "
            "--model away here."
        )
    announce(job, options)
    finder = _detector(settings, options)
    backbone = job.ranker.source
    assert isinstance(backbone, BackboneSource)  # measured properties have no age
    source = FaceSource(backbone, job.ranker.needs, finder, _geometry(job.ranker))
    reading = Reading(skips)
    with open_store(settings, [backbone], options.notify) as store:
        found = features_of(
            files,
            [(source, source.kept)],
            store,
            threads=settings.threads,
            progress=options.progress,
        )
        pictures = ((item.path, item.features[source.identity]) for item in reading.pictures(found))
        for some in _batches(pictures):
            reading.rows += _rows(some, job.ranker, query, faces, min_confidence)
    model = estimator("age", job.answer, job.ranker, faces=True)
    return reading.found(model, options, backbone)


def _check(answer: Answer) -> None:
    if answer.unit != "years":
        raise UsageError(
            f"{answer.model} cannot say an age in years (its unit: {answer.unit or 'none'}). Leave "
            "--model away, or name a model that was trained for years."
        )


def _detector(settings: Settings, options: Options) -> Detector | None:
    """None, and said so, without the extra."""
    try:
        return detector(settings.models_dir)
    except MissingExtra as error:
        options.notify(f"  every picture is taken as the crop of one face: {error}")
        return None


def _geometry(ranker: Ranker) -> CropGeometry:
    """Of the crops that the checkpoint was trained on."""
    tasks: Mapping[str, Any] = getattr(ranker, "tasks", {})
    try:
        return CropGeometry.from_dict(tasks.get("age", {}).get("crop", {}))
    except ValueError as error:
        raise CheckpointError(f"{ranker.name} cannot be used: {error}.") from error


# ---- from features to rows -----------------------------------------------------------------------


def _batches(pictures: Iterable[tuple[Path, Features]]) -> Iterator[list[tuple[Path, Features]]]:
    some: list[tuple[Path, Features]] = []
    waiting = 0
    for path, features in pictures:
        some.append((path, features))
        waiting += max(1, len(features[FACES]))
        if waiting >= AT_ONCE:
            yield some
            some, waiting = [], 0
    if some:
        yield some


def _rows(
    pictures: Sequence[tuple[Path, Features]],
    ranker: Ranker,
    query: Query,
    which: Which,
    lowest: float,
) -> Iterator[Estimate]:
    """The rows of some pictures, picture by picture."""
    boxes = [_boxes(features[FACES], which, lowest) for _, features in pictures]
    given = [
        {name: features[name][number] for name in ranker.needs}
        for (_, features), own in zip(pictures, boxes, strict=True)
        for number, _ in own
    ]
    estimates = iter(_estimates(ranker, given, query) if given else ())
    for (path, _), own in zip(pictures, boxes, strict=True):
        if not own:
            yield Estimate(path, "no_face", reason="no face was found")
        for face, (_, box) in enumerate(own, 1):
            yield replace(next(estimates), path=path, face=face, box=box)


def _boxes(table: NDArray[np.float32], which: Which, lowest: float) -> list[tuple[int, Box]]:
    """Number in the table and box of the faces that count, in the order of the table."""
    boxes = [Box(x, y, w, h, sure, bool(cropped)) for x, y, w, h, sure, cropped in table.tolist()]
    sure = [(i, box) for i, box in enumerate(boxes) if box.confidence >= lowest]
    return sure[:1] if which == "largest" else sure


def _estimates(ranker: Ranker, given: Sequence[Features], query: Query) -> Iterator[Estimate]:
    """Of each face; without its path, number and box. A model without ranks says only the age."""
    if not isinstance(ranker, L2RCLIPRanker):
        for (score,) in ranker.score(given, [query]):
            assert score is not None  # only measured properties may be absent
            yield Estimate(_NOWHERE, value=score.value, level=AGE_GROUPS[age_group(score.value)][1])
        return
    p = ranker.distribution(given)
    outside = ranker.outside(given, [None] * len(given))
    for why, score, row in zip(outside, ranker.scores_of(p), p, strict=True):
        if why is not None:
            said = f"unlike the faces that {ranker.name} was trained on; perhaps it is no face"
            yield Estimate(_NOWHERE, "out_of_range", reason=said)
            continue
        group = age_group(score.value)
        probability = _mass(row, ranker.ranks.bounds, group)
        yield Estimate(_NOWHERE, "ok", *score, AGE_GROUPS[group][1], probability)


def _mass(p: NDArray[np.float64], bounds: Sequence[float], group: int) -> float:
    """Probability [M] of the ranks within a group; each is spread evenly over what it covers."""
    import numpy as np

    rises = np.concatenate(([0.0], np.cumsum(p)))
    starts = [first - 0.5 for first, _ in AGE_GROUPS]
    low = 0.0 if group == 0 else float(np.interp(starts[group], bounds, rises))
    last = group + 1 == len(AGE_GROUPS)
    high = 1.0 if last else float(np.interp(starts[group + 1], bounds, rises))
    return high - low
