"""How long windows take, told before and while they are asked about.

A model of billions of parameters takes minutes a window on a CPU. What that comes to is said before
the model is loaded, and somebody has to want it; once windows are answered, the time left is of
their own pace.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from imgrank.errors import UsageError
from imgrank.pipeline import Progress

__all__ = ["SHORT", "Agree", "Patience", "consent", "spelled"]

SHORT = 60.0  # seconds that nobody is asked about
AGAIN = 600.0  # seconds after which the time left is told once more

Agree = Callable[[str], bool]


@dataclass(slots=True)
class Patience:
    """Of one order; counts windows, tells of pictures.

    pictures: of the order.   planned: windows in all; rises by those that are asked again.
    slow: whether work of more than a minute is welcome; a function is asked with the forecast.
    agreed: whether somebody was told already, and wants it.   clock: seconds.
    """

    pictures: int
    planned: int
    notify: Callable[[str], None]
    progress: Progress | None = None
    slow: bool | Agree = False
    agreed: bool = False
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    _asked: int = 0
    _shown: int = 0
    _started: float | None = field(default=None)
    _told: float = field(default=-math.inf)

    def ask(self, seconds: float | None, size: int, where: str) -> None:
        """Before the first window that is not known. Raises UsageError if it would take long and
        nobody wants that.

        seconds: of one window of `size` pictures, as forecast; None: it is fast.
        """
        if self._started is not None:
            return
        left = max(1, self.planned - self.done)
        if not self.agreed and seconds is not None and left * seconds > SHORT:
            windows = "1 window" if left == 1 else f"{left} windows"
            forecast = (
                f"about {windows} of {size} pictures, {spelled(seconds)} a window on {where}, "
                f"{spelled(left * seconds)} in all"
            )
            consent(forecast, self.slow, self.notify, "a GPU, fewer pictures or a smaller model")
        self._started = self.clock()
        self.at(0)

    def at(self, windows: int, asked: bool = True) -> None:
        """So many more windows are answered.   asked: by the model just now, not known before."""
        self.done += windows
        self.planned = max(self.planned, self.done)
        self._asked += windows if asked else 0
        if self.progress:
            self._shown = max(self._shown, self.done * self.pictures // max(1, self.planned))
            self.progress(self._shown, self.pictures)
        now, left = self.clock(), self.planned - self.done
        if self._started is None or not (asked and self._asked and left > 0):
            return
        seconds = left * (now - self._started) / self._asked
        if seconds >= SHORT and now - self._told >= AGAIN:
            self._told = now
            self.notify(f"  {left} windows to go, {spelled(seconds)} left")


def consent(forecast: str, slow: bool | Agree, notify: Callable[[str], None], less: str) -> None:
    """Of work that takes more than a minute. Raises UsageError if nobody wants it.

    slow: as of `Patience`.   less: what takes less, as the subject of a sentence.
    """
    if slow is False:
        raise UsageError(
            f"{forecast}; --yes goes on. Every answer is kept, so that it can be interrupted and "
            f"gone on with; {less} take less."
        )
    if slow is not True and not slow(forecast):
        raise UsageError("nothing was asked; what is known already is kept.")
    notify(f"  {forecast}; every answer is kept")


def spelled(seconds: float) -> str:
    """ "about 40 seconds", "about 3 minutes", "about 2.5 hours", "about 4 days"."""
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = seconds / size
        if count >= 1.5:
            few = count < 10 and unit != "minute"
            number = f"{count:.1f}".removesuffix(".0") if few else f"{count:.0f}"
            return f"about {number} {unit}s"
    count = max(1, round(seconds))
    return "about a second" if count == 1 else f"about {count} seconds"
