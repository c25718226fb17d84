"""What the tests of trainings on made-up data share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from toy_training import toy_streams

from imgrank.train.streams import Stream


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tensors this small only lose by threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def streams(tmp_path: Path) -> list[Stream]:
    return toy_streams(tmp_path)
