"""`imgrank train rarl` and `imgrank train sft`: the recipes are `imgrank/train/{rarl,sft}.py`; here
they are only called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgrank.cli.training import (
    checkpoint_of,
    command_line,
    list_sets,
    report,
    run_options,
    threads,
    values_of,
    vision_language_of,
)

if TYPE_CHECKING:
    from imgrank.settings import Settings

__all__ = ["rarl", "sft"]

RARL_EXAMPLES = """\b
Examples:
  imgrank train rarl --estimate
  imgrank train rarl --data csv --root ages.csv --out runs/age  # needs a file of yours
"""
SFT_EXAMPLES = """\b
Examples:
  imgrank train sft --list
  imgrank train sft --data csv --root ages.csv --out runs/sft  # needs a file of yours
"""
BACKBONE = "qwen2.5-vl-3b"
STAGES = click.Choice(("both", "first", "second"))
DATA = click.option("--data", metavar="NAME", help="Data set; see --list.")
RECIPE = click.option("--recipe", metavar="FILE", help="Hyper-parameters.  [our own]")
NAME = click.option("--name", help="Of the checkpoint.  [that of OUT]")
# argparse of torchrun looks at every word, and takes --start for the beginning of one of its own.
START = click.option(
    "--from",
    "--start",
    "start",
    metavar="CHECKPOINT",
    help="What train sft or rarl wrote, to go on from; under torchrun by --from alone.  [BACKBONE]",
)
ESTIMATE = click.option(
    "--estimate", is_flag=True, help="Print the memory and time that a GPU needs, train nothing."
)


def _run_options(*own: Callable[[Any], Any]) -> Callable[[Any], Any]:
    options = (START, *own, ESTIMATE)
    return run_options(*options, cache=False, backbone=BACKBONE)


@click.command(epilog=RARL_EXAMPLES)
@DATA
@RECIPE
@NAME
@_run_options(
    click.option("--stages", type=STAGES, help="Which to train.  [both]"),
    click.option("--steps", type=click.IntRange(1), help="Of each stage.  [the recipe's]"),
)
def rarl(list_: bool, estimate: bool, **given: Any) -> int:
    """Train Qwen2.5-VL by rewards for values and order: it looks at up to 8 pictures at once.

    The result in OUT is NAME, a checkpoint that --model rarl:OUT/NAME takes: factors (LoRA) on top
    of BACKBONE, which it needs beside it. The first stage rewards the value of single pictures, the
    second also the order of 2, 4 and 8; where all answers to a prompt are wrong, the truth may take
    the place of the worst (Response Mutation). --from goes on from a checkpoint, such as one of
    `imgrank train sft`. Data with values of your own are --data csv --root FILE.csv.

    Fetch a model first: imgrank models pull qwen2.5-vl-3b (for research only; qwen2.5-vl-7b is the
    alternative). Made for a GPU of 24 GB; --estimate tells memory and time. On a CPU only models
    far smaller than these can be trained. --set full=true trains all weights, and --set
    second.mutation=0 leaves the mutation out. Needs the extra "rarl".

    Several processes: torchrun --nproc_per_node 2 -m imgrank train rarl ...; on a machine without
    GPUs put ACCELERATE_USE_CPU=true before it. torchrun lets no step end at Ctrl-C: the same line
    then goes on from the last saved state (--set save_every=10, in steps).
    """
    from imgrank.train import rarl_recipe

    if list_:
        config = rarl_recipe.load_recipe()
        chosen = [f"{stage.steps} of the {name} stage" for name, stage in config.chosen()]
        return _list(rarl_recipe.RECIPE, f"{' and '.join(chosen)}, of {config.prompts} prompts")
    return _run("rarl", rarl_recipe, estimate, given)


@click.command(epilog=SFT_EXAMPLES)
@DATA
@RECIPE
@NAME
@_run_options(click.option("--steps", type=click.IntRange(1), help="Instead of the recipe's."))
def sft(list_: bool, estimate: bool, **given: Any) -> int:
    """Train Qwen2.5-VL on the true answers (supervised fine-tuning): what RARL is compared with.

    The same prompts and data as `imgrank train rarl`, of 1, 2, 4 and 8 pictures (--set
    sizes=[1,4]), with plain cross-entropy on the true answer. The result in OUT is NAME, a
    checkpoint that --model rarl:OUT/NAME takes, and `imgrank train rarl --from` too. Data with
    values of your own are --data csv --root FILE.csv.

    Fetch a model first: imgrank models pull qwen2.5-vl-3b (for research only; qwen2.5-vl-7b is the
    alternative). Made for a GPU of 24 GB; --estimate tells memory and time. --set full=true trains
    all weights. Needs the extra "rarl".

    Several processes: torchrun --nproc_per_node 2 -m imgrank train sft ...; on a machine without
    GPUs put ACCELERATE_USE_CPU=true before it. torchrun lets no step end at Ctrl-C: the same line
    then goes on from the last saved state (--set save_every=10, in steps).
    """
    from imgrank.train import sft_recipe

    if list_:
        config = sft_recipe.load_recipe()
        return _list(sft_recipe.RECIPE, f"{config.steps} steps of {config.prompts} conversations")
    return _run("sft", sft_recipe, estimate, given)


def _run(method: str, recipes: Any, estimate: bool, given: dict[str, Any]) -> int:
    """Estimates or trains. method: the module of the recipe.   recipes: its `load_recipe` and
    `override`."""
    from importlib import import_module

    from imgrank.errors import UsageError
    from imgrank.settings import load_settings

    data = given["data"]
    out = given["out"] or Path("runs") / f"{method}-{data}"
    stages = given.get("stages")
    values = {name: given[name] for name in ("name", "steps", "seed")} | {"stages": stages}
    if not given["recipe"] and not given["name"]:
        values["name"] = out.resolve().name
    config = recipes.override(
        recipes.load_recipe(given["recipe"] or recipes.RECIPE), values_of(given, **values)
    )
    settings = load_settings()
    if estimate:
        return _estimate(config, given["backbone"], settings)
    if data is None:
        raise UsageError("which data? --data NAME; --list names them.")
    backbone = vision_language_of(given["backbone"], settings)
    start = checkpoint_of(given["start"], settings) if given["start"] else None
    module = import_module(f"imgrank.train.{method}")
    threads(given["threads"])
    done = module.run(
        config,
        data,
        given["root"] or settings.data_dir,
        out,
        backbone,
        start,
        report,
        command_line(),
        partial=given["partial"],
        fold=given["fold"] or 0,
        device=given["device"],
    )
    return 130 if done is None else 0


def _estimate(config: Any, backbone: str, settings: Settings) -> int:
    """Of a published model that need not be here, or of a folder."""
    from imgrank.models.vlm_shape import PUBLISHED, shape_of
    from imgrank.train import rarl_cost

    published = PUBLISHED.get(backbone)
    shape = published or shape_of(vision_language_of(backbone, settings))
    for line in rarl_cost.lines(rarl_cost.estimate(config, shape)):
        click.echo(line)
    return 0


def _list(recipe: str, about: str) -> int:
    list_sets([f"{recipe}, for Qwen2.5-VL: {about}"], "recipe (--recipe FILE for another):")
    return 0
