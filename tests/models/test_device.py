"""Device choice, halving and the precision guard, with stand-ins for hardware that is absent."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from imgrank.errors import UsageError
from imgrank.models.device import agree, choose_device, choose_precision, halving


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


def test_halving_goes_on_with_the_smaller_batch_in_order() -> None:
    tried: list[int] = []

    def run(part: Sequence[int]) -> list[int]:
        tried.append(len(part))
        if len(part) > 3:
            raise torch.cuda.OutOfMemoryError("no memory")
        return [2 * item for item in part]

    assert halving(list(range(9)), run, 8) == [2 * item for item in range(9)]
    assert tried == [8, 4, 2, 2, 2, 2, 1]


def test_halving_gives_up_on_a_single_item() -> None:
    def run(part: Sequence[int]) -> list[int]:
        raise torch.cuda.OutOfMemoryError("no memory")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        halving([1, 2], run, 2)


def test_agreement_is_per_row() -> None:
    a = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert agree(a, a * 3)
    assert not agree(a, torch.tensor([[1.0, 0.0], [0.2, 2.0]]))


def test_no_bfloat16_on_a_cpu_and_nothing_is_run() -> None:
    def run() -> torch.Tensor:
        raise AssertionError("must not run")

    dtype, reason = choose_precision(torch.device("cpu"), run)
    assert dtype is None
    assert "float32" in reason


@pytest.mark.parametrize(("close", "wanted"), [(True, torch.bfloat16), (False, None)])
def test_bfloat16_on_cuda_only_if_it_agrees(
    monkeypatch: pytest.MonkeyPatch, close: bool, wanted: torch.dtype | None
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch, "autocast", lambda *a: torch.inference_mode())
    answers = iter([torch.ones(2, 4), torch.ones(2, 4) if close else torch.eye(2, 4)])
    dtype, _ = choose_precision(torch.device("cuda"), lambda: next(answers))
    assert dtype is wanted


def test_old_cuda_stays_with_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert choose_precision(torch.device("cuda"), lambda: torch.ones(1, 1))[0] is None
