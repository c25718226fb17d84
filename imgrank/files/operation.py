"""Carries a plan out: journal first, then set by set; what fails is put back at once.

* One file cannot be done (no permission, vanished, its new name taken meanwhile): its whole set is
  put back and reported, the others go on.
* Nothing more can be done (disk full, read-only, input/output error, Ctrl-C): the set is put back
  and the operation stops. What was done stays done, and can be finished or taken back.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imgrank.errors import UsageError
from imgrank.files import disk
from imgrank.files.identity import Seen, look, same
from imgrank.files.journal import Journal, Operation
from imgrank.files.plan import Plan, Step
from imgrank.files.record import Planned
from imgrank.files.undoing import Back, Refused, reason

__all__ = ["Outcome", "carry_out", "finish"]

Progress = Callable[[int, int], object]
INTERRUPTED = "interrupted"
STOPPING = {
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "EROFS", "EIO", "ENOMEM", "EMFILE", "ENFILE", "ENODEV", "ENXIO"),
        *("ESTALE", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EREMOTEIO", "ESHUTDOWN"),
    )
    if hasattr(errno, name)  # Windows lacks some
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan.

    id: of the operation, "" if there was nothing to do.   done: steps, one a file (without the
    first halves of cycles).   failed: steps of the sets that were put back, and why.
    stopped: why it ended before its end; None if all was tried.   interrupted: by Ctrl-C.
    """

    id: str
    done: list[Step] = field(default_factory=list)
    failed: list[tuple[Step, str]] = field(default_factory=list)
    stopped: str | None = None

    @property
    def interrupted(self) -> bool:
        return self.stopped == INTERRUPTED


def carry_out(plan: Plan, folder: Path, command: str, progress: Progress | None = None) -> Outcome:
    """Does what is planned. folder: of the journals, `Settings.operations_dir`.

    command: as the user gave it, for people.   progress: how many files of how many.
    An interrupt is an outcome, too. Raises UsageError, before any change, if the journal cannot be
    written.
    """
    if not plan.steps:
        return Outcome("")
    with Journal.begin(folder, plan, command) as journal:
        return _Work(journal, progress).all()


def finish(operation: Operation, progress: Progress | None = None) -> Outcome:
    """Goes on with an operation that was stopped or cut off. Sets that failed are not tried again.

    Raises UsageError if it was taken back, also in part, or another process is at work on it.
    """
    with Journal.reopen(operation) as journal:
        record = journal.record
        if record.undone or record.taken_back is not None:
            raise UsageError(
                f"{operation.id} was taken back in part, so it cannot be finished; "
                f"`imgrank undo {operation.id}` takes back what is left of it."
            )
        work = _Work(journal, progress)
        if not record.ended:
            work.cut_off = True
            try:
                work.tidy()
            except _Stop as stop:
                return work.outcome(str(stop))
        elif record.stopped is None:
            return work.outcome(None)
        journal.goes_on()
        return work.all()


class _Stop(Exception):  # noqa: N818
    """The operation cannot go on; the message says why."""


