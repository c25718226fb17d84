"""What is to be done and what was done, line by line on disk: `data_dir/operations/ID.jsonl`.

    {"format": 1, "id": ..., "time": ..., "verb": ..., "target": ..., "command": ..., "cwd": ...}
    {"folder": 0, "path": ...}                            to be made; parents first
    {"step": 0, "action": ..., "source": ..., "target": ..., "members": ..., "picture": ...,
     "seen": [size, mtime_ns, ctime_ns, device, inode, mode, text] or null, "text": ... or null,
     "first": ..., "last": ...}                           see `record.Planned`
    {"planned": 1}                                        the whole plan is there, and synced

    {"uses": "claims" | "copies" | "claims back" | "copies back"}   see `Uses`; synced
    {"made": 0}                                           a folder
    {"done": 0, "seen": [...], ["passing": true]}         as the new file was right after it
    {"failed": 0, "reason": ...}   {"put_back": 0}        the others of its set
    {"end": null or why it was stopped}   {"goes_on": time}        by `imgrank undo --finish`
    {"undone": 0}   {"taken_back": refused}               by `imgrank undo`; how many were refused

JSON lines, ASCII; bytes of names that are not UTF-8 are lone surrogates. After the plan each line
goes to the kernel at once, so it survives the process, not a loss of power; whoever reads it has
to look at the files where a line may be missing. A torn line is passed over. A second file,
`ID.lock`, is locked as long as a process works on the operation.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from imgrank.errors import DataError, UsageError
from imgrank.files import disk
from imgrank.files.identity import Seen
from imgrank.files.plan import Plan, Verb
from imgrank.files.record import FORMAT, Record, header, planned, read

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["Journal", "Operation", "State", "Uses", "operations"]

LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # none that look alike
WAIT = 0.5  # seconds for the lock: `--list` holds it for a moment

State = Literal["done", "cut off", "running", "taken back", "partly taken back"]
Uses = Literal["claims", "copies", "claims back", "copies back"]
"""What steps may leave when they are cut off, forwards or backwards (`back`): an empty file that
claims the name (`claims`); a whole second file beside the first (`copies`, across file systems)."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A journal, in short.

    time: of its start, local, ISO 8601.   target: as the user gave it, None for renames in place.
    steps: planned.   files: that it put in their places, also those that were taken back.   why: it
    was stopped, "" if it was not.
    """

    id: str
    path: Path
    time: str
    verb: Verb
    target: Path | None
    command: str
    cwd: Path
    steps: int
    files: int
    state: State
    why: str = ""


class Journal:
    """A journal that is open for writing, and locked. `record` follows what is written.

    Lines are written as they come: an OSError (full disk) goes to the caller.
    """

    def __init__(self, path: Path, flags: int, record: Record) -> None:
        self.path, self.id = path, path.stem
        self.record = record
        self._torn = False  # the last line has no end
        self._lock = _locked(path)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | flags, 0o600)
        except BaseException:
            self._lock.release()
            raise

    @classmethod
    def begin(cls, folder: Path, plan: Plan, command: str) -> Self:
        """Writes and syncs the plan. Raises UsageError if that cannot be done."""
        started = datetime.now().astimezone()
        name = "".join(secrets.choice(LETTERS) for _ in range(4))
        path = folder / f"{started:%Y%m%d-%H%M%S}-{name}.jsonl"
        record = Record([*plan.folders], planned(plan.steps), complete=True)
        try:
            missing = [each for each in (folder, *folder.parents) if not each.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            journal = cls(path, os.O_EXCL | os.O_CREAT, record)
            try:
                _write(journal._file, _plan_lines(path.stem, started, plan, command, record))
                journal.sync()
                for each in (folder, *(new.parent for new in missing)):
                    disk.sync_folder(each)
            except BaseException:
                journal.close()
                path.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written ({error.strerror}), and imgrank changes no file without "
                "keeping how to take it back. Make room there, or name another folder by "
                "IMGRANK_HOME."
            ) from error
        return journal

    @classmethod
    def reopen(cls, operation: Operation) -> Self:
        """Raises UsageError if a process is at work on it, or it cannot be written; DataError."""
        path = operation.path
        try:
            journal = cls(path, 0, Record())
            try:
                journal.record = read(path)
                os.lseek(journal._file, -1, os.SEEK_END)
                journal._torn = os.read(journal._file, 1) != b"\n"
            except BaseException:
                journal.close()
                raise
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}.") from error
        return journal

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Also lets others work on the operation."""
        os.close(self._file)
        self._lock.release()

    def sync(self) -> None:
        """All lines so far are on the drive after it."""
        os.fsync(self._file)

    def uses(self, what: Uses) -> None:
        """To be called before the first such thing; written once, and synced."""
        if what not in self.record.uses:
            self._line({"uses": what})
            self.sync()
            self.record.uses.add(what)

    def made(self, folder: int) -> None:
        self._line({"made": folder})
        self.record.made.add(folder)

    def done(self, step: int, seen: Seen | None) -> None:
        """seen: None if it is gone again already, by somebody else."""
        if seen is None:
            return
        passing = {} if self.record.steps[step].last else {"passing": True}
        self._line({"done": step, "seen": _values(seen), **passing})
        self.record.done[step] = seen

    def failed(self, step: int, reason: str) -> None:
        self._line({"failed": step, "reason": reason})
        self.record.failed[step] = reason

    def put_back(self, step: int) -> None:
        self._line({"put_back": step})
        self.record.done.pop(step, None)

    def end(self, why: str | None) -> None:
        self._line({"end": why})
        self.sync()
        self.record.ended, self.record.stopped = True, why

    def goes_on(self) -> None:
        """An operation that was stopped is being finished: from here lines may be missing again."""
        self._line({"goes_on": datetime.now().astimezone().isoformat(timespec="seconds")})
        self.sync()
        self.record.ended, self.record.stopped = False, None

    def undone(self, step: int) -> None:
        self._line({"undone": step})
        self.record.undone.add(step)

    def taken_back(self, refused: int) -> None:
        self._line({"taken_back": refused})
        self.sync()
        self.record.taken_back = refused

    def _line(self, members: Mapping[str, object]) -> None:
        try:
            _write(self._file, "\n" * self._torn + json.dumps(members) + "\n")
        except OSError as error:
            self._torn = True
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._torn = False


