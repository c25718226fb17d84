"""Options and reading of arguments that several commands share; what goes to standard error."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self, TypeVar, cast

import click

from imgrank.errors import UsageError
from imgrank.images import Skip
from imgrank.images.formats import SUFFIXES
from imgrank.results.output import FORMATS, visible

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from imgrank.api import Options
    from imgrank.results.output import Format

Command = TypeVar("Command", bound=Callable[..., Any])
LISTED = 50  # skips that standard error names one by one
_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO))


def stack(command: Command, *options: Callable[[Command], Command]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def refuse_without(option: str, *names: str) -> None:
    """Raises UsageError for an option on the command line that counts with another one alone,
    which is not there: what was asked for would be left out without a word.

    names: of parameters, as the function of the command has them.
    """
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(f"--{name.replace('_', '-')} is for {option}.")


def scan_options(command: Command) -> Command:
    """Which pictures: hidden ones, exclusions, NUL-separated lists, strictness."""
    return stack(
        command,
        click.option("--include-hidden", is_flag=True, help="Also hidden files and folders."),
        click.option(
            "--exclude",
            multiple=True,
            metavar="GLOB",
            help="Leave out names or paths that match; repeatable.",
        ),
        click.option("-0", "--null", "nul", is_flag=True, help="NUL separates paths, in and out."),
        click.option("--strict", is_flag=True, help="Exit with 1 if any picture was skipped."),
        click.option("-q", "--quiet", is_flag=True, help="No notices or progress, only errors."),
    )


def model_options(command: Command) -> Command:
    """Which model answers, and where it runs."""
    return stack(
        command,
        click.option(
            "--model",
            metavar="MODEL",
            help="Who answers, instead of the router: a name or a folder, or, once it was pulled, "
            "hf:OWNER/REPOSITORY[@REVISION] or open_clip:ARCHITECTURE/TAG.",
        ),
        run_options,
    )


def slow_option(command: Command) -> Command:
    """Of commands that a model of billions of parameters may be asked by."""
    return stack(
        command,
        click.option(
            "--yes",
            is_flag=True,
            help="With --model rarl:NAME: do not ask before more than a minute on a slow device.",
        ),
    )


def run_options(command: Command) -> Command:
    """Where a model runs, and how."""
    return stack(
        command,
        click.option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps.  [auto]"),
        click.option(
            "--precision",
            metavar="PRECISION",
            help="Of the image model: auto, float32, bfloat16 or float16.  [auto]",
        ),
        click.option("--threads", type=click.IntRange(1), help="Decoding threads.  [the cores]"),
        click.option("--offline", is_flag=True, default=None, help="Never open a socket."),
    )


def output_options(command: Command) -> Command:
    """Where the rows go, and how they look."""
    return stack(
        command,
        click.option(
            "-f",
            "--format",
            "format_",
            type=click.Choice(FORMATS),
            help="Of the output.  [table on a terminal, tsv in a pipe]",
        ),
        click.option(
            "-o",
            "--output",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Write to a file, which must not exist yet.",
        ),
    )


# ---- arguments -----------------------------------------------------------------------------------


def looks_like_path(text: str) -> bool:
    """A separator or an image suffix: then a missing file is a mistake, not an instruction."""
    return os.sep in text or (os.altsep or os.sep) in text or Path(text).suffix.lower() in SUFFIXES


def split_arguments(
    arguments: Sequence[str], by: Sequence[str], *, several: bool
) -> tuple[list[str], list[str]]:
    """PATH... INSTRUCTION (the last; or, with `several`, all that do not exist) -> both lists."""
    if by:
        paths, wishes = list(arguments), []
    elif several:
        count = next(
            (i for i, a in enumerate(arguments) if a != "-" and not os.path.lexists(a)),
            len(arguments),
        )
        paths, wishes = list(arguments[:count]), list(arguments[count:])
    else:
        paths, wishes = list(arguments[:-1]), list(arguments[-1:])
    for wish in wishes:
        if wish == "-" or os.path.lexists(wish):
            raise UsageError(
                f"'{wish}' is a path, but an instruction is expected there, "
                'such as "by image quality". (Or give it with --by.)'
            )
        if looks_like_path(wish):
            raise UsageError(
                f"'{wish}' looks like a path, but there is no such file. "
                "An instruction that really looks so can be given with --by."
            )
    if not paths:
        raise UsageError("no folder or picture was given; '-' reads paths from standard input.")
    if not wishes and not by:
        raise UsageError('no instruction was given, such as "by image quality" or "a cat".')
    return paths, wishes


def build_options(paths: Sequence[str], reporter: Reporter, **given: Any) -> tuple[Any, Options]:
    """Named paths and the API's options from the parsed flags; reads standard input for '-'."""
    from imgrank.api import Options
    from imgrank.images.scan import read_paths
    from imgrank.settings import load_settings

    keys = ("device", "precision", "threads", "offline")
    flags = {k: given[k] for k in keys if given.get(k) is not None}
    listed: list[Path] = []
    if "-" in paths:
        if sys.stdin is None:
            raise UsageError("'-' reads paths from standard input, which is closed.")
        listed = list(read_paths(sys.stdin.buffer, nul=given.get("nul", False)))
    settings = load_settings(**flags)
    if settings.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # before any import of the Hub's client
    return [Path(p) for p in paths if p != "-"], Options(
        model=given.get("model"),
        include_hidden=given.get("include_hidden", False),
        exclude=tuple(given.get("exclude", ())),
        listed=tuple(listed),
        leave_out=given.get("leave_out"),
        settings=settings,
        notify=reporter.notify,
        progress=reporter.progress,
        slow=given.get("yes", False) or asking(reporter),
    )


