"""Pulls from the stand-in: what becomes of a repository, and when nothing is asked for."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
from safetensors.torch import save
from server import StandIn, sha256
from small_models import PARTS, SAFE, backbone, weights

from imgrank.errors import CheckpointError, MissingExtra, ModelUnavailable, UsageError
from imgrank.models.convert import tag_config
from imgrank.models.loading import load_tower
from imgrank.models.lock import locked
from imgrank.models.origin import read_origin
from imgrank.models.pull import plan, pull
from imgrank.models.registry import find, listed
from imgrank.models.spec import read_spec
from imgrank.models.wish import refuse_listed
from imgrank.settings import Settings, load_settings


@pytest.fixture
def settings() -> Settings:
    return load_settings()


def fetched(wish: str, settings: Settings, **options: object) -> Path:
    return pull(plan(wish, settings, **options), settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [SAFE, "open_clip_pytorch_model.safetensors"])
def test_a_whole_backbone(hub: StandIn, settings: Settings, name: str) -> None:
    files = backbone(name=name)
    commit = hub.add("owner/small", files)
    found = plan("hf:owner/small", settings)
    assert (found.name, found.kind, found.revision, found.licence) == (
        "small",
        "backbone",
        commit,
        "mit",
    )
    wanted = ["open_clip_config.json", name]
    assert [file.name for file in found.files] == wanted
    assert found.bytes_to_fetch == sum(len(files[n]) for n in wanted)
    calls: list[tuple[int, int]] = []
    folder = pull(found, settings, progress=lambda done, total: calls.append((done, total)))
    assert folder == settings.models_dir / "small"
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        [*wanted, "imgrank.json", "origin.json"]
    )
    assert calls[-1] == (found.bytes_to_fetch, found.bytes_to_fetch)
    assert calls == sorted(calls)
    origin = read_origin(folder)
    assert origin is not None
    assert (origin.origin, origin.revision, origin.asked) == ("hf:owner/small", commit, "main")
    assert dict(origin.files) == {
        n: {"sha256": sha256(files[n]), "bytes": len(files[n])} for n in wanted
    }
    assert find("small", settings.models_dir).kind == "backbone"
    assert [p.name for p in settings.models_dir.iterdir()] == ["small"]


def test_what_was_unpinned_is_locked_and_later_pulls_obey(hub: StandIn, settings: Settings) -> None:
    first = hub.add("owner/small", backbone(0))
    found = plan("hf:owner/small", settings)
    assert not found.pinned
    assert found.warnings == (
        f"unpinned: hf:owner/small names no revision; pinned from now on by models.lock.json to "
        f"{first}",
    )
    assert not (settings.data_dir / "models.lock.json").exists()  # after success only
    folder = pull(found, settings)
    row = locked(settings)["hf:owner/small"]
    assert row.revision == first
    assert row.files[SAFE] == {"sha256": sha256(backbone(0)[SAFE]), "bytes": len(backbone(0)[SAFE])}

    second = hub.add("owner/small", backbone(1))
    asked = len(hub.requests)
    again = plan("hf:owner/small", settings)
    assert (again.here, again.revision, again.pinned) == (folder, first, True)
    assert pull(again, settings) == folder
    assert len(hub.requests) == asked  # nothing to do, so nobody is asked

    other = fetched("hf:owner/small", settings, name="copy")  # obeys the lock
    assert (other / SAFE).read_bytes() == backbone(0)[SAFE]

    newer = plan("hf:owner/small", settings, update=True)
    assert (newer.revision, newer.here) == (second, None)
    assert f"it replaces revision {first[:12]}, which is here" in newer.warnings
    assert pull(newer, settings) == folder
    assert (folder / SAFE).read_bytes() == backbone(1)[SAFE]
    assert locked(settings)["hf:owner/small"].revision == second
    assert sorted(p.name for p in settings.models_dir.iterdir()) == ["copy", "small"]
    assert plan("hf:owner/small", settings, update=True).here == folder


def test_a_commit_or_a_tag_that_was_asked_for(hub: StandIn, settings: Settings) -> None:
    old = hub.add("owner/small", backbone(0), tag="v1")
    new = hub.add("owner/small", backbone(1))
    by_commit = plan(f"hf:owner/small@{old}", settings)
    assert (by_commit.pinned, by_commit.warnings) == (True, ())
    by_tag = plan("hf:owner/small@v1", settings)
    assert (by_tag.pinned, by_tag.revision, by_tag.asked) == (False, old, "v1")
    folder = pull(by_tag, settings)
    assert (folder / SAFE).read_bytes() == backbone(0)[SAFE]
    assert locked(settings)["hf:owner/small@v1"].revision == old
    asked = len(hub.requests)
    assert plan(f"hf:owner/small@{old}", settings).here == folder
    assert len(hub.requests) == asked
    with pytest.raises(
        UsageError, match=rf"here at revision {old[:12]} \(v1\).*--as NAME.*--update"
    ):
        plan("hf:owner/small", settings)  # main is another wish
    assert plan("hf:owner/small", settings, name="newest").revision == new
    assert plan("hf:owner/small", settings, update=True).revision == new
    assert (folder / SAFE).read_bytes() == backbone(0)[SAFE]


def test_a_folder_copied_from_another_machine_counts(hub: StandIn, tmp_path: Path) -> None:
    first = hub.add("owner/small", backbone(0))
    theirs = fetched("hf:owner/small", load_settings(home=tmp_path / "theirs"))
    hub.add("owner/small", backbone(1))
    offline = load_settings(offline=True)
    shutil.copytree(theirs, offline.models_dir / "small")
    asked = len(hub.requests)
    found = plan("hf:owner/small", offline)
    assert (found.here, found.revision) == (offline.models_dir / "small", first)
    pull(found, offline)
    assert locked(offline)["hf:owner/small"].revision == first
    assert len(hub.requests) == asked


def test_a_rewritten_repository_is_not_taken(hub: StandIn, settings: Settings) -> None:
    commit = hub.add("owner/small", backbone(0))
    fetched("hf:owner/small", settings)
    hub.repos["owner/small"].commits[commit] = backbone(1)  # another content, the same commit
    differs = rf"{SAFE} of .* is not what models\.lock\.json says \(its sha256 differs\)"
    with pytest.raises(ModelUnavailable, match=differs):
        plan("hf:owner/small", settings, name="copy")
    del hub.repos["owner/small"].commits[commit][SAFE]
    with pytest.raises(ModelUnavailable, match=r"says \(it is gone\)"):
        plan("hf:owner/small", settings, name="copy")


def test_a_damaged_model_is_not_said_to_be_here(hub: StandIn, settings: Settings) -> None:
    hub.add("owner/small", backbone())
    folder = fetched("hf:owner/small", settings)
    data = bytearray((folder / SAFE).read_bytes())
    data[-1] ^= 1  # its size stays
    (folder / SAFE).write_bytes(data)
    hub.requests.clear()
    with pytest.raises(CheckpointError, match=r"but damaged.*First imgrank models remove small"):
        plan("hf:owner/small", settings)
    assert hub.requests == []
    with pytest.raises(
        CheckpointError, match=r"sha256 differs.*`imgrank models verify small` says"
    ):
        load_tower(read_spec(folder), "image", {})


def test_a_name_of_the_list_stands_for_nothing_else(
    hub: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("owner/vit-b-16", backbone())
    for wish, name in (("hf:owner/vit-b-16", None), ("hf:owner/x", "official-count")):
        with pytest.raises(UsageError, match=r"name of the list.*--as NAME"):
            plan(wish, settings, name=name)
    assert hub.requests == []
    known = listed()["vit-b-16"]
    commit = hub.add(known.repository, backbone())
    mine = {"vit-b-16": replace(known, revision=commit, files={SAFE: {"sha256": "0" * 64}})}
    monkeypatch.setattr("imgrank.models.wish.listed", lambda: mine)
    line = f"imgrank models pull {known.origin} --as vit-b-16-new"
    with pytest.raises(ModelUnavailable, match=f"the registry says.*: {line}$"):
        plan("vit-b-16", settings)
    assert plan(known.origin, settings, name="vit-b-16").name == "vit-b-16"  # it is its own


@pytest.mark.parametrize(
    ("repository", "option"), [("", "--name"), ("me/other", "--as"), ("me/other", "--name")]
)
def test_whose_a_name_of_the_list_is(repository: str, option: str) -> None:
    with pytest.raises(UsageError, match=f"Give another name: {option} NAME"):
        refuse_listed("vit-l-14", repository, option)
    refuse_listed("vit-l-14", listed()["vit-l-14"].repository)
    refuse_listed("mine", repository)
    refuse_listed("official-count")  # nobody can pull it: an import makes it


def test_a_folder_of_another_origin_is_never_overwritten(hub: StandIn, settings: Settings) -> None:
    hub.add("owner/small", backbone(0))
    hub.add("other/small", backbone(1))
    folder = fetched("hf:owner/small", settings)
    before = (folder / SAFE).read_bytes()
    with pytest.raises(UsageError, match="--as NAME"):
        plan("hf:other/small", settings)
    mine = settings.models_dir / "mine"
    mine.mkdir()
    with pytest.raises(UsageError, match="your own"):
        plan("hf:other/small", settings, name="mine")
    with pytest.raises(UsageError, match="of the package itself"):
        plan("hf:other/small", settings, name="tiny")
    assert fetched("hf:other/small", settings, name="theirs").name == "theirs"
    assert (folder / SAFE).read_bytes() == before


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ("nonsense", "nothing to pull that is called"),
        ("owner/small", "write hf:owner/small"),
        ("hf:small", "nothing to pull"),
        ("vit-b32", r"Did you mean vit-b-32 .*models list`"),
        ("rarll", "^there is nothing to pull that is called 'rarll'. `imgrank models list`"),
        ("https://hub.example/me/plain", "write hf:me/plain[.]$"),
        ("https://hub.example/me/plain/", "write hf:me/plain[.]$"),
        ("hub.example/me/plain/tree/v1?x=1", "write hf:me/plain@v1[.]$"),
        ("https://hub.example/me/plain/blob/main/a/b.txt", "write hf:me/plain[.]$"),
        ("open_clip:ViT-B-32", "a tag is missing: .*ViT-B-32/TAG. Its tags are openai, laion400m"),
        ("open_clip:ViT-B-31", "no such architecture: ViT-B-31. Did you mean ViT-B-32"),
        ("open_clip:ViT-B-32/nonsense", "no tag 'nonsense'"),
        ("open_clip:nonsense/openai", "no such architecture"),
        ("hf:owner/..", "cannot be called"),
    ],
)
def test_wishes_that_cannot_be_meant(
    hub: StandIn, settings: Settings, wish: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        plan(wish, settings)
    assert hub.requests == []


def test_repositories_that_hold_no_usable_model(hub: StandIn, settings: Settings) -> None:
    config = backbone()["open_clip_config.json"]
    pairs = {
        "sharded": ({"open_clip_config.json": config, "model-00001-of-00002.safetensors": b"1"},
                    "several files"),
        "named": ({"open_clip_config.json": config, "weights.safetensors": b"1"},
                  "a name that OpenCLIP does not know"),
        "empty": ({"open_clip_config.json": config}, "holds no weights"),
        "transformers": ({"config.json": b'{"model_type": "clip"}', "model.safetensors": b"1"},
                         "of type 'clip'. Of those imgrank uses Qwen2.5-VL .'qwen2_5_vl'. alone"),
        "foreign": ({"config.json": b"{}", "model.safetensors": b"1"}, "another program's"),
        "later": ({"config.json": b'{"format": 9, "kind": "adapter"}', "model.safetensors": b"1"},
                  "Upgrade imgrank"),
        "nothing": ({"README.md": b"# nothing"}, "no model that imgrank can use"),
        "broken": ({"open_clip_config.json": b"{", SAFE: b"1"}, "not a JSON object"),
    }  # fmt: skip
    for name, (files, says) in pairs.items():
        hub.add(f"owner/{name}", files)
        with pytest.raises(ModelUnavailable, match=says):
            plan(f"hf:owner/{name}", settings)


def test_what_openclip_cannot_load_never_becomes_a_model(hub: StandIn, settings: Settings) -> None:
    files = backbone()
    state = weights()
    del state["token_embedding.weight"]
    hub.add("owner/small", {**files, SAFE: save(state)})
    found = plan("hf:owner/small", settings)
    with pytest.raises(ModelUnavailable, match="fetched whole, but cannot be used"):
        pull(found, settings)
    assert list(settings.models_dir.iterdir()) == []
    assert locked(settings) == {}


def small_tag(monkeypatch: pytest.MonkeyPatch, **facts: object) -> None:
    """OpenCLIP's own tables, with one small architecture more."""
    table = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "interpolation": "bilinear",
             "resize_mode": "squash", "quick_gelu": True, **facts}  # fmt: skip
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda a, t: table if t == "v1" else {})
    monkeypatch.setattr(open_clip, "get_model_config", lambda a: json.loads(json.dumps(PARTS)))


