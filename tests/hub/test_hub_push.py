"""Publishing: what is sent, what the Hub is told about it, and that a pull gives it back."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import yaml
from server import StandIn

from imgrank.errors import CheckpointError, ModelUnavailable, UsageError
from imgrank.models.origin import Origin, write_origin
from imgrank.models.pull import plan, pull
from imgrank.models.push import push
from imgrank.models.registry import EMBEDDED, find
from imgrank.models.spec import read_spec
from imgrank.settings import load_settings

OURS = {"config.json", "model.safetensors", "README.md"}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A checkpoint on the embedded backbone, and beside it files that are nobody's business."""
    folder = tmp_path / "mine"
    shutil.copytree(EMBEDDED / "tiny-quality", folder)
    (folder / "notes.txt").write_text("private")
    (folder / ".env").write_text("HF_TOKEN=secret")
    (folder / "origin.json").write_text("{}")
    return folder


def front_matter(card: bytes) -> dict[str, object]:
    return dict(yaml.safe_load(card.decode().split("---\n")[1]))


def test_pushed_then_pulled_by_commit_is_the_same_checkpoint(
    hub: StandIn, mine: Path, logged_in: None
) -> None:
    calls: list[tuple[int, int]] = []
    before = {path.name: path.read_bytes() for path in mine.iterdir()}
    commit = push(
        mine,
        "owner/mine",
        load_settings(),
        message="first",
        progress=lambda done, total: calls.append((done, total)),
    )
    repo = hub.repos["owner/mine"]
    assert repo.private
    assert repo.refs["main"] == commit
    sent = repo.commits[commit]
    assert sent.keys() == OURS
    assert calls[0] == (0, sum(map(len, sent.values())))
    assert calls[-1] == (calls[0][1], calls[0][1])
    assert {path.name: path.read_bytes() for path in mine.iterdir()} == before
    assert [r for r in hub.requests if r.startswith("PUT /upload/")]  # the large store was used

    folder = pull(plan(f"hf:owner/mine@{commit}", load_settings()), load_settings())
    for name in ("config.json", "model.safetensors"):
        assert (folder / name).read_bytes() == before[name]
    assert (folder / "README.md").read_bytes() == sent["README.md"]
    assert find("mine", load_settings().models_dir).kind == "adapter"
    assert [token for path, token in hub.tokens if "/upload/" in path] == [""]


def test_the_card_tells_the_hub_licence_tags_and_figures(
    hub: StandIn, mine: Path, logged_in: None
) -> None:
    commit = push(mine, "owner/mine", load_settings(), private=False)
    assert not hub.repos["owner/mine"].private
    card = hub.repos["owner/mine"].commits[commit]["README.md"]
    facts = front_matter(card)
    assert (facts["license"], facts["library_name"]) == ("other", "imgrank")
    assert facts["pipeline_tag"] == "image-classification"
    assert facts["tags"] == ["imgrank", "image-ranking", "adapter", "quality"]
    (index,) = facts["model-index"]  # type: ignore[misc]
    assert index["results"][0]["dataset"]["name"] == "AGIQA-3k, test split by prompt"
    measured = json.loads((mine / "config.json").read_text())["tasks"]["quality"]["measured"]
    assert index["results"][0]["metrics"][0] == {
        "type": "spearmanr",
        "name": "SRCC",
        "value": measured[0]["srcc"],
    }
    text = (mine / "README.md").read_text()
    assert card.decode().partition("\n# ")[2].strip() == text.partition("\n# ")[2].strip()


def test_what_a_card_says_itself_stays(hub: StandIn, mine: Path, logged_in: None) -> None:
    (mine / "README.md").write_text("---\nlicense: mit\nlanguage: en\n---\n# mine\n")
    config = json.loads((mine / "config.json").read_text())
    config["backbone"]["origin"] = f"hf:owner/back@{'0' * 40}"
    (mine / "config.json").write_text(json.dumps(config))
    commit = push(mine, "hf:owner/mine", load_settings())
    facts = front_matter(hub.repos["owner/mine"].commits[commit]["README.md"])
    assert (facts["license"], facts["language"]) == ("mit", "en")
    assert facts["base_model"] == "owner/back"
    assert "license_name" not in facts


