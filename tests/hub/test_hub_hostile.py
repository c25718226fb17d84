"""Repositories that mean harm, folders that another pull left: nothing of them is taken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from model_folders import runner
from server import StandIn, sha256
from small_models import SAFE, backbone
from test_hub_checkpoints import adapter

from imgrank.errors import ModelUnavailable, UsageError
from imgrank.models.lock import locked
from imgrank.models.plan import staging
from imgrank.models.pull import alone, plan, pull
from imgrank.models.spec import CONFIG, WEIGHTS, read_spec
from imgrank.settings import Settings, load_settings


@pytest.fixture
def settings() -> Settings:
    return load_settings()


def test_what_another_pull_of_this_name_left_is_not_taken(hub: StandIn, settings: Settings) -> None:
    other = backbone(1, name=WEIGHTS[1])
    hub.add("owner/other", other)
    left = staging(settings, "mine")
    (left / "folder").mkdir(parents=True)
    (left / SAFE).write_bytes(backbone(0)[SAFE])  # whole, and OpenCLIP would take it first
    folder = pull(plan("hf:owner/other", settings, name="mine"), settings)
    assert not (folder / SAFE).exists()
    assert read_spec(folder).weights_sha256 == sha256(other[WEIGHTS[1]])


def test_a_small_file_that_is_not_the_locked_one(hub: StandIn, settings: Settings) -> None:
    """The Hub says no sha256 of what it keeps in git, so this is seen once it is here."""
    commit = hub.add("owner/small", backbone())
    pull(plan("hf:owner/small", settings), settings)
    before = locked(settings)
    files = hub.repos["owner/small"].commits[commit]
    config = json.loads(files[CONFIG])
    config["preprocess_cfg"]["mean"] = [0.1] * 3
    files[CONFIG] = json.dumps(config).encode()
    found = plan("hf:owner/small", settings, name="copy")
    with pytest.raises(
        ModelUnavailable, match=rf"{CONFIG} .* not the file that models\.lock\.json"
    ):
        pull(found, settings)
    assert not (settings.models_dir / "copy").exists()
    assert not (staging(settings, "copy") / CONFIG).exists()
    assert locked(settings) == before


def test_a_folder_that_appears_during_the_pull_is_not_replaced(
    hub: StandIn, settings: Settings
) -> None:
    hub.add("owner/small", backbone())
    found = plan("hf:owner/small", settings)
    mine = settings.models_dir / "small"
    mine.mkdir(parents=True)
    (mine / "work.txt").write_text("of days")
    with pytest.raises(UsageError, match="not overwritten"):
        pull(found, settings)
    assert (mine / "work.txt").read_text() == "of days"
    assert locked(settings) == {}


@pytest.mark.parametrize("revision", ["y/../../", "a/b", "v 1\x1b"])
def test_a_checkpoint_cannot_lead_its_backbone_elsewhere(
    hub: StandIn, settings: Settings, revision: str
) -> None:
    commit = hub.add("owner/small", backbone(), tag=revision)
    hub.add("owner/theirs", backbone(1))
    theirs = pull(plan("hf:owner/theirs", settings, name="small"), settings)
    facts = {"name": "small", "digest": f"sha256:{'0' * 64}", "origin": "hf:owner/small"}
    hub.add("owner/rank", adapter(**facts, revision=revision))
    needs = plan("hf:owner/rank", settings).needs
    assert needs is not None
    assert needs.revision == commit
    assert Path(needs.name).name == needs.name
    assert staging(settings, needs.name).parent == settings.models_dir
    with pytest.raises(ModelUnavailable, match="of digest"):
        pull(plan("hf:owner/rank", settings), settings)
    assert sorted(path.name for path in settings.models_dir.iterdir() if path.name[0] != ".") == [
        "small", needs.name]  # fmt: skip
    assert (theirs / SAFE).read_bytes() == backbone(1)[SAFE]


def test_a_checkpoint_cannot_take_a_name_of_the_list(hub: StandIn, settings: Settings) -> None:
    commit = hub.add("owner/small", backbone())
    facts = {"name": "vit-b-16", "digest": f"sha256:{'0' * 64}", "origin": "hf:owner/small"}
    hub.add("owner/rank", adapter(**facts, revision=commit))
    needs = plan("hf:owner/rank", settings).needs
    assert needs is not None
    assert (needs.name, needs.repository) == (f"vit-b-16-{commit[:8]}", "owner/small")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (b"[" * 900_000, "not a JSON object"),
        (b'{"format": 1, "kind": "unheard-of"}', "cannot run: unheard-of"),
        (b'{"format": 1, "kind": "rarl"}', r"config\.json lacks name, weights\.sha256, backbone"),
    ],
)
def test_configs_that_cannot_be_used(
    hub: StandIn, settings: Settings, config: bytes, says: str
) -> None:
    hub.add("owner/rank", {**adapter(), "config.json": config})
    with pytest.raises(ModelUnavailable, match=says):
        plan("hf:owner/rank", settings)


def test_links_of_the_user_stay_what_they_lead_to(
    hub: StandIn, settings: Settings, tmp_path: Path
) -> None:
    hub.add("owner/small", backbone(0))
    folder = pull(plan("hf:owner/small", settings), settings)
    elsewhere = tmp_path / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    for seed in (1, 2):
        hub.add("owner/small", backbone(seed))
        pull(plan("hf:owner/small", settings, update=True), settings)
        assert (folder / SAFE).read_bytes() == backbone(seed)[SAFE]
        assert not folder.is_symlink()
    assert (elsewhere / SAFE).read_bytes() == backbone(0)[SAFE]
    (settings.models_dir / "nowhere").symlink_to(tmp_path / "not-there")
    with pytest.raises(UsageError, match="not overwritten"):
        plan("hf:owner/small", settings, name="nowhere")
    assert sorted(path.name for path in settings.models_dir.iterdir()) == ["nowhere", "small"]


def test_what_a_running_pull_has_is_not_removed(
    hub: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = staging(settings, "small")
    folder.mkdir(parents=True)
    (folder / SAFE).write_bytes(b"half")
    run = runner(monkeypatch)
    with alone(folder):
        result = run("models", "remove", "small", "--yes")
    assert (result.exit_code, (folder / SAFE).is_file()) == (3, True)
    assert "another imgrank is fetching small" in result.stderr
    assert run("models", "remove", "small", "--yes").exit_code == 0
    assert list(settings.models_dir.iterdir()) == []


def test_a_name_that_is_too_long(settings: Settings) -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        plan("hf:owner/small", settings, name="x" * 101)


@pytest.mark.parametrize("wish", ["..", ""])
def test_a_path_is_no_model_of_the_package(settings: Settings, wish: str) -> None:
    with pytest.raises(UsageError, match="nothing to pull that is called"):
        plan(wish, settings)
