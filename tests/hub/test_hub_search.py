"""Models tuned for search, to the Hub and back: both forms, their backbone, what is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from model_folders import PHOTOS, Run, runner
from search_checkpoints import search_checkpoint
from server import StandIn
from small_models import backbone

from imgrank.models.backbone import describe
from imgrank.models.registry import find
from imgrank.models.spec import read_spec
from imgrank.rankers.load import load_source
from imgrank.settings import load_settings

ROW = {"data": "some pictures", "n": 3, "recall@10": 0.5, "recall@10_before": 0.25}
SMALL = ("visual.proj", "text_projection", "logit_scale")  # of a ViT


pytestmark = pytest.mark.usefixtures("logged_in")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(monkeypatch)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for name in ("cat.jpg", "coffee.jpg", "rocket.jpg"):
        shutil.copy(PHOTOS / name, tmp_path / "photos")
    return tmp_path / "photos"


def found(run: Run, photos: Path, model: str, command: str = "sort") -> list[tuple[str, float]]:
    """Name and score, best first."""
    done = run(command, str(photos), "a cat", "--model", model, "-f", "json")
    assert done.exit_code == 0, done.stderr
    rows = json.loads(done.stdout)["images"]
    return [(Path(row["path"]).name, row["score"]) for row in rows]


def front_matter(hub: StandIn, name: str, commit: str) -> dict[str, object]:
    card = hub.repos[name].commits[commit]["README.md"].decode()
    return dict(yaml.safe_load(card.split("---\n")[1]))


def test_pushed_and_pulled_by_its_commit_it_finds_the_same(
    hub: StandIn, run: Run, photos: Path
) -> None:
    folder = search_checkpoint(load_settings().models_dir / "mine", measured=[ROW])
    before = found(run, photos, "mine")
    pushed = run("models", "push", "mine", "owner/mine", "--yes")
    assert pushed.exit_code == 0, pushed.stderr
    commit = hub.repos["owner/mine"].refs["main"]
    assert pushed.stdout == f"hf:owner/mine@{commit}\n"
    facts = front_matter(hub, "owner/mine", commit)
    assert (facts["license"], facts["library_name"]) == ("mit", "imgrank")
    assert facts["pipeline_tag"] == "zero-shot-image-classification"
    assert facts["tags"] == ["imgrank", "image-ranking", "retrieval"]
    shutil.rmtree(folder)
    hub.add("owner/mine", {"README.md": b"main has moved on"})

    wish = f"hf:owner/mine@{commit}"
    pulled = run("models", "pull", wish, "--yes")
    assert pulled.exit_code == 0, pulled.stderr
    assert 'is ready: imgrank search PHOTOS "a cat" --model mine' in pulled.stderr
    assert run("cache", "clear", "--yes").exit_code == 0  # or it would know the scores
    asked = len(hub.requests)
    for command in ("sort", "search"):
        for model in (wish, "mine"):
            assert [n for n, _ in found(run, photos, model, command)] == [n for n, _ in before]
    assert found(run, photos, wish) == before
    assert len(hub.requests) == asked
    assert run("models", "verify", "mine").stdout == "mine\tok\n"
    shown = run("models", "info", wish).stdout.splitlines()
    assert shown[:2] == ["mine: retrieval, here", "search for what is beautiful too"]
    assert "  some pictures (n = 3)" in shown
    assert "    recall@10 0.500; before 0.250" in shown
    assert f"revision  {commit} (pinned by its commit)" in shown
    whole = photos.parent / "whole"
    assert run("models", "export", wish, str(whole)).exit_code == 0
    assert run("models", "remove", "mine", "--yes").exit_code == 0
    assert "there is no model 'mine'" in run("sort", str(photos), "a", "--model", "mine").stderr


def test_it_brings_the_backbone_that_it_needs(
    hub: StandIn, run: Run, photos: Path, tmp_path: Path
) -> None:
    settings = load_settings()
    base = settings.models_dir / "base"
    base.mkdir(parents=True)
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        (base / name).write_bytes(backbone()[name])
    describe(base, "base")
    search_checkpoint(settings.models_dir / "mine", SMALL, backbone=base)
    before = found(run, photos, "mine")
    told = run("models", "push", "mine", "owner/mine", "--yes")
    assert "its backbone 'base' is only on this machine" in told.stderr
    assert run("models", "push", "base", "owner/base", "--yes").exit_code == 0
    assert run("models", "push", "mine", "owner/mine", "--yes").exit_code == 0
    first, second = (hub.repos[f"owner/{name}"].refs["main"] for name in ("base", "mine"))
    assert front_matter(hub, "owner/mine", second)["base_model"] == "owner/base"
    shutil.rmtree(settings.models_dir)
    shutil.rmtree(settings.cache_dir, ignore_errors=True)

    pulled = run("models", "pull", f"hf:owner/mine@{second}", "--yes")
    assert pulled.exit_code == 0, pulled.stderr
    assert found(run, photos, "mine") == before
    assert load_source("mine", load_settings()).spec.folder == settings.models_dir / "base"
    removed = run("models", "remove", "base", "--yes")
    assert "mine cannot be used without base" in removed.stderr
    done = run("sort", str(photos), "a dog", "--model", "mine")
    assert done.exit_code == 3
    assert f"Get it: imgrank models pull hf:owner/base@{first}" in done.stderr
    assert run("models", "verify", "mine").exit_code == 3


def test_the_whole_folder_is_a_backbone_of_the_hub(
    hub: StandIn, run: Run, photos: Path, tmp_path: Path
) -> None:
    """What a training wrote beside its delta, or an export: with a card that has the licence."""
    delta, whole = search_checkpoint(tmp_path / "delta"), tmp_path / "whole"
    assert run("models", "export", str(delta), str(whole)).exit_code == 0
    before = found(run, photos, str(whole))
    pushed = run("models", "push", str(whole), "owner/whole", "--yes")
    assert pushed.exit_code == 0, pushed.stderr
    assert "licence mit" in pushed.stderr
    commit = hub.repos["owner/whole"].refs["main"]
    facts = front_matter(hub, "owner/whole", commit)
    assert (facts["license"], facts["library_name"]) == ("mit", "open_clip")
    shutil.rmtree(whole)
    pulled = run("models", "pull", f"hf:owner/whole@{commit}", "--yes")
    assert pulled.exit_code == 0, pulled.stderr
    assert found(run, photos, "whole") == before
    assert find("whole", load_settings().models_dir).kind == "backbone"
    assert read_spec(load_settings().models_dir / "whole").widths["embed"] == 384


def test_one_whose_towers_are_not_those_it_names_is_not_installed(
    hub: StandIn, run: Run, tmp_path: Path
) -> None:
    folder = search_checkpoint(tmp_path / "mine")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    config = json.loads(files["config.json"])
    config["backbone"]["replaced"] = ["text"]
    commit = hub.add("owner/odd", {**files, "config.json": json.dumps(config).encode()})
    done = run("models", "pull", f"hf:owner/odd@{commit}", "--yes")
    assert done.exit_code == 3
    assert "does not hold what its own config says" in done.stderr
    altered = {**files, "model.safetensors": files["model.safetensors"][:-1] + b"\1"}
    commit = hub.add("owner/altered", altered)
    done = run("models", "pull", f"hf:owner/altered@{commit}", "--yes")
    assert "is not the file that its own config names" in done.stderr
    assert [path.name for path in load_settings().models_dir.glob("[!.]*")] == []
