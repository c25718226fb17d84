"""What RARL made of a Qwen2.5-VL, to the Hub and back: a checkpoint brings the model that it was
trained on. The model is the tiny random one of `tiny_vlm.py`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from model_folders import Run
from server import StandIn
from small_vlm import PLACE, TERMS, repository

from imgrank.errors import CheckpointError, ModelUnavailable
from imgrank.models.checkpoint import read_config
from imgrank.models.plan import plan
from imgrank.models.pull import pull
from imgrank.models.registry import find
from imgrank.models.vlm_spec import read_vlm
from imgrank.settings import Settings

pytest.importorskip("transformers", reason="needs imgrank[rarl]")

from vlm_checkpoints import AGE, random_rarl


@pytest.fixture(scope="session")
def files(tiny_vlm_folder: Path) -> Mapping[str, bytes]:
    return repository(tiny_vlm_folder)


@pytest.mark.usefixtures("logged_in")
def test_a_checkpoint_is_pushed_and_brings_the_model_that_it_was_trained_on(
    hub: StandIn, run: Run, settings: Settings, files: Mapping[str, bytes]
) -> None:
    base = hub.add(PLACE, files)
    assert run("models", "pull", f"hf:{PLACE}", "--yes").exit_code == 0
    vlm = settings.models_dir / "seer"
    folder = random_rarl(settings.models_dir / "ages", vlm, licence="Qwen RESEARCH LICENSE")
    before = read_config(folder)
    assert before["backbone"]["origin"] == f"hf:{PLACE}@{base}"
    told = run("models", "push", "ages", "owner/ages", answer="n\n")
    assert "licence Qwen RESEARCH LICENSE, to owner/ages" in told.stderr
    pushed = run("models", "push", "rarl:ages", "owner/ages", "--yes")
    assert pushed.exit_code == 0, pushed.stderr
    commit = hub.repos["owner/ages"].refs["main"]
    front = yaml.safe_load(
        hub.repos["owner/ages"].commits[commit]["README.md"].decode().split("---\n")[1]
    )
    assert (front["base_model"], front["pipeline_tag"]) == (PLACE, "image-text-to-text")
    assert (front["license"], front["license_name"]) == ("other", "qwen-research-license")
    assert front["tags"] == ["imgrank", "image-ranking", "rarl", "age"]
    refused = run("models", "push", "seer", "owner/mine", "--yes")
    assert refused.exit_code == 2
    assert f"by its owners: imgrank models pull hf:{PLACE}@{base}" in refused.stderr
    shutil.rmtree(settings.models_dir)
    hub.add(PLACE, {"README.md": b"main has moved on"})

    pulled = run("models", "pull", f"hf:owner/ages@{commit}", "--yes")
    assert pulled.exit_code == 0, pulled.stderr
    assert 'ages is ready: imgrank sort PHOTOS "by age" --model rarl:ages' in pulled.stderr
    assert "its licence (qwen-research-license) allows research only" in pulled.stderr
    assert read_config(folder)["tasks"]["age"] == AGE
    for name in ("ages", f"rarl:hf:owner/ages@{commit}"):
        assert find(name, settings.models_dir).kind == "rarl"
    assert run("models", "verify").exit_code == 0
    removed = run("models", "remove", "seer", "--yes")
    assert "ages cannot be used without seer" in removed.stderr
    told = run("models", "info", "rarl:ages").stdout
    assert f"next: imgrank models pull hf:{PLACE}@{base}" in told
    again = run("models", "pull", f"hf:owner/ages@{commit}", "--yes")
    assert (again.exit_code, vlm.is_dir()) == (0, True)


@pytest.mark.usefixtures("logged_in")
def test_one_of_ones_own_is_pushed_and_pulled_and_carries_what_rests_on_it(
    hub: StandIn, run: Run, settings: Settings, tiny_vlm_folder: Path
) -> None:
    mine = Path(shutil.copytree(tiny_vlm_folder, settings.models_dir / "mine"))
    (mine / "LICENSE").write_bytes(TERMS)
    (mine / "notes.txt").write_text("nobody's business")
    random_rarl(settings.models_dir / "ages", mine)
    told = run("models", "push", "ages", "owner/ages", answer="n\n").stderr
    assert "its backbone 'mine' is only on this machine: push that first" in told
    assert run("models", "push", "mine", "owner/mine", "--yes").exit_code == 0
    assert run("models", "push", "ages", "owner/ages", "--yes").exit_code == 0
    commit = hub.repos["owner/mine"].refs["main"]
    sent = hub.repos["owner/mine"].commits[commit]
    own = {path.name for path in tiny_vlm_folder.iterdir()}
    assert sent.keys() == {*own, "LICENSE", "README.md"}
    front = yaml.safe_load(sent["README.md"].decode().split("---\n")[1])
    assert (front["library_name"], front["tags"]) == ("transformers", ["imgrank"])
    shutil.rmtree(settings.models_dir)
    assert run("models", "pull", "hf:owner/ages", "--yes").exit_code == 0
    assert read_vlm(settings.models_dir / "mine").identity == read_vlm(tiny_vlm_folder).identity


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": {"lora": {"rank": -1, "alpha": 1, "targets": ["q"]}}}, r"as model\.lora\."),
        ({"model": {"lora": {"rank": 10**9, "alpha": 1, "targets": ["q"]}}}, r"as model\.lora\."),
        ({"model": {"lora": {"rank": 2, "alpha": 1, "targets": [1]}}}, r"as model\.lora\."),
        ({"model": {"lora": {"rank": 2, "alpha": 1, "targets": []}}}, r"as model\.lora\."),
        ({"model": {"max_pixels": 10**12}}, r"as model\.max_pixels"),
        ({"model": {"max_new_tokens": True}}, r"as model\.max_new_tokens"),
        ({"tasks": {"age": {"range": [100, 0]}}}, r"as tasks\.age\.range"),
        ({"tasks": {"age": {"range": [0, float("nan")]}}}, r"as tasks\.age\.range"),
        ({"tasks": {"age": {"range": None}}}, r"as tasks\.age\.range"),
        ({"tasks": {"age": {"prompt": 7}}}, r"as tasks\.age\.prompt"),
        ({"tasks": {"age": "old"}}, r"lacks tasks\.age\.prompt, tasks\.age\.unit"),
        ({"tasks": []}, "as tasks"),
        ({"backbone": {"digest": 1}}, r"as backbone\.digest"),
    ],
)
def test_configs_that_nobody_should_believe(
    hub: StandIn,
    run: Run,
    settings: Settings,
    tiny_vlm_folder: Path,
    tmp_path: Path,
    change: dict[str, Any],
    says: str,
) -> None:
    folder = random_rarl(tmp_path / "odd", tiny_vlm_folder)
    config = joined(json.loads((folder / "config.json").read_text()), change)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=says):
        find(f"rarl:{folder}")
    hub.add("owner/odd", {path.name: path.read_bytes() for path in folder.iterdir()})
    done = run("models", "pull", "hf:owner/odd", "--yes")
    assert (done.exit_code, len(done.stderr.splitlines())) == (3, 1)
    with pytest.raises(ModelUnavailable, match=says):
        plan("hf:owner/odd", settings)


def joined(table: Any, change: Any) -> Any:
    if not isinstance(table, dict) or not isinstance(change, dict):
        return change
    return {**table, **{key: joined(table.get(key), value) for key, value in change.items()}}


def test_one_whose_weights_are_elsewhere_than_ours_are(
    hub: StandIn, settings: Settings, tiny_vlm_folder: Path, tmp_path: Path
) -> None:
    folder = random_rarl(tmp_path / "odd", tiny_vlm_folder)
    (folder / "model.safetensors").rename(folder / "model.safetensors.index.json")
    hub.add("owner/odd", {path.name: path.read_bytes() for path in folder.iterdir()})
    with pytest.raises(ModelUnavailable, match="holds no model that imgrank can use"):
        plan("hf:owner/odd", settings)


def test_one_that_says_it_rests_on_itself(
    hub: StandIn, settings: Settings, tiny_vlm_folder: Path, tmp_path: Path
) -> None:
    folder = random_rarl(tmp_path / "odd", tiny_vlm_folder)
    config = json.loads((folder / "config.json").read_text())
    config["backbone"] |= {"origin": "hf:owner/odd", "digest": f"sha256:{'0' * 64}"}
    (folder / "config.json").write_text(json.dumps(config))
    hub.add("owner/odd", {path.name: path.read_bytes() for path in folder.iterdir()})
    with pytest.raises(ModelUnavailable, match="is a checkpoint itself"):
        plan("hf:owner/odd", settings)


def test_what_was_trained_on_another_model_is_not_installed(
    hub: StandIn, settings: Settings, files: Mapping[str, bytes], tiny_vlm_folder: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    folder = random_rarl(tmp_path / "odd", tiny_vlm_folder)
    config = json.loads((folder / "config.json").read_text())
    config["backbone"] |= {"origin": f"hf:{PLACE}", "digest": f"sha256:{'0' * 64}"}
    (folder / "config.json").write_text(json.dumps(config))
    hub.add(PLACE, files)
    hub.add("owner/odd", {path.name: path.read_bytes() for path in folder.iterdir()})
    found = plan("hf:owner/odd", settings)
    assert found.needs is not None
    assert (found.needs.kind, found.needs.name) == ("vlm", "seer")
    with pytest.raises(ModelUnavailable, match="Scores would be wrong"):
        pull(found, settings)
    assert not (settings.models_dir / "odd").exists()
