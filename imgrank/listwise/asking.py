"""Windows of pictures -> the values that a model gives them, each window asked about once.

What the model wrote is kept as it stands, under the ranker's identity, the prompt and the pictures
of the window, so that a run that is interrupted loses no more than the batch it was at. In a window
pictures are shown in the order of their contents' digests: that has nothing to do with any value,
and two windows of the same pictures are the same question, whatever order they come from.

Of an answer the first value of every picture counts; ids that name none are passed over, and a
value beyond the ends of the scale is taken as that end.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from imgrank.errors import NothingReadable
from imgrank.images.reading import Unreadable, read_file
from imgrank.listwise.parsing import parse
from imgrank.listwise.patience import Patience
from imgrank.rankers.base import Job, SetRanker
from imgrank.store.digest import digest_bytes

if TYPE_CHECKING:
    from imgrank.store.store import Store

__all__ = ["KIND", "Asker", "values_in"]

KIND = "window"  # of answers in the store
Shown = TypeVar("Shown", bound=Hashable)
Window = tuple[bytes, ...]
"""Digests of the pictures that are seen together."""


class Asker:
    """Asks one model one thing about windows of pictures.

    paths: of every content that may be asked about.
    """

    def __init__(
        self,
        job: Job,
        store: Store,
        paths: Mapping[bytes, Path],
        patience: Patience,
        threads: int,
    ) -> None:
        self.job, self.store, self.paths = job, store, paths
        self.patience, self.threads = patience, threads
        self.ranker = cast(SetRanker, job.ranker)
        self.asked = 0
        self._texts: dict[Window, str] = {}  # of this run, for a store that cannot keep anything

    def calls(self, windows: Sequence[Sequence[bytes]]) -> list[dict[bytes, float]]:
        """What each window's pictures are worth; those that the answer leaves out are not in it.

        Raises NothingReadable if a picture has changed or become unreadable meanwhile.
        """
        shown = [tuple(sorted(window)) for window in windows]
        self._answer(list(dict.fromkeys(shown)))
        return [values_in(self._texts[w], w, self.job.answer.range) for w in shown]

    def texts(self, windows: Sequence[Sequence[bytes]]) -> list[str]:
        """What the model wrote about each, word for word; pictures are in the order of digests."""
        shown = [tuple(sorted(window)) for window in windows]
        self._answer(list(dict.fromkeys(shown)))
        return [self._texts[window] for window in shown]

    def unknown(self, windows: Iterable[Sequence[bytes]]) -> list[Window]:
        """Those that the model has yet to be asked about, each once, in the order given."""
        shown = dict.fromkeys(tuple(sorted(window)) for window in windows)
        for window in shown:
            text = self.store.answers.get(KIND, self.ranker.identity, self._question(window))
            if text is not None:
                self._texts[window] = text
        return [window for window in shown if window not in self._texts]

    def _answer(self, windows: Sequence[Window]) -> None:
        """All of them are in `_texts` afterwards."""
        todo = self.unknown(windows)
        if len(todo) < len(windows):
            self.patience.at(len(windows) - len(todo), asked=False)
        if todo:
            self._ask(todo)

    def _ask(self, windows: Sequence[Window]) -> None:
        size = min(self.ranker.window, len(self.paths))
        self.patience.ask(self.ranker.seconds(size), size, self.ranker.place)
        try:
            for some, pictures in self._decoded(windows):
                texts = self.ranker.ask(pictures, self.job.query)
                for window, text in zip(some, texts, strict=True):
                    self._texts[window] = text
                    question = self._question(window)
                    self.store.answers.put(KIND, self.ranker.identity, question, text)
                self.asked += len(some)
                self.patience.at(len(some))
        except Unreadable as error:
            raise NothingReadable(
                f"a picture is not as it was when this began ({error}). Begin again; windows that "
                "were answered are kept."
            ) from error

    def _decoded(
        self, windows: Sequence[Window]
    ) -> Iterator[tuple[Sequence[Window], list[list[Any]]]]:
        """Batch by batch, the next one decoded in worker threads while the model is at the last."""
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="decode")
        waiting: deque[tuple[Sequence[Window], list[list[Future[Any]]]]] = deque()
        try:
            at = 0
            while at < len(windows) or waiting:
                while at < len(windows) and len(waiting) < 2:
                    some = windows[at : at + max(1, self.ranker.batch)]
                    at += len(some)
                    submitted = [[pool.submit(self._prepare, one) for one in w] for w in some]
                    waiting.append((some, submitted))
                some, futures = waiting.popleft()
                yield some, [[future.result() for future in window] for window in futures]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, content: bytes) -> Any:
        """Runs in a worker thread. Hours may have passed since the picture was looked at."""
        path = self.paths[content]
        data = read_file(path)
        if digest_bytes(data) != content:
            raise Unreadable(f"{path} is another picture by now")
        return self.ranker.source.prepare(data)

    def _question(self, window: Window) -> str:
        pictures = [content.hex() for content in window]
        return json.dumps({"prompt": self.job.answer.prompt, "pictures": pictures})


def values_in(
    text: str, window: Sequence[Shown], ends: tuple[float, float] | None = None
) -> dict[Shown, float]:
    """What an answer says of the pictures 1..n of a window, as it lists them; never raises.

    ends: of the scale.
    """
    found: dict[Shown, float] = {}
    for item in parse(text):
        if 1 <= item.image_id <= len(window):
            value = item.value if ends is None else min(max(item.value, ends[0]), ends[1])
            found.setdefault(window[item.image_id - 1], value)
    return found
