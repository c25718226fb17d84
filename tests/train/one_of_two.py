"""What each process of `test_processes.py` runs: FOLDER, STEPS, and at which step who presses
Ctrl-C ("1@2": process 1 in step 2; "" for nobody)."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from toy_training import toy_model, toy_streams, two_of_the_same

from imgrank.train import adapter as recipe
from imgrank.train import processes


def main(folder: Path, steps: int, interrupt: str) -> None:
    torch.set_num_threads(1)
    here = processes.join("cpu")
    config = two_of_the_same(steps)
    if here.first:
        toy_streams(folder, config)
    here.wait()
    streams = toy_streams(folder, config)
    before = recipe.batch_loss

    def loss(*arguments: Any) -> Any:
        if interrupt == f"{here.rank}@{arguments[3]}":
            signal.raise_signal(signal.SIGINT)
        return before(*arguments)

    save_gradients(config, streams, here, folder)
    recipe.batch_loss = loss
    model = toy_model(config, streams)
    said: list[str] = []
    found = recipe.train(config, streams, model, folder, said.append, here)
    (folder / f"said-{here.rank}.txt").write_text("\n".join([here.about, *said]))
    if found is not None:
        torch.save(found.model.state_dict(), folder / f"weights-{here.rank}.pt")
    here.leave()


def save_gradients(config: Any, streams: Any, here: processes.Processes, folder: Path) -> None:
    """Of the first step, which no optimiser has brought to one scale yet."""
    model = toy_model(config, streams).train()
    batch = recipe.draw(streams, config.batch, config.seed, 0)
    recipe.batch_loss(config, model, batch, 0, here)["total"].backward()
    here.average_gradients(model.parameters())
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    torch.save(found, folder / f"gradients-{here.rank}.pt")


if __name__ == "__main__":
    os.environ.pop("ACCELERATE_TORCH_DEVICE", None)
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