def test_a_tag_of_openclip_gives_its_preprocessing_and_its_gelu(
    hub: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_tag(monkeypatch, hf_hub="owner/tagged/weights.bin", url="")
    commit = hub.add("owner/tagged", {"weights.safetensors": save(weights())})
    found = plan("open_clip:Small/v1", settings)
    assert found.warnings[0] == (
        f"unpinned: a tag names no revision; pinned from now on by models.lock.json to {commit}"
    )
    folder = pull(found, settings)
    config = json.loads((folder / "open_clip_config.json").read_text())
    assert config["model_cfg"] == {**PARTS, "quick_gelu": True}
    assert config["preprocess_cfg"] == {
        "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear",
        "resize_mode": "squash"}  # fmt: skip
    assert folder.name == "Small-v1"
    assert find("open_clip:Small/v1", settings.models_dir).folder == folder
    assert locked(settings)["open_clip:Small/v1"].revision == commit
    assert plan("open_clip:Small/v1", settings).here == folder


def test_a_tag_that_is_only_an_address_is_refused(
    hub: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_tag(monkeypatch, hf_hub="", url="https://example.org/weights.pt")
    with pytest.raises(ModelUnavailable, match="Fetch that file by hand"):
        plan("open_clip:Small/v1", settings)
    assert hub.requests == []


def test_real_tags_of_openclip() -> None:
    config = tag_config("ViT-B-16", "openai")
    assert config["model_cfg"]["quick_gelu"] is True
    assert config["preprocess_cfg"]["resize_mode"] == "shortest"
    assert "quick_gelu" not in tag_config("ViT-B-32", "laion2b_s34b_b79k")["model_cfg"]


def test_a_tokenizer_of_transformers_is_named_before_the_weights_come(
    hub: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = backbone()
    config = json.loads(files["open_clip_config.json"])
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "owner/tokenizer"
    files["open_clip_config.json"] = json.dumps(config).encode()
    hub.add("owner/small", files)
    with pytest.raises(ModelUnavailable, match=r"another repository \(owner/tokenizer\)"):
        plan("hf:owner/small", settings)
    hub.add("owner/small", {**files, "tokenizer.json": b"{}"})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"imgrank\[siglip\]"):
        plan("hf:owner/small", settings)
    assert not [request for request in hub.requests if SAFE in request]
    monkeypatch.undo()
