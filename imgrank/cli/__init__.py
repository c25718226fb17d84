"""The command line: parses, calls `imgrank.api`, prints. The only place that prints or exits.

Commands are loaded when they are called, so that `imgrank --help` stays quick; nothing here imports
torch. Standard output carries data only; all else goes to standard error.

Exit statuses: 0 done, 1 nothing readable (or skips under --strict), 2 usage, 3 a model, data set or
the network is missing, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings

import click
from click.shell_completion import CompletionItem

from imgrank.errors import ImgrankError

__all__ = ["cli", "main"]

COMMANDS = {
    "sort": "imgrank.cli.sort",
    "search": "imgrank.cli.search",
    "score": "imgrank.cli.score",
    "compare": "imgrank.cli.compare",
    "age": "imgrank.cli.age",
    "decade": "imgrank.cli.decade",
    "aesthetic": "imgrank.cli.aesthetic",
    "gallery": "imgrank.cli.gallery",
    "undo": "imgrank.cli.undo",
    "index": "imgrank.cli.index",
    "train": "imgrank.cli.train",
    "eval": "imgrank.cli.eval",
    "judge": "imgrank.cli.judge",
    "data": "imgrank.cli.data",
    "models": "imgrank.cli.models",
    "cache": "imgrank.cli.cache",
    "doctor": "imgrank.cli.doctor",
    "completion": "imgrank.cli.completion",
}
SUMMARY = {
    "sort": "Order pictures by an instruction, best first.",
    "search": "Find the pictures that fit words, or are like others.",
    "score": "Score pictures by one or more instructions, in path order.",
    "compare": "Say which of two pictures comes first, and how surely.",
    "age": "Estimate the apparent age of every face.",
    "decade": "Estimate the decade a photograph was taken in, from its look.",
    "aesthetic": "Estimate the aesthetic level of pictures.",
    "gallery": "Make one page for any browser of results that were kept.",
    "undo": "Take back the last copy, link, move or rename.",
    "index": "Compute and keep features, so that later sorts and searches are quick.",
    "train": "Train a ranker by one of the recipes.",
    "eval": "Measure how well models order a data set that people have rated.",
    "judge": "Let a vision-language model judge which of two searches finds better pictures.",
    "data": "List the data sets for training and measuring, and check their folders.",
    "models": "List, fetch, import, check and publish models.",
    "cache": "Show or trim what is kept between runs.",
    "doctor": "Check this machine: versions, device, disk, cache.",
    "completion": "Print the script by which bash, zsh or fish completes commands and names.",
}


def taught(command: click.Command, ctx: click.Context) -> click.Command:
    """The command; while a shell completes it, with candidates for its arguments."""
    if not ctx.resilient_parsing:
        return command
    from imgrank.cli.completion import teach

    return teach(command)


class LazyGroup(click.Group):
    """A group that knows its commands' names and one-liners, and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[name]), name)
        assert isinstance(command, click.Command)
        return taught(command, ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        names = [name for name in COMMANDS if name.startswith(incomplete)]
        commands = [CompletionItem(name, help=SUMMARY[name]) for name in names]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARY.items()))


EPILOG = """\b
Examples:
  imgrank sort examples/photos "by image quality"
  imgrank score examples/photos brightness "a cat" --format csv
"""


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="imgrank", message="imgrank %(version)s")
def cli() -> None:
    """Sort folders of pictures by a plain instruction.

    Works at once on an embedded model, with no download. Pictures are only read; files are copied,
    linked, moved or renamed where that is asked for, and `imgrank undo` takes it back.
    """


def main() -> None:
    """Entry point: runs the command and turns every error into its exit status, in one place."""
    # Pillow warns of damaged metadata; whether the picture can be read is what a user is told.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if "_IMGRANK_COMPLETE" in os.environ:
        from imgrank.cli.completion import prepare

        prepare()
    try:
        status = cli.main(standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader (say `head`) has what it wanted. Python would complain again at shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except click.exceptions.Abort:
        status = interrupted()
    except KeyboardInterrupt:
        status = interrupted()
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except ImgrankError as error:
        complain(f"imgrank: {error}")
        status = error.status
    except OSError as error:
        # What the user's pictures can do is a Skip by now. Without a name it is standard output.
        what = error.filename or "cannot write standard output"
        complain(f"imgrank: {what}: {error.strerror}")
        status = 1
    sys.exit(status if isinstance(status, int) else 0)


def complain(text: str) -> None:
    """An error on standard error; a file's name in it cannot drive the terminal."""
    from imgrank.results.output import visible

    click.echo("\n".join(visible(line) for line in text.split("\n")), err=True)


def interrupted() -> int:
    """Says that nothing is lost; returns the status for an interrupt."""
    click.echo(
        "\nimgrank: interrupted. What was computed is kept; run it again to go on.", err=True
    )
    return 130
