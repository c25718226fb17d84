"""Features -> scores under all jobs; and pictures for which the store has the features already.

The second needs no picture: a new instruction over a folder that was sorted or indexed before reads
features in chunks, scores them, and writes a chunk of scores in one transaction (after Ctrl-C all
earlier chunks are kept). No file is opened, no decoder and no image tower is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgrank.images import ImageFile
from imgrank.rankers.base import Features, Job, Score
from imgrank.store.values import ALWAYS_KEPT, Batch, ScoreRow

if TYPE_CHECKING:
    from imgrank.store.store import Store

__all__ = ["ABSENT", "Recall", "Scored", "score_jobs"]

ABSENT = Score(math.nan)
"""Kept for a picture that has no such property (no EXIF date), so that this is known."""

CHUNK, LARGE_CHUNK = 1024, 64
"""Pictures that are read at once: with small features (3 KB), with token maps (125 KB and more)."""

AT_ONCE = 64
"""Pictures that a ranker sees at once: an adapter repeats the prompt's tokens for each."""


@dataclass(frozen=True, slots=True)
class Scored:
    """computed: whether anything was, as against all being known.

    features: by source, of those that were read or computed for it.
    """

    path: Path
    scores: Sequence[Score]
    computed: bool
    features: Mapping[str, Features] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recall:
    """Pictures of known content, taken through the jobs by features that the store has.

    known: scores that the store has, by digest, of every job.
    """

    jobs: Sequence[Job]
    known: Sequence[Mapping[bytes, Score]]
    store: Store

    def chunks(
        self, files: Sequence[ImageFile], digests: Mapping[Path, bytes]
    ) -> Iterator[list[Scored]]:
        """Outcomes of one committed chunk after another.

        A file without a digest, or whose features the store lacks, is in none.
        """
        groups: dict[tuple[int, ...], list[ImageFile]] = {}  # by the jobs that lack a score
        for file in files:
            digest = digests.get(file.path)
            todo = tuple(n for n, column in enumerate(self.known) if digest not in column)
            if digest is not None and self._may_have(todo):
                groups.setdefault(todo, []).append(file)
        for todo, group in groups.items():
            small = all(self.jobs[n].ranker.needs <= ALWAYS_KEPT for n in todo)
            size = CHUNK if small else LARGE_CHUNK
            for start in range(0, len(group), size):
                yield self._chunk(group[start : start + size], digests, todo)

    def _may_have(self, todo: Sequence[int]) -> bool:
        """Whether what these jobs need is of the kind that the store keeps."""
        rankers = [self.jobs[n].ranker for n in todo]
        return all(r.needs and r.needs <= r.source.kept for r in rankers)

    def _chunk(
        self, files: Sequence[ImageFile], digests: Mapping[Path, bytes], todo: Sequence[int]
    ) -> list[Scored]:
        contents = list(dict.fromkeys(digests[file.path] for file in files))
        features = self._features(contents, todo)
        ready = list(features)
        scores: list[dict[int, Score]] = [{} for _ in ready]
        for start in range(0, len(ready), AT_ONCE):
            some = [features[digest] for digest in ready[start : start + AT_ONCE]]
            score_jobs(self.jobs, todo, some, scores[start : start + AT_ONCE])
        rows = [
            ScoreRow(digest, self.jobs[n].ranker.identity, self.jobs[n].answer.prompt, found[n])
            for digest, found in zip(ready, scores, strict=True)
            for n in todo
        ]
        self.store.put(Batch(scores=rows))
        found_by = dict(zip(ready, scores, strict=True))
        outcomes = []
        for file in files:
            digest = digests[file.path]
            if (new := found_by.get(digest)) is not None:
                row = [
                    new[n] if n in new else column[digest] for n, column in enumerate(self.known)
                ]
                outcomes.append(Scored(file.path, row, computed=True))
        return outcomes

    def _features(
        self, contents: Sequence[bytes], todo: Sequence[int]
    ) -> dict[bytes, dict[str, Features]]:
        """Features by source, of those pictures of which all that is needed is there."""
        needs: dict[str, frozenset[str]] = {}
        for n in todo:
            ranker = self.jobs[n].ranker
            identity = ranker.source.identity
            needs[identity] = needs.get(identity, frozenset()) | ranker.needs
        found: dict[bytes, dict[str, dict[str, Any]]] = {
            digest: {identity: {} for identity in needs} for digest in contents
        }
        for identity, names in needs.items():
            for name in names:
                there, matrix = self.store.feature_matrix(list(found), identity, name)
                for digest, array in zip(there, matrix, strict=True):
                    found[digest][identity][name] = array
                for digest in found.keys() - set(there):
                    del found[digest]
        return {digest: dict(sources) for digest, sources in found.items()}


def score_jobs(
    jobs: Sequence[Job],
    numbers: Sequence[int],
    features: Sequence[Mapping[str, Features]],
    scores: Sequence[dict[int, Score]],
) -> None:
    """Fills in the scores that a picture lacks, by number of the job; one pass for each ranker.

    features: by source, of each picture; one without those of a ranker's source is left out.
    """
    groups: dict[int, list[int]] = {}
    for number in numbers:
        groups.setdefault(id(jobs[number].ranker), []).append(number)
    for group in groups.values():
        ranker = jobs[group[0]].ranker
        ready = [i for i, found in enumerate(features) if ranker.source.identity in found]
        if not ready:
            continue
        given = [features[i][ranker.source.identity] for i in ready]
        found = ranker.score(given, [jobs[n].query for n in group])
        for i, row in zip(ready, found, strict=True):
            for number, score in zip(group, row, strict=True):
                scores[i].setdefault(number, ABSENT if score is None else score)
