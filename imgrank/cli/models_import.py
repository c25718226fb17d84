"""`imgrank models import`: files and folders of others become models here."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgrank.errors import UsageError

if TYPE_CHECKING:
    from imgrank.models.official_import import Imported
    from imgrank.models.spec import BackboneSpec

EXAMPLES = """\b
Examples:
  imgrank models import official-adapter --prompts
  imgrank models import backbone ./my-clip --name mine  # needs a folder of yours
"""
ADAPTER_EXAMPLES = """\b
Examples:
  imgrank models import official-adapter --prompts
  imgrank models import official-adapter iqa.pt --name iqa --task quality  # needs a file of yours
"""
HEAD_EXAMPLES = """\b
Examples:
  imgrank models import aesthetic-head head.pth --name aesthetic  # needs a file of yours
  imgrank models import aesthetic-head head.pth --licence apache-2.0  # needs a file of yours
"""
BACKBONE_EXAMPLES = """\b
Examples:
  imgrank models import backbone ./my-clip --licence mit  # needs a folder of yours
  imgrank models import backbone ./my-clip --name mine --allow-pickle  # needs a folder of yours
"""
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_TASK = re.compile(r"(\w+)(?:=(.*?))?((?:,(?:unit|range)=[^,]*)*)", re.DOTALL)


@click.group("import", short_help="Turn files of others into models here.", epilog=EXAMPLES)
def import_group() -> None:
    """Turn files of others into models here: adapters, aesthetic heads, OpenCLIP folders.

    Nothing is fetched, and the files are only read. What may hold programs (pickles) is read so
    that none can run.
    """


def _into(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--into", type=_FOLDER, help="Where NAME is made.  [your models folder]")(
        command
    )


def _heads(option: str, whose: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    text = f"{whose}; the file does not tell, and wrong heads give wrong scores."
    return click.option(option, default=8, show_default=True, help=text)


def _show_prompts(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from imgrank.tasks import tasks

    for key, task in tasks().items():
        click.echo(f"{key}\t{_template(task.prompt)}\t{task.unit}")
    context.exit()


@import_group.command("official-adapter", epilog=ADAPTER_EXAMPLES)
@click.argument("file", type=_FILE)
@click.option("--name", required=True, help="Of the model.")
@click.option("--backbone", default="convnext-large-320", show_default=True, metavar="NAME|FOLDER")
@click.option(
    "--task",
    "wishes",
    multiple=True,
    required=True,
    metavar="TASK[=PROMPT][,unit=U][,range=LOW:HIGH]",
    help="What it was trained for; repeatable.",
)
@_heads("--heads", "Of the cross-modal stack")
@_heads("--encoder-heads", "Of the encoder behind it")
@_heads("--rank-heads", "Of the ranking attention")
@_into
@click.option(
    "--prompts",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_prompts,
    help="Print every TASK with its usual prompt and unit, and stop.",
)
def official_adapter(
    file: Path,
    name: str,
    backbone: str,
    wishes: tuple[str, ...],
    heads: int,
    encoder_heads: int,
    rank_heads: int,
    into: Path | None,
) -> None:
    """Import a checkpoint that the ranking adapter's authors released (FILE.pt).

    A file does not say which prompts it was trained with, so they are given here, and kept:

    \b
      --task quality="sort images by the image quality of MOS.",unit=MOS,range=0:100
      --task count="Rank the numbers of {}.",unit=objects

    {} is what a query counts. Tensors that equal the backbone's are not copied.
    """
    from imgrank.models.imported import new_folder
    from imgrank.models.official_import import import_adapter

    tasks = _tasks(wishes)
    spec, root = _backbone(backbone), into or _models()
    with new_folder(root, name) as folder:
        done = import_adapter(
            file,
            folder,
            name=name,
            backbone=spec,
            tasks=tasks,
            heads=heads,
            encoder_heads=encoder_heads,
            rank_heads=rank_heads,
        )
    _say_what_was_kept(done, spec.name)
    _done(root, name, into, spec)


@import_group.command("aesthetic-head", epilog=HEAD_EXAMPLES)
@click.argument("file", type=_FILE)
@click.option("--name", help="Of the model.  [the file's]")
@click.option("--backbone", default="vit-l-14", show_default=True, metavar="NAME|FOLDER")
@click.option("--licence", default="", metavar="TEXT", help="Recorded with it.  [unknown]")
@_into
def aesthetic_head(
    file: Path, name: str | None, backbone: str, licence: str, into: Path | None
) -> None:
    """Import one of LAION's linear aesthetic heads (FILE.pth or .safetensors).

    Its five layers have no activation between them, so they become one vector, on the scale from 1
    to 10 of the ratings that they were fitted to. It then answers "by aesthetics".
    """
    from imgrank.models.imported import new_folder
    from imgrank.models.linear import convert_head

    spec, root, name = _backbone(backbone), into or _models(), name or file.stem
    with new_folder(root, name) as folder:
        convert_head(
            file,
            folder,
            backbone_folder=spec.folder,
            name=name,
            licence=licence,
            origin="imported",
        )
    _done(root, name, into, spec)


@import_group.command("backbone", epilog=BACKBONE_EXAMPLES)
@click.argument("source", metavar="FOLDER", type=click.Path(exists=True, path_type=Path))
@click.option("--name", help="Of the model.  [the folder's]")
@click.option("--licence", default="", metavar="TEXT", help="Recorded with it.  [unknown]")
@click.option("--allow-pickle", is_flag=True, help="Take weights that are only there as a pickle.")
@_into
def backbone_folder(
    source: Path, name: str | None, licence: str, allow_pickle: bool, into: Path | None
) -> None:
    """Import a folder that OpenCLIP can load (open_clip_config.json and weights).

    The folder is copied and described, so that it can be named like any model. With --allow-pickle
    a pickle is read by torch's weights_only and kept as safetensors.
    """
    from imgrank.models.backbone_import import import_backbone
    from imgrank.models.imported import new_folder

    root, name = into or _models(), name or source.resolve().name
    with new_folder(root, name) as folder:
        import_backbone(source, folder, name=name, allow_pickle=allow_pickle, licence=licence)
    _done(root, name, into)


def _tasks(wishes: Sequence[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for wish in wishes:
        key, facts = _task(wish)
        if key in found:
            raise UsageError(f"--task {key} is given twice.")
        found[key] = facts
    return found


def _task(wish: str) -> tuple[str, dict[str, Any]]:
    """TASK="prompt",unit=U,range=LOW:HIGH -> the task's key, what a config records of it."""
    from imgrank.tasks import tasks

    match = _TASK.fullmatch(wish.strip())
    if match is None:
        raise UsageError(f'--task {wish!r}: TASK="prompt",unit=U,range=LOW:HIGH is expected.')
    key, prompt, rest = match[1], _unquoted((match[2] or "").strip()), match[3]
    known = tasks().get(key)
    if known is None:
        raise UsageError(f"--task: there is no task '{key}'. Tasks are {', '.join(tasks())}.")
    prompt = _template(prompt or known.prompt)
    if ("{}" in prompt) != (key == "count"):
        raise UsageError(
            f"--task {key}: {{}} stands for what is counted, in a prompt of count and no other; "
            f"this one is {prompt!r}."
        )
    given = dict(part.split("=", 1) for part in rest.split(",") if part)
    facts: dict[str, Any] = {"prompt": prompt, "unit": given.get("unit", known.unit)}
    if "range" in given:
        facts["range"] = _range(given["range"])
    return key, {**facts, "order": "descending" if known.descending else "ascending"}


