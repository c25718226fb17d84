"""Pulls of what rests on something else: checkpoints and their backbones, heads, the registry."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from server import StandIn, sha256
from small_models import PARTS, SAFE, S, backbone
from torch import nn

from imgrank.errors import ModelUnavailable
from imgrank.models import wish as wish_module
from imgrank.models.linear import LAYOUT
from imgrank.models.origin import read_origin
from imgrank.models.pull import plan, pull
from imgrank.models.registry import EMBEDDED, Listed, entries
from imgrank.models.spec import read_spec
from imgrank.rankers.load import load_ranker
from imgrank.settings import Settings, load_settings


@pytest.fixture
def settings() -> Settings:
    return load_settings()


def fetched(wish: str, settings: Settings, **options: object) -> Path:
    return pull(plan(wish, settings, **options), settings)  # type: ignore[arg-type]


def adapter(**facts: object) -> dict[str, bytes]:
    """tiny-quality, said to rest on another backbone."""
    source = EMBEDDED / "tiny-quality"
    config = json.loads((source / "config.json").read_text())
    config["backbone"] |= facts
    return {"config.json": json.dumps(config).encode(),
            "model.safetensors": (source / "model.safetensors").read_bytes(),
            "README.md": b"# an adapter", "train.py": b"not wanted"}  # fmt: skip


def test_a_checkpoint_brings_the_backbone_that_it_names(
    hub: StandIn, settings: Settings, tmp_path: Path
) -> None:
    commit = hub.add("owner/small", backbone(0))
    probe = load_settings(home=tmp_path / "another-machine")
    identity = read_spec(fetched("hf:owner/small", probe)).identity
    hub.add("owner/small", backbone(1))  # main has moved on; the checkpoint names the commit
    facts = {"name": "small", "digest": f"sha256:{identity}", "origin": "hf:owner/small"}
    hub.add("owner/rank", adapter(**facts, revision=commit))
    found = plan("hf:owner/rank", settings)
    assert found.kind == "adapter"
    assert found.needs is not None
    assert (found.needs.repository, found.needs.revision) == ("owner/small", commit)
    calls: list[tuple[int, int]] = []
    folder = pull(found, settings, progress=lambda done, total: calls.append((done, total)))
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md", "config.json", "model.safetensors", "origin.json"]  # fmt: skip
    assert {entry.name for entry in entries(settings.models_dir)} >= {"small", "rank"}
    total = found.bytes_to_fetch + found.needs.bytes_to_fetch
    assert calls[-1] == (total, total)
    shutil.rmtree(settings.models_dir / "small")
    again = plan("hf:owner/rank", settings)  # the checkpoint is here, its backbone no more
    assert (again.here, again.needs and again.needs.name) == (folder, "small")
    assert pull(again, settings) == folder
    assert plan("hf:owner/rank", settings).needs is None
    hub.add("owner/rank2", adapter(**facts, revision=commit))
    assert plan("hf:owner/rank2", settings).needs is None  # it is here, by digest


def test_the_backbone_may_be_named_in_one_word_and_its_name_be_taken(
    hub: StandIn, settings: Settings
) -> None:
    commit = hub.add("owner/small", backbone(0))
    facts = {"name": "small", "digest": f"sha256:{'0' * 64}"}
    hub.add("owner/rank", adapter(**facts, origin=f"hf:owner/small@{commit}"))
    needs = plan("hf:owner/rank", settings).needs
    assert needs is not None
    assert (needs.name, needs.revision, needs.pinned) == ("small", commit, True)
    hub.add("owner/small", backbone(1))
    fetched("hf:owner/small", settings)  # the user's, of another commit: it stays
    needs = plan("hf:owner/rank", settings).needs
    assert needs is not None
    assert (needs.name, needs.here) == (f"small-{commit[:8]}", None)
    facts["name"] = "tiny"  # of the package
    hub.add("owner/rank", adapter(**facts, origin=f"hf:owner/small@{commit}"))
    needs = plan("hf:owner/rank", settings, update=True).needs
    assert needs is not None
    assert needs.name == f"tiny-{commit[:8]}"


def test_a_checkpoint_on_an_embedded_backbone_needs_nothing(
    hub: StandIn, settings: Settings
) -> None:
    hub.add("owner/rank", adapter())
    found = plan("hf:owner/rank", settings)
    assert (found.needs, found.name) == (None, "rank")
    assert load_ranker(str(pull(found, settings)), settings).name


def test_a_checkpoint_whose_backbone_is_another_does_not_appear(
    hub: StandIn, settings: Settings
) -> None:
    hub.add("owner/small", backbone(0))
    facts = {"name": "small", "digest": f"sha256:{'0' * 64}"}
    hub.add("owner/rank", adapter(**facts, origin="hf:owner/small"))
    found = plan("hf:owner/rank", settings)
    with pytest.raises(ModelUnavailable, match="Scores would be wrong"):
        pull(found, settings)
    assert not (settings.models_dir / "rank").exists()
    hub.add("owner/lost", adapter(**facts))
    with pytest.raises(ModelUnavailable, match="says not where it is"):
        plan("hf:owner/lost", settings)


def test_a_checkpoint_whose_weights_its_config_does_not_name(
    hub: StandIn, settings: Settings
) -> None:
    hub.add("owner/rank", {**adapter(), "model.safetensors": b"other"})
    found = plan("hf:owner/rank", settings)
    with pytest.raises(ModelUnavailable, match="not the file that its own config names"):
        pull(found, settings)
    assert list(settings.models_dir.iterdir()) == []


def test_a_name_of_the_registry(
    hub: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = backbone()
    commit = hub.add("owner/small", files, licence="")
    hub.add("owner/small", backbone(1), licence="")
    table = {
        "free": Listed("free", "backbone", "hf:owner/small", licence="mit"),
        "pinned": Listed("pinned", "backbone", "hf:owner/small", commit, research_only=True,
                         files={SAFE: {"sha256": sha256(files[SAFE]), "bytes": 1}}),
        "wrong": Listed("wrong", "backbone", "hf:owner/small", commit,
                        files={SAFE: {"sha256": "0" * 64, "bytes": 1}}),
        "nobody": Listed("nobody", "adapter", unpublished="ask its authors"),
    }  # fmt: skip
    monkeypatch.setattr(wish_module, "listed", lambda: table)
    found = plan("free", settings)
    assert (found.name, found.licence, found.pinned) == ("free", "mit", False)
    found = plan("pinned", settings)
    assert (found.revision, found.pinned) == (commit, True)
    assert found.warnings == ("its licence (see its page) allows research only",)
    assert (pull(found, settings) / SAFE).read_bytes() == files[SAFE]
    says = r"not what the registry says.*hf:owner/small --as wrong$"
    with pytest.raises(ModelUnavailable, match=says):
        plan("wrong", settings)
    other = "open_clip_pytorch_model.safetensors"  # it is what the registry names that is taken
    files |= {other: files[SAFE], SAFE: backbone(2)[SAFE]}
    both = hub.add("owner/small", files)
    facts = {other: {"sha256": sha256(files[other]), "bytes": 1}}
    table["other"] = Listed("other", "backbone", "hf:owner/small", both, facts)
    assert plan("other", settings).weights == other
    with pytest.raises(ModelUnavailable, match="cannot be pulled: ask its authors"):
        plan("nobody", settings)


def test_the_same_weights_at_another_size(
    hub: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("owner/small", backbone())
    table = {
        "own": Listed("own", "backbone", "hf:owner/small", image_size=S),
        "half": Listed("half", "backbone", "hf:owner/small", image_size=S // 2),
    }
    monkeypatch.setattr(wish_module, "listed", lambda: table)
    own, half = (read_spec(fetched(name, settings)) for name in table)
    assert (own.image_size, own.other_size) == (S, False)
    assert (half.image_size, half.other_size) == (S // 2, True)
    assert own.weights_sha256 == half.weights_sha256
    assert own.identity != half.identity


def test_a_published_head_becomes_a_checkpoint_and_brings_its_backbone(
    hub: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(a, b) for a, b in pairwise((PARTS["embed_dim"], 4, 4, 4, 4, 1))]
    tensors = {
        f"layers.{number}.{name}": value.detach().contiguous()
        for number, layer in zip(LAYOUT, layers, strict=True)
        for name, value in layer.named_parameters()
    }
    published = {"model.safetensors": save(tensors), "config.json": b"{}", "README.md": b"# head"}
    commit = hub.add("owner/head", published, licence="apache-2.0")
    hub.add("owner/small", backbone())
    table = {
        "base": Listed("base", "backbone", "hf:owner/small"),
        "beauty": Listed("beauty", "linear", "hf:owner/head", backbone="base",
                         convert="aesthetic-head"),
    }  # fmt: skip
    monkeypatch.setattr(wish_module, "listed", lambda: table)
    found = plan("beauty", settings)
    assert (found.kind, found.licence) == ("linear", "apache-2.0")
    assert found.needs is not None
    assert found.needs.name == "base"
    folder = pull(found, settings)
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "config.json", "model.safetensors", "origin.json"]  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    identity = read_spec(settings.models_dir / "base").identity
    assert config["backbone"]["digest"] == f"sha256:{identity}"
    origin = read_origin(folder)
    assert origin is not None
    assert (origin.origin, origin.revision) == ("hf:owner/head", commit)
    published_facts = {"sha256": sha256(published["model.safetensors"]),
                       "bytes": len(published["model.safetensors"])}  # fmt: skip
    assert origin.source == {"model.safetensors": published_facts}
    kept = (folder / "model.safetensors").read_bytes()
    assert origin.files["model.safetensors"] == {"sha256": sha256(kept), "bytes": len(kept)}
    (vector,) = [value for value in load_file(folder / "model.safetensors").values()
                 if value.numel() == PARTS["embed_dim"]]  # fmt: skip
    x = torch.eye(PARTS["embed_dim"])  # type: ignore[call-overload]
    wanted = nn.Sequential(*layers)(x) - nn.Sequential(*layers)(torch.zeros_like(x))
    torch.testing.assert_close(vector.flatten(), wanted.detach().flatten(), check_dtype=False)
    assert plan("beauty", settings, name="again").needs is None
    assert load_ranker("beauty", settings).name


def test_a_repository_with_several_heads_is_not_guessed_at(
    hub: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("owner/head", {"a.safetensors": b"1", "b.safetensors": b"2"})
    table = {"beauty": Listed("beauty", "linear", "hf:owner/head", backbone="base",
                              convert="aesthetic-head")}  # fmt: skip
    monkeypatch.setattr(wish_module, "listed", lambda: table)
    with pytest.raises(ModelUnavailable, match=r"a\.safetensors, b\.safetensors"):
        plan("beauty", settings)
