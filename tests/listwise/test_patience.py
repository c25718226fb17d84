"""How long windows take, told before and on the way."""

from __future__ import annotations

import pytest

from imgrank.errors import UsageError
from imgrank.listwise.patience import Patience, spelled


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.02, "about a second"),
        (41, "about 41 seconds"),
        (89, "about 89 seconds"),
        (90, "about 2 minutes"),
        (1500, "about 25 minutes"),
        (5400, "about 1.5 hours"),
        (7200, "about 2 hours"),
        (40_000, "about 11 hours"),
        (1_000_000, "about 12 days"),
    ],
)
def test_spelled(seconds: float, said: str) -> None:
    assert spelled(seconds) == said


def test_the_time_left_is_told_by_the_pace_of_what_was_asked() -> None:
    said: list[str] = []
    now = [0.0]
    patience = Patience(100, 25, said.append, slow=True, clock=lambda: now[0])
    patience.at(5, asked=False)  # known: takes no time, and says nothing of how long one takes
    patience.ask(90.0, 8, "this CPU")
    assert said == [
        "  about 20 windows of 8 pictures, about 2 minutes a window on this CPU, about 30 minutes "
        "in all; every answer is kept"
    ]
    now[0] = 100.0
    patience.at(1)
    assert said[1:] == ["  19 windows to go, about 32 minutes left"]
    for _ in range(5):
        now[0] += 100.0
        patience.at(1)
    assert len(said) == 2  # not again so soon
    now[0] += 100.0
    patience.at(1)
    assert said[2:] == ["  13 windows to go, about 22 minutes left"]
    for _ in range(13):
        now[0] += 100.0
        patience.at(1)
    patience.at(3)  # more than were planned: some were asked again
    assert (patience.done, patience.planned) == (28, 28)


def test_one_is_asked_once_and_only_about_more_than_a_minute() -> None:
    asked: list[str] = []
    patience = Patience(16, 4, lambda text: None, slow=lambda text: bool(asked.append(text)))
    patience.ask(15.0, 8, "this CPU")
    patience.ask(1e6, 8, "this CPU")
    assert asked == []
    again = Patience(16, 4, lambda text: None, slow=lambda text: bool(asked.append(text)))
    with pytest.raises(UsageError, match="nothing was asked"):
        again.ask(15.1, 8, "this CPU")
    assert asked == [
        "about 4 windows of 8 pictures, about 15 seconds a window on this CPU, about 60 seconds in "
        "all"
    ]
