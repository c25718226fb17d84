"""What Python users call; the command line calls the same.

    from imgrank import sort, search, score, load_ranker
    for row in sort("photos", "by image quality"): print(row.rank, row.path, row.score)

Importing this loads no torch; a model is loaded when a picture's score is not known yet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imgrank.bursts import embedder, find_bursts
from imgrank.calls import Options, PathLike, column_of, pictures_of, say, say_device
from imgrank.comparing import Comparison, compare
from imgrank.errors import InstructionError, NothingReadable, UsageError
from imgrank.images import Skip
from imgrank.instruction import Query, parse, parse_by
from imgrank.opening import open_store
from imgrank.pipeline import Table, compute_features
from imgrank.rankers.base import Score
from imgrank.rankers.load import load_ranker, load_source, route, sharing
from imgrank.rankers.words import asks_another
from imgrank.refining import Refine, compare_all, first_of, parse_refine
from imgrank.refining import check as check_refine
from imgrank.results.bursts import Bursts, Near, parse_near
from imgrank.results.ranking import Column, Row, complete, parse_top, rank
from imgrank.saying import lacking, nothing
from imgrank.scopes import score_all
from imgrank.searching import Found, search
from imgrank.settings import load_settings

__all__ = [
    "Comparison",
    "Found",
    "Indexed",
    "Options",
    "Ranking",
    "Scores",
    "compare",
    "index",
    "load_ranker",
    "score",
    "search",
    "sort",
]


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


def index(
    paths: PathLike | Iterable[PathLike],
    *,
    tokens: bool = False,
    options: Options | None = None,
) -> Indexed:
    """Computes and keeps the features of every picture, so that later sorts need only a head, and
    searches nothing.

    tokens: keep the token maps too, outside the feature budget.  Raises as `sort` does.
    """
    options = options or Options()
    settings = options.settings or load_settings()
    files, skips = pictures_of(paths, options)
    source = load_source(options.model, settings)
    if options.model is None and asks_another(source, settings):
        options.notify(
            f"features of {source.spec.name}; searches ask {settings.model}, your default: imgrank "
            f"index PATH... --model {settings.model} prepares these"
        )
    with open_store(settings, [source], options.notify) as store:
        table = compute_features(
            files,
            source,
            store,
            keep_all=tokens,
            threads=settings.threads,
            progress=options.progress,
        )
    say_device(options, source)
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
    say(options, jobs)
    if refine:
        check_refine(jobs, settings)
    columns = [column_of(job) for job in jobs]
    strengths: dict[Path, float] = {}
    bursts: Bursts | None = None
    used = [job.ranker.source for job in jobs] + ([embedder(settings)] if near else [])
    sources = list({id(source): source for source in used}.values())
    with open_store(settings, sources, options.notify) as store:
        table = score_all(
            files,
            jobs,
            store,
            threads=settings.threads,
            notify=options.notify,
            progress=options.progress,
            slow=options.slow,
        )
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
        say_device(options, source)
    for ranker in {id(job.ranker): job.ranker for job in jobs}.values():
        say_device(options, ranker)
    skips += table.skips
    if not table.paths:
        raise NothingReadable(nothing(skips))
    return table, columns, skips, strengths, bursts


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
