"""`compare`: two pictures, by a model that looks at both where it does, else by two scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imgrank.calls import Options, PathLike, column_of, say, say_device
from imgrank.errors import NothingReadable, UsageError
from imgrank.images import ImageFile
from imgrank.images.reading import Unreadable, read_file
from imgrank.images.scan import require
from imgrank.instruction import parse
from imgrank.opening import open_store
from imgrank.rankers.base import Features, Job, PairwiseRanker, Score
from imgrank.rankers.load import route
from imgrank.results.ranking import Column, goodness
from imgrank.saying import lacking
from imgrank.scopes import score_all
from imgrank.settings import load_settings
from imgrank.store.store import Store

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
    together = job.ranker.scope == "set"
    seen = [] if together else [_features(path, job) for path in pair]
    with open_store(settings, [job.ranker.source], options.notify) as store:
        if together:
            cell_a, cell_b = _values(pair, job, store, options)
        else:
            (cell_a,), (cell_b,) = job.ranker.score(seen, [job.query])
    for path, cell in zip(pair, (cell_a, cell_b), strict=True):
        if cell is None:
            raise NothingReadable(f"{path} {lacking([None], [column_of(job)])}.")
    assert cell_a is not None and cell_b is not None
    column = column_of(job)
    good_a, good_b = goodness(column, [cell_a.value, cell_b.value])
    probability = None
    if isinstance(job.ranker, PairwiseRanker) and column.reference is None:
        probability = job.ranker.compare(seen[0], seen[1], job.query)
        if probability is not None and not job.query.descending:
            probability = 1 - probability
    if probability is not None:
        good_a, good_b = probability, 1 - probability
    winner = None if good_a == good_b else pair[0] if good_a > good_b else pair[1]
    say_device(options, job.ranker if together else job.ranker.source)
    return Comparison(*pair, winner, probability, (cell_a.value, cell_b.value), column)


def _values(
    pair: tuple[Path, Path], job: Job, store: Store, options: Options
) -> list[Score | None]:
    """Of a model that is shown both in one window; what it answers is kept."""
    files = [ImageFile.of(path) for path in dict.fromkeys(pair)]
    table = score_all(files, [job], store, notify=options.notify, slow=True)  # one window
    for skip in table.skips:
        raise NothingReadable(f"{skip.path}: {skip.reason}.")
    found = {path: cell for path, (cell,) in zip(table.paths, table.scores, strict=True)}
    return [found[path] for path in pair]


def _features(path: Path, job: Job) -> Features:
    try:
        prepared = job.ranker.source.prepare(read_file(path))
    except Unreadable as error:
        raise NothingReadable(f"{path}: {error}.") from error
    return job.ranker.source.compute([prepared])[0]