def _range(text: str) -> list[float]:
    try:
        low, high = (float(end) for end in text.split(":"))
    except ValueError:
        raise UsageError(f"--task: range={text} is not LOW:HIGH, such as 0:100.") from None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UsageError(f"--task: range={text} has no end. Leave it out for an open scale.")
    if not low < high:
        raise UsageError(f"--task: range={text} does not rise from its first number to its second.")
    return [low, high]


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] in ("'", '"') else text


def _template(prompt: str) -> str:
    return prompt.replace("{subject}", "{}")


def _backbone(name: str) -> BackboneSpec:
    from imgrank.models.registry import find
    from imgrank.models.spec import read_spec

    entry = find(name, _models())
    if entry.kind != "backbone":
        raise UsageError(f"--backbone {name}: that is a model of kind {entry.kind}, no backbone.")
    return read_spec(entry.folder)


def _models() -> Path:
    from imgrank.settings import load_settings

    return load_settings().models_dir


def _say_what_was_kept(done: Imported, backbone: str) -> None:
    if done.same:
        _notify(f"{done.same} tensors are those of {backbone} and were not copied")
    trained = [name for name in done.replaced if name not in done.unexpected]
    if trained:
        _notify(f"the file's own text side was kept: {', '.join(trained)}")
    if done.unexpected:
        _notify(
            f"{len(done.unexpected)} more differ from {backbone}'s than the released recipe "
            f"trains, and were kept too: {_few(done.unexpected)}"
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _done(root: Path, name: str, into: Path | None, backbone: BackboneSpec | None = None) -> None:
    """backbone: the one that the new model rests on."""
    if backbone is not None and not _among_models(backbone):
        _notify(
            f"{name} rests on {backbone.folder}, which is not among your models, so no sort finds "
            f"it yet: imgrank models import backbone {shlex.quote(str(backbone.folder))}"
        )
    _notify(f"use it with --model {name if into is None else root / name}")
    click.echo(str(root / name))


def _among_models(backbone: BackboneSpec) -> bool:
    """Whether a sort finds this backbone, under whatever name, by its digest."""
    from imgrank.models.registry import EMBEDDED
    from imgrank.models.resting import backbone_by_digest
    from imgrank.settings import load_settings

    settings = load_settings()
    if backbone.folder.parent in (EMBEDDED, settings.models_dir):
        return True
    return backbone_by_digest(backbone.identity, settings) is not None


def _notify(text: str) -> None:
    click.echo(text, err=True)
