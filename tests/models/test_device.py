"""Device choice and halving, with stand-ins for hardware that is absent."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from imgrank.errors import UsageError
from imgrank.models.device import choose_device, halving


def hardware(monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "wish", "device", "said"),
    [
        (1, True, "auto", "cuda", "CUDA: Some GPU"),
        (0, True, "auto", "mps", "no CUDA device"),
        (0, False, "auto", "cpu", "no CUDA, no MPS"),
        (2, False, "cuda:1", "cuda:1", "as asked for"),
        (1, True, "cpu", "cpu", "as asked for"),
    ],
)
def test_choice_and_reason(
    monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, wish: str, device: str, said: str
) -> None:
    hardware(monkeypatch, cuda, mps)
    chosen, reason = choose_device(wish)
    assert chosen == torch.device(device)
    assert said in reason


@pytest.mark.parametrize("wish", ["cuda", "cuda:0", "mps", "tpu", "cuda:x", ""])
def test_absent_or_unknown_device_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, wish: str
) -> None:
    hardware(monkeypatch, 0, False)
    with pytest.raises(UsageError):
        choose_device(wish)


def test_cuda_index_beyond_the_last_device(monkeypatch: pytest.MonkeyPatch) -> None:
    hardware(monkeypatch, 1, False)
    with pytest.raises(UsageError, match="1 CUDA devices"):
        choose_device("cuda:1")


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB)"),
    ],
)
def test_halving_goes_on_with_the_smaller_batch_in_order(error: RuntimeError) -> None:
    tried: list[int] = []

    def run(part: Sequence[int]) -> list[int]:
        tried.append(len(part))
        if len(part) > 3:
            raise error
        return [2 * item for item in part]

    assert halving(list(range(9)), run, 8) == ([2 * item for item in range(9)], 2)
    assert tried == [8, 4, 2, 2, 2, 2, 1]


def test_halving_gives_up_on_a_single_item() -> None:
    def run(part: Sequence[int]) -> list[int]:
        raise torch.cuda.OutOfMemoryError("no memory")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        halving([1, 2], run, 2)


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    tried: list[int] = []

    def run(part: Sequence[int]) -> list[int]:
        tried.append(len(part))
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="do not fit"):
        halving([1, 2, 3], run, 2)
    assert tried == [2]


def test_nothing_to_do_keeps_the_batch() -> None:
    assert halving([], lambda part: [1 / 0], 8) == ([], 8)
