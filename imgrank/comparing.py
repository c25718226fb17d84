"""`compare`: two pictures, by a head that looks at both where there is one, else by two scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imgrank.calls import Options, PathLike, column_of, say, say_device
from imgrank.errors import NothingReadable, UsageError
from imgrank.images.reading import Unreadable, read_file
from imgrank.images.scan import require
from imgrank.instruction import parse
from imgrank.opening import open_store
from imgrank.rankers.base import Features, Job, PairwiseRanker
from imgrank.rankers.load import route
from imgrank.results.ranking import Column, goodness
from imgrank.settings import load_settings

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Which of two pictures comes first.

    winner: by the model's pairwise head, which looks at both, where it has one; else by the two
    scores; None if they are the same.  probability: that `first` comes before `second`, from that
    head; None without one, and for "closest to" a number.  scores: of the two, in the order given.
    """

    first: Path
    second: Path
    winner: Path | None
    probability: float | None
    scores: tuple[float, float]
    column: Column


def compare(
    first: PathLike, second: PathLike, instruction: str, *, options: Options | None = None
) -> Comparison:
    """Which of two pictures comes first. Raises as `sort` does, and if either is unreadable."""
    options = options or Options()
    pair = (Path(first), Path(second))
    for path in pair:
        require(path)
        if path.is_dir():
            raise UsageError(f"{path} is a folder; compare takes two pictures.")
    settings = options.settings or load_settings()
    job = route(parse(instruction), settings, options.model)
    say(options, [job])
    a, b = (_features(path, job) for path in pair)
    with open_store(settings, [job.ranker.source], options.notify):
        (cell_a,), (cell_b,) = job.ranker.score([a, b], [job.query])
    for path, cell in zip(pair, (cell_a, cell_b), strict=True):
        if cell is None:
            raise NothingReadable(f"{path} has no {job.answer.prompt}.")
    assert cell_a is not None and cell_b is not None
    column = column_of(job)
    good_a, good_b = goodness(column, [cell_a.value, cell_b.value])
    probability = None
    if isinstance(job.ranker, PairwiseRanker) and column.reference is None:
        probability = job.ranker.compare(a, b, job.query)
        if probability is not None and not job.query.descending:
            probability = 1 - probability
    if probability is not None:
        good_a, good_b = probability, 1 - probability
    winner = None if good_a == good_b else pair[0] if good_a > good_b else pair[1]
    say_device(options, job.ranker.source)
    return Comparison(*pair, winner, probability, (cell_a.value, cell_b.value), column)


def _features(path: Path, job: Job) -> Features:
    try:
        prepared = job.ranker.source.prepare(read_file(path))
    except Unreadable as error:
        raise NothingReadable(f"{path}: {error}.") from error
    return job.ranker.source.compute([prepared])[0]
