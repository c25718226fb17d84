"""Several questions at a time: none is lost, and nobody waits for an endpoint that says nothing."""

from __future__ import annotations

import threading

import pytest

from imgrank.errors import ChatError
from imgrank.llm.chat import side_by_side


def test_several_are_done_side_by_side() -> None:
    together = threading.Barrier(3, timeout=10)

    def work(number: int) -> int:
        together.wait()
        return number * number

    assert sorted(side_by_side(work, range(9), 3)) == [(n, n * n) for n in range(9)]
    assert list(side_by_side(work, [], 3)) == []


def test_after_an_error_nothing_new_is_begun_and_what_is_under_way_is_waited_for() -> None:
    begun: list[int] = []
    ended: list[int] = []
    failing = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            failing.set()
            raise ChatError("no")
        assert failing.wait(10)
        threading.Event().wait(0.01)
        ended.append(number)

    with pytest.raises(ChatError, match="no"):
        list(side_by_side(work, range(10_000), 2))
    assert len(begun) < 10_000
    assert len(begun) == len(ended) + 1


def test_an_interrupt_waits_for_nobody() -> None:
    answered = threading.Event()

    def work(number: int) -> int:
        if number:
            answered.wait(60)
        return number

    several = side_by_side(work, [0, 1], 2)
    assert next(several) == (0, 0)
    with pytest.raises(KeyboardInterrupt):
        several.throw(KeyboardInterrupt())
    assert not answered.is_set()
    answered.set()