def operations(folder: Path, unread: dict[str, str] | None = None) -> list[Operation]:
    """All operations, the oldest first. Those that never began are left out, and what is no
    journal. Raises OSError if the folder cannot be read.

    unread: gets those of a later imgrank, or damaged: ID -> why they cannot be read.
    """
    found = []
    for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else ():
        try:
            operation = _summary(path)
        except FileNotFoundError:  # removed meanwhile
            continue
        except DataError as error:
            if unread is not None and _ID.fullmatch(path.stem):
                unread[path.stem] = str(error)
            continue
        if operation is not None:
            found.append(operation)
    return sorted(found, key=lambda operation: datetime.fromisoformat(operation.time))


# ---- lines ---------------------------------------------------------------------------------------


def _values(seen: Seen) -> tuple[object, ...]:
    return (
        seen.size,
        seen.mtime_ns,
        seen.ctime_ns,
        seen.device,
        seen.inode,
        seen.mode,
        seen.text,
    )


def _write(file: int, text: str) -> None:
    rest = memoryview(text.encode("ascii"))
    while rest:
        rest = rest[os.write(file, rest) :]


def _plan_lines(id_: str, started: datetime, plan: Plan, command: str, record: Record) -> str:
    head = {
        "format": FORMAT,
        "id": id_,
        "time": started.isoformat(timespec="microseconds"),
        "verb": plan.verb,
        "target": None if plan.target is None else str(plan.target),
        "command": command,
        "cwd": str(Path.cwd()),
    }
    lines: list[Mapping[str, object]] = [head]
    lines += [{"folder": i, "path": str(path)} for i, path in enumerate(record.folders)]
    lines += [
        {
            "step": i,
            "action": entry.step.action,
            "source": str(entry.step.source),
            "target": str(entry.step.target),
            "members": entry.step.members,
            "picture": entry.step.picture,
            "seen": None if entry.seen is None else _values(entry.seen),
            "text": entry.text,
            "first": entry.first,
            "last": entry.last,
        }
        for i, entry in enumerate(record.steps)
    ]
    lines.append({"planned": len(record.steps)})
    return "".join(json.dumps(line) + "\n" for line in lines)


# ---- in short ------------------------------------------------------------------------------------


def _locked(path: Path, wait: float = WAIT) -> BaseFileLock:
    """Raises UsageError if another process has it."""
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise UsageError(
            f"another imgrank is at work on {path.stem}; wait until it ends."
        ) from None
    return lock


def _running(path: Path) -> bool:
    try:
        _locked(path, 0).release()
    except UsageError:
        return True
    except OSError:  # a folder that cannot be written to: nobody works there
        return False
    return False


def _summary(path: Path) -> Operation | None:
    """Without parsing more than it must: a journal has a line a file."""
    steps: int | None = None
    done: set[int] = set()
    undone = 0
    end: Mapping[str, Any] = {}
    taken_back: int | None = None
    with path.open("rb") as stream:
        first = stream.readline()
        if not first.endswith(b"\n"):
            return None  # cut off before its plan was there
        head = header(first, path)
        for line in stream:
            kind, _, rest = line.partition(b": ")
            if kind in (b'{"step"', b'{"folder"') or not line.endswith(b"\n"):
                continue
            number = int(m[0]) if (m := _NUMBER.match(rest)) else -1
            if kind == b'{"planned"':
                steps = number
            elif kind == b'{"done"' and not line.endswith(_PASSING):
                done.add(number)
            elif kind == b'{"put_back"':
                done.discard(number)
            elif kind == b'{"undone"':
                undone += 1
            elif kind == b'{"end"' or kind == b'{"goes_on"':
                with contextlib.suppress(ValueError):
                    end = json.loads(line)
            elif kind == b'{"taken_back"':
                taken_back = number
    if steps is None:
        return None
    state: State = "done" if end.get("end", "") is None else "cut off"
    if taken_back == 0:
        state = "taken back"
    elif _running(path):
        state = "running"
    elif undone or taken_back:
        state = "partly taken back"
    target = None if head["target"] is None else Path(head["target"])
    return Operation(
        head["id"],
        path,
        head["time"],
        head["verb"],
        target,
        head["command"],
        Path(head["cwd"]),
        steps,
        len(done),
        state,
        end.get("end") or "",
    )


_ID = re.compile(r"\d{8}-\d{6}-\w{4}")
_NUMBER = re.compile(rb"\d+")
_PASSING = b'"passing": true}\n'
