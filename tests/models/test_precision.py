"""The precision guard: agreement, a timed trial, its memory; hardware and clock are stand-ins."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

from imgrank.cli import cli
from imgrank.errors import UsageError
from imgrank.models import precision
from imgrank.models.precision import PrecisionChoice, candidate, lowest_cosine
from imgrank.models.registry import EMBEDDED
from imgrank.models.spec import read_spec
from imgrank.rankers.source import BackboneSource
from imgrank.settings import Precision, load_settings

CPU = torch.device("cpu")
FULL, HALF = {"pooled": torch.ones(4, 8)}, {"pooled": torch.ones(4, 8) + 1e-3}
OTHER = {"pooled": torch.eye(4, 8)}


class Machine:
    """Stands in for autocast and the clock: a run in half the width takes `slow` times as long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, slow: float, half: object = HALF) -> None:
        self.now, self.slow, self.half = 0.0, slow, half
        self.runs: list[str] = []
        self.inside = threading.local()
        monkeypatch.setattr(precision, "_autocast", self.autocast)
        monkeypatch.setattr(precision.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(precision, "product_gain", lambda dtype: 2.0)

    @contextmanager
    def autocast(self, device: torch.device, dtype: torch.dtype | None) -> Iterator[None]:
        self.inside.dtype = dtype
        yield
        self.inside.dtype = None

    def run(self) -> dict[str, Tensor]:
        half = getattr(self.inside, "dtype", None) is not None
        self.runs.append("half" if half else "full")
        self.now += self.slow if half else 1.0
        if half and isinstance(self.half, Exception):
            raise self.half
        return self.half if half else FULL  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("slow", "half", "wanted", "said"),
    [
        (0.5, HALF, torch.bfloat16, "bfloat16: agrees with float32 and is 2.00 times as fast"),
        (0.9, HALF, None, "float32: bfloat16 is 1.11 times as fast"),
        (6.0, HALF, None, "float32: bfloat16 is 0.17 times as fast"),
        (0.5, OTHER, None, "float32: bfloat16 differs (lowest cosine 0.35"),
        (0.5, {"pooled": torch.full((4, 8), float("inf"))}, None, "differs (lowest cosine nan"),
        (0.5, RuntimeError("no such kernel"), None, "float32: bfloat16 does not run here"),
    ],
)
def test_auto_takes_half_the_width_only_where_it_agrees_and_pays(
    monkeypatch: pytest.MonkeyPatch, slow: float, half: object, wanted: object, said: str
) -> None:
    machine, choice = Machine(monkeypatch, slow, half), PrecisionChoice(CPU)
    choice.settle(machine.run, 4)
    assert choice.dtype is wanted
    assert said in choice.note


def test_a_trial_is_two_runs_and_four_more_where_there_is_hope(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for slow, runs in ((0.5, 6), (2.9, 6), (3.1, 2)):
        machine = Machine(monkeypatch, slow)
        PrecisionChoice(CPU).settle(machine.run, 4)
        assert (len(machine.runs), machine.runs[:2]) == (runs, ["full", "half"])


def test_a_cpu_whose_products_do_not_gain_is_spared_the_trial(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine, memory = Machine(monkeypatch, 0.5), tmp_path / "probes.json"
    monkeypatch.setattr(precision, "product_gain", lambda dtype: 1.1)
    choice = PrecisionChoice(CPU, memory=memory)
    choice.settle(machine.run, 64)
    assert (choice.dtype, machine.runs) == (None, [])
    assert choice.note == "float32: matrix products in bfloat16 are 1.10 times as fast on this CPU"
    assert memory.exists()


def test_the_products_are_timed_in_both_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen, clock = torch.nn.functional.linear, [], [0.0]

    def linear(x: Tensor, weight: Tensor) -> Tensor:
        product = real(x, weight)
        seen.append(product.dtype)
        clock[0] += 1.0 if product.dtype == torch.bfloat16 else 3.0
        return product

    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])
    assert precision.product_gain(torch.bfloat16) == 3.0
    assert seen == [torch.float32] * 4 + [torch.bfloat16] * 4


@pytest.mark.parametrize(("kind", "enough"), [("cpu", 4), ("cuda", 8)])
def test_no_trial_with_few_pictures_and_none_remembered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, enough: int
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    machine, memory = Machine(monkeypatch, 0.5), tmp_path / "probes.json"
    choice = PrecisionChoice(torch.device(kind), memory=memory)
    choice.settle(machine.run, enough - 1)
    assert (choice.open, choice.dtype, machine.runs) == (True, None, [])
    assert not memory.exists()
    choice.settle(machine.run, enough)
    assert choice.dtype is torch.bfloat16


def test_a_verdict_is_remembered_by_model_and_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    memory = tmp_path / "cache" / "probes.json"
    first = Machine(monkeypatch, 0.5)
    PrecisionChoice(CPU, model="a", memory=memory).settle(first.run, 4)
    assert len(json.loads(memory.read_text())) == 1
    second = Machine(monkeypatch, 6.0)
    known = PrecisionChoice(CPU, model="a", memory=memory)
    known.settle(second.run, 1)
    assert (known.dtype, second.runs) == (torch.bfloat16, [])
    assert known.note.endswith("(as found before)")
    for change in ("model", "device", "threads"):
        if change == "device":
            monkeypatch.setattr(precision, "device_name", lambda device: "Another CPU")
        if change == "threads":
            monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
        other = PrecisionChoice(CPU, model="b" if change == "model" else "a", memory=memory)
        other.settle(second.run, 4)
        assert other.dtype is None
    assert len(json.loads(memory.read_text())) == 4


