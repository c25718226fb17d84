"""`imgrank completion`: the shell completes commands, options, models, data sets, instructions.

click does the work: the script of a shell calls `imgrank` at each Tab, with what was typed in its
environment. Here is what click cannot know: which candidates an argument has (`SOURCES`), and that
an instruction has spaces, which bash wants quoted. None of this is loaded by other runs, and no
completion imports torch or, but for names of data sets, numpy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
)
from click.types import StringParamType

from imgrank.errors import ImgrankError

__all__ = ["COMPLETE", "completion", "prepare", "teach"]

COMPLETE = "_IMGRANK_COMPLETE"
"""The variable by which a script asks; click derives it from the program's name."""

EPILOG = """\b
Examples:
  imgrank completion bash
  imgrank completion fish
"""

if TYPE_CHECKING:
    Item = CompletionItem[str]
    Source = Callable[[click.Context, click.Parameter], Iterable[Item]]


@click.command(epilog=EPILOG)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print the script by which a shell completes imgrank's commands, options and names.

    \b
    Put this line into the file that your shell reads when it starts:
      bash (4.4 or later)  ~/.bashrc                   eval "$(imgrank completion bash)"
      zsh                  ~/.zshrc, after compinit    eval "$(imgrank completion zsh)"
      fish                 ~/.config/fish/config.fish  imgrank completion fish | source

    Then Tab completes commands, options, their choices, files, models, data sets, the IDs of what
    can be undone and, after a PATH, the instructions that are known by name. In bash, begin an
    instruction with a quote: imgrank sort photos "by im<Tab>.
    """
    from imgrank.cli import cli

    prepare()
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "imgrank", COMPLETE).source(), nl=False)


class Bash(BashComplete):
    """Quotes what has spaces, unless the user has begun with a quote. bash takes "--model=ti" for
    three words."""

    name = "bash"

    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        return [arg for arg in args if arg != "="], incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        if item.type == "plain" and " " in item.value:
            words = os.environ["COMP_WORDS"].split("\n")
            typed = words[int(os.environ["COMP_CWORD"])] if words else ""
            if not typed.startswith(("'", '"')):
                return f'plain,"{item.value}"'
        return super().format_completion(item)


class WholeWord(ShellComplete):
    """zsh and fish replace all of "--model=ti", of which click only completes the value."""

    def get_completions(self, args: list[str], incomplete: str) -> list[Item]:
        items = super().get_completions(args, incomplete)
        name, given, _ = incomplete.partition("=")
        if given and name.startswith("--"):
            for item in items:
                item.value = f"{name}={item.value}"
        return items


class Zsh(WholeWord, ZshComplete):
    name = "zsh"


class Fish(WholeWord, FishComplete):
    """Its script ends a description at the first comma."""

    name = "fish"

    def format_completion(self, item: CompletionItem[Any]) -> str:
        item.help = item.help and item.help.replace(",", ";")
        return super().format_completion(item)


def prepare() -> None:
    """Makes click use what is here."""
    for kind in (Bash, Zsh, Fish):
        add_completion_class(kind)


def teach(command: click.Command) -> click.Command:
    """Gives a command's arguments their candidates: for a run that only completes."""
    for parameter in command.params:
        of_this = (command.name or "", parameter.name or "")
        source = SOURCES.get(of_this) or SOURCES.get(("", of_this[1]))
        if source is not None:
            parameter.type = _Taught(source)
    for each in getattr(command, "commands", {}).values():
        teach(each)
    return command


class _Taught(StringParamType):
    """Any text; a shell is offered what the source has."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Item]:
        try:
            items = [*self.source(ctx, param)]
        except (ImgrankError, OSError):  # say, a config.toml that is none: not while one is typing
            return []
        # Files are the shell's: what it is given then is what was typed.
        for item in items:
            if item.type != "plain":
                item.value = incomplete
        return [item for item in items if item.value.startswith(incomplete)]


# ---- candidates ----------------------------------------------------------------------------------


def _files(ctx: click.Context, param: click.Parameter) -> Iterator[Item]:
    yield CompletionItem("", type="file")


def _files_or_instruction(ctx: click.Context, param: click.Parameter) -> Iterator[Item]:
    """Files, and instructions once there is a path."""
    yield from _files(ctx, param)
    if ctx.params.get(param.name or ""):
        yield from _instructions(ctx, param)


def _instructions(ctx: click.Context, param: click.Parameter) -> Iterator[Item]:
    """The known tasks', as one says them; "the number of ..." goes on, and is no candidate."""
    from imgrank.tasks import tasks

    ends: dict[str, None] = {}  # "largest" is the end of several scales
    for key, task in tasks().items():
        if key == "count":
            continue
        first, last = (task.high, task.low) if task.descending else (task.low, task.high)
        for phrase in task.phrases[:2]:
            yield CompletionItem(f"by {phrase}", help=f"{first[0]} first")
        ends |= dict.fromkeys((f"{first[0]} first", f"{last[0]} first"))
    yield from map(CompletionItem, ends)


