"""RARL: (being written)"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from imgrank.train.rarl_recipe import Config

__all__ = ["run"]


def run(
    config: Config,
    data: str,
    root: Path,
    out: Path,
    backbone: Path,
    start: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
    command: str = "imgrank.train.rarl.run, called from Python",
    *,
    partial: bool = False,
    fold: int = 0,
    device: str = "cpu",
) -> Path | None:
    """Train the recipe's stages. Returns the last one's checkpoint; None if it was stopped.

    OUT/first/NAME is the first stage's checkpoint, OUT/NAME the second's; state.pt, metrics.jsonl
    and curves.png of each are in OUT/first and OUT/second. `config.stages` = "second" begins from
    OUT/first/NAME if that is there and no `start` is given.
    """
    raise NotImplementedError