@pytest.mark.parametrize("content", ["{", "[]", '{"KEY": 3}', '{"KEY": {"precision": "float8"}}'])
def test_a_damaged_memory_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    memory, machine = tmp_path / "probes.json", Machine(monkeypatch, 0.5)
    choice = PrecisionChoice(CPU, memory=memory)
    memory.write_text(content.replace("KEY", choice.key))
    choice.settle(machine.run, 4)
    assert choice.dtype is torch.bfloat16 and len(machine.runs) == 6


def test_a_memory_that_cannot_be_written_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    choice = PrecisionChoice(CPU, memory=tmp_path / "file" / "probes.json")
    choice.settle(Machine(monkeypatch, 0.5).run, 4)
    assert choice.dtype is torch.bfloat16


def test_a_precision_that_is_asked_for_is_taken_and_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agreeing = PrecisionChoice(CPU, "float16")
    machine = Machine(monkeypatch, 9.0)
    agreeing.settle(machine.run, 1)
    assert (agreeing.dtype, len(machine.runs)) == (torch.float16, 2)
    assert agreeing.note == "float16: as asked for; agrees with float32 (lowest cosine 1.0000)"
    differing = PrecisionChoice(CPU, "bfloat16")
    differing.settle(Machine(monkeypatch, 0.1, OTHER).run, 1)
    assert differing.dtype is torch.bfloat16
    assert "DIFFERS from float32 (lowest cosine 0.35" in differing.note
    with pytest.raises(UsageError, match="cpu cannot compute in float16: no kernel"):
        failing = Machine(monkeypatch, 1, RuntimeError("no kernel"))
        PrecisionChoice(CPU, "float16").settle(failing.run, 4)


def test_float32_runs_nothing() -> None:
    def run() -> dict[str, Tensor]:
        raise AssertionError("must not run")

    for choice in (PrecisionChoice(CPU, "float32"), PrecisionChoice(CPU, keep_float32="why")):
        choice.settle(run, 64)
        assert choice.dtype is None
    assert choice.note == "float32: why"


def test_out_of_memory_is_left_to_halving(monkeypatch: pytest.MonkeyPatch) -> None:
    for wish in ("auto", "float16"):
        choice = PrecisionChoice(CPU, wish)  # type: ignore[arg-type]
        machine = Machine(monkeypatch, 1, torch.cuda.OutOfMemoryError("CUDA out of memory"))
        with pytest.raises(torch.cuda.OutOfMemoryError):
            choice.settle(machine.run, 64)
        assert choice.open


def test_threads_side_by_side_try_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, choice = Machine(monkeypatch, 0.5), PrecisionChoice(CPU)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: choice.settle(machine.run, 4), range(16)))
    assert len(machine.runs) == 6


@pytest.mark.parametrize(
    ("kind", "capability", "wanted"),
    [
        ("cuda", (9, 0), torch.bfloat16),
        ("cuda", (8, 0), torch.bfloat16),
        ("cuda", (7, 5), torch.float16),
        ("mps", (0, 0), torch.float16),
        ("cpu", (0, 0), torch.bfloat16),
    ],
)
def test_candidate_by_device(
    monkeypatch: pytest.MonkeyPatch, kind: str, capability: tuple[int, int], wanted: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert candidate(torch.device(kind)) is wanted


def test_agreement_is_of_the_worst_picture_and_feature() -> None:
    wanted = {"pooled": torch.tensor([[1.0, 0.0], [0.0, 2.0]]), "grid": torch.ones(2, 2, 1)}
    got = {"pooled": 3 * wanted["pooled"], "grid": torch.ones(2, 2, 1)}
    assert lowest_cosine(wanted, got) == pytest.approx(1)
    got["grid"] = torch.tensor([[[1.0], [1.0]], [[1.0], [0.0]]])
    assert lowest_cosine(wanted, got) == pytest.approx(0.5**0.5)


def test_setting_and_flag(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().precision == "auto"
    monkeypatch.setenv("IMGRANK_PRECISION", "float16")
    assert load_settings().precision == "float16"
    assert load_settings(precision="float32").precision == "float32"
    with pytest.raises(UsageError, match="one of auto, float32, bfloat16, float16"):
        load_settings(precision="int8")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (40, 30), (200, 30, 30)).save(pictures / "a.png")
    ran = CliRunner().invoke(
        cli, ["sort", str(pictures), "red", "--model", "tiny", "--precision", "bfloat16"]
    )
    assert ran.exit_code == 0
    assert "; bfloat16: as asked for; " in ran.stderr


def test_features_in_a_precision_that_was_asked_for_are_kept_apart() -> None:
    spec = read_spec(EMBEDDED / "tiny")
    wishes = get_args(Precision)
    kept = {wish: BackboneSource(spec, "cpu", precision=wish).identity for wish in wishes}
    assert kept["auto"] == kept["float32"]
    assert len(set(kept.values())) == 3
