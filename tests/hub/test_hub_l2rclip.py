"""L2RCLIP checkpoints from this machine to the Hub and back: answers, features, what is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_folders import PHOTOS, Run, runner
from rank_checkpoints import LEVELS, rank_checkpoint
from safetensors.torch import load_file
from server import StandIn

from imgrank.errors import ModelUnavailable
from imgrank.models.checkpoint import load_overrides
from imgrank.models.plan import plan
from imgrank.models.pull import pull
from imgrank.models.push import push
from imgrank.models.registry import EMBEDDED
from imgrank.rankers.load import load_levels, load_ranker
from imgrank.settings import load_settings
from imgrank.store.digest import digest_file
from imgrank.store.store import Store

CALIBRATION = {"temperature": 1.5, "tail": 0.125, "mass": 0.75, "level": 0.8, "on": "some pictures"}
NAME = "visual.head.proj.weight"


pytestmark = pytest.mark.usefixtures("logged_in")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(monkeypatch)


def tuned() -> dict[str, torch.Tensor]:
    own = load_file(EMBEDDED / "tiny" / "open_clip_model.safetensors")[NAME]
    torch.manual_seed(1)
    return {f"tower.{NAME}": own + 0.02 * torch.randn(own.shape).half()}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three of the example photographs."""
    (tmp_path / "photos").mkdir()
    for name in ("cat.jpg", "coffee.jpg", "rocket.jpg"):
        shutil.copy(PHOTOS / name, tmp_path / "photos")
    return tmp_path / "photos"


def ordered(run: Run, photos: Path, model: str) -> dict[str, Any]:
    """Score and interval of each picture, in the order of `imgrank sort`."""
    done = run("sort", str(photos), "by aesthetics", "--model", model, "-f", "json")
    assert done.exit_code == 0, done.stderr
    rows = json.loads(done.stdout)["images"]
    return {Path(row["path"]).name: (row["score"], *row["interval"]) for row in rows}


def test_pushed_and_pulled_by_its_commit_it_sorts_the_same(
    hub: StandIn, run: Run, photos: Path
) -> None:
    """With all that a checkpoint of this kind may hold: ranks, a map of statistics, a tower."""
    settings, tensors = load_settings(), tuned()
    folder = rank_checkpoint(
        settings.models_dir / "levels",
        "aesthetics",
        statistics=True,
        tensors=tensors,
        calibration=CALIBRATION,
    )
    before = ordered(run, photos, "levels")
    assert len(before) == 3
    assert all(low < score < high for score, low, high in before.values())
    done = run("models", "push", "levels", "owner/levels", "--yes")
    assert done.exit_code == 0, done.stderr
    commit = hub.repos["owner/levels"].refs["main"]
    card = hub.repos["owner/levels"].commits[commit]["README.md"]
    assert b"- l2rclip\n- aesthetics\n" in card
    shutil.rmtree(folder)
    hub.add("owner/levels", {"README.md": b"main has moved on"})

    wish = f"hf:owner/levels@{commit}"
    pulled = run("models", "pull", wish, "--yes")
    assert pulled.exit_code == 0, pulled.stderr
    assert run("cache", "clear", "--yes").exit_code == 0  # or it would know the scores
    for model in (wish, "levels"):
        assert ordered(run, photos, model) == before
    assert run("models", "verify", "levels").stdout == "levels\tok\n"
    shown = run("models", "info", wish).stdout.splitlines()
    assert f'  5 ranks, told as "{LEVELS.template}": {", ".join(LEVELS.names)}' in shown
    assert any(line.startswith("  calibrated on some pictures: temperature 1.5,") for line in shown)
    assert f"revision  {commit} (pinned by its commit)" in shown
    ranker = load_levels("aesthetics", load_settings(), wish)
    assert ranker.calibration.to_dict() == CALIBRATION
    (own,) = load_overrides(ranker.folder).values()
    assert torch.equal(own, tensors[f"tower.{NAME}"].float())
    assert run("models", "remove", "levels", "--yes").exit_code == 0
    with pytest.raises(ModelUnavailable):
        load_levels("aesthetics", load_settings(), "levels")


def test_features_of_a_tuned_tower_are_kept_apart(
    hub: StandIn, run: Run, photos: Path, tmp_path: Path
) -> None:
    settings = load_settings()
    plain = rank_checkpoint(tmp_path / "plain", "aesthetics")
    whole = rank_checkpoint(tmp_path / "whole", "aesthetics", tensors=tuned())
    commit = push(whole, "owner/whole", settings)
    pulled = pull(plan(f"hf:owner/whole@{commit}", settings), settings)
    sources = {path: load_ranker(str(path)).source for path in (plain, whole, pulled)}
    assert sources[plain].identity == load_ranker("tiny").source.identity
    assert sources[whole].identity == sources[pulled].identity != sources[plain].identity
    assert sources[whole].text_identity == sources[plain].text_identity

    first = ordered(run, photos, str(plain))
    second = ordered(run, photos, str(pulled))
    assert all(abs(first[name][0] - second[name][0]) > 1e-4 for name in first)
    digest = digest_file(photos / "cat.jpg")
    with Store(settings.store_path) as store:
        kept = [store.features(digest, sources[path].identity)["pooled"] for path in (plain, whole)]
    assert np.abs(kept[0] - kept[1]).max() > 0.01
