"""Who is asked, and who is shown the key."""

from __future__ import annotations

from pathlib import Path

import pytest
from chat_server import ChatServer

from imgrank.errors import ChatError, UsageError
from imgrank.llm.chat import Chat, Endpoint, Question, endpoint_of
from imgrank.settings import Settings, load_settings

KEY = "sk-very-secret"


def test_offline_asks_nobody_not_even_this_machine(server: ChatServer) -> None:
    end = Endpoint(server.url, "clever", KEY, offline_by="HF_HUB_OFFLINE")
    with pytest.raises(ChatError, match="HF_HUB_OFFLINE forbids the network, this machine's own"):
        Chat(end).ask(Question("Do.", "a cat"), str)
    assert server.asked == []


def test_nobody_is_asked_who_is_not_named(home: Path) -> None:
    with pytest.raises(UsageError, match=r"--llm http://.*, IMGRANK_LLM_URL, or llm_url in .*toml"):
        endpoint_of(load_settings())
    with pytest.raises(UsageError, match="--llm-model NAME, IMGRANK_LLM_MODEL, or llm_model in"):
        endpoint_of(load_settings(), "http://localhost:1/v1")


@pytest.mark.parametrize(
    "url",
    ["localhost:8080", "ftp://a/v1", "http://", "http://a:99999", "http://[::1", "http://a b", ""],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError, match="--llm: what is given will not do"):
        endpoint_of(load_settings(), url, "clever")


@pytest.mark.parametrize("url", ["http://me:secret@a/v1", "http://a/v1?key=secret"])
def test_an_address_holds_no_secret(url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="IMGRANK_LLM_KEY") as caught:
        endpoint_of(load_settings(), url, "clever")
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("IMGRANK_LLM_URL", url)
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert "secret" not in str(caught.value)


def test_the_whole_address_of_requests_is_understood() -> None:
    found = endpoint_of(load_settings(), "http://localhost:1/v1/chat/completions/", " clever ")
    assert (found.url, found.model) == ("http://localhost:1/v1", "clever")
    assert found.source == "clever at http://localhost:1/v1"


def configured(home: Path, text: str, **environ: str) -> Settings:
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(text)
    return load_settings(environ={"IMGRANK_HOME": str(home), **environ})


CONFIG = f"""
llm_url = "https://paid.example/v1"
llm_model = "clever"
llm_key = "{KEY}"
llm_timeout = 7
"""


def test_settings_name_all_of_it(home: Path) -> None:
    found = endpoint_of(configured(home, CONFIG))
    assert found == Endpoint("https://paid.example/v1", "clever", KEY, 7.0)
    assert KEY not in repr(found) + repr(configured(home, CONFIG))
    with pytest.raises(UsageError) as caught:
        configured(home, "", IMGRANK_LLM_KEY="not\u00a0possible")
    assert "possible'" not in str(caught.value)
    with pytest.raises(UsageError, match="IMGRANK_LLM_TIMEOUT: '0' will not do"):
        configured(home, "", IMGRANK_LLM_TIMEOUT="0")


@pytest.mark.parametrize(
    ("url", "environ", "shown"),
    [
        (None, {}, True),
        ("https://paid.example/other", {}, True),
        ("https://PAID.example:443/v1", {}, True),
        ("http://paid.example/v1", {}, False),  # in the clear
        ("https://paid.example:8443/v1", {}, False),
        ("http://localhost:1/v1", {}, False),
        (None, {"IMGRANK_LLM_URL": "http://localhost:1/v1"}, False),
        ("http://localhost:1/v1", {"IMGRANK_LLM_KEY": KEY}, True),
        ("http://localhost:1/v1", {"IMGRANK_LLM_KEY": KEY, "IMGRANK_LLM_URL": "http://a"}, False),
        (None, {"IMGRANK_LLM_KEY": KEY, "IMGRANK_LLM_URL": "http://localhost:1"}, True),
    ],
)
def test_a_key_goes_to_the_host_it_was_set_for(
    home: Path, url: str | None, environ: dict[str, str], shown: bool
) -> None:
    notices: list[str] = []
    found = endpoint_of(configured(home, CONFIG, **environ), url, notify=notices.append)
    assert found.key == (KEY if shown else None)
    assert ["is not shown to" in notice for notice in notices] == [True] * (not shown)


def test_a_key_in_the_clear_is_said(home: Path) -> None:
    notices: list[str] = []
    settings = configured(home, f'llm_key = "{KEY}"\n')
    endpoint_of(settings, "http://box.lan:1/v1", "m", notices.append)
    assert len(notices) == 1
    assert "not encrypted" in notices[0]
    endpoint_of(settings, "http://localhost:1/v1", "m", notices.append)
    endpoint_of(settings, "https://box.lan/v1", "m", notices.append)
    assert len(notices) == 1
