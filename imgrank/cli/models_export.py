"""`imgrank models export`: a tuned model as other programs load it."""

from __future__ import annotations

from pathlib import Path

import click

EXAMPLES = """\b
Examples:
  imgrank models export mine ./mine-clip  # needs a model of yours
  imgrank models export runs/age/rarl ./age-vl  # needs a model of yours
"""


@click.command(short_help="A tuned model as other programs load it.", epilog=EXAMPLES)
@click.argument("name")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def export(name: str, folder: Path) -> int:
    """Write the whole model of a checkpoint, of which it holds only what differs from its backbone.

    Of one whose image or text tower was tuned, DIR, which is made, gets what OpenCLIP needs:
    open_clip.create_model("local-dir:DIR") then gives the embeddings that NAME uses. Ranks, heads
    and adapters are not part of it.

    Of one that `imgrank train rarl` made, DIR gets a Qwen2.5-VL with the factors merged into its
    weights: Qwen2_5_VLForConditionalGeneration.from_pretrained("DIR"). Needs the extra "rarl", and
    memory and disk for the whole model. Prints DIR.
    """
    from imgrank.models.export import export as write
    from imgrank.models.registry import find
    from imgrank.results.text import visible
    from imgrank.settings import load_settings

    settings = load_settings()
    click.echo(visible(str(write(find(name, settings.models_dir), folder, settings))))
    return 0
