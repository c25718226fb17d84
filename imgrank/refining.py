"""`sort --refine pairs`: the first K of an order compared pair by pair, by the model's pair head.

A strength is set-scoped: it depends on the K pictures that were compared. It is kept under the
ranker's identity, its prompt and a digest of their sorted contents, so that the same K pictures,
wherever they lie now, are compared once; a model is loaded only for K others. Features come from
the store where it has them, a picture is opened only where not.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from imgrank.errors import NothingReadable, UsageError
from imgrank.images import ImageFile
from imgrank.images.reading import Unreadable, read_file
from imgrank.models.registry import entries
from imgrank.pipeline import BATCH
from imgrank.rankers.base import Features, Job, PairwiseRanker
from imgrank.results.ranking import Row
from imgrank.store.digest import digest_bytes
from imgrank.store.values import Batch, Score, ScoreRow

if TYPE_CHECKING:
    from imgrank.settings import Settings
    from imgrank.store.store import Store

__all__ = ["FIRST", "Refine", "check", "compare_all", "first_of", "parse_refine"]

FIRST = 50
"""Pictures that are compared if no number is given: 1,225 pairs."""

MANY = 100_000
"""Pairs from which a run that is silent for long says why: some seconds for the embedded models."""

AT_ONCE = 64
"""Pictures whose features are in memory at once."""


@dataclass(frozen=True, slots=True)
class Refine:
    """first: how many of the order's first pictures are compared with each other."""

    first: int = FIRST


def parse_refine(text: str) -> Refine:
    """ "pairs", "pairs:100" -> Refine. Raises UsageError on anything else."""
    match = re.fullmatch(r"pairs(?::([0-9]{1,9}))?", text.strip())
    if match is None or (match[1] is not None and int(match[1]) < 2):
        raise UsageError(
            f"--refine {text!r} is not 'pairs' or 'pairs:K', K being how many of the first "
            f"pictures are compared with each other: two or more, {FIRST} if it is left out."
        )
    return Refine(int(match[1])) if match[1] else Refine()


def check(jobs: Sequence[Job], settings: Settings) -> None:
    """Raises UsageError, naming models that can, if these jobs have no pairs to compare."""
    if len(jobs) > 1:
        raise UsageError(
            "--refine compares pictures by one instruction; combined criteria have no pairs. Leave "
            "one of them out, or --refine."
        )
    query, answer = jobs[0].query, jobs[0].answer
    if query.reference is not None and not answer.closeness:
        raise UsageError(
            f"--refine cannot compare by '{query.text}': a pairwise head knows which of two has "
            "more, not which is nearer to a number. Leave --refine out."
        )
    if getattr(jobs[0].ranker, "pairwise", False):
        return
    able = [
        f"{entry.name} ({', '.join(entry.tasks)})"
        for entry in entries(settings.models_dir)
        if entry.kind == "adapter" and entry.config["model"].get("rank_head") != "none"
    ]
    raise UsageError(
        f"--refine pairs needs a model with a pairwise head, and '{query.text}' is answered by "
        f"{answer.label}, which has none. Models here that have one: {', '.join(able) or 'none'}. "
        "Leave --refine out, or name one with --model."
    )


def first_of(
    files: Sequence[ImageFile], rows: Sequence[Row], refine: Refine
) -> list[list[ImageFile]]:
    """The first pictures of an order, or of each folder's if it was made per folder."""
    by_path = {file.path: file for file in files}
    sets: dict[Path | None, list[ImageFile]] = {}
    for row in rows:
        if row.rank <= refine.first:
            sets.setdefault(row.folder, []).append(by_path[row.path])
    return list(sets.values())


def compare_all(
    files: Sequence[ImageFile], job: Job, store: Store, notify: Callable[[str], None]
) -> dict[Path, float]:
    """Strength of every file among these: 0 to 1, higher for a higher score. See `check`.

    notify: hears of so many pairs that they take a while.
    Copies of one picture count once and share its strength. Raises NothingReadable if a picture
    that was just scored is gone and the store lacks its features.
    """
    try:
        return _strengths(files, job, store, notify)
    except Unreadable as error:
        raise NothingReadable(
            f"a picture that was just scored cannot be read any more ({error}). Sort again."
        ) from error


def _strengths(
    files: Sequence[ImageFile], job: Job, store: Store, notify: Callable[[str], None]
) -> dict[Path, float]:
    digests = _digests(files, store)
    by_content = {digest: path for path, digest in digests.items()}
    contents = sorted(by_content)
    name = hashlib.sha256(b"".join(contents)).hexdigest()[:32]
    key = f"{job.ranker.identity} pairs", f"{job.answer.prompt} among {name}"
    kept = store.scores(contents, *key)
    if not all(digest in kept for digest in contents):
        ranker = cast(PairwiseRanker, job.ranker)
        pairs = len(contents) * (len(contents) - 1) // 2
        if pairs >= MANY:
            notify(f"comparing {pairs:,} pairs of {len(contents)} pictures; this takes a while")
        chunks = _features(contents, by_content, job, store)
        values = ranker.strengths(chunks, job.query)
        kept = {d: Score(value) for d, value in zip(contents, values, strict=True)}
        store.put(Batch(scores=[ScoreRow(digest, *key, score) for digest, score in kept.items()]))
    return {path: kept[digest].value for path, digest in digests.items()}


def _digests(files: Sequence[ImageFile], store: Store) -> dict[Path, bytes]:
    """Of all files; they were scored a moment ago, so a store that can keep anything knows them."""
    known = store.known_digests(files)
    return {file.path: known.get(file.path) or digest_bytes(read_file(file.path)) for file in files}


def _features(
    contents: Sequence[bytes], paths: dict[bytes, Path], job: Job, store: Store
) -> Iterator[list[Features]]:
    """What the ranker needs of each picture, in the order given, some at a time."""
    source, needs = job.ranker.source, job.ranker.needs
    batch = max(BATCH, source.batch)
    for start in range(0, len(contents), AT_ONCE):
        some = contents[start : start + AT_ONCE]
        found: dict[bytes, Features] = {
            digest: store.features(digest, source.identity) for digest in some
        }
        lacking = [digest for digest in some if not needs <= found[digest].keys()]
        for at in range(0, len(lacking), batch):
            new = lacking[at : at + batch]
            prepared = [source.prepare(read_file(paths[digest])) for digest in new]
            found |= zip(new, source.compute(prepared), strict=True)
        yield [found[digest] for digest in some]
