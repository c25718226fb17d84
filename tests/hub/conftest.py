"""`hub`: a stand-in for the Hub, and an environment that leads to it alone; `logged_in` there;
`impatient` where a server stalls."""

from __future__ import annotations

from collections.abc import Iterator

import huggingface_hub.utils
import pytest
import pytest_socket
from huggingface_hub import constants
from model_folders import Run, runner
from server import TOKEN, StandIn

from imgrank.settings import Settings, load_settings


@pytest.fixture
def hub(socket_enabled: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """An empty Hub at HF_ENDPOINT; only this machine can be reached, nobody is logged in.

    Waits between the client's retries take no time.
    """
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    pytest_socket.socket_allow_hosts(["127.0.0.1", "::1"])  # localhost may mean either
    huggingface_hub.utils.close_session()
    hub = StandIn()
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    yield hub
    huggingface_hub.utils.close_session()
    hub.close()


@pytest.fixture
def impatient(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stalled answer is given up after a quarter of a second; a busy machine may be as slow."""
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.25)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.25)


@pytest.fixture
def settings() -> Settings:
    return load_settings()


@pytest.fixture
def run(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(monkeypatch)


@pytest.fixture
def logged_in(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who may write."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
