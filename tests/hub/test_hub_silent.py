"""What the client must not say: anything of this machine, or of who runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _detect_agent  # type: ignore[attr-defined]
from server import StandIn
from small_models import backbone

from imgrank.models.pull import plan, pull
from imgrank.settings import load_settings


def test_a_pull_asks_for_its_repository_alone(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "agents.json"))
    monkeypatch.setattr(_detect_agent, "_registry", None)
    monkeypatch.setattr(_detect_agent, "_fetch_registry", lambda: asked.append("agents"))
    hub.add("owner/small", backbone())
    settings = load_settings()
    pull(plan("hf:owner/small", settings), settings)
    assert hub.requests and all("owner/small" in line for line in hub.requests)
    assert asked == []
    assert not constants.HF_HUB_DISABLE_TELEMETRY  # only our own calls are quiet
