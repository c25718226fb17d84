"""What Python users call; the command line calls the same.

    from imgrank import sort, score, load_ranker
    for row in sort("photos", "by image quality"): print(row.rank, row.path, row.score)

Importing this loads no torch; a model is loaded when a picture's score is not known yet.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from imgrank.bursts import embedder, find_bursts
from imgrank.errors import InstructionError, NothingReadable, UsageError
from imgrank.images import ImageFile, Skip
from imgrank.images.reading import Unreadable, read_file
from imgrank.images.scan import require, scan
from imgrank.instruction import Query, parse, parse_by
from imgrank.opening import open_store
from imgrank.pipeline import Progress, Table, compute_features, score_files
from imgrank.rankers.base import Features, FeatureSource, Job, PairwiseRanker, Score
from imgrank.rankers.load import load_ranker, load_source, route, sharing
from imgrank.rankers.source import BackboneSource
from imgrank.refining import Refine, compare_all, first_of, parse_refine
from imgrank.refining import check as check_refine
from imgrank.results.bursts import Bursts, Near, parse_near
from imgrank.results.ranking import Column, Row, complete, goodness, parse_top, rank
from imgrank.saying import announced, lacking, nothing
from imgrank.settings import Settings, load_settings

__all__ = [
    "Comparison",
    "Indexed",
    "Options",
    "Ranking",
    "Scores",
    "compare",
    "index",
    "load_ranker",
    "pictures_of",
    "score",
    "sort",
]

PathLike = str | os.PathLike[str]
Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What all commands share.

    model: name or folder of who answers.  listed: paths from a list; a missing one is a skip.
    leave_out: a folder that is not looked into on the way (what is sorted goes there).
    notify: hears notices (which model answers, a cache set aside).
    """

    model: str | None = None
    listed: Sequence[Path] = ()
    include_hidden: bool = False
    exclude: Sequence[str] = ()
    leave_out: Path | None = None
    settings: Settings | None = None
    notify: Notify = field(default=lambda text: None)
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Ranking(Sequence[Row]):
    """The rows of a sort, in order, with the columns they have and the pictures left out.

    lacking: how many of the skips, the last ones, were read but have no such property.
    near: how near-duplicates were looked for; None: they were not.
    """

    rows: list[Row]
    columns: list[Column]
    skips: list[Skip]
    computed: int
    known: int
    lacking: int = 0
    reverse: bool = False
    near: Near | None = None

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Scores:
    """Pictures in path order; `scores[i][j]` is picture i in column j, None where it has none."""

    paths: list[Path]
    scores: list[list[Score | None]]
    columns: list[Column]
    skips: list[Skip]
    computed: int
    known: int


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


@dataclass(frozen=True, slots=True)
class Indexed:
    """What `index` did."""

    skips: list[Skip]
    computed: int
    known: int


def sort(
    paths: PathLike | Iterable[PathLike],
    instruction: str | None = None,
    *,
    by: str | Sequence[str] = (),
    top: int | str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    reverse: bool = False,
    per_folder: bool = False,
    refine: str | None = None,
    near_duplicates: str | None = None,
    options: Options | None = None,
) -> Ranking:
    """Pictures in the order the instruction asks for, best first.

    paths: files or folders (walked recursively).  instruction: "by image quality", "oldest first",
    "a cat"; or several weighted ones as `by=["by image quality=2", "by brightness"]`.
    top: 3 or "10%".  minimum, maximum: limits on the score shown.
    refine: "pairs" or "pairs:100": the first 50 or 100 are compared pair by pair by the model's
    pairwise head, and ordered by that; rows then have a `strength`.
    near_duplicates: "keep-best": of near-duplicates of each other only the best stays, with the
    `others`; "group": all stay, those of one group with its number as `burst`.
    Raises UsageError for a missing path or a meaningless instruction, NothingReadable if no picture
    could be read, ModelUnavailable if a named model is not here.
    """
    options = options or Options()
    limit = parse_top(str(top)) if top is not None else None
    wanted = parse_refine(refine) if refine is not None else None
    near = parse_near(near_duplicates) if near_duplicates is not None else None
    _check_limits(minimum, maximum)
    queries = _queries(instruction, by)
    table, columns, skips, strengths, bursts = _score(
        paths, queries, options, wanted, near, per_folder
    )
    rows = rank(
        table.paths,
        columns,
        table.scores,
        reverse=reverse,
        top=limit,
        minimum=minimum,
        maximum=maximum,
        per_folder=per_folder,
        strengths=strengths,
        bursts=bursts,
    )
    without = [
        Skip(path, lacking(cells, columns))
        for path, cells in zip(table.paths, table.scores, strict=True)
        if not complete(cells)
    ]
    if len(without) == len(table.paths):
        raise NothingReadable(nothing(skips, without))
    skips += without
    done = table.computed, table.known
    return Ranking(rows, columns, skips, *done, len(without), reverse, near)


