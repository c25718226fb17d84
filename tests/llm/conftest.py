"""The fixture `server`: a chat endpoint on this machine; waits between tries take no time."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import pytest_socket
from chat_server import ChatServer


@pytest.fixture
def server(socket_enabled: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """Only this machine can be reached, and nothing that is set for other clients applies."""
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    for name in [*os.environ]:
        if name.startswith("OPENAI_") or name.upper() in proxies:
            monkeypatch.delenv(name)
    pytest_socket.socket_allow_hosts(["127.0.0.1", "::1"])  # localhost may mean either
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server = ChatServer()
    yield server
    server.close()
