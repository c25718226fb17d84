"""`imgrank index`."""

from __future__ import annotations

from typing import Any

import click

from imgrank.cli import options as shared

EPILOG = """\b
Examples:
  imgrank index examples/photos
  imgrank index examples/photos --tokens
"""


@click.command(epilog=EPILOG)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--tokens",
    is_flag=True,
    help="Also token maps, whatever the feature budget (about 125 KB a picture).",
)
@shared.scan_options
@shared.model_options
def index(paths: tuple[str, ...], tokens: bool, strict: bool, quiet: bool, **given: Any) -> int:
    """Compute and keep the features of pictures, without any instruction.

    Later sorts and searches of these pictures, wherever they are moved, open none of them. Features
    are those of the embedded backbone, or of the one that MODEL is or rests on.
    """
    from imgrank import api

    with shared.Reporter(quiet) as reporter:
        named, options = shared.build_options(paths, reporter, **given)
        done = api.index(named, tokens=tokens, options=options)
        return reporter.finish(done.skips, computed=done.computed, known=done.known, strict=strict)
