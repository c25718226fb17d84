"""`imgrank models pull` and `imgrank models push`: the two commands that open a socket."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgrank.cli.asking import agreed
from imgrank.cli.options import Notices
from imgrank.errors import UsageError

if TYPE_CHECKING:
    from imgrank.models.plan import Plan
    from imgrank.models.registry import Entry, Listed
    from imgrank.settings import Settings

PULL_EXAMPLES = """\b
Examples:
  imgrank models pull vit-b-32-256 --dry-run --offline  # what is known without asking the Hub
  imgrank models pull hf:OWNER/REPOSITORY@v1 --as mine  # needs the Hub
"""
PUSH_EXAMPLES = """\b
Examples:
  imgrank models push mine OWNER/mine  # needs the Hub
  imgrank models push mine OWNER/mine --public --message "Trained longer"  # needs the Hub
"""


@click.command(short_help="Fetch a model from the Hub.", epilog=PULL_EXAMPLES)
@click.argument("wish", metavar="MODEL")
@click.option("--as", "name", metavar="NAME", help="Call it so here.  [its own name]")
@click.option("-y", "--yes", is_flag=True, help="Without a question.")
@click.option("--allow-pickle", is_flag=True, help="Take weights that are only there as a pickle.")
@click.option("--update", is_flag=True, help="Replace what is here by the newest commit.")
@click.option("--dry-run", is_flag=True, help="Show what would be fetched, and stop.")
@click.option("--offline", is_flag=True, default=None, help="Never open a socket.")
@click.option("-q", "--quiet", is_flag=True, help="No notices or progress, only errors.")
def pull(
    wish: str,
    name: str | None,
    yes: bool,
    allow_pickle: bool,
    update: bool,
    dry_run: bool,
    offline: bool | None,
    quiet: bool,
) -> int:
    """Fetch a model from the Hub into your models folder, checked, all or nothing.

    \b
    MODEL is one of
      NAME                            that `imgrank models list` shows
      hf:OWNER/REPOSITORY[@REVISION]  any repository of the Hub
      open_clip:ARCHITECTURE/TAG      of OpenCLIP's own table

    Before anything is fetched, files, size, licence
    and revision are shown, and on a terminal a question is asked. A checkpoint brings the backbone
    that it needs. An interrupted pull goes on where it stopped.

    A revision is a commit, a tag or a branch. What names no commit is pinned by the first pull.
    Standard output is the model's folder.
    """
    from imgrank.models.plan import plan
    from imgrank.models.registry import EMBEDDED, listed
    from imgrank.models.wish import embedded
    from imgrank.settings import load_settings

    settings = load_settings(offline=offline)
    with Transfer(quiet) as transfer:
        if embedded(wish) and name is None:
            transfer.notify(f"{wish} comes with imgrank: nothing to fetch")
            return _ready(wish, EMBEDDED / wish, settings, transfer)
        if dry_run and settings.offline and wish in listed():
            _show(_of_registry(listed()[wish]))
            return 0
        try:
            found = plan(wish, settings, name=name, allow_pickle=allow_pickle, update=update)
        except KeyboardInterrupt:
            return _nothing_yet()
        if found.here is not None and found.needs is None:
            transfer.notify(f"{found.name} is here already, at revision {found.revision}")
            return _ready(found.name, found.here, settings, transfer)
        if dry_run or not quiet:
            _show(_of_plan(found, settings), err=not dry_run)
        if dry_run:
            return 0
        try:
            if not yes and not _agreed(found):
                transfer.notify("nothing was fetched")
                return 1
        except click.Abort:
            return _nothing_yet()
        return _pull(found, settings, transfer)


def _nothing_yet() -> int:
    """Says what Ctrl-C before or at the question means; the exit status."""
    click.echo("\nimgrank: interrupted. Nothing was fetched.", err=True)
    return 130


def _pull(found: Plan, settings: Settings, transfer: Transfer) -> int:
    from imgrank.models.pull import pull as fetch

    try:
        folder = fetch(found, settings, progress=transfer.progress, notify=transfer.notify)
    except KeyboardInterrupt:
        transfer.stop()
        click.echo(f"\nimgrank: interrupted. {_kept(found, settings)}", err=True)
        return 130
    transfer.stop()
    return _ready(found.name, folder, settings, transfer)


def _ready(name: str, folder: Path, settings: Settings, transfer: Transfer) -> int:
    from imgrank.models.catalogue import describe, sort_line

    transfer.notify(f"{name} is ready: {sort_line(describe(name, settings))}")
    click.echo(str(folder))
    return 0


def _kept(found: Plan, settings: Settings) -> str:
    """What an interrupted pull leaves, and how to go on or be rid of it."""
    from imgrank.models.hub_parts import arrived
    from imgrank.models.plan import staging
    from imgrank.models.registry import size_text

    plans = [plan for plan in (found, found.needs) if plan is not None]
    files = [(staging(settings, plan.name), file) for plan in plans for file in plan.files]
    here = sum(arrived(folder, file) for folder, file in files)
    total = size_text(sum(file.bytes for _, file in files))
    kept = f"{size_text(here)} of {total} are kept" if here else "Nothing had arrived yet"
    return f"{kept}. The same line goes on; imgrank models remove {found.name} --yes deletes it."


# ---- what is asked -------------------------------------------------------------------------------


def _of_plan(found: Plan, settings: Settings) -> list[tuple[str, str]]:
    """Label and text of each line that is shown before a pull; "!" labels a warning."""
    from imgrank.models.registry import size_text

    rows = [
        ("", f"{found.name}: {found.kind} from {found.repository}"),
        ("revision", f"{found.revision} ({_pinned(found)})"),
        ("licence", found.licence or "unknown"),
        ("to fetch", f"{size_text(found.bytes_to_fetch)}: {_files(found)}"),
    ]
    if terms := _terms(found):
        rows.insert(3, ("its text", terms))
    if found.here is not None:
        rows = [rows[0], ("here", str(found.here))]
    if found.gated:
        rows.append(("access", "gated: its owners' terms, accepted on its page, and a token"))
    rows += [("!", text) for text in _warnings(found)]
    if found.needs is not None:
        rows += [("", ""), *_of_plan(found.needs, settings)]
        return rows
    return [*rows, ("disk", f"{_free(settings)} free in {settings.models_dir}")]


def _files(found: Plan) -> str:
    """Their names; of weights in several files how many there are."""
    names = [file.name for file in found.files]
    weights = [name for name in names if name.endswith(".safetensors")]
    if len(weights) < 2:
        return ", ".join(names)
    rest = [name for name in names if name not in weights]
    return f"{', '.join(rest)} and {len(weights)} files of weights ({weights[0]}, ...)"


def _terms(found: Plan) -> str:
    """Where the text of a licence can be read before anything is fetched, "" if nobody says."""
    from imgrank.models.hub import endpoint
    from imgrank.models.hub_errors import without_password
    from imgrank.models.terms import TERMS

    names = [file.name for file in found.files if file.name in TERMS]
    if not names:
        return ""
    place = f"{without_password(endpoint())}/{found.repository}/blob/{found.revision}"
    return f"{place}/{names[0]}; it is kept beside the weights"


def _warnings(found: Plan) -> list[str]:
    from imgrank.models.licence import restricted

    texts = list(found.warnings)
    if restricted(found.licence) and not any("research" in text for text in texts):
        texts.append(f"its licence ({found.licence}) forbids some uses: read it first")
    return texts


def _of_registry(known: Listed) -> list[tuple[str, str]]:
    """The same of what the package knows, without asking the Hub."""
    from imgrank.models.registry import size_text
    from imgrank.models.terms import limits

    rows = [("", f"{known.name}: {known.kind} from {known.repository or 'nowhere'}")]
    if known.unpublished:
        return [*rows, ("!", f"cannot be pulled: {known.unpublished}")]
    rows += [
        ("revision", f"{known.revision} (pinned)" if known.revision else "unpinned"),
        ("licence", known.licence or "unknown"),
        ("to fetch", f"about {size_text(known.bytes)}" if known.bytes else "of unknown size"),
    ]
    if known.backbone:
        rows.append(("needs", known.backbone))
    return [*rows, *(("!", text) for text in limits(known.licence, {}, known))]


def _pinned(found: Plan) -> str:
    if not found.pinned:
        return f"resolved now from {found.asked}"
    known = found.parsed.listed
    if found.parsed.by_commit:
        return "pinned by the package" if known and known.revision else "pinned by its commit"
    return "pinned by models.lock.json"


def _show(rows: list[tuple[str, str]], err: bool = False) -> None:
    """err: on standard error. Colours are for a terminal: what others wrote can set none."""
    from imgrank.results.output import visible

    for label, text in rows:
        line = visible(f"{label:9} {text}" if label not in ("", "!") else text)
        if label == "!":
            line = click.style(f"warning: {line}", fg="yellow", bold=True)
        click.echo(line, err=err)


def _agreed(found: Plan) -> bool:
    """The question. Raises UsageError where nobody can be asked."""
    from imgrank.models.licence import restricted
    from imgrank.models.registry import size_text

    plans = [found, *([found.needs] if found.needs else [])]
    size = size_text(sum(plan.bytes_to_fetch for plan in plans))
    free = not any(restricted(plan.licence) or plan.research for plan in plans)
    return agreed(
        f"Fetch {size}?",
        default=free,
        otherwise="without a terminal nobody can be asked: `--yes` fetches it; `--dry-run` only "
        "shows what would be fetched, and under which licence.",
    )


def _free(settings: Settings) -> str:
    import shutil

    from imgrank.models.registry import size_text

    folder = settings.models_dir
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return size_text(shutil.disk_usage(there).free)


# ---- push ----------------------------------------------------------------------------------------


@click.command(short_help="Publish a model on the Hub.", epilog=PUSH_EXAMPLES)
@click.argument("name")
@click.argument("repository", metavar="OWNER/REPOSITORY")
@click.option("--public", is_flag=True, help="Readable by everybody.  [only by you]")
@click.option("-m", "--message", help="Of the commit.")
@click.option("-y", "--yes", is_flag=True, help="Without a question.")
@click.option("--offline", is_flag=True, default=None, help="Never open a socket.")
@click.option("-q", "--quiet", is_flag=True, help="No notices or progress, only errors.")
def push(
    name: str,
    repository: str,
    public: bool,
    message: str | None,
    yes: bool,
    offline: bool | None,
    quiet: bool,
) -> int:
    """Publish a model of this machine as a repository of the Hub, with its model card.

    Sent are exactly the files that make it. A repository that is not there is made, private unless
    --public; one that is there stays as visible as it is. Needs a token that may write: HF_TOKEN,
    or `hf auth login`. Standard output is what pulls it again, pinned to the new commit.
    """
    from imgrank.cli.models_show import licence_line
    from imgrank.models.catalogue import describe
    from imgrank.models.push import push as publish
    from imgrank.models.push import remarks
    from imgrank.models.registry import find, size_text
    from imgrank.settings import load_settings

    settings = load_settings(offline=offline)
    entry = find(name, settings.models_dir)
    _refuse_others(entry)
    target = repository.removeprefix("hf:")
    with Transfer(quiet) as transfer:
        licence = licence_line(describe(name, settings))
        reader = "public, for everybody to read" if public else "private, for its owners to read"
        for line in (
            f"{entry.name}: {entry.kind}, {size_text(entry.size)}, licence {licence}, to {target}",
            f"{target} is made {reader}; if it is there already, it stays as visible as it is",
            *remarks(entry, settings),
        ):
            transfer.notify(line)
        if not yes and not agreed(
            "Publish it?",
            default=False,
            otherwise="without a terminal, publishing needs --yes.",
        ):
            transfer.notify("nothing was published")
            return 1
        commit = publish(
            entry.folder,
            target,
            settings,
            private=not public,
            message=message,
            progress=transfer.progress,
        )
        transfer.stop()
        transfer.notify(f"published: imgrank models pull hf:{target}@{commit}")
    click.echo(f"hf:{target}@{commit}")
    return 0


def _refuse_others(entry: Entry) -> None:
    """Raises UsageError for what its owners have published already."""
    from imgrank.models.address import address
    from imgrank.models.registry import DETECTOR, VLM

    if entry.kind == DETECTOR:
        raise UsageError(f"{entry.name} is published already: imgrank models pull {entry.name}")
    if entry.kind == VLM and entry.where == "pulled":
        raise UsageError(
            f"{entry.name} is published already, by its owners: imgrank models pull "
            f"{address(entry.folder)}"
        )


# ---- progress ------------------------------------------------------------------------------------


class Transfer(Notices):
    """The bar counts the bytes of all files together."""

    def bar(self) -> Any:
        return _bar()


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
