"""Scores of pictures under jobs of both scopes, as one table: by pictures alone, and by windows.

Jobs of scope "image" go first, all in one pass (`pipeline.py`); each job of scope "set" then looks
at all pictures together (`listwise/ordering.py`). A picture that either cannot read has no row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imgrank.images import ImageFile, Skip
from imgrank.pipeline import Progress, Table, score_files
from imgrank.rankers.base import Job, Score

if TYPE_CHECKING:
    from imgrank.store.store import Store

__all__ = ["score_all"]


def score_all(
    files: Sequence[ImageFile],
    jobs: Sequence[Job],
    store: Store,
    *,
    threads: int | None = None,
    notify: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
    slow: bool | Callable[[str], bool] = False,
) -> Table:
    """Scores every file under every job, from the store where known. See `pipeline.score_files`.

    slow: whether work of more than a minute a job is welcome on a device that is slow for it.
    """
    alone = [n for n, job in enumerate(jobs) if job.ranker.scope == "image"]
    if len(alone) == len(jobs):
        return score_files(files, jobs, store, threads=threads, progress=progress)
    from imgrank.listwise.ordering import score_set

    parts: list[tuple[list[int], Table]] = []
    if alone:
        some = [jobs[n] for n in alone]
        parts.append((alone, score_files(files, some, store, threads=threads, progress=progress)))
    for n in range(len(jobs)):
        if n not in alone:
            table = score_set(
                files,
                jobs[n],
                store,
                threads=threads,
                notify=notify,
                progress=progress,
                slow=slow,
            )
            parts.append(([n], table))
    return _joined(files, parts, len(jobs))


def _joined(
    files: Sequence[ImageFile], parts: Sequence[tuple[list[int], Table]], count: int
) -> Table:
    """One row a file that is in all parts; columns by number of the job."""
    rows: dict[Path, dict[int, Score | None]] = {}
    skips: dict[Path, Skip] = {}
    for numbers, table in parts:
        skips = {skip.path: skip for skip in table.skips} | skips
        for path, scores in zip(table.paths, table.scores, strict=True):
            rows.setdefault(path, {}).update(zip(numbers, scores, strict=True))
    found = Table(skips=list(skips.values()))
    for file in files:
        row = rows.get(file.path, {})
        if len(row) == count:
            found.paths.append(file.path)
            found.scores.append([row[n] for n in range(count)])
    found.computed = min(len(found.paths), max(table.computed for _, table in parts))
    found.known = len(found.paths) - found.computed
    return found
