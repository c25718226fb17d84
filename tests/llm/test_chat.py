"""Asking a chat endpoint: what is sent, what is made of every kind of answer and of trouble."""

from __future__ import annotations

import traceback

import pytest
from chat_server import Asked, ChatServer, Reply, as_json, said

from imgrank.errors import ChatError
from imgrank.llm.chat import Chat, Endpoint, Question, Unusable

KEY = "sk-very-secret"
QUESTION = Question("Do as the system says.", "a cat")


def chat(server: ChatServer, *, timeout: float = 5.0, key: str | None = KEY) -> Chat:
    return Chat(Endpoint(server.url, "clever", key, timeout))


def ask(server: ChatServer, *, timeout: float = 5.0, key: str | None = KEY) -> str:
    with chat(server, timeout=timeout, key=key) as asking:
        return asking.ask(QUESTION, str)


def trouble(server: ChatServer, *replies: Reply, timeout: float = 5.0) -> str:
    """The message of the ChatError; nothing of the error names the key."""
    server.replies = list(replies)
    with pytest.raises(ChatError) as caught:
        ask(server, timeout=timeout)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert KEY not in repr(caught.value.__dict__)
    assert caught.value.status == 3
    return str(caught.value)


# ---- what is sent --------------------------------------------------------------------------------


def test_what_is_asked_and_nothing_else(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "OPENAI_BASE_URL": "http://127.0.0.1:9/elsewhere",
        "OPENAI_API_KEY": "sk-of-another-program",
        "OPENAI_ADMIN_KEY": "sk-admin",
        "OPENAI_ORG_ID": "org-1",
        "OPENAI_PROJECT_ID": "project-1",
        "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer stolen\nX-Mine: 1\nHost: elsewhere",
    }.items():
        monkeypatch.setenv(name, value)
    assert ask(server) == "an answer"
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.body == {
        "model": "clever",
        "temperature": 0.0,
        "messages": [
            {"role": "system", "content": "Do as the system says."},
            {"role": "user", "content": "a cat"},
        ],
    }
    length = asked.headers.pop("content-length")
    assert int(length) > 0
    assert asked.headers == {
        "host": f"127.0.0.1:{server.port}",
        "connection": "keep-alive",
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "imgrank",
        "authorization": f"Bearer {KEY}",
    }


def test_without_a_key_none_is_sent(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-program")
    ask(server, key=None)
    assert "authorization" not in server.asked[0].headers


def test_a_picture_goes_along(server: ChatServer) -> None:
    with chat(server) as asking:
        asking.ask(Question("Look.", "a cat", b"\xff\xd8picture"), str)
    content = server.asked[0].body["messages"][1]["content"]
    assert content == [
        {"type": "text", "text": "a cat"},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9hwaWN0dXJl"}},
    ]


# ---- what comes back -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        said("yes"),
        said([{"type": "text", "text": "y"}, {"type": "text", "text": "es"}]),
        Reply(body=said("yes").body, headers={"Content-Type": "text/plain"}),
        as_json({"choices": [{"message": {"content": "yes"}}]}),
        said("yes", status=201),
        Reply(body=said("yes").body, headers=said("yes").headers, how="drip"),
    ],
)
def test_answers_of_several_servers(server: ChatServer, reply: Reply) -> None:
    server.replies = [reply]
    assert ask(server, timeout=30) == "yes"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (said(""), "the answer is empty"),
        (said(None), "the answer is empty"),
        (said(" \n\t"), "the answer is empty"),
        (as_json({"choices": []}), "the answer is empty"),
        (said("half of", finish="length"), "the answer is cut off"),
        (said("<think>a cat, or"), "it ends amid its thoughts"),
        (said("<think>a cat, or</think>\n"), "the answer is empty"),
        (said("x" * 100_001), "the answer is far too long"),
        (said("no", finish="content_filter"), "it refused to answer"),
        (said(None, refusal="I must not."), "it refused to answer"),
    ],
)
def test_an_answer_of_no_use_is_asked_for_again(server: ChatServer, reply: Reply, why: str) -> None:
    server.replies = [reply, reply, said("at last")]
    assert ask(server) == "at last"
    assert [asked.body["temperature"] for asked in server.asked] == [0.0, 0.7, 0.7]
    server.replies, server.asked = [reply], []
    with pytest.raises(Unusable, match=why):
        ask(server)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    "reply",
    [
        Reply(
            body=b"<html><body>Please log in</body></html>", headers={"Content-Type": "text/html"}
        ),
        Reply(body=b"<html>", headers={"Content-Type": "application/json"}),
        Reply(body=b""),
        Reply(204),
        as_json([]),
        as_json("yes"),
        as_json({"choices": None}),
        as_json({"choices": {}}),
        as_json({"choices": ["yes"]}),
        as_json({"choices": [{}]}),
        as_json({"choices": [{"message": "yes"}]}),
        as_json({"choices": [{"message": None}]}),
        said(7),
        said([7]),
        said({"text": "yes"}),
        Reply(body=b"[" * 200_000, headers={"Content-Type": "application/json"}),
        Reply(body=b"\xff\xfe\x00", headers={"Content-Type": "application/json"}),
    ],
)
def test_what_is_no_chat_endpoint(server: ChatServer, reply: Reply) -> None:
    assert trouble(server, reply) == (
        f"{server.url} does not answer as a chat endpoint does. Is the address right? It usually "
        "ends in /v1."
    )
    assert len(server.asked) == 1


def test_an_error_inside_an_answer(server: ChatServer) -> None:
    said_so = as_json({"error": {"message": f"no model\nfor {KEY}"}})
    assert "It says: no model for [key]. Is the address" in trouble(server, said_so)


