"""What else of the user's set-up counts: a login, the Hub's cache, transformers' tokenizers."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from server import TOKEN, StandIn, sha256
from small_models import SAFE, backbone

from imgrank.errors import ModelUnavailable
from imgrank.models.pull import plan, pull
from imgrank.models.spec import read_spec
from imgrank.rankers.source import backbone_source
from imgrank.settings import Settings, load_settings

WISH = "hf:owner/small"
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [
        {"id": 0, "content": "<pad>", "special": True, "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False}],
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "unk_token": "<unk>",
              "vocab": {"<pad>": 0, "<unk>": 1, "cat": 2, "dog": 3}},
}  # fmt: skip


@pytest.fixture
def settings() -> Settings:
    return load_settings()


def stored(hub: StandIn) -> int:
    """How often the content of the weights was fetched."""
    oid = sha256(backbone()[SAFE])
    return sum(request.startswith("GET") and oid in request for request in hub.requests)


def test_a_login_counts_as_a_token(
    hub: StandIn, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.add("owner/small", backbone(), private=True)
    with pytest.raises(ModelUnavailable, match="hf auth login"):
        plan(WISH, settings)
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert plan(WISH, settings).name == "small"


@pytest.fixture
def cached(hub: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The weights as another program left them in the Hub's cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    hub.add("owner/small", backbone())
    return Path(huggingface_hub.hf_hub_download("owner/small", SAFE, endpoint=hub.url))


def test_what_the_cache_of_the_hub_has_is_copied(
    hub: StandIn, settings: Settings, cached: Path
) -> None:
    assert stored(hub) == 1
    folder = pull(plan(WISH, settings), settings)
    assert stored(hub) == 1
    assert (folder / SAFE).read_bytes() == backbone()[SAFE]
    assert not (folder / SAFE).is_symlink()
    assert (folder / SAFE).stat().st_ino != cached.stat().st_ino  # its own, whatever happens there


def test_a_damaged_cache_makes_no_model(hub: StandIn, settings: Settings, cached: Path) -> None:
    content = cached.read_bytes()
    cached.resolve().write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelUnavailable, match=r"altered: its sha256 is another.*HF_HOME"):
        pull(plan(WISH, settings), settings)
    assert not (settings.models_dir / "small").exists()


def test_a_backbone_with_a_tokenizer_of_transformers(hub: StandIn, settings: Settings) -> None:
    pytest.importorskip("transformers")
    files = backbone()
    config = json.loads(files["open_clip_config.json"])
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "owner/small"
    files["open_clip_config.json"] = json.dumps(config).encode()
    files["tokenizer.json"] = json.dumps(TOKENIZER).encode()
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"}
    files["tokenizer_config.json"] = json.dumps(facts).encode()
    hub.add("owner/small", files)
    folder = pull(plan(WISH, settings), settings)
    assert {"tokenizer.json", "tokenizer_config.json"} <= {p.name for p in folder.iterdir()}
    assert read_spec(folder).widths["embed"] == 8
    offline = load_settings(offline=True)
    asked = len(hub.requests)
    cat, dog = backbone_source(folder, offline.device).text_embeddings(["cat", "dog"])
    assert cat.shape == (8,)
    assert not (cat == dog).all()
    assert len(hub.requests) == asked
