"""What each process of `test_l2rclip_processes.py` runs: FOLDER."""

import os
import sys
from pathlib import Path

import pytest
import torch
from toy_l2rclip import TINY, Side, alike, made_up, tensors, toy_data, toy_problem

from imgrank.train import l2rclip as recipe
from imgrank.train import processes
from imgrank.train.image_side import ImageSideConfig


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    here = processes.join("cpu")
    made_up(pytest.MonkeyPatch())
    save_gradients(here, folder)
    found = recipe.fit(alike(), toy_problem(alike()), TINY, folder, folder, lambda line: None, here)
    torch.save(tensors(found), folder / f"weights-{here.rank}.pt")
    here.leave()


def save_gradients(here: processes.Processes, folder: Path) -> None:
    """Of the first step of each stage, which no optimiser has brought to one scale yet."""
    problem = toy_problem(alike())
    text = recipe.RankText(TINY.text, TINY.tokenize, problem.ranks)
    frozen, side = (Side(ImageSideConfig(tower=part), toy_data()) for part in ("frozen", "head"))
    recipe.text_losses(alike(), problem, text, frozen, 0, here)["total"].backward()
    r = text().detach()
    recipe.image_losses(alike(), problem, side, r, 0, here)["total"].backward()
    here.average_gradients([*text.parameters(), *side.parameters()])
    named = [*text.named_parameters(), *side.named_parameters()]
    torch.save({name: p.grad for name, p in named}, folder / f"gradients-{here.rank}.pt")


if __name__ == "__main__":
    os.environ.pop("ACCELERATE_TORCH_DEVICE", None)
    main(Path(sys.argv[1]))