@pytest.mark.parametrize("thoughts", ["<think>a {cat}?\nhm</think>\n", "no tag before</Thinking>"])
def test_thoughts_are_no_answer(server: ChatServer, thoughts: str) -> None:
    server.replies = [said(f"{thoughts}a cat")]
    assert ask(server) == "a cat"


def test_an_echo_of_the_key_is_struck_out(server: ChatServer) -> None:
    server.replies = [said(f"you sent {KEY}")]
    assert ask(server) == "you sent [key]"


def test_a_key_that_any_server_is_given_is_no_secret(server: ChatServer) -> None:
    """Else the key "1" would turn the verdict {"choice": 1} into nonsense."""
    server.replies = [said('{"choice": 1}')]
    assert ask(server, key="1") == '{"choice": 1}'


# ---- trouble -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_trouble_that_passes(server: ChatServer, status: int) -> None:
    notices: list[str] = []
    server.replies = [Reply(status, headers={"Retry-After": "7"}), Reply(status), said("yes")]
    with Chat(Endpoint(server.url, "clever", KEY, 5.0), notices.append) as asking:
        assert asking.ask(QUESTION, str) == "yes"
    assert notices == [
        f"{server.url} says {status}, and to come back in 7 s",
        f"{server.url} is asked again (1 of 2)",
        f"{server.url} says {status}",
        f"{server.url} is asked again (2 of 2)",
    ]
    assert [asked.headers["authorization"] for asked in server.asked] == [f"Bearer {KEY}"] * 3


def test_a_wait_is_as_long_as_the_server_says_but_bounded(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    server.replies = [Reply(429, headers={"Retry-After": "7"}), Reply(503), said("yes")]
    ask(server)
    assert waits[0] == 7.0
    assert 0.75 <= waits[1] <= 1.0
    waits.clear()
    server.asked.clear()
    message = trouble(server, Reply(429, headers={"Retry-After": "3600"}))
    assert "Try again after 3600 seconds" in message
    assert (waits, len(server.asked)) == ([], 1)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(500), "has trouble of its own (500). Try again later; what was answered is kept."),
        (as_json({"error": {"message": "quota"}}, 429), "(429). It says: quota. Try again later"),
        (
            as_json({"error": {"message": f"Bad key {KEY}"}}, 401),
            "It says: Bad key [key]. Set",
        ),
        (Reply(403), "refuses the key (403). Set IMGRANK_LLM_KEY"),
        (as_json({"detail": "no\x1b[31m model"}, 404), "(404). It says: no\x1b[31m model. Check"),
        (Reply(413), "what was sent is too large"),
        (as_json({"error": "no pictures"}, 400), "(400). It says: no pictures. Does clever take"),
        (Reply(422, b"<html>" + b"x" * 10_000), "refuses the request (422). Does clever take"),
        (as_json({"error": {"message": "x" * 9000}}, 400), f"It says: {'x' * 199}…. Does"),
        (Reply(body=b"{}", headers={"Content-Encoding": "gzip"}), "packs its answer"),
    ],
)
def test_trouble_that_stays(server: ChatServer, reply: Reply, expected: str) -> None:
    assert expected in trouble(server, reply)


def test_a_key_that_is_wanted(server: ChatServer) -> None:
    server.replies = [Reply(401)]
    with pytest.raises(ChatError, match="wants a key, and none is set for it"):
        ask(server, key=None)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(server: ChatServer, status: int) -> None:
    other = ChatServer()
    try:
        to = f"http://localhost:{other.port}/v1/chat/completions"
        message = trouble(server, Reply(status, headers={"Location": to}))
    finally:
        other.close()
    assert f"sends one elsewhere to localhost:{other.port} ({status})" in message
    assert (len(server.asked), other.asked) == (1, [])


@pytest.mark.parametrize("how", ["stall", "stall-later", "drip"])
def test_a_server_that_never_comes_to_an_end(server: ChatServer, how: str) -> None:
    body = said("x" * 100_000).body
    message = trouble(server, Reply(body=body, how=how), timeout=0.1)  # type: ignore[arg-type]
    assert "gave no whole answer in 0.1 seconds, 3 times" in message
    assert "IMGRANK_LLM_TIMEOUT" in message
    assert len(server.asked) == 3


@pytest.mark.parametrize("how", ["hang-up", "cut"])
def test_a_connection_that_breaks_off(server: ChatServer, how: str) -> None:
    broken = Reply(body=b'{"choices"', how=how)  # type: ignore[arg-type]
    assert "broke the connection off" in trouble(server, broken)
    assert len(server.asked) == 3
    server.replies = [broken, said("yes")]
    assert ask(server) == "yes"


def test_an_answer_without_end(server: ChatServer) -> None:
    assert "sends more than 4 MB" in trouble(server, Reply(how="endless"))
    assert len(server.asked) == 1


def test_nobody_is_there(server: ChatServer) -> None:
    server.close()
    with pytest.raises(ChatError, match=f"no connection to {server.url} .* Is it running"):
        ask(server)


def test_the_proxies_are_named_without_what_they_hold(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:password@127.0.0.1:9")
    with pytest.raises(ChatError, match="the proxy of HTTP_PROXY") as caught:
        ask(server)
    assert "password" not in str(caught.value)
    assert server.asked == []


def test_a_model_that_has_its_own_temperature(server: ChatServer) -> None:
    def answer(asked: Asked) -> Reply:
        if "temperature" in asked.body:
            return as_json({"error": {"message": "bad", "param": "temperature"}}, 400)
        return said("yes")

    server.answer = answer
    with chat(server) as asking:
        assert asking.ask(QUESTION, str) == "yes"
        assert asking.ask(QUESTION, str) == "yes"
    assert ["temperature" in asked.body for asked in server.asked] == [True, False, False]
