"""What the recipes' commands share: their options, the command line as it was given, a report."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from imgrank.settings import Settings

__all__ = [
    "backbone_of",
    "checkpoint_of",
    "command_line",
    "list_sets",
    "report",
    "run_options",
    "threads",
    "values_of",
    "vision_language_of",
]

Command = TypeVar("Command", bound=Callable[..., Any])
FOLD = click.option(
    "--fold", type=click.IntRange(0), help="The test part, of sets that have folds.  [0]"
)
CACHE = click.option("--cache", type=click.Path(path_type=Path), help="Of tokens.  [OUT/tokens]")
WHERE = (
    click.option("--root", type=click.Path(path_type=Path), help="Where the data sets lie."),
    FOLD,
    click.option("--partial", is_flag=True, help="Go on without the pictures that are missing."),
    click.option("--out", type=click.Path(path_type=Path), help="State, log and checkpoint."),
)
HOW = (
    click.option("--seed", type=click.IntRange(0), help="Instead of the recipe's."),
    click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Any other field."),
    click.option(
        "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps."
    ),
    click.option("--threads", type=click.IntRange(1), help="Of torch.  [its own choice]"),
    click.option(
        "--list", "list_", is_flag=True, help="List recipes and data sets, train nothing."
    ),
)


def run_options(
    *own: Callable[[Any], Any], folds: bool = True, cache: bool = True, backbone: str = "tiny"
) -> Callable[[Command], Command]:
    """The options of every recipe that trains on data sets with a backbone. own: those of this one
    that say how long and how.   folds: whether its sets may have some.   cache: whether what the
    backbone gives is kept.   backbone: the one without --backbone."""
    model = click.option("--backbone", default=backbone, show_default=True, metavar="NAME|FOLDER")
    without = [option for option, there in ((FOLD, folds), (CACHE, cache)) if not there]

    def with_options(command: Command) -> Command:
        for option in reversed((*WHERE, model, CACHE, *own, *HOW)):
            if option not in without:
                command = option(command)
        return command

    return with_options


def backbone_of(name: str, settings: Settings) -> Path:
    """The folder of the backbone that is trained on. Raises as `find`, UsageError for a model that
    is none."""
    from imgrank.errors import UsageError
    from imgrank.models.registry import find

    entry = find(name, settings.models_dir)
    if entry.kind not in ("backbone", "damaged"):
        if entry.kind == "vlm":
            raise UsageError(
                f"--backbone {name}: that is a Qwen2.5-VL, which `imgrank train rarl` and "
                "`imgrank train sft` train. Name an OpenCLIP model here."
            )
        raise UsageError(
            f"--backbone {name}: that is a checkpoint of kind {entry.kind}, no backbone. Of one "
            "with towers of its own `imgrank models export NAME DIR` writes a folder that is one."
        )
    return entry.folder


def vision_language_of(name: str, settings: Settings) -> Path:
    """The folder of the vision-language model that is trained on. Raises as `find`, UsageError for
    a model that is none."""
    from imgrank.errors import UsageError
    from imgrank.models.registry import find

    entry = find(name, settings.models_dir)
    if entry.kind in ("vlm", "damaged"):
        return entry.folder
    what = f"a checkpoint of kind {entry.kind}"
    if entry.kind == "backbone":
        what = "an OpenCLIP model"
    elif entry.kind == "rarl":
        what = f"a checkpoint on {entry.backbone}: name that here, and the checkpoint by --from"
    raise UsageError(
        f"--backbone {name}: that is {what}, no Qwen2.5-VL. `imgrank models pull qwen2.5-vl-3b` "
        "fetches one; a folder of one that is here may be named, too."
    )


def checkpoint_of(name: str, settings: Settings) -> Path:
    """The folder of a checkpoint to start from. Raises as `find`, UsageError for another kind."""
    from imgrank.errors import UsageError
    from imgrank.models.registry import find

    entry = find(name.removeprefix("rarl:"), settings.models_dir)
    if entry.kind == "vlm":
        raise UsageError(f"--from {name}: that is a model without a checkpoint: --backbone {name}")
    if entry.kind not in ("rarl", "damaged"):
        raise UsageError(
            f"--from {name}: that is of kind {entry.kind}; to start from are checkpoints of "
            "`imgrank train sft` and `imgrank train rarl`."
        )
    return entry.folder


def values_of(given: dict[str, Any], **told: Any) -> dict[str, Any]:
    """Values of the recipe's fields: those told (None: not), then each --set KEY=VALUE."""
    from imgrank.train.recipe_file import assignment, joined

    values = {key: value for key, value in told.items() if value is not None}
    for text in given["overrides"]:
        values = joined(values, assignment(text))
    return values


def threads(number: int | None) -> None:
    """Of torch; None: its own choice."""
    if number:
        import torch

        torch.set_num_threads(number)


def command_line() -> str:
    """The command line as it was given, options in their own order."""
    context = click.get_current_context()
    words = ["imgrank", "train", context.command.name or ""]
    for option in context.command.params:
        name = option.name or ""
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            value = context.params[name]
            flag = getattr(option, "is_flag", False)
            for each in value if option.multiple else (value,):
                words += [option.opts[0]] if flag else [option.opts[0], str(each)]
    return shlex.join(words)


def list_sets(lines: Iterable[str], head: str = "recipes (--data NAME, or --recipe FILE):") -> None:
    """The recipes, as lines, then the data sets."""
    from imgrank.data import catalogue

    click.echo(head)
    for line in lines:
        click.echo(f"  {line}")
    click.echo("data sets:")
    for name, reader in catalogue.CATALOGUE.items():
        click.echo(f"  {name}: {reader.made or catalogue.about(name).title}")
    click.echo("`imgrank data list` tells where they come from and how to lay them out in ROOT.")


def report(line: str) -> None:
    """A line of progress."""
    click.echo(line, err=True)