class _Work:
    def __init__(self, journal: Journal, progress: Progress | None) -> None:
        self.journal, self.record, self.progress = journal, journal.record, progress
        self.back = Back(journal.id, self.record, journal)
        self.sets: dict[int, list[int]] = {}
        for i, planned in enumerate(self.record.steps):
            self.sets.setdefault(planned.step.members, []).append(i)
        for i, why in [*self.record.failed.items()]:  # cut off between the lines of one set
            for k in self.sets[self.record.steps[i].step.members]:
                self.record.failed.setdefault(k, why)
        self.makers = {  # done moves by their target
            self.record.steps[i].step.target: i
            for i in self.record.done
            if self.record.steps[i].step.action == "move"
        }
        self.unmade: dict[Path, str] = {}
        self.now = -1  # the step at work
        self.lasting = False  # the names of the folders that were made are on the drive
        self.cut_off = False  # lines may be missing; folders of the plan that are there are ours

    def all(self) -> Outcome:
        """Everything that is not done yet."""
        stopped: str | None = None
        try:
            self._folders()
            for i in range(len(self.record.steps)):
                self._try(i)
            if self.progress is not None:
                self.progress(len(self.record.steps), len(self.record.steps))
            self._tidy_folders()
            self._end(None)
        except _Stop as stop:
            stopped = str(stop)
        except KeyboardInterrupt:
            stopped = INTERRUPTED
            self._halt(stopped)
        return self.outcome(stopped)

    def outcome(self, stopped: str | None) -> Outcome:
        steps, done = self.record.steps, self.record.done
        return Outcome(
            self.journal.id,
            [entry.step for i, entry in enumerate(steps) if i in done and entry.last],
            [
                (entry.step, self.record.failed[i])
                for i, entry in enumerate(steps)
                if i in self.record.failed and entry.first
            ],
            stopped,
        )

    def tidy(self) -> None:
        """Takes the traces of steps back that have no line: one was cut off, or lines were lost.

        Raises _Stop if that fails: a step that was done must not count as one that failed.
        """
        for i in reversed(range(len(self.record.steps))):
            if i not in self.record.done and self.back.open(i):
                try:
                    self.back.step(i)
                except Refused:
                    continue  # the step itself will say what is wrong
                except OSError as error:
                    target = self.record.steps[i].step.target
                    raise _Stop(f"{target} cannot be put back: {reason(error)}") from error

    # ---- one step --------------------------------------------------------------------------------

    def _folders(self) -> None:
        for k, path in enumerate(self.record.folders):
            try:
                ours = (self.cut_off and path.is_dir()) or disk.make_folder(path)
                if ours and k not in self.record.made:
                    self._write(lambda k=k: self.journal.made(k))  # type: ignore[misc]
            except OSError as error:
                if error.errno in STOPPING:
                    self._stop(error)
                self.unmade[path] = f"folder {path} cannot be made: {reason(error)}"

    def _try(self, i: int) -> None:
        if i in self.record.done or i in self.record.failed:
            return
        if self.progress is not None:
            self.progress(i, len(self.record.steps))
        self.now = i
        entry = self.record.steps[i]
        try:
            self._do(i, entry)
        except disk.Unclean as error:
            raise _Stop(f"{entry.step.target}: {reason(error)}") from error
        except (OSError, Refused) as error:
            if isinstance(error, OSError) and error.errno in STOPPING:
                self._stop(error, i)
            self._fail(i, reason(error))
            return
        if entry.step.action == "move":
            self.makers[entry.step.target] = i
        self._write(lambda: self.journal.done(i, look(entry.step.target)))

    def _do(self, i: int, entry: Planned) -> None:
        step, journal = entry.step, self.journal
        source, target = step.source, step.target
        if (why := self.unmade.get(target.parent)) is not None:
            raise Refused(why)
        seen = _checked(entry, moved="copies back" in self.record.uses)
        part = disk.part_of(target, journal.id, i)
        match step.action:
            case "copy":
                disk.copy(source, target, part, self._claim)
            case "symlink":
                disk.symlink(entry.text or "", target)
            case "hardlink":
                disk.hardlink(Path(os.path.realpath(source)), target)
            case "move" if entry.text is not None:
                self._uses_copies()
                disk.move_link(source, target, part, entry.text, self._claim)
            case "move":
                try:
                    disk.move(source, target, self._claim)
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
                    self._uses_copies()
                    if seen.text is not None:
                        disk.move_link(source, target, part, seen.text, self._claim)
                    else:
                        disk.move_across(source, target, part, self._claim)

    def _claim(self) -> None:
        self._write(lambda: self.journal.uses("claims"))

    def _uses_copies(self) -> None:
        """To be called before an original goes that has a copy only: what is above that must last,
        too."""
        self._write(lambda: self.journal.uses("copies"))
        if not self.lasting:
            for folder in dict.fromkeys(path.parent for path in self.record.folders):
                if folder.is_dir():
                    disk.sync_folder(folder)
            self.lasting = True

    # ---- what goes wrong -------------------------------------------------------------------------

    def _fail(self, i: int, why: str) -> None:
        """Puts the set of a step back, and all that has taken a place that it needs for that."""
        first = self.record.steps[i].step
        sets = self._entangled(first.members)
        self._put_back(sets)
        for members in sets:
            for k in self.sets[members]:
                other = self.record.steps[k].step
                own = why if other.source == first.source else f"stays with {first.source.name}"
                reasons = why if k == i else own
                self._write(lambda k=k, r=reasons: self.journal.failed(k, r))  # type: ignore[misc]

    def _stop(self, error: OSError, i: int | None = None) -> None:
        """Raises _Stop."""
        why = reason(error)
        try:
            if i is not None:
                why = f"{self.record.steps[i].step.target}: {why}"
                self._put_back(self._entangled(self.record.steps[i].step.members))
            self._end(why)
        except _Stop as second:
            why = f"{why}; {second}"
        raise _Stop(why) from error

    def _halt(self, why: str) -> None:
        """After an interrupt, which can have come between any two lines of code.

        Where it cannot be told what was done, the journal gets no end: then whoever takes the
        operation back, or finishes it, looks at the files.
        """
        if self.now < 0:
            return
        try:
            if self.now not in self.record.done and self.now not in self.record.failed:
                self.back.step(self.now)
                self._write(lambda: self.journal.put_back(self.now))  # its line may be there
            self._put_back(self._entangled(self.record.steps[self.now].step.members))
            self._end(why)
        except (OSError, Refused, _Stop):
            return

    def _entangled(self, members: int) -> list[int]:
        """The set, and those whose files are where its own came from (a cycle of renames)."""
        sets = [members]
        for one in sets:
            for k in self.sets[one]:
                if k in self.record.done and self.record.steps[k].step.action == "move":
                    maker = self.makers.get(self.record.steps[k].step.source)
                    if maker is not None and maker in self.record.done:
                        other = self.record.steps[maker].step.members
                        if other not in sets:
                            sets.append(other)
        return sets

    def _put_back(self, sets: Sequence[int]) -> None:
        """Raises _Stop if a file cannot be put back: then the operation is left without an end."""
        done = self.record.done
        for k in sorted((k for m in sets for k in self.sets[m] if k in done), reverse=True):
            step = self.record.steps[k].step
            try:
                self.back.step(k)
            except (OSError, Refused) as error:
                raise _Stop(f"{step.target} cannot be put back: {reason(error)}") from error
            self._write(lambda k=k: self.journal.put_back(k))  # type: ignore[misc]
            self.makers.pop(step.target, None)

    def _tidy_folders(self) -> None:
        """Folders that were made for what then failed."""
        if self.record.failed:
            for k, path in reversed([*enumerate(self.record.folders)]):
                if k in self.record.made:
                    try:
                        disk.remove_folder(path)
                    except OSError:
                        continue

    def _end(self, why: str | None) -> None:
        if why is not None:  # it may have been stopped between a folder and its line
            for k, path in enumerate(self.record.folders):
                if k not in self.record.made and path.is_dir():
                    self._write(lambda k=k: self.journal.made(k))  # type: ignore[misc]
        self._write(lambda: self.journal.end(why))

    def _write(self, write: Callable[[], None]) -> None:
        """A line of the journal. Without a journal nothing more may change."""
        try:
            write()
        except OSError as error:
            raise _Stop(f"the journal cannot be written: {reason(error)}") from error


def _checked(entry: Planned, *, moved: bool) -> Seen:
    """The source as it was when the plan was made. Raises Refused, OSError.

    moved: it may have been on another file system and come back.
    """
    now = look(entry.step.source, follow=entry.step.action != "move")
    if now is None or entry.seen is None:
        raise Refused("it is gone" if now is None else "it could not be read")
    if not now.regular and not now.link:
        raise Refused("it is no file")
    if not same(now, entry.seen, moved=moved):
        raise Refused("it has changed meanwhile")
    return now
