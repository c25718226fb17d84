"""Pictures -> scores: the one place that joins decoding, model and store.

    files ─► known? ─► threads: read, digest, known by content? decode ─► batch ─► scores ─► store
                └────► features known? (`scoring.Recall`) ────────────────► chunk ─► scores ─► store

Bounded (a few pictures are in flight, so memory does not grow with the folder), interruptible (a
batch is one transaction; after Ctrl-C all earlier batches are kept), and lazy (a model is loaded
when the first picture really needs it, so known scores never import torch).
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.images import ImageFile, Skip
from imgrank.images.reading import Unreadable, read_file
from imgrank.rankers.base import Features, FeatureSource, Job, Score
from imgrank.scoring import Recall, Scored, score_jobs
from imgrank.store.digest import digest_bytes
from imgrank.store.values import ALWAYS_KEPT, Batch, FeatureRow, FileRow, ScoreRow

if TYPE_CHECKING:
    from imgrank.store.store import Store

__all__ = ["Progress", "Table", "compute_features", "features_of", "score_files"]

BATCH = 8
"""Pictures a batch, at least. Larger ones are slower on a CPU: the feature maps leave its caches; a
model on a GPU says by its source's `batch` that it wants more."""

Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all) from the main thread."""


@dataclass(slots=True)
class Table:
    """Scores by picture: `scores[i][j]` is picture i under job j; None if it lacks the property.

    paths: in scan order, those that could be read.  skips: the others, each with its reason.
    computed: pictures that something was computed for; known: served from the store.
    """

    paths: list[Path] = field(default_factory=list)
    scores: list[list[Score | None]] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    computed: int = 0
    known: int = 0


def score_files(
    files: Sequence[ImageFile],
    jobs: Sequence[Job],
    store: Store,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Table:
    """Scores every file under every job, from the store where known.

    A file that cannot be read becomes a skip. KeyboardInterrupt passes through; what was computed
    before it is kept.
    """
    digests = store.known_digests(files)
    contents = list(set(digests.values()))
    columns = [store.scores(contents, j.ranker.identity, j.answer.prompt) for j in jobs]

    rows: dict[Path, Sequence[Score]] = {}
    missing: list[ImageFile] = []
    for file in files:
        digest = digests.get(file.path)
        if digest is not None and all(digest in column for column in columns):
            rows[file.path] = [column[digest] for column in columns]
        else:
            missing.append(file)

    table = Table(known=len(rows))
    count = _Counter(table, rows, len(files), progress)
    count.at(len(rows))
    count.take(Recall(jobs, columns, store).chunks(missing, digests))
    left = [file for file in missing if file.path not in rows]
    count.take(_Run(jobs, (), store, threads).batches(left))
    for file in files:
        if (row := rows.get(file.path)) is not None:
            table.paths.append(file.path)
            table.scores.append([None if math.isnan(s.value) else s for s in row])
    return table


def compute_features(
    files: Sequence[ImageFile],
    source: FeatureSource,
    store: Store,
    *,
    keep_all: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Table:
    """Computes and keeps the source's features of every file (`imgrank index`); no scores.

    keep_all: large features too are needed, and kept outside the feature budget.
    """
    run = _Run((), (source,), store, threads, keep_all=keep_all)
    rows: dict[Path, Sequence[Score]] = {}
    if not keep_all:
        digests = store.known_digests(files)
        contents = list(set(digests.values()))
        full = store.with_features(contents, source.identity, run.needs[source.identity])
        rows = {path: () for path, digest in digests.items() if digest in full}
    table = Table(known=len(rows))
    missing = [file for file in files if file.path not in rows]
    count = _Counter(table, rows, len(files), progress)
    count.at(len(rows))
    count.take(run.batches(missing))
    table.paths = [file.path for file in files if file.path in rows]
    return table


def features_of(
    files: Sequence[ImageFile],
    wanted: Sequence[tuple[FeatureSource, frozenset[str]]],
    store: Store,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Scored | Skip]:
    """The features of every file, for answers that are no single score (levels, faces).

    wanted: sources, and the names that are needed of each; an outcome's `features` are by the
    source's identity. Those that the store has come first, without opening the file; the others are
    kept batch by batch. Outcomes have no scores.
    """
    run = _Run((), [source for source, _ in wanted], store, threads)
    run.needs = {source.identity: names for source, names in wanted}
    digests = store.known_digests(files)
    done, missing = 0, list[ImageFile]()
    for file in files:
        digest = digests.get(file.path)
        kept = {i: store.features(digest, i, names) for i, names in run.needs.items() if digest}
        if not kept or any(not names <= kept[i].keys() for i, names in run.needs.items()):
            missing.append(file)
            continue
        done += 1
        yield Scored(file.path, (), False, kept)
        if progress:
            progress(done, len(files))
    for outcomes in run.batches(missing):
        yield from outcomes
        done += len(outcomes)
        if progress:
            progress(done, len(files))


def default_threads() -> int:
    """Decoding threads: the cores that this process may use, at most 8."""
    if hasattr(os, "sched_getaffinity"):
        return min(8, len(os.sched_getaffinity(0)))
    return min(8, os.cpu_count() or 1)


@dataclass(slots=True)
class _Counter:
    """Fills table and rows with outcomes, and reports progress after every batch."""

    table: Table
    rows: dict[Path, Sequence[Score]]
    total: int
    progress: Progress | None
    done: int = 0

    def at(self, done: int) -> None:
        self.done = done
        if self.progress:
            self.progress(done, self.total)

    def take(self, batches: Iterator[Sequence[Scored | Skip]]) -> None:
        for outcomes in batches:
            for outcome in outcomes:
                if isinstance(outcome, Skip):
                    self.table.skips.append(outcome)
                    continue
                self.rows[outcome.path] = outcome.scores
                self.table.computed += outcome.computed
                self.table.known += not outcome.computed
            self.at(self.done + len(outcomes))


# ---- one run over pictures that are not known by path --------------------------------------------


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What a worker thread hands over.

    known: scores by number of the job, from the store.  features: complete ones from the store, by
    source.  inputs: what has yet to go through a source.
    """

    file: ImageFile
    digest: bytes
    known: Mapping[int, Score]
    features: Mapping[str, Features]
    inputs: Mapping[str, Any]


