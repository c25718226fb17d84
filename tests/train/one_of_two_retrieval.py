"""What each process of `test_retrieval_processes.py` runs: ROOT, BACKBONE, OUT."""

import os
import sys
from pathlib import Path

import pytest
import torch
from toy_retrieval import alike, trained

from imgrank.train.processes import Processes


def main(root: Path, backbone: Path, out: Path) -> None:
    seen: list[torch.Tensor] = []
    before = Processes.average_gradients

    def average(self: Processes, parameters: list[torch.Tensor]) -> None:
        """Of both terms of the first step, which no optimiser has brought to one scale yet."""
        before(self, parameters)
        if len(seen) < 2:
            found = [p.grad for p in parameters if p.grad is not None]
            seen.append(torch.cat([grad.flatten() for grad in found]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Processes, "average_gradients", average)
        trained(root, backbone, out, alike())
    torch.save(seen, out / f"gradients-{os.environ.get('RANK', '0')}.pt")


if __name__ == "__main__":
    os.environ.pop("ACCELERATE_TORCH_DEVICE", None)
    torch.set_num_threads(1)
    main(*map(Path, sys.argv[1:]))