def score(
    paths: PathLike | Iterable[PathLike],
    *instructions: str,
    by: str | Sequence[str] = (),
    options: Options | None = None,
) -> Scores:
    """Scores of every picture by every instruction, in path order. Raises as `sort` does."""
    queries = [parse(text) for text in instructions] + _criteria(by)
    if not queries:
        raise InstructionError('no instruction was given, such as "by image quality".')
    table, columns, skips, *_ = _score(paths, queries, options or Options())
    order = sorted(range(len(table.paths)), key=lambda i: str(table.paths[i]))
    return Scores(
        [table.paths[i] for i in order],
        [table.scores[i] for i in order],
        columns,
        skips,
        table.computed,
        table.known,
    )


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
    _say(options, [job])
    a, b = (_features(path, job) for path in pair)
    with open_store(settings, [job.ranker.source], options.notify):
        (cell_a,), (cell_b,) = job.ranker.score([a, b], [job.query])
    for path, cell in zip(pair, (cell_a, cell_b), strict=True):
        if cell is None:
            raise NothingReadable(f"{path} has no {job.answer.prompt}.")
    assert cell_a is not None and cell_b is not None
    column = _column(job)
    good_a, good_b = goodness(column, [cell_a.value, cell_b.value])
    probability = None
    if isinstance(job.ranker, PairwiseRanker) and column.reference is None:
        probability = job.ranker.compare(a, b, job.query)
        if probability is not None and not job.query.descending:
            probability = 1 - probability
    if probability is not None:
        good_a, good_b = probability, 1 - probability
    winner = None if good_a == good_b else pair[0] if good_a > good_b else pair[1]
    _say_device(options, job.ranker.source)
    return Comparison(*pair, winner, probability, (cell_a.value, cell_b.value), column)


def index(
    paths: PathLike | Iterable[PathLike],
    *,
    tokens: bool = False,
    options: Options | None = None,
) -> Indexed:
    """Computes and keeps the features of every picture, so that later sorts need only a head.

    tokens: keep the token maps too, outside the feature budget.  Raises as `sort` does.
    """
    options = options or Options()
    settings = options.settings or load_settings()
    files, skips = pictures_of(paths, options)
    source = load_source(options.model, settings)
    with open_store(settings, [source], options.notify) as store:
        table = compute_features(
            files,
            source,
            store,
            keep_all=tokens,
            threads=settings.threads,
            progress=options.progress,
        )
    _say_device(options, source)
    skips += table.skips
    if not table.paths:
        raise NothingReadable(nothing(skips))
    return Indexed(skips, table.computed, table.known)


# ---- one path for all of them --------------------------------------------------------------------


def _score(
    paths: PathLike | Iterable[PathLike],
    queries: Sequence[Query],
    options: Options,
    refine: Refine | None = None,
    near: Near | None = None,
    per_folder: bool = False,
) -> tuple[Table, list[Column], list[Skip], dict[Path, float], Bursts | None]:
    """Scores, what they are of, who was left out; strengths of those that `refine` compares; the
    near-duplicates, if they are wanted."""
    settings = options.settings or load_settings()
    files, skips = pictures_of(paths, options)
    jobs = sharing([route(query, settings, options.model) for query in queries])
    _say(options, jobs)
    if refine:
        check_refine(jobs, settings)
    columns = [_column(job) for job in jobs]
    strengths: dict[Path, float] = {}
    bursts: Bursts | None = None
    used = [job.ranker.source for job in jobs] + ([embedder(settings)] if near else [])
    sources = list({id(source): source for source in used}.values())
    with open_store(settings, sources, options.notify) as store:
        table = score_files(files, jobs, store, threads=settings.threads, progress=options.progress)
        if refine:
            columns = [replace(column, refined=refine.first) for column in columns]
            scored = table.paths, columns, table.scores
            for some in first_of(files, rank(*scored, per_folder=per_folder), refine):
                strengths |= compare_all(some, jobs[0], store, options.notify)
        if near:
            scored = table.paths, columns, table.scores
            order = rank(*scored, per_folder=per_folder, strengths=strengths)
            heard = options.notify, options.progress
            bursts = find_bursts(files, order, near, store, settings, *heard)
    for source in sources:
        _say_device(options, source)
    skips += table.skips
    if not table.paths:
        raise NothingReadable(nothing(skips))
    return table, columns, skips, strengths, bursts


def pictures_of(
    paths: PathLike | Iterable[PathLike], options: Options
) -> tuple[list[ImageFile], list[Skip]]:
    """What there is at these paths, and what of it cannot be read, as the options say."""
    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found = list(
        scan(
            map(Path, named),
            listed=options.listed,
            include_hidden=options.include_hidden,
            exclude=options.exclude,
            leave_out=options.leave_out,
            left_out=lambda path: options.notify(
                f"{path} is left out of the order, since the pictures go there"
            ),
        )
    )
    files = [item for item in found if isinstance(item, ImageFile)]
    return files, [item for item in found if isinstance(item, Skip)]


def _features(path: Path, job: Job) -> Features:
    try:
        prepared = job.ranker.source.prepare(read_file(path))
    except Unreadable as error:
        raise NothingReadable(f"{path}: {error}.") from error
    return job.ranker.source.compute([prepared])[0]


def _queries(instruction: str | None, by: str | Sequence[str]) -> list[Query]:
    if (instruction is None) == (not by):
        raise InstructionError("give either one instruction, or criteria with --by.")
    return _criteria(by) if instruction is None else [parse(instruction)]


def _criteria(by: str | Sequence[str]) -> list[Query]:
    return [parse_by(text) for text in ([by] if isinstance(by, str) else by)]


def _check_limits(minimum: float | None, maximum: float | None) -> None:
    low = -math.inf if minimum is None else minimum
    high = math.inf if maximum is None else maximum
    if not low <= high:  # not a number compares false
        raise UsageError(f"no score lies between --min {low:g} and --max {high:g}.")


def _say(options: Options, jobs: Sequence[Job]) -> None:
    for job in jobs:
        for line in announced(job):
            options.notify(line)


def _say_device(options: Options, source: FeatureSource) -> None:
    """Where the model ran and why; nothing if none was loaded."""
    if isinstance(source, BackboneSource) and source.device_note:
        options.notify(f"ran on {source.device_note}")


def _column(job: Job) -> Column:
    answer = job.answer
    return Column.of(
        replace(job.query, reference=None) if answer.closeness else job.query,
        method=answer.method,
        model=answer.model,
        revision=answer.revision,
        prompt=answer.prompt,
        unit=answer.unit,
        range=answer.range,
    )
