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

__all__ = ["SHORT", "Patience", "spelled"]

SHORT = 60.0  # seconds that nobody is asked about
AGAIN = 600.0  # seconds after which the time left is told once more

Agree = Callable[[str], bool]


@dataclass(slots=True)
class Patience:
    """Of one order; counts windows, tells of pictures.

    pictures: of the order.   planned: windows in all; rises by those that are asked again.
    slow: whether work of more than a minute is welcome; a function is asked with the forecast.
    clock: seconds.
    """

    pictures: int
    planned: int
    notify: Callable[[str], None]
    progress: Progress | None = None
    slow: bool | Agree = False
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    _asked: int = 0
    _shown: int = 0
    _agreed: bool = False
    _started: float = field(default=0.0)
    _told: float = field(default=-math.inf)

    def ask(self, seconds: float | None, size: int, where: str) -> None:
        """Before the first window that is not known. Raises UsageError if it would take long and
        nobody wants that.

        seconds: of one window of `size` pictures, as forecast; None: it is fast.
        """
        if self._agreed:
            return
        self._agreed = True
        left = max(1, self.planned - self.done)
        if seconds is not None and left * seconds > SHORT:
            self._consent(left, seconds, size, where)
        self._started = self.clock()
        self.at(0)

    def _consent(self, left: int, seconds: float, size: int, where: str) -> None:
        windows = "1 window" if left == 1 else f"{left} windows"
        forecast = (
            f"about {windows} of {size} pictures, {spelled(seconds)} a window on {where}, "
            f"{spelled(left * seconds)} in all"
        )
        if self.slow is False:
            raise UsageError(
                f"{forecast}; --yes goes on. Every answer is kept, so that it can be interrupted "
                "and gone on with; a GPU, fewer pictures or a smaller model take less."
            )
        if self.slow is not True and not self.slow(forecast):
            raise UsageError("nothing was asked; what is known already is kept.")
        self.notify(f"  {forecast}; every answer is kept")

    def at(self, windows: int, asked: bool = True) -> None:
        """So many more windows are answered.   asked: by the model just now, not known before."""
        self.done += windows
        self.planned = max(self.planned, self.done)
        self._asked += windows if asked else 0
        if self.progress:
            self._shown = max(self._shown, self.done * self.pictures // max(1, self.planned))
            self.progress(self._shown, self.pictures)
        now, left = self.clock(), self.planned - self.done
        if not (asked and self._asked and left > 0):
            return
        seconds = left * (now - self._started) / self._asked
        if seconds >= SHORT and now - self._told >= AGAIN:
            self._told = now
            self.notify(f"  {left} windows to go, {spelled(seconds)} left")


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
