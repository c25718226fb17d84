"""Takes an operation back, file by file, by what its journal says and by what is there.

The journal may lack lines (the power failed), and the process may have died within a step. So for
each step, the last one first, the files themselves say how far it came:

    copy      there is a file under the target's name: it goes if it is unchanged since it was made
              and its original is as it was; else if its bytes are those of the original
    symlink   it goes if it still leads where we let it lead
    hardlink  it goes if it and its original are one file, or have the same bytes
    move      the file is at its target, unchanged: it goes back, if its old place is free. It is at
              both places (a move across file systems was cut off): the one we made goes

Everything else is refused, with the reason, and stays as it is. Folders that the operation made go
when they are empty; one that a file goes back to, and that is gone by now, is made again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from imgrank.errors import UsageError
from imgrank.files import disk
from imgrank.files.identity import Seen, look, same, same_bytes, unchanged
from imgrank.files.journal import Journal, Operation
from imgrank.files.plan import Step
from imgrank.files.record import Planned, Record, read

__all__ = ["Back", "TakenBack", "take_back"]


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What an undo did, or would do.

    undone: steps that were taken back, one a file, from where it was to where the operation had
    put it.   refused: those that were not, and why.
    folders: made again for files to go back to.
    """

    id: str
    undone: list[Step] = field(default_factory=list)
    refused: list[tuple[Step, str]] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)


REASONS = {
    errno.EEXIST: "the name is taken by now",
    errno.ENOENT: "it, or the folder it is to go to, is gone",
    errno.ENOSPC: "no space is left there",
    errno.EROFS: "it cannot be written there: read-only",
    errno.EXDEV: "a hard link cannot lead to another file system",
    errno.EMLINK: "it has as many hard links as it can have",
    errno.ENAMETOOLONG: "the name is too long",
}


class Refused(Exception):  # noqa: N818 - a state of the world, as in errors.py
    """A step that is left as it is; the message is the reason."""


