"""`imgrank train rarl` and `train sft`: words that cannot be, lists, estimates, odd data."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tiny_vlm import rated

from imgrank.cli import cli
from imgrank.errors import DataError, MissingExtra, ModelUnavailable, UsageError


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (["--backbone", "tiny"], UsageError, "tiny: that is an OpenCLIP model, no Qwen2.5-VL"),
        (["--backbone", "tiny-quality"], UsageError, "a checkpoint of kind adapter, no Qwen2.5-VL"),
        (["--backbone", "qwen2.5-vl-3b"], ModelUnavailable, "imgrank models pull qwen2.5-vl-3b"),
        (["--start", "tiny-quality"], UsageError, "that is of kind adapter; to start from are"),
        (["--start", "nowhere"], ModelUnavailable, "there is no model 'nowhere'"),
        (
            ["--set", "seconds.mutation=0"],
            UsageError,
            "no field seconds; it has name, ",
        ),
        (["--name", "second"], UsageError, "name = 'second' is that of a folder of a stage"),
    ],
)
def test_wrong_words(
    words: list[str], kind: type[Exception], said: str, tmp_path: Path, tiny_vlm_folder: Path
) -> None:
    given = ["train", "rarl", "--data", "csv", "--root", str(tmp_path), "--out", str(tmp_path)]
    result = CliRunner().invoke(cli, [*given, "--backbone", str(tiny_vlm_folder), *words])
    assert isinstance(result.exception, kind)
    assert said in str(result.exception)


def test_estimates_need_no_model() -> None:
    for method in ("rarl", "sft"):
        result = CliRunner().invoke(cli, ["train", method, "--estimate"])
        assert result.exit_code == 0
        assert "Estimated, not measured: 3.75 billion parameters" in result.stdout


def test_a_folder_has_its_own_estimate(tiny_vlm_folder: Path) -> None:
    words = ["train", "rarl", "--estimate", "--backbone", str(tiny_vlm_folder), "--steps", "7"]
    result = CliRunner().invoke(cli, words)
    assert "Estimated, not measured: 0.00 billion parameters" in result.stdout
    assert "second stage: 7 steps" in result.stdout


def test_lists_name_the_recipe_and_data_sets() -> None:
    for method, steps in (("rarl", "500 of the first stage"), ("sft", "500 steps of 32")):
        result = CliRunner().invoke(cli, ["train", method, "--list"])
        assert f"{method}.toml, for Qwen2.5-VL: {steps}" in result.stdout
        assert "\n  utkface: UTKFace" in result.stdout


def test_without_the_extra_the_pip_line(
    tiny_vlm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.util.find_spec

    def without_peft(name: str, *rest: Any) -> Any:
        return None if name == "peft" else there(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without_peft)
    for method in ("rarl", "sft"):
        given = ["train", method, "--data", "csv", "--root", str(tmp_path), "--out", str(tmp_path)]
        result = CliRunner().invoke(cli, [*given, "--backbone", str(tiny_vlm_folder)])
        assert isinstance(result.exception, MissingExtra)
        assert result.exception.status == 3
        assert "pip install 'imgrank[rarl]'" in str(result.exception)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("000.png,by age,30\n", "no query has two pictures of different values"),
        ("000.png,by age,30\n001.png,by age,30\n", "no query has two pictures of different values"),
        ("000.png,by age,30\nnone.png,by age,20\n", "1 of 2 pictures are missing"),
        ("000.png,by age,300\n001.png,by age,20\n", "no query has two pictures"),
    ],
)
@pytest.mark.parametrize("method", ["rarl", "sft"])
def test_odd_data(
    method: str, content: str, said: str, tmp_path: Path, tiny_vlm_folder: Path
) -> None:
    table = rated(tmp_path / "rated", 3)
    table.write_text("path,instruction,value\n" + content, encoding="utf-8")
    given = ["train", method, "--data", "csv", "--root", str(table), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, [*given, "--backbone", str(tiny_vlm_folder)])
    assert isinstance(result.exception, DataError)
    assert said in str(result.exception)
    assert not (tmp_path / "out").exists()
    shutil.rmtree(tmp_path / "rated")


def test_damaged_pictures_are_told_before_anything_is_trained(
    tmp_path: Path, tiny_vlm_folder: Path
) -> None:
    table, out = rated(tmp_path / "rated", 12), tmp_path / "out"
    lines = [f"{n:03}.png,by age,{n},train" for n in range(12)]
    table.write_text("\n".join(["path,instruction,value,split", *lines]), encoding="utf-8")
    for n in range(6):
        (tmp_path / "rated" / f"{n:03}.png").write_bytes(b"no picture")
    given = ["train", "rarl", "--data", "csv", "--root", str(table), "--out", str(out)]
    result = CliRunner().invoke(cli, [*given, "--backbone", str(tiny_vlm_folder)])
    assert isinstance(result.exception, DataError)
    said = str(result.exception)
    assert said.startswith("csv: 6 pictures of 12 cannot be read:\n")
    assert (said.count(".png"), "and 2 more" in said) == (4, True)
    assert not out.exists()


def test_a_model_that_talks_is_no_backbone_of_an_adapter(tiny_vlm_folder: Path) -> None:
    given = ["train", "adapter", "--data", "utkface", "--backbone", str(tiny_vlm_folder)]
    result = CliRunner().invoke(cli, given)
    assert isinstance(result.exception, UsageError)
    said = "that is a Qwen2.5-VL, which `imgrank train rarl` and `imgrank train sft` train"
    assert said in str(result.exception)
