"""`imgrank train`: the recipes. Each is one file in `imgrank/train/`; here they are only called."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

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


@train.command(epilog=ADAPTER_EXAMPLES)
@click.option("--data", multiple=True, metavar="NAME", help="Set or experiment; see --list.")
@click.option("--recipe", metavar="FILE", help="Hyper-parameters.  [those of --data]")
@click.option("--name", help="Of the checkpoint.  [the recipe's; with other data that of OUT]")
@click.option("--root", type=click.Path(path_type=Path), help="Where the data sets are unpacked.")
@click.option("--fold", type=click.IntRange(0), help="The test part, of sets that have folds.  [0]")
@click.option("--partial", is_flag=True, help="Go on without the pictures that are missing.")
@click.option("--out", type=click.Path(path_type=Path), help="State, log and checkpoint.")
@click.option("--backbone", default="tiny", show_default=True, metavar="NAME|FOLDER")
@click.option("--cache", type=click.Path(path_type=Path), help="Of tokens.  [OUT/tokens]")
@click.option("--steps", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option("--seed", type=click.IntRange(0), help="Instead of the recipe's.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Any other field.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--threads", type=click.IntRange(1), help="Of torch.  [its own choice]")
@click.option("--list", "list_", is_flag=True, help="List recipes and data sets, train nothing.")
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
    from imgrank.models.registry import find
    from imgrank.models.spec import read_spec
    from imgrank.settings import load_settings
    from imgrank.train import adapter as module

    settings = load_settings()
    backbone = find(given["backbone"], settings.models_dir).folder
    config, out = _configured(given, read_spec(backbone).name)
    if given["threads"]:
        import torch

        torch.set_num_threads(given["threads"])
    done = module.run(
        config,
        given["root"] or settings.data_dir,
        out,
        backbone,
        given["cache"],
        _report,
        _command(),
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
    values: dict[str, Any] = {}
    if data and recipe != own:
        values["sources"] = tuple(_source(each, config.sources) for each in data)
        out = out or Path("runs") / "-".join(data)
        name = name or out.resolve().name
    told = {"name": name, "steps": given["steps"], "seed": given["seed"]}
    values |= {key: value for key, value in told.items() if value is not None}
    for text in given["overrides"]:
        values = _joined(values, _assignment(text))
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
    module.build(module.Config.load(module.RECIPE, **given), _report)
    return 0


def _list_adapter() -> int:
    from imgrank.data import catalogue
    from imgrank.train import adapter_recipe as module

    click.echo("recipes (--data NAME, or --recipe adapter-NAME.toml):")
    for path in sorted((Path(module.__file__).parent / "recipes").glob("adapter-*.toml")):
        config = module.load_recipe(path)
        names = ", ".join(dict.fromkeys(source.data for source in config.sources))
        click.echo(
            f"  {path.stem.removeprefix('adapter-')}: {config.steps} steps for the backbone "
            f"{config.backbone}, on {names}"
        )
    click.echo("data sets:")
    for name, reader in catalogue.CATALOGUE.items():
        click.echo(f"  {name}: {reader.made or catalogue.about(name).title}")
    click.echo("`imgrank data list` tells where they come from and how to lay them out in ROOT.")
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


def _source(name: str, known: tuple[Any, ...]) -> Any:
    """The recipe's own way of drawing from a data set, or the plain one."""
    from imgrank.train.adapter_recipe import Source

    return next((s for s in known if s.data == name), Source(name))


def _assignment(text: str) -> dict[str, Any]:
    """ "lr=1e-4" -> {"lr": 1e-4}, "model.width=64" -> {"model": {"width": 64}}; a value that is no
    TOML is a string."""
    from imgrank.train.adapter_recipe import dotted

    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not re.fullmatch(r"[\w-]+(\.[\w-]+)*", key):
        raise UsageError(f"--set takes KEY=VALUE, not '{text}'.")
    try:
        return dotted(key, tomllib.loads(f"value = {value}")["value"])
    except tomllib.TOMLDecodeError:
        return dotted(key, value)


def _joined(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Both; tables entry by entry."""
    joined = dict(values)
    for key, value in more.items():
        both = isinstance(value, dict) and isinstance(joined.get(key), dict)
        joined[key] = _joined(joined[key], value) if both else value
    return joined


def _report(line: str) -> None:
    click.echo(line, err=True)