def take_back(
    operation: Operation,
    dry_run: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> TakenBack:
    """Raises UsageError if another process is at work on it, or it cannot be read or opened for
    writing; DataError if it is damaged.

    Lines that a full disk has no room for are done without: removing copies is what makes room.
    """
    if dry_run:
        try:
            record = read(operation.path)
        except OSError as error:
            raise UsageError(f"{operation.path} cannot be read: {error.strerror}.") from error
        return _take_back(Back(operation.id, record), None, progress)
    with Journal.reopen(operation) as journal:
        found = _take_back(Back(journal.id, journal.record, journal), journal, progress)
        with suppress(OSError):
            journal.taken_back(len(found.refused))
        return found


def _take_back(
    back: Back, journal: Journal | None, progress: Callable[[int, int], object] | None
) -> TakenBack:
    record = back.record
    undone: list[Step] = []
    refused: list[tuple[Step, str]] = []
    ends: dict[Path, Path] = {}  # of files that went by way of another name
    total = len(record.steps)
    for count, i in enumerate(reversed(range(total))):
        if progress is not None:
            progress(count, total)
        if not back.open(i):
            continue
        step = record.steps[i].step
        try:
            did = back.step(i)
        except (OSError, Refused) as error:
            refused.append((step, reason(error)))
            continue
        if journal is not None and (did or i in record.done):
            with suppress(OSError):
                journal.undone(i)
        if did and not record.steps[i].first:
            ends[step.source] = ends.pop(step.target, step.target)
        elif did:
            undone.append(replace(step, target=ends.pop(step.target, step.target)))
    if progress is not None:
        progress(total, total)
    back.folders()
    return TakenBack(back.id, undone[::-1], refused[::-1], back.remade)


def reason(error: Exception) -> str:
    """What a person should know of it, without the file's name where the row has it."""
    if not isinstance(error, OSError):
        return str(error)
    return REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()


class Back:
    """Steps of one operation, backwards. Without a journal it only looks, and remembers what it
    would have done: then `look` sees files where they would be."""

    def __init__(self, id_: str, record: Record, journal: Journal | None = None) -> None:
        self.id, self.record, self.journal = id_, record, journal
        self.remade: list[Path] = []
        moves = [(i, p.step) for i, p in enumerate(record.steps) if p.step.action == "move"]
        self._seen: dict[tuple[int, int], list[Seen]] = {}  # files of the plan, as they were
        for seen in (planned.seen for planned in record.steps if planned.seen):
            self._seen.setdefault((seen.device, seen.inode), []).append(seen)
        self._leaves = {step.source: i for i, step in moves}
        self._comes = {step.target: i for i, step in moves}
        self._would: dict[Path, Seen | None] = {}

    def open(self, i: int) -> bool:
        """Whether step `i` may have left anything to take back."""
        record = self.record
        if i in record.undone or i in record.failed:
            return False
        return i in record.done or not record.ended

    def step(self, i: int) -> bool:
        """Takes it back. False if there was nothing to do; raises Refused or OSError."""
        planned, done = self.record.steps[i], self.record.done.get(i)
        if planned.seen is None:  # it was not there, so nothing was done
            return False
        match planned.step.action:
            case "copy":
                return self._copy(i, planned, planned.seen, done)
            case "symlink":
                return self._symlink(planned, done)
            case "hardlink":
                return self._hardlink(planned, done)
            case "move":
                return self._move(i, planned, planned.seen, done)

    def folders(self) -> None:
        """Removes those that the operation made and that are empty now."""
        if self.journal is None:
            return
        for k, path in reversed([*enumerate(self.record.folders)]):
            if k in self.record.made or not self.record.ended:
                with suppress(OSError):
                    disk.remove_folder(path)

    # ---- copies and links ------------------------------------------------------------------------

    def _copy(self, i: int, planned: Planned, seen: Seen, done: Seen | None) -> bool:
        source, target = planned.step.source, planned.step.target
        original = self._look(source, follow=True)
        if done is None:
            self._sweep(i, target, source, same(original, seen))
        now = self._look(target)
        if now is None:
            return False
        if done is not None and not same(now, done, moved=True):
            raise Refused("it has changed since it was copied")
        if original is None:
            raise Refused(f"its original, {source}, is gone: this may be the only one left")
        if (original.device, original.inode) == (now.device, now.inode):
            raise Refused(f"its original, {source}, leads to it now: this is the only one")
        sure = unchanged(now, done) and unchanged(original, seen)
        if not sure and not same_bytes(source, target):
            raise Refused(f"it differs from its original, {source}")
        self._remove(target)
        return True

    def _symlink(self, planned: Planned, done: Seen | None) -> bool:
        target = planned.step.target
        now = self._look(target)
        if now is None:
            return False
        if now.text != planned.text:
            if done is None:  # never made: the name was taken by somebody else
                return False
            raise Refused("it is not the link any more that was made")
        self._remove(target)
        return True

    def _hardlink(self, planned: Planned, done: Seen | None) -> bool:
        source, target = planned.step.source, planned.step.target
        now, original = self._look(target), self._look(source, follow=True)
        if now is None:
            return False
        one = original is not None and (original.device, original.inode) == (now.device, now.inode)
        if done is None and not one:
            return False
        if original is None:
            raise Refused(f"its original, {source}, is gone: this may be the only one left")
        if one:
            alone = os.lstat(target).st_nlink < 2
            if alone or os.path.realpath(source) == os.path.realpath(target):
                raise Refused(f"its original, {source}, leads to it now: this is the only one")
        elif not same_bytes(source, target):
            raise Refused(f"it is no link to {source} any more, and differs from it")
        self._remove(target)
        return True

    # ---- moves -----------------------------------------------------------------------------------

    def _move(self, i: int, planned: Planned, seen: Seen, done: Seen | None) -> bool:
        source, target = planned.step.source, planned.step.target
        forth, back = "copies" in self.record.uses, "copies back" in self.record.uses
        twice = forth or back or planned.text is not None
        arrived = done or planned.arrived
        old, now = self._look(source), self._look(target)
        at_source = same(old, seen, moved=back or now is None)
        # A later move over file systems, taken back, has given it another inode.
        far = twice or done is not None
        at_target = self._is_here(now, arrived, planned, far)
        if self.record.uses and (at_source or at_target):
            self._sweep(i, target, source, at_source)
            self._sweep(i, source, target, at_target, back=True)
            old, now = self._look(source), self._look(target)
            at_source, at_target = (
                same(old, seen, moved=back),
                self._is_here(now, arrived, planned, far),
            )
        if at_target and old is None:
            self._move_back(i, planned, seen)
            return True
        double = at_target and at_source and twice and self._is_double(planned, old, now)
        if double and self._had_room(i):
            self._remove(target)
            return True
        if at_source and (done is None or double or not at_target):
            return False
        nowhere = not (at_source or at_target or planned.first)
        if nowhere and (done is None or (old is None and self._went_back(source))):
            return False  # an earlier step has not brought it here, or was taken back, too
        raise Refused(_lost(planned, old, now, at_target, done))

    def _went_back(self, source: Path) -> bool:
        """Whether the step that brought a file there was taken back. Then this one was before it,
        though a full disk may have had no room for its line."""
        earlier = self._comes[source]
        planned = self.record.steps[earlier]
        back = "copies back" in self.record.uses
        return earlier in self.record.undone or same(
            self._look(planned.step.source), planned.seen, moved=back
        )

    def _is_here(self, now: Seen | None, arrived: Seen | None, planned: Planned, far: bool) -> bool:
        """far: it may have another inode by now; but it is not another file of this operation that
        has the same size and time (a burst on a FAT card)."""
        key = (now.device, now.inode) if now else (-1, -1)
        another = any(
            same(now, other) for other in self._seen.get(key, ()) if other != planned.seen
        )
        return not another and same(now, arrived, moved=far)

    def _is_double(self, planned: Planned, old: Seen | None, now: Seen | None) -> bool:
        """The move was cut off between making the second file and removing the first one."""
        if old is None or now is None or (old.device, old.inode) == (now.device, now.inode):
            return False
        return now.link or same_bytes(planned.step.source, planned.step.target)

    def _had_room(self, i: int) -> bool:
        """Whether the file that had the target's name before is where an earlier step takes it.

        If not, what has the name is that one still (or again, by an undo that was cut off), however
        much it looks like ours: a copy of the same picture, with its time.
        """
        steps = self.record.steps
        last, leaving = i, self._leaves.get(steps[i].step.target, i)
        while leaving < last:
            planned = steps[leaving]
            if not same(self._look(planned.step.target), planned.arrived, moved=True):
                return False
            last, leaving = leaving, self._leaves.get(planned.step.target, leaving)
        return True

    def _move_back(self, i: int, planned: Planned, seen: Seen) -> None:
        source, target = planned.step.source, planned.step.target
        if self.journal is None:
            self._would |= {source: seen, target: None}
            return
        part = disk.part_of(source, self.id, i)
        self._folder(source.parent)
        if planned.text is not None:
            self._uses("copies back")
            disk.move_link(target, source, part, seen.text or "", self._claim)
            return
        try:
            disk.move(target, source, self._claim)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._uses("copies back")
            if seen.text is not None:
                disk.move_link(target, source, part, seen.text, self._claim)
            else:
                disk.move_across(target, source, part, self._claim, like=seen)

    def _folder(self, path: Path) -> None:
        """Makes the folder again that a file was in."""
        if not path.exists():
            self._folder(path.parent)
            if disk.make_folder(path):
                disk.sync_folder(path.parent)  # a file may come from another file system
                self.remade.append(path)

    # ---- what a step leaves that was cut off -----------------------------------------------------

    def _sweep(self, i: int, place: Path, other: Path, safe: bool, *, back: bool = False) -> None:
        """Removes the part and the empty file that a step can have left at `place`, if the file
        itself is `safe` at the `other` place."""
        uses = self.record.uses
        part = disk.part_of(place, self.id, i)
        if self._look(part) is not None:
            if not safe:
                raise Refused(f"{other} is gone or has changed; what was written of it is {part}")
            self._remove(part)
        if ("claims back" if back else "claims") in uses and safe:
            found, kept = self._look(place), self._look(other)
            if found is None or found.size or not found.regular or kept is None:
                return
            one = (found.device, found.inode) == (kept.device, kept.inode)
            if not one and not self._is_theirs(place, found):
                self._remove(place)

    def _is_theirs(self, place: Path, found: Seen) -> bool:
        """Whether an empty file is one that the plan takes from or to this place: no claim of ours,
        whose time is that of the operation."""
        steps = self.record.steps
        leaves, comes = self._leaves.get(place), self._comes.get(place)
        if leaves is not None and same(found, steps[leaves].seen, moved=True):
            return True
        return comes is not None and same(found, steps[comes].arrived, moved=True)

    # ---- looking and changing --------------------------------------------------------------------

    def _look(self, path: Path, *, follow: bool = False) -> Seen | None:
        if self.journal is None and path in self._would:
            return self._would[path]
        return look(path, follow=follow)

    def _remove(self, path: Path) -> None:
        if self.journal is None:
            self._would[path] = None
        else:
            disk.remove(path)

    def _claim(self) -> None:
        self._uses("claims back")

    def _uses(self, what: str) -> None:
        assert self.journal is not None
        self.journal.uses(what)  # type: ignore[arg-type]


def _lost(
    planned: Planned, old: Seen | None, now: Seen | None, at_target: bool, done: Seen | None
) -> str:
    source, target = planned.step.source, planned.step.target
    if at_target:
        return f"there is another file at {source} now"
    if now is None:
        return f"it is neither at {target} nor at {source}"
    if done is None:
        return f"{source} is gone, and {target} is another file"
    return "it has changed since it was moved"
