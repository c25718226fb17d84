"""`imgrank undo`: takes back what was done with files, or finishes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imgrank.cli import options as shared
from imgrank.errors import DataError, UsageError

if TYPE_CHECKING:
    from imgrank.files.journal import Operation
    from imgrank.files.plan import Verb
    from imgrank.files.undoing import TakenBack

EPILOG = """\b
Examples:
  imgrank undo --list
  imgrank undo --dry-run
"""
INTERRUPTED = 130  # exit status


@click.command(epilog=EPILOG)
@click.argument("id_", required=False, metavar="[ID]")
@click.option("--list", "listed", is_flag=True, help="Show all operations, the last one first.")
@click.option(
    "--finish", is_flag=True, help="Go on with one that was cut off, instead of taking it back."
)
@click.option("--dry-run", is_flag=True, help="Change nothing; print what would be taken back.")
@shared.output_options
@click.option("-0", "--null", "nul", is_flag=True, help="NUL separates paths.")
@click.option("-q", "--quiet", is_flag=True, help="No notices or progress, only errors.")
def undo(
    id_: str | None,
    listed: bool,
    finish: bool,
    dry_run: bool,
    format_: str | None,
    output: Path | None,
    nul: bool,
    quiet: bool,
) -> int:
    """Take back the last copy, link, move or rename.

    ID is of another operation, as --list shows it. Pictures that were moved or renamed get their
    old places again; copies and links are removed while their originals are there, with the same
    content. What has changed since is left as it is, with the reason, and the exit status is 1;
    the rest is taken back. `imgrank undo` again takes back the operation before that.

    An operation that was cut off (a full disk, Ctrl-C, a crash) can be taken back, or finished.

    Standard output has a row a file under --dry-run, or if --format or --output is given.
    """
    from imgrank.files.journal import operations
    from imgrank.results.operations import write_operations
    from imgrank.settings import load_settings

    _check(id_, listed, finish, dry_run, format_ is not None or output is not None)
    unread: dict[str, str] = {}
    found = operations(load_settings().operations_dir, unread)
    with shared.Notices(quiet) as notices, shared.Output(output, format_) as out:
        if listed:
            write_operations(found[::-1], out.format, out.stream, nul=nul)
            for why in unread.values():
                notices.notify(f"left out: {why}")
            return 0
        operation = _chosen(found, id_, unread)
        if operation is None:
            notices.notify("there is nothing to take back")
            return 0
        if operation.state == "taken back":
            notices.notify(f"{operation.id} was taken back already")
            return 0
        try:
            if finish:
                return _finish(operation, notices)
            return _take_back(
                operation,
                notices,
                out if dry_run or format_ or output else None,
                dry_run=dry_run,
                nul=nul,
            )
        except KeyboardInterrupt:
            notices.stop()
            _complain([f"imgrank: interrupted. `{_again(operation, finish)}` goes on."])
            return INTERRUPTED


def _check(id_: str | None, listed: bool, finish: bool, dry_run: bool, rows: bool) -> None:
    """Raises UsageError for what does not go together."""
    if listed and (id_ or finish or dry_run):
        raise UsageError("--list shows all operations; it goes with no ID, --finish or --dry-run.")
    if finish and (dry_run or rows):
        raise UsageError("--finish prints no rows: no --dry-run, --format or --output with it.")


def _chosen(
    found: Sequence[Operation], id_: str | None, unread: Mapping[str, str]
) -> Operation | None:
    """The one of that name; else the last one that still has something done.

    Raises UsageError if there is none of that name; DataError if it is one of the `unread` ones, or
    if, without a name, one of those came later: earlier ones are not taken back under it.
    """
    if id_ is not None:
        for operation in found:
            if operation.id == id_:
                return operation
        if id_ in unread:
            raise DataError(unread[id_])
        raise UsageError(f"there is no operation {id_!r}; `imgrank undo --list` shows them.")
    last = next((one for one in reversed(found) if _has_something(one)), None)
    later = max(unread, default="")
    if later > (last.id if last else ""):
        raise DataError(
            f"{unread[later]} To take back another one, name it; `imgrank undo --list` shows them."
        )
    return last


def _has_something(operation: Operation) -> bool:
    """To take back or to finish; not if all of it failed, and was put back."""
    if operation.state == "done" and not operation.files:
        return False
    return operation.state != "taken back"


def _take_back(
    operation: Operation,
    notices: shared.Notices,
    out: shared.Output | None,
    *,
    dry_run: bool,
    nul: bool,
) -> int:
    from imgrank.files.undoing import take_back
    from imgrank.results.operations import write_taken_back

    found = take_back(operation, dry_run, notices.progress)
    notices.stop()
    if out is not None:
        write_taken_back(operation, found, out.format, out.stream, nul=nul)
    _complain([f"left as it is: {step.target}: {why}" for step, why in found.refused])
    for folder in found.folders:
        notices.notify(f"made again, for files to go back to: {folder}")
    _say(operation, found, notices, dry_run)
    return 1 if found.refused else 0


def _say(operation: Operation, found: TakenBack, notices: shared.Notices, dry_run: bool) -> None:
    count = len(found.undone)
    if not count and not found.refused:
        notices.notify(f"nothing is left to take back of {operation.id}")
        return
    if dry_run:
        notices.notify(f"would have {_taken(operation, count)}; nothing was changed")
        return
    said = _taken(operation, count)
    if found.refused:
        said += (
            f"; {_counted(len(found.refused), 'file')} left as it is. `imgrank undo "
            f"{operation.id}` tries again; `imgrank undo --list` shows earlier operations"
        )
    notices.notify(said)


def _taken(operation: Operation, count: int) -> str:
    """ "removed 62 copies from best", "moved 3 files back from best"."""
    where = "" if operation.target is None else f" from {operation.target}"
    match operation.verb:
        case "copy":
            return f"removed {_counted(count, 'copy', 'copies')}{where}"
        case "link":
            return f"removed {_counted(count, 'link')}{where}"
        case "move":
            return f"moved {_counted(count, 'file')} back{where}"
        case "rename":
            return f"gave {_counted(count, 'file')} the old name{'s' * (count != 1)} again"


def _finish(operation: Operation, notices: shared.Notices) -> int:
    from imgrank.files.operation import finish

    outcome = finish(operation, notices.progress)
    notices.stop()
    _complain([f"not {DONE[operation.verb]}: {step.source}: {why}" for step, why in outcome.failed])
    where = "" if operation.target is None else f" to {operation.target}"
    said = f"{DONE[operation.verb]} {_counted(len(outcome.done), 'file')}{where}"
    if outcome.stopped is not None:
        again, back = _again(operation, True), _again(operation, False)
        said += f" so far. `{again}` goes on, `{back}` takes it back."
        _complain([f"imgrank: stopped: {outcome.stopped}. {said}"])
        return INTERRUPTED if outcome.interrupted else 1
    if operation.state == "done":
        said = f"nothing is left to do of {operation.id}: {said}"
    notices.notify(f"{said}; `{_again(operation, False)}` takes it back")
    return 1 if outcome.failed else 0


DONE: dict[Verb, str] = {
    "copy": "copied",
    "link": "linked",
    "move": "moved",
    "rename": "renamed",
}


def _again(operation: Operation, finish: bool) -> str:
    return f"imgrank undo {operation.id}" + " --finish" * finish


def _counted(count: int, noun: str, nouns: str = "") -> str:
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"


def _complain(lines: Sequence[str]) -> None:
    """What a person has to know, also under --quiet."""
    from imgrank.cli import complain

    for line in lines[: shared.LISTED]:
        complain(line)
    if len(lines) > shared.LISTED:
        complain(f"and {len(lines) - shared.LISTED} more; --format json lists all of them")
