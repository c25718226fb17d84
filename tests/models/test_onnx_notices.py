"""What is said where ONNX Runtime cannot take part; what is not said of an export that fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import imgrank.models.onnx as onnx
import imgrank.models.onnx_export as onnx_export
from imgrank import api
from imgrank.models.onnx import open_engine
from imgrank.models.spec import read_spec
from imgrank.settings import load_settings

TINY = Path(onnx.__file__).parents[1] / "weights" / "tiny"
PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


@pytest.fixture(autouse=True)
def another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "_engines", {})


@pytest.mark.parametrize(("precision", "told"), [("bfloat16", 1), ("auto", 0)])
def test_a_precision_that_onnx_runtime_has_not_is_said_once(precision: Any, told: int) -> None:
    said: list[str] = []
    settings = load_settings(engine="onnx", precision=precision, device="cpu")
    for name in ("cat.jpg", "rocket.jpg"):
        api.sort(PHOTOS / name, "a cat", options=api.Options(settings=settings, notify=said.append))
    line = "pictures go through torch: ONNX Runtime runs them in float32 only"
    assert said.count(line) == told


@pytest.mark.parametrize("wish", ["auto", "onnx"])
def test_no_export_is_announced_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: Any
) -> None:
    def refuse(*_: Any) -> str:
        raise AssertionError("an export was tried")

    monkeypatch.setattr(onnx_export, "export", refuse)
    cache = tmp_path / "cache"
    cache.write_text("")  # no folder, so that none can be made in it
    other = tmp_path / "read-only"
    monkeypatch.setattr(os, "access", lambda path, mode: other not in Path(path).parents)
    for place in (cache, other):
        said: list[str] = []
        engine = open_engine(place, read_spec(TINY), wish, "cpu", True, said.append)
        assert engine is not None
        for _ in range(2):
            engine.saw_text(None)  # type: ignore[arg-type]
        assert [line.split(str(place))[0] for line in said] == (
            ["nothing is exported for ONNX Runtime: "] if wish == "onnx" else []
        )