def _models(ctx: click.Context, param: click.Parameter) -> Iterator[Item]:
    """What is here, then what could be pulled."""
    from imgrank.models.registry import listed

    here = [*_models_here(ctx, param)]
    yield from (item for item in here if not (item.help or "").startswith("detector"))
    names = {item.value for item in here}
    for known in listed().values():
        if known.name not in names and known.kind != "detector" and not known.unpublished:
            yield CompletionItem(known.name, help="to be pulled first")


def _words(ctx: click.Context, param: click.Parameter) -> Iterator[Item]:
    """The models that a search can ask: here, then those that could be pulled."""
    from imgrank.models.checkpoint import RETRIEVAL
    from imgrank.models.registry import entries, listed
    from imgrank.settings import load_settings

    here = [entry for entry in entries(load_settings().models_dir) if entry.by_words]
    yield from (CompletionItem(entry.name, help=f"{entry.kind}, {entry.where}") for entry in here)
    names = {entry.name for entry in here}
    for known in listed().values():
        there = known.name in names or known.unpublished
        if known.kind in ("backbone", RETRIEVAL) and not there:
            yield CompletionItem(known.name, help="to be pulled first")


def _rerankers(ctx: click.Context, param: click.Parameter) -> Iterator[Item]:
    """Whoever answers "by aesthetics", then the models that are here."""
    yield CompletionItem("aesthetic", help='whoever answers "by aesthetics"')
    yield from (i for i in _models_here(ctx, param) if not (i.help or "").startswith("detector"))


def _models_here(ctx: click.Context, param: click.Parameter) -> Iterator[Item]:
    from imgrank.models.registry import entries
    from imgrank.settings import load_settings

    for entry in entries(load_settings().models_dir):
        yield CompletionItem(entry.name, help=f"{entry.kind}, {entry.where}")


def _all_models(ctx: click.Context, param: click.Parameter) -> Iterator[Item]:
    """For `models info`, which also tells why some cannot be pulled."""
    from imgrank.models.registry import listed

    here = [*_models_here(ctx, param)]
    yield from here
    yield from (CompletionItem(name) for name in listed().keys() - {item.value for item in here})


def _to_pull(ctx: click.Context, param: click.Parameter) -> Iterator[Item]:
    from imgrank.models.registry import listed, size_text

    for known in listed().values():
        if not known.unpublished:
            size = size_text(known.bytes) if known.bytes else "size unknown"
            yield CompletionItem(known.name, help=f"{known.kind}, {size}")


def _tasks(ctx: click.Context, param: click.Parameter) -> Iterator[Item]:
    from imgrank.tasks import tasks

    yield from map(CompletionItem, tasks())


def _data(ctx: click.Context, param: click.Parameter) -> Iterator[Item]:
    """Sets with values; where they are not what is asked for, those for search too."""
    from imgrank.data.catalogue import CATALOGUE, RETRIEVAL, about

    training = ctx.command.name in ("adapter", "l2rclip")
    for name in CATALOGUE if training else (*CATALOGUE, *RETRIEVAL):
        yield CompletionItem(name, help=about(name).title)


def _operations(ctx: click.Context, param: click.Parameter) -> Iterator[Item]:
    """The last one first: it is what one wants to take back."""
    from imgrank.files.journal import operations
    from imgrank.settings import load_settings

    for done in reversed(operations(load_settings().operations_dir)):
        if done.state == "taken back":
            continue
        yield CompletionItem(done.id, help=f"{done.verb}, {done.files} files, {done.time}")


SOURCES: Mapping[tuple[str, str], Source] = {
    # (command, parameter); "" is any command that has no line of its own
    ("", "arguments"): _files_or_instruction,
    ("", "by"): _instructions,
    ("compare", "instruction"): _instructions,
    ("search", "arguments"): _files,
    ("search", "like"): _files,
    ("search", "model"): _words,
    ("search", "rerank"): _rerankers,
    ("", "paths"): _files,
    ("gallery", "results"): _files,
    ("", "model"): _models,
    ("eval", "models"): _models,
    ("", "backbone"): _models,
    ("", "data"): _data,
    ("list", "name"): _data,
    ("check", "name"): _data,
    ("info", "name"): _all_models,
    ("pull", "wish"): _to_pull,
    ("push", "name"): _models_here,
    ("export", "name"): _models_here,
    ("verify", "names"): _models_here,
    ("remove", "name"): _models_here,
    ("default", "name"): _models_here,
    ("default", "task"): _tasks,
    ("undo", "id_"): _operations,
}
