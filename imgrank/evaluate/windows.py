"""What models that look at several pictures at once write about an evaluation's windows.

A window is one picture that is asked about alone, or a group. Every answer is kept in the store
(`listwise/asking.py`), under what a sort would keep it under: an evaluation that is interrupted
goes on where it was, and a second one asks nothing. How long it will take is said before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from imgrank.errors import UsageError
from imgrank.evaluate.grouped import Read, read
from imgrank.images import ImageFile, Skip
from imgrank.listwise.asking import Asker
from imgrank.listwise.ordering import readable
from imgrank.listwise.patience import SHORT, Agree, Patience, consent, spelled
from imgrank.opening import open_store
from imgrank.pipeline import Progress, default_threads
from imgrank.rankers.base import Job, SetRanker

if TYPE_CHECKING:
    from imgrank.settings import Settings
    from imgrank.store.store import Store

__all__ = ["Asking", "Told", "Window", "ask", "by_windows"]

Window = tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Asking:
    """slow: whether more than a minute of it is welcome; a function is asked with the forecast."""

    settings: Settings
    notify: Callable[[str], None] = lambda line: None
    progress: Progress | None = None
    slow: bool | Agree = False


@dataclass(frozen=True, eq=False, slots=True)
class Told:
    """answers: by number of the job; of a window that holds an unreadable picture none.
    computed, known: pictures."""

    answers: Mapping[int, Mapping[Window, Read]] = field(default_factory=dict)
    skips: Sequence[Skip] = ()
    computed: int = 0
    known: int = 0


def by_windows(job: Job) -> bool:
    """Whether who answers looks at several pictures at once."""
    return job.ranker.scope == "set"


def ask(wanted: Mapping[int, tuple[Job, Sequence[Window]]], asking: Asking) -> Told:
    """Asks each of the jobs, by number, about its windows; see `Told`.

    Raises UsageError if a window is larger than the model's, and if it would take long and nobody
    wants that; MissingExtra, CheckpointError as the model does.
    """
    if not any(windows for _, windows in wanted.values()):
        return Told()
    for job, windows in wanted.values():
        most, largest = cast(SetRanker, job.ranker).window, max(map(len, windows), default=0)
        if largest > most:
            raise UsageError(
                f"{job.answer.label} looks at {most} pictures at most; --sizes asks for {largest}."
            )
    with open_store(asking.settings, [], asking.notify) as store:
        return _ask(wanted, asking, store)


def _ask(wanted: Mapping[int, tuple[Job, Sequence[Window]]], asking: Asking, store: Store) -> Told:
    threads = asking.settings.threads or default_threads()
    skips: dict[Path, Skip] = {}
    known: dict[Path, bytes] = {}
    for job, windows in wanted.values():
        own = dict.fromkeys(path for window in windows for path in window)
        digests, unread = readable([ImageFile.of(path) for path in own], job, store, threads)
        known |= digests
        skips |= {skip.path: skip for skip in unread}
    contents = {digest: path for path, digest in known.items()}
    there = {
        number: [w for w in dict.fromkeys(windows) if all(path in known for path in w)]
        for number, (_, windows) in wanted.items()
    }
    count = sum(map(len, there.values()))
    patience = Patience(len(known), count, asking.notify, asking.progress, agreed=True)
    askers = {n: Asker(job, store, contents, patience, threads) for n, (job, _) in wanted.items()}
    keyed = {n: [tuple(known[p] for p in w) for w in windows] for n, windows in there.items()}
    missing = {n: asker.unknown(keyed[n]) for n, asker in askers.items()}
    _consent(missing, askers, asking)
    answers = {}
    for number, asker in askers.items():
        texts: dict[tuple[bytes, ...], str] = {}
        for size in sorted({len(window) for window in keyed[number]}):
            some = [window for window in keyed[number] if len(window) == size]
            texts |= zip(some, asker.texts(some), strict=True)
        pairs = zip(there[number], keyed[number], strict=True)
        answers[number] = {window: _read(texts[key], key) for window, key in pairs}
    new = {content for some in missing.values() for window in some for content in window}
    computed = sum(content in new for content in known.values())
    return Told(answers, list(skips.values()), computed, len(known) - computed)


def _consent(
    missing: Mapping[int, Sequence[tuple[bytes, ...]]], askers: Mapping[int, Asker], asking: Asking
) -> None:
    """Says what it will take, and has somebody agree to more than a minute."""
    sizes: dict[int, int] = {}
    total = 0.0
    for number, windows in missing.items():
        for window in windows:
            sizes[len(window)] = sizes.get(len(window), 0) + 1
            total += askers[number].ranker.seconds(len(window)) or 0.0
    if not sizes or total <= SHORT:
        return
    counts = ", ".join(f"{sizes[size]} of {size}" for size in sorted(sizes))
    where = next(iter(askers.values())).ranker.place
    forecast = f"windows to ask about, by pictures: {counts}; {spelled(total)} on {where}"
    less = "fewer --groups, --alone, --sizes, a GPU or a smaller model"
    consent(forecast, asking.slow, asking.notify, less)


def _read(text: str, window: Sequence[bytes]) -> Read:
    """The answer, its pictures in the order of the window and not in the order shown."""
    shown = sorted(range(len(window)), key=lambda at: window[at])
    found = read(text, len(window))
    places, values = found.places.copy(), found.values.copy()
    places[shown], values[shown] = found.places, found.values
    return Read(places, values, found.well_formed)
