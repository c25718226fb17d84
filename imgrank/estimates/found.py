"""What all estimates have in common: who answers, what was read, how a run ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from imgrank.calls import Options, say, say_device
from imgrank.errors import NothingReadable
from imgrank.images import Skip
from imgrank.rankers.base import Answer, Job, Ranker
from imgrank.rankers.l2rclip import L2RCLIPRanker
from imgrank.rankers.source import BackboneSource
from imgrank.results.estimate import Estimate
from imgrank.results.estimates import Estimator
from imgrank.saying import nothing
from imgrank.scoring import Scored

__all__ = ["Found", "Reading", "announce", "estimator"]


@dataclass(frozen=True, slots=True)
class Found:
    """rows: by path, then by face.   model: who estimated.   skips: what could not be read.

    computed, known: pictures, of the latter all was in the store.
    """

    rows: list[Estimate]
    model: Estimator
    skips: list[Skip]
    computed: int
    known: int


@dataclass(slots=True)
class Reading:
    """Rows and counts of a run that goes on. skips: those of before are there already."""

    skips: list[Skip]
    rows: list[Estimate] = field(default_factory=list)
    computed: int = 0
    known: int = 0

    def pictures(self, outcomes: Iterable[Scored | Skip]) -> Iterator[Scored]:
        """Those that could be read, counted; the others become skips."""
        for outcome in outcomes:
            if isinstance(outcome, Skip):
                self.skips.append(outcome)
            else:
                self.count(outcome)
                yield outcome

    def count(self, picture: Scored) -> None:
        """As computed or as known."""
        self.computed += picture.computed
        self.known += not picture.computed

    def found(self, model: Estimator, options: Options, source: BackboneSource) -> Found:
        """Of all that was read. Says where the source ran; raises NothingReadable without a row."""
        say_device(options, source)
        if not self.rows:
            raise NothingReadable(nothing(self.skips))
        rows = sorted(self.rows, key=lambda row: (str(row.path), row.face or 0))
        return Found(rows, model, self.skips, self.computed, self.known)


def announce(job: Job, options: Options) -> None:
    """Says who answers and what a user should know of that."""
    say(options, [job])
    if isinstance(job.ranker, L2RCLIPRanker) and not job.ranker.calibration.on:
        options.notify("  nobody has measured how often its intervals hold the truth")


def estimator(
    task: str, answer: Answer, ranker: Ranker, *, levels: tuple[str, ...] = (), faces: bool = False
) -> Estimator:
    """Who estimates, as the rows of a run name it."""
    coverage = None
    if isinstance(ranker, L2RCLIPRanker) and ranker.calibration.on:
        coverage = ranker.calibration.level
    who = (answer.model, answer.revision, answer.method, answer.unit)
    return Estimator(task, *who, levels, coverage, faces)
