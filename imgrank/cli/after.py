"""What sort, score, age, decade and aesthetic do with their rows besides printing them.

Files (`--copy-to` and the like), a gallery, a preview: the options, what of them goes together, and
the calls. Rows come as plain values, so that every command has all of it in the same way:

    after = After.of(given)                                 # before anything is computed
    options = shared.build_options(..., leave_out=after.target)
    status = after.run(write, entries, out, reporter)       # files them, prints them, shows them
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgrank.cli.options import Command, Output, Reporter, stack
from imgrank.errors import UsageError

if TYPE_CHECKING:
    from imgrank.files.plan import Entry, Plan, Wish
    from imgrank.results.estimate import Estimate

__all__ = [
    "After",
    "Filed",
    "Write",
    "estimated",
    "file_options",
    "into_levels",
    "look_options",
]

Write = Callable[..., None]
"""A command's writer with its rows: called with format and stream, and, where files were asked for,
`places`: where each picture is now."""


class _Folder(click.Path):
    """Also refuses "", which a variable that is not set leaves, and which would mean here."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value):
            self.fail("no folder is named", param, ctx)
        return super().convert(value, param, ctx)


FOLDER = _Folder(file_okay=False, path_type=Path)


def file_options(command: Command) -> Command:
    """What is done with the files themselves."""
    return stack(
        command,
        click.option(
            "--copy-to", type=FOLDER, metavar="DIR", help="Copy the pictures shown to a folder."
        ),
        click.option("--link-to", type=FOLDER, metavar="DIR", help="Link to them from a folder."),
        click.option("--hard", is_flag=True, help="With --link-to: hard links, not symbolic ones."),
        click.option("--move-to", type=FOLDER, metavar="DIR", help="Move them to a folder."),
        click.option(
            "--rename",
            is_flag=True,
            help="Put the rank before each name (007__NAME), in place of an older one; of the "
            "copies, if there are any.",
        ),
        click.option(
            "--dry-run",
            is_flag=True,
            help="Change nothing; print what would be done, a row a file.",
        ),
    )


def into_levels(command: Command) -> Command:
    """`--into-groups` of the commands whose rows have a level anyway."""
    return click.option(
        "--into-groups",
        is_flag=True,
        help="With --copy-to, --link-to, --move-to: into a folder for each level, below DIR.",
    )(command)


def look_options(command: Command) -> Command:
    """Ways to see the pictures themselves."""
    return stack(
        command,
        click.option(
            "--gallery",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE.html",
            help="Also a page with the pictures, for any browser; must not exist yet.",
        ),
        click.option(
            "--preview",
            is_flag=True,
            help="Also show thumbnails in the terminal; nothing in a pipe.",
        ),
    )


@dataclass(frozen=True, slots=True)
class Filed:
    """What was done, or would be.

    places: where each picture is now (or would be).   plan: under --dry-run, else None.
    status: 1 if something that was asked could not be done.
    """

    places: Mapping[Path, Path]
    plan: Plan | None = None
    status: int = 0


