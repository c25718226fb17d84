"""Five ways to say more than the query: what is asked, what is made of answers, what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import Asked, ChatServer, Reply, said

from imgrank.errors import ChatError, UsageError
from imgrank.llm.chat import Chat, Endpoint, Unusable
from imgrank.llm.rephrasing import METHODS, cleaned, repeated, rephrase, rephrase_all
from imgrank.store.answers import Answers
from imgrank.store.store import Store

ASKED = [method for method in METHODS if method != "repeat"]


@pytest.fixture
def chat(server: ChatServer) -> Iterator[Chat]:
    with Chat(Endpoint(server.url, "clever", "sk-secret", 5.0)) as chat:
        yield chat


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Answers]:
    with Store(tmp_path / "store") as store:
        yield store.answers


# ---- without a model -----------------------------------------------------------------------------


def test_repeat_needs_nobody() -> None:
    assert repeated("nice daily street", 30) == " ".join(["nice daily street."] * 10)
    assert rephrase("  a\tcat. ", "repeat", words=6) == "a cat. a cat. a cat."
    assert rephrase("one two three four", "repeat", words=5) == (
        "one two three four. one two three four."
    )
    assert rephrase("猫", "repeat", words=3) == "猫. 猫. 猫."
    assert repeated("...", 2) == "...." + " " + "...."


@pytest.mark.parametrize("method", ASKED)
def test_the_others_need_somebody(method: str) -> None:
    with pytest.raises(UsageError, match=r"--llm URL and --llm-model NAME\. --rephrase repeat"):
        rephrase("a cat", method)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_query_is_refused(method: str) -> None:
    with pytest.raises(UsageError, match="no query"):
        rephrase(" \n", method)  # type: ignore[arg-type]


# ---- what is asked -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ASKED)
def test_the_slots_are_filled(method: str, server: ChatServer, chat: Chat) -> None:
    server.replies = [said("a tabby cat in warm light")]
    query = 'a {cat} of "%s" {query}'
    assert rephrase(query, method, chat, words=33) == "a tabby cat in warm light"  # type: ignore[arg-type]
    (asked,) = server.asked
    system, user = (message["content"] for message in asked.body["messages"])
    assert user == f"Query: {query}"
    assert "about 33 words" in system
    rules = {
        "detail": "plain sentences",
        "k_list": "a list with commas between its items",
        "kw_dict": "key: description; key: description",
        "reorg": "Say the same as the query several times",
    }
    assert [name for name, rule in rules.items() if rule in system] == [method]
    assert "{" not in system


# ---- what is made of an answer -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "method", "expected"),
    [
        ("a tabby cat, warm light", "k_list", "a tabby cat, warm light"),
        ('"a tabby cat, warm light"', "k_list", "a tabby cat, warm light"),
        ("“a tabby cat”, ‘warm light’", "k_list", "a tabby cat, ‘warm light’"),
        ("'a cat's eyes'", "k_list", "a cat's eyes"),
        ("```text\na tabby cat\n```", "detail", "a tabby cat"),
        ("- a cat,\n- warm light\n", "k_list", "a cat, warm light"),
        ("1. a cat\n2) warm light", "reorg", "a cat, warm light"),
        ("## Cat\n**cat**: a __tabby__;\nlight: warm", "kw_dict", "Cat; cat: a tabby; light: warm"),
        ("A cat sits.\n\nIt is warm.", "detail", "A cat sits. It is warm."),
        ("3 dogs and 1920s cars", "detail", "3 dogs and 1920s cars"),
        ("Sure! Here is a description:\n\na cat", "detail", "a cat"),
        ("Certainly, here's the text: a cat", "detail", "a cat"),
        ("Description: a cat", "detail", "a cat"),
        ("Here is a cat on a mat", "detail", "Here is a cat on a mat"),
        ("cat: a tabby; light: warm", "kw_dict", "cat: a tabby; light: warm"),
        ("a \x1b[31mred\x07 cat\u202e\u2028here", "detail", "a [31mred cat here"),
        ("ein Kätzchen, 猫", "k_list", "ein Kätzchen, 猫"),
        ("don't walk", "detail", "don't walk"),
    ],
)
def test_an_answer_becomes_one_plain_line(answer: str, method: str, expected: str) -> None:
    assert cleaned(answer, method) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("...", "it is empty"),
        ("```\n```", "it is empty"),
        ("Sure, here you are:", "it is empty"),
        ("I'm sorry, but I can't help with that.", "it refused to answer"),
        ("I cannot describe this.", "it refused to answer"),
        ("As an AI language model, I", "it refused to answer"),
        ('{"description": "a cat"}', "it is not plain text"),
        ("<html>", "it is not plain text"),
        ("\n" * 100_000 + "*" * 100_000, "it is empty"),
        ("word " * 501, "it has 501 words where about 50 were asked for"),
    ],
)
def test_what_cannot_stand_for_a_query(answer: str, why: str) -> None:
    with pytest.raises(Unusable, match=why):
        cleaned(answer, "detail")


def test_too_much_is_cut_where_something_ends() -> None:
    item = "a soft warm light"
    assert cleaned(", ".join([item] * 9), "k_list", words=10) == ", ".join([item] * 5)
    assert cleaned(", ".join([item] * 5), "k_list", words=10) == ", ".join([item] * 5)
    assert cleaned("word " * 40, "k_list", words=10) == " ".join(["word"] * 20)


def test_an_answer_of_no_use_is_asked_for_again_then_an_error(
    server: ChatServer, chat: Chat, kept: Answers
) -> None:
    server.replies = [said("I can't."), said("<html>"), said("a cat")]
    assert rephrase("cats", "detail", chat, kept=kept) == "a cat"
    server.replies = [said("I can't.")]
    with pytest.raises(ChatError, match=r"nothing that can stand for 'dogs': it refused .* repeat"):
        rephrase("dogs", "detail", chat, kept=kept)
    server.replies = [said("a dog")]
    assert rephrase("dogs", "detail", chat, kept=kept) == "a dog"  # a failure is not kept


# ---- what is kept --------------------------------------------------------------------------------


def test_nothing_is_asked_twice(server: ChatServer, chat: Chat, kept: Answers) -> None:
    server.answer = lambda asked: said(f"answer {len(server.asked)}")
    for _ in range(2):
        assert rephrase("a cat", "k_list", chat, kept=kept) == "answer 1"
        assert rephrase(" a  cat ", "k_list", chat, kept=kept) == "answer 1"
        assert rephrase("a cat", "detail", chat, kept=kept) == "answer 2"
        assert rephrase("a cat", "k_list", chat, kept=kept, words=20) == "answer 3"
        assert rephrase("A cat", "k_list", chat, kept=kept) == "answer 4"
        with Chat(Endpoint(server.url, "other", None, 5.0)) as other:
            assert rephrase("a cat", "k_list", other, kept=kept) == "answer 5"
        elsewhere = server.url.replace("127.0.0.1", "localhost")
        with Chat(Endpoint(elsewhere, "clever", None, 5.0)) as other:
            assert rephrase("a cat", "k_list", other, kept=kept) == "answer 6"
    assert len(server.asked) == 6


def test_other_prompts_are_asked_anew(
    server: ChatServer, chat: Chat, kept: Answers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from imgrank.llm import rephrasing

    server.answer = lambda asked: said(f"answer {len(server.asked)}")
    assert rephrase("a cat", "k_list", chat, kept=kept) == "answer 1"
    file = tmp_path / "prompts.toml"
    file.write_text(rephrasing.FILE.read_text("utf-8").replace("a list with", "one list with"))
    monkeypatch.setattr(rephrasing, "FILE", file)
    rephrasing._prompts.cache_clear()
    assert rephrase("a cat", "k_list", chat, kept=kept) == "answer 2"
    monkeypatch.undo()
    rephrasing._prompts.cache_clear()
    assert rephrase("a cat", "k_list", chat, kept=kept) == "answer 1"


def test_what_is_known_needs_no_network(server: ChatServer, chat: Chat, kept: Answers) -> None:
    rephrase("a cat", "k_list", chat, kept=kept)
    with Chat(Endpoint(server.url, "clever", None, offline_by="--offline")) as offline:
        assert rephrase("a cat", "k_list", offline, kept=kept) == "an answer"
        with pytest.raises(ChatError, match="--offline forbids the network"):
            rephrase("a dog", "k_list", offline, kept=kept)
    assert len(server.asked) == 1


def test_the_key_is_not_kept(server: ChatServer, chat: Chat, tmp_path: Path) -> None:
    server.replies = [said("a cat with sk-secret")]
    with Store(tmp_path / "s") as store:
        assert rephrase("a cat", "k_list", chat, kept=store.answers) == "a cat with [key]"
    assert all(b"sk-secret" not in file.read_bytes() for file in tmp_path.glob("s*"))


# ---- many ----------------------------------------------------------------------------------------


def test_many_come_in_their_order_and_one_failure_does_not_end_them(
    server: ChatServer, chat: Chat
) -> None:
    def answer(asked: Asked) -> Reply:
        number = int(asked.text.split()[-1])
        return Reply(400) if number == 7 else said(f"picture {number} in full")

    server.answer = answer
    found = list(rephrase_all([f"picture {n}" for n in range(20)], "detail", chat))
    assert isinstance(found[7], ChatError)
    del found[7]
    assert found == [f"picture {n} in full" for n in range(20) if n != 7]


def test_after_many_failures_nobody_is_asked_but_what_is_known_is_found(
    server: ChatServer, chat: Chat, kept: Answers
) -> None:
    queries = [f"picture {n}" for n in range(60)]
    rephrase(queries[-1], "detail", chat, kept=kept)
    server.replies = [Reply(400)]
    *failed, last = rephrase_all(queries, "detail", chat, kept=kept)
    assert all(isinstance(one, ChatError) for one in failed)
    assert "is not asked any more" in str(failed[-1])
    assert last == "an answer"
    assert 10 <= len(server.asked) - 1 < 20


def test_what_nobody_wants_any_more_is_not_asked(server: ChatServer, chat: Chat) -> None:
    several = rephrase_all([f"picture {n}" for n in range(200)], "detail", chat)
    assert next(several) == "an answer"
    several.close()
    assert len(server.asked) < 100


def test_prompts_have_their_slots_and_no_others() -> None:
    from imgrank.llm import rephrasing

    prompts = rephrasing._prompts()
    assert sorted(prompts["methods"]) == sorted(ASKED)
    assert prompts["system"].format(words=1, method=2) != prompts["system"]
    assert prompts["user"].format(query="q").strip() == "Query: q"
    assert json.dumps(prompts)
