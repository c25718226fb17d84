"""`imgrank train`: the recipes. Each is one file in `imgrank/train/`; here they are only called."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from imgrank.errors import UsageError

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


@train.command(epilog=ADAPTER_EXAMPLES)
@click.option("--recipe", default="adapter-tiny-quality.toml", show_default=True, metavar="FILE")
@click.option("--data", multiple=True, metavar="NAME", help="Instead of the recipe's; repeatable.")
@click.option("--name", help="Of the checkpoint.  [the recipe's; with --data that of OUT]")
@click.option("--root", type=click.Path(path_type=Path), help="Where the data sets are unpacked.")
@click.option("--out", type=click.Path(path_type=Path), help="State, log and checkpoint.")
@click.option("--backbone", default="tiny", show_default=True, metavar="NAME|FOLDER")
@click.option("--cache", type=click.Path(path_type=Path), help="Of tokens.  [OUT/tokens]")
@click.option("--steps", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option("--seed", type=int, help="Instead of the recipe's.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Any other field.")
@click.option("--threads", type=click.IntRange(1), help="Of torch.  [its own choice]")
@click.option("--list", "list_", is_flag=True, help="List recipes and data sets, train nothing.")
def adapter(
    recipe: str,
    data: tuple[str, ...],
    name: str | None,
    root: Path | None,
    out: Path | None,
    backbone: str,
    cache: Path | None,
    steps: int | None,
    seed: int | None,
    overrides: tuple[str, ...],
    threads: int | None,
    list_: bool,
) -> int:
    """Train a ranking adapter on a frozen backbone, on tokens computed once and kept in OUT.

    The result is a checkpoint folder in OUT that --model takes. Without --root the data sets are
    looked for in the data folder of imgrank. Needs the extra "train".

    Your own pictures (--data photographs) must be good ones, since each is taken for undistorted.
    The example below only shows the mechanics: half of its photographs are spoilt.
    """
    if list_:
        return _list_adapter()
    from imgrank.models.registry import find
    from imgrank.settings import load_settings
    from imgrank.train import adapter as module

    settings = load_settings()
    values: dict[str, Any] = dict(pair for text in overrides for pair in _assignment(text).items())
    values |= {k: v for k, v in {"steps": steps, "seed": seed}.items() if v is not None}
    config = module.load_recipe(recipe)
    if data:
        values["sources"] = tuple(_source(each, config.sources, module) for each in data)
        out = out or Path("runs") / "-".join(data)
        name = name or out.resolve().name
    if name is not None:
        values["name"] = name
    config = module.override(config, values)
    if threads:
        import torch

        torch.set_num_threads(threads)
    done = module.run(
        config,
        root or settings.data_dir,
        out or Path("runs") / config.name,
        find(backbone, settings.models_dir).folder,
        cache,
        _report,
        _command(),
    )
    return 130 if done is None else 0


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
    module.build(module.Config.load(module.RECIPE, **given), _report)
    return 0


def _list_adapter() -> int:
    from imgrank.train import adapter as module

    click.echo("recipes:")
    for path in sorted((Path(module.__file__).parent / "recipes").glob("adapter-*.toml")):
        config = module.load_recipe(path)
        names = ", ".join(source.data for source in config.sources)
        click.echo(f"  {path.name}: {config.task}, {config.steps} steps, on {names}")
    click.echo("data sets:")
    for name, what in module.DATA_SETS.items():
        click.echo(f"  {name}: {what.about}")
    click.echo("ROOT holds their folders as published: agiqa3k/, oasis/images/, flickr8k/images/.")
    return 0


def _command() -> str:
    """The command line of `imgrank train adapter` as it was given, options in their own order."""
    context = click.get_current_context()
    words = ["imgrank", "train", "adapter"]
    for option in context.command.params:
        name = option.name or ""
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            value = context.params[name]
            for each in value if option.multiple else (value,):
                words += [option.opts[0], str(each)]
    return shlex.join(words)


def _source(name: str, known: tuple[Any, ...], module: Any) -> Any:
    """The recipe's own way of drawing from a data set, or the plain one."""
    return next((s for s in known if s.data == name), module.Source(name))


def _assignment(text: str) -> dict[str, Any]:
    """ "lr=1e-4" -> {"lr": 1e-4}; a value that is no TOML is a string."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip().isidentifier():
        raise UsageError(f"--set takes KEY=VALUE, not '{text}'.")
    try:
        return {key.strip(): tomllib.loads(f"value = {value}")["value"]}
    except tomllib.TOMLDecodeError:
        return {key.strip(): value.strip()}


def _report(line: str) -> None:
    click.echo(line, err=True)
