"""`imgrank models export`: a model whose towers were tuned, as OpenCLIP loads it."""

from __future__ import annotations

from pathlib import Path

import click

EXAMPLES = """\b
Examples:
  imgrank models export mine ./mine-clip  # needs a model of yours
  imgrank models export hf:OWNER/REPOSITORY ./clip  # needs a model of yours
"""


@click.command(short_help="A tuned tower as an OpenCLIP folder.", epilog=EXAMPLES)
@click.argument("name")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def export(name: str, folder: Path) -> int:
    """Write the whole model of a checkpoint whose image or text tower was tuned, for OpenCLIP.

    A checkpoint holds only the tensors that differ from its backbone's. DIR, which is made, gets
    all of them with config and tokenizer: open_clip.create_model("local-dir:DIR") then gives the
    embeddings that NAME uses. Ranks, heads and adapters are not part of it. Prints DIR.
    """
    from imgrank.models.export import export as write
    from imgrank.models.registry import find
    from imgrank.results.text import visible
    from imgrank.settings import load_settings

    settings = load_settings()
    spec = write(find(name, settings.models_dir), folder, settings)
    click.echo(visible(str(spec.folder)))
    return 0