def test_a_backbone_is_pushed_with_its_tokenizer_and_pulled_with_its_identity(
    hub: StandIn, logged_in: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = logging.getLogger("huggingface_hub")
    client.addHandler(caplog.handler)  # it does not hand on to the root
    shutil.copytree(EMBEDDED / "tiny", tmp_path / "tiny")
    commit = push(tmp_path / "tiny", "owner/tiny-copy", load_settings())
    (tmp_path / "tiny" / "README.md").unlink()  # the client would remark on a card without facts
    push(tmp_path / "tiny", "owner/no-card", load_settings())
    client.removeHandler(caplog.handler)
    assert caplog.messages == []
    sent = hub.repos["owner/tiny-copy"].commits[commit]
    assert sent.keys() == {p.name for p in (EMBEDDED / "tiny").iterdir()}
    assert front_matter(sent["README.md"])["library_name"] == "open_clip"
    folder = pull(plan("hf:owner/tiny-copy", load_settings()), load_settings())
    assert read_spec(folder).identity == read_spec(EMBEDDED / "tiny").identity


def test_a_backbone_without_a_card_gets_one_with_licence_and_origin(
    hub: StandIn, logged_in: None, tmp_path: Path
) -> None:
    folder = tmp_path / "loc"
    shutil.copytree(EMBEDDED / "tiny", folder)
    (folder / "README.md").unlink()
    commit = push(folder, "owner/bare", load_settings())
    card = hub.repos["owner/bare"].commits[commit]["README.md"].decode()
    assert "- Licence: unknown\n- Came from: unknown" in card
    write_origin(folder, Origin("imported", "", "", "/home/me/secret", {}, "cc-by-nc-4.0"))
    commit = push(folder, "owner/loc", load_settings())
    card = hub.repos["owner/loc"].commits[commit]["README.md"].decode()
    assert front_matter(card.encode())["license"] == "cc-by-nc-4.0"
    assert card.partition("---\n\n")[2].splitlines()[0] == "# loc"
    assert "    imgrank models pull hf:owner/loc\n" in card
    assert "- Licence: cc-by-nc-4.0" in card
    assert "secret" not in card
    write_origin(folder, Origin("hf:a/b", "a/b", "1" * 40, "main", {}, "mit"))
    commit = push(folder, "owner/loc", load_settings())
    card = hub.repos["owner/loc"].commits[commit]["README.md"].decode()
    assert f"- Came from: hf:a/b at {'1' * 40}" in card


def test_pushing_again_what_has_not_changed_makes_no_commit(
    hub: StandIn, mine: Path, logged_in: None
) -> None:
    first = push(mine, "owner/mine", load_settings())
    assert push(mine, "owner/mine", load_settings()) == first
    assert len(hub.repos["owner/mine"].commits) == 2  # the empty one of its making, and this


def test_refused_before_a_byte_is_sent(
    hub: StandIn, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelUnavailable, match="token that may write"):
        push(mine, "owner/mine", load_settings())
    with pytest.raises(ModelUnavailable, match=r"--offline forbids it\. Leave out --offline\.$"):
        push(mine, "owner/mine", load_settings(offline=True))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelUnavailable, match=r"HF_HUB_OFFLINE forbids it\. Unset that\.$"):
        push(mine, "owner/mine", load_settings())
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(UsageError, match="OWNER/REPOSITORY"):
        push(mine, "mine", load_settings())
    (mine / "model.safetensors").write_bytes(b"exchanged")
    with pytest.raises(UsageError, match="sha256 differs"):
        push(mine, "owner/mine", load_settings())
    (mine / "config.json").unlink()
    with pytest.raises(CheckpointError):
        push(mine, "owner/mine", load_settings())
    assert hub.requests == []


@pytest.mark.parametrize(
    ("part", "status", "says"),
    [
        ("/api/repos/create", 403, "may not do this"),
        ("/commit/", 500, "trouble of its own"),
        ("/upload/", 503, "trouble of its own"),
        ("/preupload/", 429, "asked too often"),
    ],
)
def test_a_push_that_fails_says_why(
    hub: StandIn, mine: Path, logged_in: None, part: str, status: int, says: str
) -> None:
    hub.fail(part, status, code="none")
    with pytest.raises(ModelUnavailable, match=says):
        push(mine, "owner/mine", load_settings())


def test_a_wrong_token(hub: StandIn, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("owner/mine", {})
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ModelUnavailable, match="refused the token"):
        push(mine, "owner/mine", load_settings())