class _Run:
    """Takes files through jobs (scores) and extra sources (features only), batch by batch."""

    def __init__(
        self,
        jobs: Sequence[Job],
        extra: Sequence[FeatureSource],
        store: Store,
        threads: int | None,
        *,
        keep_all: bool = False,
    ) -> None:
        self.jobs, self.extra, self.store, self.keep_all = jobs, extra, store, keep_all
        self.threads = threads or default_threads()
        self.sources = {s.identity: s for s in [*(j.ranker.source for j in jobs), *extra]}
        self.needs = {identity: frozenset[str]() for identity in self.sources}
        for job in jobs:
            self.needs[job.ranker.source.identity] |= job.ranker.needs
        for source in extra:
            self.needs[source.identity] |= source.kept if keep_all else source.kept & ALWAYS_KEPT

    def batches(self, files: Sequence[ImageFile]) -> Iterator[list[Scored | Skip]]:
        """Outcomes of one committed batch after another."""
        batch: list[_Prepared] = []
        skips: list[Skip] = []
        for result in _bounded_map(self._prepare, files, self.threads, self._size):
            if isinstance(result, Skip):
                skips.append(result)
            else:
                batch.append(result)
            if len(batch) + len(skips) >= self._size():
                yield [*skips, *self._commit(batch)]
                batch, skips = [], []
        if batch or skips:
            yield [*skips, *self._commit(batch)]

    def _size(self) -> int:
        """Asked for again and again: a model tells where it runs once it is loaded."""
        return max([BATCH, *(source.batch for source in self.sources.values())])

    def _prepare(self, file: ImageFile) -> _Prepared | Skip:
        """Runs in a worker thread: everything that needs no model."""
        try:
            data = read_file(file.path)
            digest = digest_bytes(data)
            known = {}
            for number, job in enumerate(self.jobs):
                found = self.store.scores([digest], job.ranker.identity, job.answer.prompt)
                if digest in found:
                    known[number] = found[digest]
            todo = {j.ranker.source.identity for n, j in enumerate(self.jobs) if n not in known}
            todo |= {source.identity for source in self.extra}
            features: dict[str, Features] = {}
            inputs: dict[str, Any] = {}
            for identity in todo:
                kept = self.store.features(digest, identity)
                if kept and self.needs[identity] <= kept.keys():
                    features[identity] = kept
                else:
                    inputs[identity] = self.sources[identity].prepare(data)
        except Unreadable as error:
            return Skip(file.path, str(error))
        return _Prepared(file, digest, known, features, inputs)

    def _commit(self, batch: Sequence[_Prepared]) -> list[Scored]:
        """Computes what the batch still lacks and writes all of it in one transaction."""
        features = [dict(item.features) for item in batch]
        kept: list[FeatureRow] = []
        for identity, source in self.sources.items():
            todo = [i for i, item in enumerate(batch) if identity in item.inputs]
            if todo:
                computed = source.compute([batch[i].inputs[identity] for i in todo])
                for i, found in zip(todo, computed, strict=True):
                    features[i][identity] = found
                    kept += self._rows(batch[i].digest, source, found)
        if self.keep_all:  # those that were there may have been under the budget
            kept += [
                row
                for item in batch
                for identity, found in item.features.items()
                for row in self._rows(item.digest, self.sources[identity], found)
            ]
        scores = [dict(item.known) for item in batch]
        score_jobs(self.jobs, range(len(self.jobs)), features, scores)
        self.store.put(
            Batch(
                files=[FileRow(item.file, item.digest) for item in batch],
                scores=[
                    ScoreRow(item.digest, job.ranker.identity, job.answer.prompt, found[number])
                    for item, found in zip(batch, scores, strict=True)
                    for number, job in enumerate(self.jobs)
                    if number not in item.known
                ],
                features=kept,
            )
        )
        return [
            Scored(
                item.file.path,
                [found[number] for number in range(len(self.jobs))],
                bool(item.inputs) or len(item.known) < len(self.jobs),
                given,
            )
            for item, found, given in zip(batch, scores, features, strict=True)
        ]

    def _rows(self, digest: bytes, source: FeatureSource, found: Features) -> list[FeatureRow]:
        return [
            FeatureRow(digest, source.identity, name, found[name], False if self.keep_all else None)
            for name in sorted(source.kept)
        ]


def _bounded_map(
    work: Callable[[ImageFile], _Prepared | Skip],
    files: Sequence[ImageFile],
    threads: int,
    size: Callable[[], int],
) -> Iterator[_Prepared | Skip]:
    """`map` over a pool of threads, in order: while a batch is computed the next is decoded.

    At most two batches and two pictures a thread are in flight.
    """
    waiting: deque[Future[_Prepared | Skip]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        for file in files:
            waiting.append(pool.submit(work, file))
            if len(waiting) >= 2 * size() + 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