@dataclass(frozen=True, slots=True)
class After:
    """What was asked for, checked. `wish` is None if the files stay as they are."""

    wish: Wish | None = None
    dry_run: bool = False
    gallery: Path | None = None
    preview: bool = False

    @classmethod
    def of(cls, given: dict[str, Any], *, into_groups: object = None) -> After:
        """Takes its options out of `given`. Raises UsageError for what does not go together, and
        for a gallery that cannot be made."""
        from imgrank.files.plan import Wish

        folders = {verb: given.pop(f"{verb}_to", None) for verb in ("copy", "link", "move")}
        asked = [verb for verb, folder in folders.items() if folder is not None]
        hard, rename = given.pop("hard", False), given.pop("rename", False)
        dry_run = given.pop("dry_run", False)
        wish: Wish | None = None
        if len(asked) > 1:
            raise UsageError(f"--{asked[0]}-to and --{asked[1]}-to do not go together.")
        if asked:
            wish = Wish(asked[0], folders[asked[0]], hard, rename)  # type: ignore[arg-type]
        elif rename:
            wish = Wish("rename", numbered=True)
        if hard and asked != ["link"]:
            raise UsageError("--hard is for --link-to.")
        if dry_run and wish is None:
            raise UsageError(
                "--dry-run needs something to try: --copy-to, --link-to, --move-to or --rename."
            )
        if into_groups and not asked:
            raise UsageError("--into-groups needs --copy-to, --link-to or --move-to.")
        gallery = given.pop("gallery", None)
        if gallery is not None:
            _check_gallery(gallery, wish.target if wish and not dry_run else None)
        return cls(wish, dry_run, gallery, given.pop("preview", False))

    @property
    def target(self) -> Path | None:
        """Folder whose pictures are left out of the scan: they are of an earlier run."""
        return self.wish.target if self.wish else None

    def run(
        self,
        write: Write,
        entries: Callable[[], Sequence[Entry]],
        out: Output,
        reporter: Reporter,
        *,
        nul: bool,
    ) -> int:
        """Files the pictures, prints the rows (or the plan), shows them; returns the exit status.

        entries: what is filed of the rows, in their order; only called if files were asked for.
        """
        filed = self.file(entries, reporter)
        if filed.plan is not None:
            from imgrank.results.plans import write_plan

            write_plan(filed.plan, out.format, out.stream, nul=nul)
        elif self.wish is not None:
            write(out.format, out.stream, places=filed.places)
        else:
            write(out.format, out.stream)
        self.look(lambda: _document(write, {} if self.dry_run else filed.places), out, reporter)
        return filed.status

    def file(self, entries: Callable[[], Sequence[Entry]], reporter: Reporter) -> Filed:
        """Carries the wish out, or plans it, and says so. Nothing if there is none."""
        if self.wish is None:
            return Filed({})
        from imgrank.cli.filing import carry_out

        return carry_out(self.wish, entries(), self.dry_run, reporter)

    def look(self, document: Callable[[], dict[str, Any]], out: Output, reporter: Reporter) -> None:
        """Writes the gallery, shows the preview.

        document: what `--format json` prints, as an object, with the paths as they are now.
        """
        if self.gallery is not None:
            from imgrank.cli.gallery import write_page

            write_page(document(), self.gallery, reporter)
        if self.preview:
            from imgrank.cli.preview import show

            show(document(), out, reporter)


def estimated(rows: Sequence[Estimate], into_groups: bool, reporter: Reporter) -> list[Entry]:
    """What is filed of the rows of age, decade or aesthetic; says how many pictures are not."""
    from imgrank.results.groups import estimate_entries

    entries = estimate_entries(rows, into_groups)
    left = len({row.path for row in rows}) - len(entries)
    if left:
        noun = "1 picture without an estimate stays where it is"
        more = f"{left} pictures without an estimate stay where they are"
        reporter.notify(noun if left == 1 else more)
    return entries


def _document(write: Write, places: Mapping[Path, Path]) -> dict[str, Any]:
    """What `--format json` prints, with the paths as they are now."""
    text = io.StringIO()
    write("json", text)
    document: dict[str, Any] = json.loads(text.getvalue())
    now = {str(path): str(place) for path, place in places.items()}
    for image in document["images"]:
        image["path"] = now.get(image["path"], image["path"])
    return document


def _check_gallery(path: Path, target: Path | None) -> None:
    """Raises UsageError if the page cannot be made, before anything is computed.

    target: folder that will be there by then, so that the page may go into it.
    """
    context = click.get_current_context(silent=True)
    if context is not None and context.params.get("output") == path:
        raise UsageError("--output and --gallery name the same file.")
    if path == Path("-"):
        raise UsageError("--gallery needs the name of a file; standard output has the rows.")
    if target is None or os.path.lexists(target) or target.absolute() != path.parent.absolute():
        Output(path, None).check()
