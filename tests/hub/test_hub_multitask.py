"""A multi-task adapter from this machine to the Hub and back: scores, facts, and its backbone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from model_folders import PHOTOS, Run, runner
from multi_task import COUNT, TASKS, multi_task
from safetensors.torch import load_file
from server import StandIn
from small_models import SAFE, backbone

from imgrank import Options, compare, sort
from imgrank.models.address import PUBLISHED, address
from imgrank.models.checkpoint import load_overrides, read_config
from imgrank.models.plan import plan
from imgrank.models.pull import pull
from imgrank.models.push import push, remarks
from imgrank.models.registry import EMBEDDED, find
from imgrank.models.spec import read_spec
from imgrank.settings import load_settings

WISHES = ["by the number of cats", "closest to 3 red objects", "by age", "by decade"]


pytestmark = pytest.mark.usefixtures("logged_in")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(monkeypatch)


def answers(model: str) -> list[list[tuple[str, float]]]:
    """Names and scores of the example photographs in order, by every wish."""
    options = Options(model=model)
    found = [sort(PHOTOS, wish, options=options) for wish in WISHES]
    return [[(row.path.name, row.score) for row in ranking] for ranking in found]


def test_pushed_and_pulled_by_its_commit_it_gives_the_same_answers(
    hub: StandIn, tmp_path: Path, run: Run
) -> None:
    close = COUNT | {"closeness": "sort images by closeness to {n} {}."}
    folder = multi_task(tmp_path / "multi", tasks=TASKS | {"count": close})
    before = answers(str(folder))
    pair = PHOTOS / "cat.jpg", PHOTOS / "coffee.jpg"
    surely = compare(*pair, "most dogs first", options=Options(model=str(folder))).probability
    commit = push(folder, "owner/multi", load_settings())
    shutil.rmtree(folder)
    hub.add("owner/multi", {"README.md": b"main has moved on"})

    pulled = pull(plan(f"hf:owner/multi@{commit}", load_settings()), load_settings())
    for model in ("multi", f"hf:owner/multi@{commit}", str(pulled)):
        assert answers(model) == before
    options = Options(model="multi")
    assert compare(*pair, "most dogs first", options=options).probability == surely
    refined = sort(PHOTOS, "by age", refine="pairs:3", options=options)
    assert [row.strength is not None for row in refined] == [True] * 3 + [False] * 10

    config = read_config(pulled, "adapter")
    assert config["tasks"] == TASKS | {"count": close}
    assert config["training"] == {"data": {"coco": {"fold": 0}}, "seed": 0, "steps": 5}
    shown = run("models", "info", "multi").stdout
    for line in (
        "count: objects",
        '  prompt "sort images by closeness to {n} {}." for being close to a number',
        "  trained for 4: cats, dogs, people, objects in red",
        "age: years, 0 to 116",
        "  trained on faces alone",
        "  made up (n = 4): mae 5.5 [5.0, 6.0]",
        "  scores are classes: 0 1930s, 1 1940s, 2 1950s",
        f"revision  {commit} (pinned by its commit)",
    ):
        assert line in shown.splitlines()
    listed = run("models", "list", "--here", "--json").stdout
    (facts,) = [row for row in json.loads(listed) if row["name"] == "multi"]
    assert facts["tasks"] == ["count", "age", "decade"]


def test_a_sort_and_a_compare_on_the_command_line(hub: StandIn, tmp_path: Path, run: Run) -> None:
    commit = push(multi_task(tmp_path / "multi"), "owner/multi", load_settings())
    wish = f"hf:owner/multi@{commit}"
    assert run("models", "pull", wish, "--yes").exit_code == 0
    sorted_ = run("sort", str(PHOTOS), "--by", "most cats first=2", "--by", "age", "--model", wish)
    assert sorted_.exit_code == 0
    head, first, *_ = (line.split("\t") for line in sorted_.stdout.splitlines())
    assert head[-4:-1] == ["model", "most cats first", "age"]
    assert first[head.index("model")] == "multi"
    assert "count: adapter multi" in sorted_.stderr
    assert "  trained on faces alone" in sorted_.stderr
    pair = (str(PHOTOS / "cat.jpg"), str(PHOTOS / "coffee.jpg"))
    unknown = run("compare", *pair, "by the number of unicorns", "--model", wish, "-f", "json")
    assert json.loads(unknown.stdout)["prompt"] == "sort images by the number of unicorns."
    assert 0 < json.loads(unknown.stdout)["probability"] < 1
    assert "multi was not trained for unicorns, but for cats, dogs, people" in unknown.stderr


def test_tensors_that_replace_the_text_tower_travel_with_it(hub: StandIn, tmp_path: Path) -> None:
    name = "text.ln_final.weight"
    own = load_file(EMBEDDED / "tiny" / SAFE)[name].float()
    torch.manual_seed(1)
    tower = {name: own + torch.randn(own.shape)}
    folder = multi_task(tmp_path / "tuned", tower=tower)
    plain = multi_task(tmp_path / "plain")
    before = answers(str(folder))
    assert before != answers(str(plain))
    commit = push(folder, "owner/tuned", load_settings())
    shutil.rmtree(folder)
    pulled = pull(plan(f"hf:owner/tuned@{commit}", load_settings()), load_settings())
    assert answers("tuned") == before
    assert np.array_equal(load_overrides(pulled)[name], tower[name])
    assert read_config(pulled)["backbone"]["replaced"] == ["text"]


def test_a_checkpoint_learns_where_its_backbone_was_pushed_to(hub: StandIn, tmp_path: Path) -> None:
    settings = load_settings()
    base = settings.models_dir / "base"
    base.mkdir(parents=True)
    for file, data in backbone(3).items():
        (base / file).write_bytes(data)
    identity = read_spec(base).identity
    facts = {"name": "base", "digest": f"sha256:{identity}", "views": ["squash"]}
    folder = multi_task(backbone=facts)
    entry = find("multi", settings.models_dir)
    assert "only on this machine" in remarks(entry, settings)[0]
    assert address(base) == ""
    commit = push(base, "owner/base", settings)
    assert address(base) == f"hf:owner/base@{commit}"
    assert PUBLISHED not in hub.repos["owner/base"].commits[commit]
    assert remarks(entry, settings) == []
    kept = (folder / "config.json").read_bytes()
    push(folder, "owner/multi", settings)
    assert (folder / "config.json").read_bytes() == kept

    elsewhere = load_settings(home=tmp_path / "another-machine")
    found = plan("hf:owner/multi", elsewhere)
    assert found.needs is not None
    assert (found.needs.repository, found.needs.revision) == ("owner/base", commit)
    config = read_config(pull(found, elsewhere), "adapter")
    assert config["backbone"] == facts | {"origin": f"hf:owner/base@{commit}"}
    assert read_spec(elsewhere.models_dir / found.needs.name).identity == identity
    card = hub.repos["owner/multi"].commits[hub.repos["owner/multi"].refs["main"]]["README.md"]
    assert b"base_model: owner/base" in card


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"format": 2, "origin": "hf:a/b", "revision": "' + "0" * 40 + '"}',
        '{"format": 1, "origin": 3, "revision": "' + "0" * 40 + '"}',
        '{"format": 1, "origin": "hf:a/b", "revision": "main"}',
        '{"format": 1, "origin": "/home/me", "revision": "' + "0" * 40 + '"}',
    ],
)
def test_an_odd_record_of_a_push_is_no_address(tmp_path: Path, text: str) -> None:
    (tmp_path / PUBLISHED).write_text(text)
    assert address(tmp_path) == ""
