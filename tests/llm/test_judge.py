"""Two searches before a judge: order consistency, exact rates, nothing asked twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from chat_server import Asked, ChatServer, Reply, said
from PIL import Image

from imgrank.errors import ChatError
from imgrank.evaluate import judge_report
from imgrank.evaluate.judge import CRITERIA, Judge, Judged, Pair, read_verdict
from imgrank.llm.chat import Chat, Endpoint, Unusable
from imgrank.store.store import Store

FACTS = {"a": "new", "b": "old", "judge": "clever", "top": 5}


def verdict(choice: int | Sequence[int]) -> Reply:
    choices = [choice] * 3 if isinstance(choice, int) else choice
    return said(
        json.dumps({c: {"why": "so", "choice": n} for c, n in zip(CRITERIA, choices, strict=True)})
    )


def brighter(asked: Asked) -> int:
    """The row with the brighter pictures."""
    page = asked.picture.convert("L")
    middle = page.height // 2
    halves = [
        page.crop((0, top, page.width, top + middle)).resize((1, 1)).getpixel((0, 0))
        for top in (0, middle)
    ]
    return 1 if halves[0] > halves[1] else 2  # type: ignore[operator]


@pytest.fixture
def chat(server: ChatServer) -> Iterator[Chat]:
    with Chat(Endpoint(server.url, "clever", None, 5.0)) as chat:
        yield chat


@pytest.fixture
def row(tmp_path: Path) -> Callable[[str, int], tuple[Path, ...]]:
    """Five grey pictures of a row, all of one brightness."""

    def make(name: str, grey: int) -> tuple[Path, ...]:
        paths = tuple(tmp_path / f"{name}-{n}.png" for n in range(5))
        for n, path in enumerate(paths):
            Image.new("RGB", (64, 48), (grey + n,) * 3).save(path)
        return paths

    return make


Row = Callable[[str, int], tuple[Path, ...]]


def judged(chat: Chat, pairs: Sequence[Pair], store: Store | None = None) -> list[Judged]:
    judge = Judge(chat, kept=store.answers if store else None)
    return judge.judge(judge.cases(pairs))


def rates(found: Sequence[Judged], criterion: str = "accuracy") -> dict[str, Any]:
    table = judge_report.table(found, CRITERIA, FACTS)
    return next(each for each in table["criteria"] if each["criterion"] == criterion)


def three_pairs(row: Row) -> list[Pair]:
    light, dark = row("light", 200), row("dark", 20)
    return [Pair(f"query {n}", light, dark) for n in range(3)]


# ---- verdicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        '{"accuracy": {"why": "x", "choice": 1}, "aesthetics": {"choice": 2}}',
        '```json\n{"accuracy": {"choice": 1}, "aesthetics": {"choice": 2}}\n```',
        'So: {"Accuracy": 1, " AESTHETICS ": "2", "more": []} Well.',
        '{"accuracy": {"why": "line\nbreak", "choice": "1"}, "aesthetics": 2}',
    ],
)
def test_a_verdict_is_read_from_what_stands_around_it(answer: str) -> None:
    found = read_verdict(answer, ("accuracy", "aesthetics"))
    assert found == {"accuracy": 1, "aesthetics": 2}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("Row 1 is better.", "no JSON object"),
        ("", "no JSON object"),
        ('{"accuracy": 1', "no JSON object"),
        ("[1, 2]", "no JSON object"),
        ("}{", "no JSON object"),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, "no JSON object"),
        ("{}", "no choice of 1 or 2 for accuracy"),
        ('{"accuracy": 1}', "no choice of 1 or 2 for aesthetics"),
        ('{"accuracy": 0, "aesthetics": 1}', "for accuracy"),
        ('{"accuracy": 3, "aesthetics": 1}', "for accuracy"),
        ('{"accuracy": 1.0, "aesthetics": 1}', "for accuracy"),
        ('{"accuracy": true, "aesthetics": 1}', "for accuracy"),
        ('{"accuracy": "both", "aesthetics": 1}', "for accuracy"),
        ('{"accuracy": [1], "aesthetics": 1}', "for accuracy"),
        ('{"accuracy": {"choice": null}, "aesthetics": 1}', "for accuracy"),
    ],
)
def test_what_is_no_verdict(answer: str, why: str) -> None:
    with pytest.raises(Unusable, match=why):
        read_verdict(answer, ("accuracy", "aesthetics"))


def test_what_the_judge_is_shown(server: ChatServer, chat: Chat, row: Row) -> None:
    server.replies = [verdict(1)]
    judged(chat, [Pair("a {cat}", row("light", 200), row("dark", 20))])
    assert [brighter(asked) for asked in server.asked] == [1, 2]  # A above, then B above
    for asked in server.asked:
        assert asked.text == "Query: a {cat}"
        system = asked.body["messages"][0]["content"]
        assert '{"accuracy": {"why": "...", "choice": 1}, "aesthetics":' in system
        assert all(f"- {criterion}: How " in system for criterion in CRITERIA)
        assert asked.picture.size == (1648, 744)


# ---- order consistency, rates --------------------------------------------------------------------


def test_a_judge_that_prefers_a(server: ChatServer, chat: Chat, row: Row) -> None:
    server.answer = lambda asked: verdict(brighter(asked))
    found = rates(judged(chat, three_pairs(row)))
    assert (found["wins"], found["similar"], found["losses"]) == (3, 0, 0)
    assert (found["win_rate"], found["win_and_similar_rate"]) == (1.0, 1.0)
    assert found["win_rate_interval"] == (1.0, 1.0)
    assert found["row_1"] == 0.5
    server.answer = lambda asked: verdict(3 - brighter(asked))
    found = rates(judged(chat, three_pairs(row)))
    assert (found["wins"], found["similar"], found["losses"]) == (0, 0, 3)
    assert (found["win_rate"], found["win_and_similar_rate"]) == (0.0, 0.0)


@pytest.mark.parametrize("place", [1, 2])
def test_a_judge_that_looks_at_the_place_alone(
    server: ChatServer, chat: Chat, row: Row, place: int
) -> None:
    server.replies = [verdict(place)]
    found = rates(judged(chat, three_pairs(row)))
    assert (found["wins"], found["similar"], found["losses"]) == (0, 3, 0)
    assert (found["win_rate"], found["win_rate_interval"]) == (None, (None, None))
    assert (found["win_and_similar_rate"], found["row_1"]) == (1.0, 2 - place)


def test_each_criterion_has_its_own_outcome(server: ChatServer, chat: Chat, row: Row) -> None:
    server.answer = lambda asked: verdict((brighter(asked), 1, 3 - brighter(asked)))
    (one,) = judged(chat, three_pairs(row)[:1])
    assert [one.outcome(criterion) for criterion in CRITERIA] == ["win", "similar", "loss"]


def test_rates_worked_by_hand(server: ChatServer, chat: Chat, row: Row) -> None:
    """Two wins, one loss, one for the place, one identical, one malformed."""
    light, dark = row("light", 200), row("dark", 20)

    def answer(asked: Asked) -> Reply:
        if "malformed" in asked.text:
            return said("They are both lovely.")
        return verdict(1 if "place" in asked.text else brighter(asked))

    server.answer = answer
    pairs = [
        Pair("one", light, dark),
        Pair("two", light, dark),
        Pair("three", dark, light),
        Pair("place", light, dark),
        Pair("same", light, light),
        Pair("malformed", light, dark),
    ]
    done = judged(chat, pairs)
    assert [one.outcome("diversity") for one in done] == [
        *("win", "win", "loss", "similar", "similar", "similar")
    ]
    assert len(server.asked) == 4 * 2 + 3  # the malformed one three times, in one order
    found = rates(done)
    assert (found["wins"], found["similar"], found["losses"]) == (2, 3, 1)
    assert found["win_rate"] == pytest.approx(2 / 3)
    assert found["win_and_similar_rate"] == pytest.approx(5 / 6)
    assert found["row_1"] == 5 / 8
    low, high = found["win_rate_interval"]
    assert (low, high) == (0.0, 1.0)
    table = judge_report.table(done, CRITERIA, FACTS)
    assert (table["queries"], table["identical"], table["malformed"]) == (6, 1, 1)
    assert table["judged"][5]["malformed"] == "its verdict is no JSON object"
    assert table["judged"][4]["identical"] is True
    assert table["judged"][2]["verdicts"] == [dict.fromkeys(CRITERIA, n) for n in (2, 1)]
    notes = "\n".join(judge_report.notes(table))
    assert "1 queries gave both the same pictures: similar, not judged." in notes
    assert "1 queries got no verdict that could be read: similar." in notes


def test_intervals_are_of_the_rates_of_each_round() -> None:
    import numpy as np

    from imgrank.evaluate.resampling import draws

    path = (Path("a"),), (Path("b"),)
    sure = ({"accuracy": 1}, {"accuracy": 2}), ({"accuracy": 2}, {"accuracy": 1})
    even = {"accuracy": 1}, {"accuracy": 1}
    outcomes = [sure[0]] * 12 + [sure[1]] * 5 + [even] * 9
    done = [Judged(Pair(str(n), *path), verdicts) for n, verdicts in enumerate(outcomes)]
    (found,) = judge_report.table(done, ["accuracy"], FACTS, rounds=200, seed=3)["criteria"]
    slow: list[tuple[float, float]] = []
    for drawn in draws(range(26), 200, 3):
        won, lost, n = drawn[:12].sum(), drawn[12:17].sum(), drawn.sum()
        slow.append((won / (won + lost), 1 - lost / n))
    for name, values in zip(
        ("win_rate", "win_and_similar_rate"), zip(*slow, strict=True), strict=True
    ):
        assert found[f"{name}_interval"] == pytest.approx(
            tuple(np.percentile(np.array(values, np.float64), [2.5, 97.5]))
        )


# ---- what is kept --------------------------------------------------------------------------------


def test_nothing_is_asked_twice(server: ChatServer, chat: Chat, row: Row, tmp_path: Path) -> None:
    server.answer = lambda asked: verdict(brighter(asked))
    pairs = three_pairs(row)
    with Store(tmp_path / "s") as store:
        first = judged(chat, pairs, store)
        assert len(server.asked) == 6
        light, dark = pairs[0].a, pairs[0].b
        for path in [*light, *dark]:
            path.rename(path.with_stem(f"{path.stem}-renamed"))  # the same contents
        again = [
            Pair(p.query, *(tuple(x.with_stem(f"{x.stem}-renamed") for x in r) for r in (p.a, p.b)))
            for p in pairs
        ]
        assert rates(judged(chat, again, store)) == rates(first)
        assert len(server.asked) == 6
        swapped = [Pair(p.query, p.b, p.a) for p in again]  # the same two questions
        assert rates(judged(chat, swapped, store))["losses"] == 3
        assert len(server.asked) == 6
        for judge in (
            Judge(chat, ["accuracy"], store.answers),
            Judge(Chat(Endpoint(server.url, "other")), kept=store.answers),
        ):
            assert sum(case.missing for case in judge.cases(again)) == 6
        Image.new("RGB", (64, 48), (9, 9, 9)).save(again[0].a[0])  # another picture
        assert sum(case.missing for case in Judge(chat, kept=store.answers).cases(again)) == 6


def test_it_goes_on_after_trouble_and_asks_a_malformed_one_again(
    server: ChatServer, chat: Chat, row: Row, tmp_path: Path
) -> None:
    pairs = three_pairs(row)
    with Store(tmp_path / "s") as store:
        server.answer = lambda asked: (
            Reply(400) if "query 1" in asked.text else verdict(brighter(asked))
        )
        judge = Judge(chat, kept=store.answers)
        with pytest.raises(ChatError, match="refuses the request"):
            judge.judge(judge.cases(pairs))
    with (
        Store(tmp_path / "s") as store,
        Chat(Endpoint(server.url, "clever", None, 5.0)) as another,
    ):
        judge = Judge(another, kept=store.answers)
        cases = judge.cases(pairs)
        assert cases[1].missing == 2
        left = sum(case.missing for case in cases)
        server.asked.clear()
        server.answer = lambda asked: (
            said("?") if "query 1" in asked.text else verdict(brighter(asked))
        )
        found = judge.judge(cases)
        assert [bool(one.malformed) for one in found] == [False, True, False]
        assert len(server.asked) == left - 2 + 3
        server.answer = lambda asked: verdict(brighter(asked))
        cases = judge.cases(pairs)
        assert sum(case.missing for case in cases) == 2
        assert rates(judge.judge(cases))["wins"] == 3
