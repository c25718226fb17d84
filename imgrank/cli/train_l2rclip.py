"""`imgrank train l2rclip`: the recipe is `imgrank/train/l2rclip.py`; here it is only called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from imgrank.cli.training import (
    backbone_of,
    command_line,
    list_sets,
    report,
    run_options,
    threads,
    values_of,
)

__all__ = ["l2rclip"]

EXAMPLES = """\b
Examples:
  imgrank train l2rclip --list
  imgrank train l2rclip --data oldnyc --root ./oldnyc --out runs/decade  # needs a folder of yours
"""
BASELINES = click.Choice(("context", "interpolation", "vanilla"))


@click.command(epilog=EXAMPLES)
@click.option("--data", metavar="NAME", help="Data set; see --list.  [that of --recipe]")
@click.option("--recipe", metavar="FILE", help="Hyper-parameters.  [those of --data]")
@click.option("--name", help="Of the checkpoint.  [the recipe's; with other data that of OUT]")
@run_options(
    click.option("--epochs1", type=click.IntRange(0), help="Of stage 1.  [the recipe's]"),
    click.option("--epochs2", type=click.IntRange(0), help="Of stage 2.  [the recipe's]"),
    click.option("--few-shot", type=click.IntRange(1), help="Training pictures a rank.  [all]"),
    click.option("--baseline", "baselines", multiple=True, type=BASELINES, help="Train this too."),
)
def l2rclip(list_: bool, **given: Any) -> int:
    """Train L2RCLIP: ordered ranks (ages, decades, levels) told to the text tower as words.

    The result is a checkpoint folder in OUT that --model takes; it answers the task of the data
    set ("by age") with a value, an interval and the probability of each rank. Stage 1 learns the
    texts of the ranks, stage 2 the image tower. --data chooses the recipe of that name. Data with
    labels of your own are --data csv --root FILE.csv.

    On the embedded backbone a recipe's own small values apply. What a frozen part of the tower
    gives of each picture is computed first, which takes longest, and kept for all later runs with
    this --cache; how long the training takes is said early on. The experiments of the paper are
    --backbone vit-b-16, on a GPU.

    Baselines are other texts, trained in the same run on the same pictures: context (CoOp),
    interpolation (as OrdinalCLIP), vanilla (the templates as they are). Parts are switched off by
    --set text.way=templates, stage1.cop=0, stage2.scop=0. Needs the extra "train".

    Several processes: torchrun --nproc_per_node 2 -m imgrank train l2rclip ...
    """
    if list_:
        return _list()
    from imgrank.models.spec import read_spec
    from imgrank.settings import load_settings
    from imgrank.train import l2rclip as module

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
    from imgrank.errors import UsageError
    from imgrank.train import l2rclip_recipe as module

    data, name, out = given["data"], given["name"], given["out"]
    if not data and not given["recipe"]:
        raise UsageError("which data? --data NAME; --list names them.")
    config = module.load_recipe(given["recipe"] or module.recipe_of(data), backbone)
    if data not in (None, config.data):
        out = out or Path("runs") / data
        name = name or out.resolve().name
    values = values_of(
        given,
        data=data,
        name=name,
        fold=given["fold"],
        seed=given["seed"],
        few_shot=given["few_shot"],
        baselines=list(given["baselines"]) or None,
        stage1=_epochs(given["epochs1"]),
        stage2=_epochs(given["epochs2"]),
    )
    config = module.override(config, values)
    return config, out or Path("runs") / config.name


def _epochs(number: int | None) -> dict[str, int] | None:
    return None if number is None else {"epochs": number}


def _list() -> int:
    from imgrank.train.l2rclip_recipe import load_recipe
    from imgrank.train.recipe_file import recipes

    lines = []
    for name, file in recipes("l2rclip").items():
        config = load_recipe(file)
        first, second = config.stage1.epochs, config.stage2.epochs
        lines.append(f"{name}: {first} and {second} epochs for the backbone {config.backbone}")
    list_sets(lines)
    return 0
