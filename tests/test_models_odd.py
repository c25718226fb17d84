"""Folders, lists and addresses that hold what nobody would write: one line each, no traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from model_folders import EMBEDDED_NAMES, Place, Run, put, runner

from imgrank.errors import CheckpointError, ModelUnavailable
from imgrank.models.catalogue import describe, sort_line
from imgrank.models.lock import lock_path, locked
from imgrank.models.origin import read_origin
from imgrank.models.plan import plan
from imgrank.settings import load_settings

COMMIT = "0" * 40


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(monkeypatch)


@pytest.fixture
def place(home: Any) -> Place:
    return put


@pytest.mark.parametrize(
    "odd",
    [{"files": []}, {"files": {"a": 3}}, {"revision": 5}, {"pulled": None}, {"source": "x"}],
)
def test_an_origin_of_another_shape_is_a_damaged_model(
    run: Run, place: Place, odd: dict[str, Any]
) -> None:
    folder = place("mine", repository="me/adapter")
    path = folder / "origin.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | odd))
    assert read_origin(folder) is None
    result = run("models", "verify")
    assert result.exit_code == 3
    fine = [f"{name}\tok" for name in EMBEDDED_NAMES]
    assert result.stdout.splitlines()[: len(fine)] == fine
    assert f"{path} cannot be read" in result.stdout
    result = run("models", "pull", "hf:me/adapter", "--as", "mine", "--offline")
    assert result.exit_code == 2
    assert "imgrank models remove mine" in result.stderr


@pytest.mark.parametrize(
    "row",
    [{"revision": "main"}, {"revision": None}, {"revision": COMMIT, "files": {"a": 3}}, 3, [1]],
)
def test_a_lock_file_of_another_shape(home: Any, row: Any) -> None:
    settings = load_settings()
    path = lock_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": 1, "models": {"hf:owner/small": row}}))
    with pytest.raises(CheckpointError, match="Repair or delete it"):
        locked(settings)


def test_a_damaged_model_is_not_said_to_be_here(run: Run, place: Place) -> None:
    folder = place("mine", repository="me/adapter")
    (folder / "model.safetensors").unlink()
    result = run("models", "pull", "hf:me/adapter", "--as", "mine", "--offline")
    assert result.exit_code == 3
    assert "First imgrank models remove mine" in result.stderr
    assert "here already" not in result.stderr


@pytest.mark.parametrize("prompt", ["\x1b[2J", "$(touch x)", "`x`", 'a" ; x "', "\\", "a!b"])
def test_a_prompt_of_others_is_no_part_of_a_command(place: Place, prompt: str) -> None:
    folder = place("mine")
    config = json.loads((folder / "config.json").read_text())
    config["kind"] = "of another version"
    config["tasks"] = {"odd": {"prompt": prompt, "unit": ""}, "no table": 3}
    (folder / "config.json").write_text(json.dumps(config))
    known = describe("mine", load_settings())
    assert list(known.tasks) == ["odd"]
    assert sort_line(known) == 'imgrank sort PHOTOS "a cat" --model mine'
    config["tasks"]["odd"]["prompt"] = "it's a cat"
    (folder / "config.json").write_text(json.dumps(config))
    line = sort_line(describe("mine", load_settings()))
    assert line == 'imgrank sort PHOTOS "it\'s a cat" --model mine'


def test_figures_that_are_none_are_left_out(run: Run, place: Place) -> None:
    folder = place("mine")
    config = json.loads((folder / "config.json").read_text())
    config["tasks"]["quality"]["measured"] = [3, {"data": "x", "n": 2, "srcc_interval": 5}]
    (folder / "config.json").write_text(json.dumps(config))
    result = run("models", "info", "mine")
    assert result.exit_code == 0
    assert "x (n = 2): srcc 5" in result.stdout


def test_a_password_in_the_address_is_not_shown(
    run: Run, home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "nonsense://user:secret@host")
    with pytest.raises(ModelUnavailable, match="nonsense://host") as caught:
        plan("hf:owner/small", load_settings())
    assert "secret" not in str(caught.value)
    result = run("doctor")
    assert "endpoint: nonsense://host" in result.stdout
    assert "secret" not in result.stdout


def test_a_token_that_is_none(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_tök")
    with pytest.raises(ModelUnavailable, match="Set it anew") as caught:
        plan("hf:owner/small", load_settings())
    assert "hf_" not in str(caught.value).replace("HF_TOKEN", "")


@pytest.mark.parametrize("name", ["é/ü", "a..b/c", "-a/b", "a/b.git"])
def test_a_name_that_no_repository_has(home: Any, name: str) -> None:
    with pytest.raises(ModelUnavailable, match="cannot be a repository of the Hub"):
        plan(f"hf:{name}", load_settings(), name="x")


def test_a_token_file_that_cannot_be_read_is_a_fact(
    run: Run, home: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path))
    result = run("doctor")
    assert "token: cannot be read" in result.stdout


def test_a_link_elsewhere_that_leads_to_a_model_stays(run: Run, place: Place, home: Any) -> None:
    folder = place("mine")
    link = home / "link"
    link.symlink_to(folder)
    result = run("models", "remove", str(link), "--yes")
    assert result.exit_code == 0
    assert link.is_symlink()
    assert not folder.exists()
