"""`imgrank train retrieval`: the recipe is `imgrank/train/retrieval.py`; here it is only called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from imgrank.cli.training import backbone_of, command_line, report, run_options, threads, values_of

__all__ = ["retrieval"]

EXAMPLES = """\b
Examples:
  imgrank train retrieval --list
  imgrank train retrieval --preferences p.jsonl --captions flickr8k  # needs a file of yours
"""
A_FILE = click.Path(path_type=Path)


@click.command(epilog=EXAMPLES)
@click.option("--preferences", type=A_FILE, metavar="FILE", help="Of `imgrank data preferences`.")
@click.option(
    "--captions", multiple=True, metavar="NAME", help="Captioned set that keeps it able to find."
)
@click.option("--recipe", metavar="FILE", help="Hyper-parameters.  [retrieval.toml]")
@click.option("--name", help="Of the model.  [the recipe's]")
@run_options(
    click.option("--steps", type=click.IntRange(1), help="Instead of the recipe's."), folds=False
)
def retrieval(list_: bool, **given: Any) -> int:
    """Train a model so that its plain search prefers pictures that people find beautiful.

    The result in OUT is NAME, an OpenCLIP folder with both towers that --model takes, and
    NAME-delta, the same as a checkpoint that holds only what has changed. Of FILE each query's
    pictures are learnt from, in their two orders; --captions (several are possible) names sets of
    captioned pictures in ROOT that keep what the model knew, without them the starting model
    itself does.

    On the embedded backbone the recipe's own small values apply; those of the paper are
    --backbone vit-b-16, on a GPU. What a frozen part of the image tower gives of each picture is
    computed first, and kept for later runs with this --cache; how long the training takes is said
    early on. A training that learns nothing, or that clamps too many cosines, ends with status 3
    and says what to change. Losses: --set loss=dpo, ipo or rrhf; what is trained: --set
    image=frozen, head, last or full, and text=frozen, projection, last or full. Needs the extra
    "train".

    Several processes: torchrun --nproc_per_node 2 -m imgrank train retrieval ...
    """
    if list_:
        return _list()
    from imgrank.errors import UsageError

    if given["preferences"] is None:
        raise UsageError("--preferences FILE is missing; `imgrank data preferences` makes one.")
    from imgrank.models.spec import read_spec
    from imgrank.settings import load_settings
    from imgrank.train import retrieval as module
    from imgrank.train.retrieval_recipe import RECIPE, load_recipe, override

    settings = load_settings()
    backbone = backbone_of(given["backbone"], settings)
    config = load_recipe(given["recipe"] or RECIPE, read_spec(backbone).name)
    names = {name: given[name] for name in ("name", "steps", "seed")}
    config = override(config, values_of(given, **names))
    threads(given["threads"])
    done = module.run(
        config,
        given["preferences"],
        given["captions"],
        given["root"] or settings.data_dir,
        given["out"] or Path("runs") / config.name,
        backbone,
        given["cache"],
        report,
        command_line(),
        partial=given["partial"],
        device=given["device"],
    )
    return 130 if done is None else 0


def _list() -> int:
    from imgrank.data.captions import CAPTIONED
    from imgrank.train.retrieval_recipe import RECIPE, load_recipe

    click.echo("recipe (--recipe FILE for another):")
    for backbone in ("", "tiny"):
        config = load_recipe(RECIPE, backbone)
        config = replace(config, backbone=backbone or config.backbone)
        click.echo(
            f"  {RECIPE}, for the backbone {config.backbone}: {config.steps} steps of "
            f"{config.batch} queries, image={config.image}, text={config.text}"
        )
    click.echo(f"captioned sets (--captions NAME): {', '.join(CAPTIONED)}")
    click.echo("`imgrank data list` tells where they come from and how to lay them out in ROOT.")
    return 0
