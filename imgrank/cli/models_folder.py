"""`imgrank models verify` and `imgrank models remove`: the folders of models on this machine."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imgrank.cli.asking import agreed
from imgrank.errors import ModelUnavailable, UsageError

if TYPE_CHECKING:
    from imgrank.models.registry import Entry
    from imgrank.settings import Settings

VERIFY_EXAMPLES = """\b
Examples:
  imgrank models verify
  imgrank models verify tiny tiny-quality
"""
REMOVE_EXAMPLES = """\b
Examples:
  imgrank models remove mine  # needs a model of yours
  imgrank models remove mine --yes  # needs a model of yours
"""


@click.command(short_help="Check the files of models.", epilog=VERIFY_EXAMPLES)
@click.argument("names", nargs=-1, metavar="[NAME]...")
def verify(names: tuple[str, ...]) -> int:
    """Read every file of a model against the digest that was recorded of it; all without NAME.

    One line a model: its name and "ok", or what is wrong, a file each. Exits with 3 if anything
    is, also if the backbone that a model rests on is not here.
    """
    from imgrank.models.registry import entries
    from imgrank.models.resting import lacking, way_to
    from imgrank.models.verifying import differences
    from imgrank.settings import load_settings

    settings = load_settings()
    chosen = [_entry(name, settings) for name in names] or entries(settings.models_dir)
    whole = True
    for entry in chosen:
        wrong, needs = differences(entry), lacking(entry, settings)
        whole = whole and not wrong and not needs
        for text in [*wrong, *([needs] if needs else [])] or ["ok"]:
            click.echo(_plain(f"{entry.name}\t{text}"))
        if wrong:
            _say(f"{entry.name}: {_repair(entry)}")
        if needs:
            _say(f"{entry.name} needs its backbone: {way_to(entry)}")
    return 0 if whole else 3


def _repair(entry: Entry) -> str:
    from imgrank.models.registry import DETECTOR, listed

    if entry.where == "embedded":
        return "install imgrank again"
    if entry.origin is None or not entry.origin.repository:
        from_where = entry.origin.asked if entry.origin else ""
        if not from_where:
            return "put its folder there again, from where you had it"
        line = f"imgrank models import backbone {shlex.quote(from_where)} --name {entry.name}"
        return f"imgrank models remove {entry.name}, then {line}"
    known = listed().get(entry.name)
    own = known and (known.convert or known.kind == DETECTOR)  # only the list knows how to take it
    if known and own and known.origin == entry.origin.origin:
        return f"imgrank models remove {entry.name}, then imgrank models pull {entry.name}"
    wish = f"{entry.origin.origin}@{entry.origin.revision}"
    if entry.origin.origin.startswith("open_clip:"):
        wish = entry.origin.origin
    return f"imgrank models remove {entry.name}, then imgrank models pull {wish} --as {entry.name}"


@click.command(short_help="Delete a model of yours.", epilog=REMOVE_EXAMPLES)
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Without a question.")
def remove(name: str, yes: bool) -> int:
    """Delete a model from your models folder, or what an interrupted pull of it has left.

    Says how much it frees and which models rest on it. Scores that it gave stay in the cache
    (`imgrank cache clear`).
    """
    from imgrank.models.pull import alone
    from imgrank.models.registry import size_text
    from imgrank.settings import load_settings

    settings = load_settings()
    folder = _removable(name, settings)
    size = size_text(sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()))
    for text in _consequences(folder, settings):
        _say(text)
    if not yes and not agreed(
        f"Remove {folder} ({size})?",
        default=False,
        otherwise=f"without a terminal, removing {folder} needs --yes.",
    ):
        _say("nothing was removed")
        return 1
    if folder.name.startswith(".pull-"):
        with alone(folder):  # not under the hands of a pull that is running
            _delete(folder)
    else:
        _delete(folder)
    _say(f"removed {folder}: {size} freed")
    return 0


def _removable(name: str, settings: Settings) -> Path:
    """The folder that is meant. Raises UsageError for any that is not directly in models_dir."""
    from imgrank.models.registry import EMBEDDED, find

    plain = Path(name).name == name and name not in ("", ".", "..")
    if plain:
        for folder in (settings.models_dir / name, settings.models_dir / f".pull-{name}"):
            if folder.is_dir() or folder.is_symlink():
                return folder
    folder = find(name, settings.models_dir).folder
    if folder.parent == EMBEDDED:
        raise UsageError(f"'{name}' is part of imgrank itself and cannot be removed.")
    if folder.resolve().parent != settings.models_dir.resolve():
        raise UsageError(
            f"{folder} is not in {settings.models_dir}; what you put elsewhere is yours to delete."
        )
    return settings.models_dir / folder.resolve().name  # not a link elsewhere that leads to it


def _consequences(folder: Path, settings: Settings) -> list[str]:
    """What stops working: checkpoints on this backbone, defaults that name it."""
    from imgrank.models.registry import VLM, entries
    from imgrank.models.resting import resting_on

    here = entries(settings.models_dir)
    texts = []
    this = next((entry for entry in here if entry.folder == folder), None)
    carries = this is not None and this.kind in ("backbone", VLM)
    if this is not None and carries and (resting := resting_on(this, here)):
        texts.append(f"{', '.join(resting)} cannot be used without {folder.name}")
    chosen = {**settings.models, **({"default": settings.model} if settings.model else {})}
    for key, name in chosen.items():
        if name in (folder.name, str(folder)):
            texts.append(
                f"{folder.name} is your default ({key}); afterwards: "
                f"imgrank models default --unset --task {key}"
            )
    return texts


def _delete(folder: Path) -> None:
    """First it is no model any more, then it goes: half a model never has its name."""
    if folder.is_symlink():
        folder.unlink()
        return
    going = folder.with_name(f".gone-{folder.name.lstrip('.')}")
    if going.exists():
        shutil.rmtree(going)
    folder.rename(going)
    shutil.rmtree(going)


def _entry(name: str, settings: Settings) -> Entry:
    """By name, damaged ones too; else as `find` does."""
    from imgrank.models.registry import entries, find

    for entry in entries(settings.models_dir):
        if entry.name == name:
            return entry
    try:
        return find(name, settings.models_dir)
    except ModelUnavailable as error:
        if (settings.models_dir / f".pull-{name}").is_dir():
            raise ModelUnavailable(
                f"the pull of '{name}' was interrupted. Go on with it: imgrank models pull {name}"
            ) from error
        raise


def _plain(text: str) -> str:
    from imgrank.results.output import visible

    return "\t".join(visible(part) for part in text.split("\t"))


def _say(text: str) -> None:
    click.echo(_plain(text), err=True)
