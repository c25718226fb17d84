"""`imgrank train`: the recipes. Each is one file in `imgrank/train/`; here they are only called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from imgrank.cli.train_l2rclip import l2rclip
from imgrank.cli.train_rarl import rarl, sft
from imgrank.cli.train_retrieval import retrieval
from imgrank.cli.training import (
    backbone_of,
    command_line,
    list_sets,
    report,
    run_options,
    threads,
    values_of,
)
from imgrank.errors import UsageError

DEFAULT_RECIPE = "adapter-tiny-quality.toml"
EXAMPLES = """\b
Examples:
  imgrank train adapter --list
  imgrank train tiny --show-recipe
"""
ADAPTER_EXAMPLES = """\b
Examples:
  imgrank train adapter --list
  imgrank train adapter --data photographs --root examples/photos --steps 5 --out runs/demo
"""
TINY_EXAMPLES = """\b
Examples:
  imgrank train tiny --show-recipe
  imgrank train tiny --needs
"""


@click.group(epilog=EXAMPLES)
def train() -> None:
    """Train a ranker by one of the recipes. Stops at Ctrl-C; the same line goes on."""


train.add_command(l2rclip)
train.add_command(retrieval)
train.add_command(rarl)
train.add_command(sft)


@train.command(epilog=ADAPTER_EXAMPLES)
@click.option("--data", multiple=True, metavar="NAME", help="Set or experiment; see --list.")
@click.option("--recipe", metavar="FILE", help="Hyper-parameters.  [those of --data]")
@click.option("--name", help="Of the checkpoint.  [the recipe's; with other data that of OUT]")
@run_options(click.option("--steps", type=click.IntRange(1), help="Instead of the recipe's."))
def adapter(list_: bool, **given: Any) -> int:
    """Train a ranking adapter on a frozen backbone, on tokens computed once and kept in OUT.

    The result is a checkpoint folder in OUT that --model takes. --data chooses the recipe of that
    name; without one, the set is trained with the settings of the embedded quality adapter. On the
    embedded backbone a recipe's own small values apply; the experiments of the paper are
    --backbone convnext-large-320. Without --root the data sets are looked for in the data folder of
    imgrank. --set model.width=64 sets an entry of a table. Needs the extra "train".

    Your own pictures (--data photographs) must be good ones, since each is taken for undistorted.
    The example below only shows the mechanics: half of its photographs are spoilt.

    Several processes: torchrun --nproc_per_node 2 -m imgrank train adapter ...
    """
    if list_:
        return _list_adapter()
    from imgrank.models.spec import read_spec
    from imgrank.settings import load_settings
    from imgrank.train import adapter as module

    settings = load_settings()
    backbone = backbone_of(given["backbone"], settings)
    config, out = _configured(given, read_spec(backbone).name)
    threads(given["threads"])
    done = module.run(
        config,
        given["root"] or settings.data_dir,
        out,
        backbone,
        given["cache"],
        report,
        command_line(),
        partial=given["partial"],
        device=given["device"],
    )
    return 130 if done is None else 0


def _configured(given: dict[str, Any], backbone: str) -> tuple[Any, Path]:
    """The recipe that the options ask for, and the folder of its run."""
    from imgrank.train import adapter_recipe as module

    data, name, out = given["data"], given["name"], given["out"]
    own = module.recipe_of(data[0]) if len(data) == 1 else None
    recipe = given["recipe"] or own or DEFAULT_RECIPE
    config = module.load_recipe(recipe, backbone)
    sources = None
    if data and recipe != own:
        sources = tuple(_source(each, config.sources) for each in data)
        out = out or Path("runs") / "-".join(data)
        name = name or out.resolve().name
    steps, seed = given["steps"], given["seed"]
    values = values_of(given, sources=sources, name=name, steps=steps, seed=seed)
    config = module.override(config, values)
    if given["fold"] is not None:
        sources = tuple(replace(each, fold=given["fold"]) for each in config.sources)
        config = replace(config, sources=sources)
    return config, out or Path("runs") / config.name


@train.command(epilog=TINY_EXAMPLES)
@click.option("--captions", type=click.Path(path_type=Path), help="Flickr8k: captions.csv, images/")
@click.option("--out", type=click.Path(path_type=Path), default=Path("tiny"), show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/tiny"))
@click.option("--packages", type=click.Path(path_type=Path), help="Unpacked wheels.  [installed]")
@click.option("--wordnet", type=click.Path(path_type=Path), default=Path("/usr/share/wordnet"))
@click.option("--threads", type=int, default=0, help="Of torch.  [its own choice]")
@click.option("--show-recipe", is_flag=True, help="Print the hyper-parameters, train nothing.")
@click.option("--needs", is_flag=True, help="Print what a build needs, and what is missing here.")
@click.option(
    "--measure", type=click.Path(path_type=Path), metavar="COCO", help="Only measure OUT."
)
def tiny(show_recipe: bool, needs: bool, measure: Path | None, **given: Any) -> int:
    """Build the embedded backbone again, from PyPI and Debian packages and captioned pictures."""
    from imgrank.train import tiny as module

    if show_recipe:
        click.echo(module.RECIPE.read_text(encoding="utf-8").rstrip())
        return 0
    if needs:
        for need, found in module.needs(given["packages"], given["wordnet"]).items():
            click.echo(f"{'here' if found else 'missing'}: {need}")
        return 0
    if measure is not None:
        for name, value in module.measure(given["out"], given["packages"], measure).items():
            click.echo(f"{value:.4f}  {name}")
        return 0
    if given["captions"] is None:
        raise UsageError("--captions names the folder of Flickr8k; see --needs.")
    module.build(module.Config.load(module.RECIPE, **given), report)
    return 0


def _list_adapter() -> int:
    from imgrank.train import adapter_recipe as module
    from imgrank.train.recipe_file import recipes

    lines = []
    for name, file in recipes("adapter").items():
        config = module.load_recipe(file)
        data = ", ".join(dict.fromkeys(source.data for source in config.sources))
        lines.append(f"{name}: {config.steps} steps for the backbone {config.backbone}, on {data}")
    list_sets(lines)
    return 0


def _source(name: str, known: tuple[Any, ...]) -> Any:
    """The recipe's own way of drawing from a data set, or the plain one."""
    from imgrank.train.adapter_recipe import Source

    return next((s for s in known if s.data == name), Source(name))