def asking(reporter: Notices) -> Callable[[str], bool] | Literal[False]:
    """What asks before a long work; False where nobody can be asked."""
    from imgrank.cli.asking import agreed, may_ask

    if not may_ask():
        return False

    def ask(forecast: str) -> bool:
        reporter.stop()
        return agreed(f"{forecast[0].upper()}{forecast[1:]}. Go on?", default=False, otherwise="")

    return ask


# ---- standard error ------------------------------------------------------------------------------


class Notices:
    """Notices and one progress bar, on standard error; silent under --quiet.

    The bar appears only on a terminal, and only when something is left to do.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bar: RichProgress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def notify(self, text: str) -> None:
        """One line that a person should see."""
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.console.print(visible(text), markup=False, highlight=False)
        else:
            click.echo(visible(text), err=True)

    def progress(self, done: int, total: int) -> None:
        """How much is done of all."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done)
        elif not self.quiet and done < total and sys.stderr is not None and sys.stderr.isatty():
            self._bar = self.bar()
            self._bar.add_task("", total=total, completed=done)
            self._bar.start()

    def stop(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def bar(self) -> RichProgress:
        """Count, rate and remaining time."""
        return _bar()


class Reporter(Notices):
    """Also what was skipped and what was done; the bar counts pictures."""

    def __init__(self, quiet: bool = False) -> None:
        super().__init__(quiet)
        self.started = time.monotonic()

    def finish(
        self, skips: Sequence[Skip], *, computed: int, known: int, strict: bool, lacking: int = 0
    ) -> int:
        """Lists the skips and says what was done; returns the exit status.

        lacking: how many of the skips, the last ones, were read but have no such property; they
        are counted, not listed.
        """
        self.stop()
        failed = skips[: len(skips) - lacking]
        for skip in failed[:LISTED]:
            self.notify(f"skipped {skip.path}: {skip.reason}")
        if len(failed) > LISTED:
            self.notify(f"skipped {len(failed) - LISTED} more; --format json lists all of them")
        seconds = time.monotonic() - self.started
        parts = [f"{computed} computed", f"{known} known"]
        if lacking:
            parts.append(f"{lacking} left out: {skips[-1].reason}")
        if failed:
            parts.append(f"{len(failed)} skipped")
        noun = "picture" if computed + known == 1 else "pictures"
        self.notify(f"{computed + known} {noun} in {seconds:.1f} s ({', '.join(parts)})")
        return 1 if skips and strict else 0


def _bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.1f}/s")

    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


class Output:
    """Where rows go: standard output, or a new file that appears only when it is complete.

    The target is checked before anything is computed, and an existing file is never overwritten.
    """

    def __init__(self, path: Path | None, format_: str | None) -> None:
        self.path = path
        terminal = path is None and sys.stdout is not None and sys.stdout.isatty()
        self.format = cast("Format", format_ or ("table" if terminal else "tsv"))
        self._part: BinaryIO | None = None

    @property
    def stream(self) -> BinaryIO:
        """Of bytes. Raises UsageError if standard output is closed."""
        if self._part is not None:
            return self._part
        if sys.stdout is None:
            raise UsageError("standard output is closed; name a file with --output.")
        return sys.stdout.buffer

    def check(self) -> None:
        """Raises UsageError if the file cannot be made; leaves nothing."""
        self.__enter__()
        self.__exit__(UsageError, None, None)

    def __enter__(self) -> Output:
        if self.path is not None:
            if os.path.lexists(self.path):
                raise UsageError(f"{self.path} exists already; imgrank overwrites nothing.")
            self._part_path = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
            with self._writing():
                self._part = self._part_path.open("xb")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._part is None or self.path is None:
            return
        try:
            with self._writing():
                self._part.close()
                if kind is None:
                    self._appear(self.path)
                elif isinstance(error, OSError) and error.errno in _NO_ROOM and not error.filename:
                    raise error  # of a write by whoever had the stream
        finally:
            self._part_path.unlink(missing_ok=True)

    def _appear(self, path: Path) -> None:
        """Gives the finished part its name; unlike a rename, fails if the name is taken by now."""
        try:
            os.link(self._part_path, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with path.open("xb") as target:
                target.write(self._part_path.read_bytes())

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except FileExistsError:
            raise UsageError(f"{self.path} has appeared meanwhile; it was left alone.") from None
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}.") from None
