"""A language model behind an OpenAI-compatible chat endpoint that the user names.

No endpoint is built in and none is guessed: without an address nothing is asked. --offline means
that no socket is opened, so an endpoint on this machine is not asked either. How a question travels
is in `client`; here is who is asked (`Endpoint`), what (`Question`), and what came back: a
server's answer need not be what it says it is, and one that cannot be used is asked for again.
The key is in no message, no `repr`, and nothing that is kept.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from urllib.parse import urlsplit

from imgrank.errors import ChatError, MissingExtra, UsageError
from imgrank.settings import Settings, parse_address

if TYPE_CHECKING:
    from imgrank.llm.client import Client

__all__ = ["Chat", "Endpoint", "Question", "Unusable", "endpoint_of", "side_by_side"]

A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")
TRIES = 3
"""How often a question is asked until its answer can be used."""
LONGEST = 100_000
"""Characters of an answer with its thoughts."""
SHORTEST_SECRET = 8
"""Characters of a key that is struck out of what a server says."""
_THOUGHT = re.compile(r"<(?:think|thinking|reasoning)>", re.IGNORECASE)
_THOUGHT_END = re.compile(r"</(?:think|thinking|reasoning)>", re.IGNORECASE)


class Unusable(ValueError):  # noqa: N818 - a state of the world, as in errors.py
    """An answer that came but cannot be used; its text says why. Another may be asked for."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Who is asked.

    url: the base, without "/chat/completions".  model: the name the endpoint knows it by.
    key: None where none is wanted; never shown.  timeout: seconds for one answer.
    offline_by: what forbids the network, "" if nothing does.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 60.0
    offline_by: str = ""

    @property
    def source(self) -> str:
        """What answers are kept under: the same model at another address is another source."""
        return f"{self.model} at {self.url}"

    def without_key(self, text: str) -> str:
        """The text with the key struck out: a server may repeat what it was shown.

        Not where it is as short as what servers that want any key are given ("x", "1", "ollama"):
        that is no secret, and may well be part of an answer.
        """
        if self.key is None or len(self.key) < SHORTEST_SECRET:
            return text
        return text.replace(self.key, "[key]")

    def quoted(self, text: str) -> str:
        """What a server says, for a message: one line of at most 200 characters, no key."""
        line = " ".join(self.without_key(text).split()).rstrip(".")
        return line if len(line) <= 200 else line[:199] + "…"


@dataclass(frozen=True, slots=True)
class Question:
    """system: the task.  text: what it is about.  jpeg: a picture to look at, None for none."""

    system: str
    text: str
    jpeg: bytes | None = field(default=None, repr=False)


def endpoint_of(
    settings: Settings,
    url: str | None = None,
    model: str | None = None,
    notify: Callable[[str], None] = lambda text: None,
) -> Endpoint:
    """The endpoint of the settings; url and model, where given, come before theirs.

    notify: hears that a key is kept back, since it belongs to another host, or that it will travel
    in the clear. Raises UsageError if no address or no model is named, saying how to name it.
    """
    try:
        address = settings.llm_url if url is None else parse_address(url)
    except ValueError as error:
        raise UsageError(f"--llm: what is given will not do; {error}.") from None
    if address is None:
        raise UsageError(
            "no language model is named, and none is asked unasked. Name an OpenAI-compatible chat "
            "endpoint: --llm http://localhost:8080/v1, IMGRANK_LLM_URL, or llm_url in "
            f"{settings.config}."
        )
    name = settings.llm_model if model is None else model.strip()
    if not name:
        raise UsageError(
            f"which model is {address} to use? Name it: --llm-model NAME, IMGRANK_LLM_MODEL, or "
            f"llm_model in {settings.config}."
        )
    key = settings.llm_key
    if key and settings.llm_key_for and _origin(settings.llm_key_for) != _origin(address):
        notify(
            f"the key is for {settings.llm_key_for} and is not shown to {address}; set "
            "IMGRANK_LLM_KEY and IMGRANK_LLM_URL together for another endpoint"
        )
        key = None
    if key and address.lower().startswith("http:") and not _is_here(address):
        notify(f"{address} is not encrypted: the key and what is asked travel in the clear")
    return Endpoint(address, name, key, settings.llm_timeout, settings.offline_by)


class Chat:
    """Asks one endpoint; nothing is imported or opened before the first question.

    notify: hears one line when something is asked again. May be used by several threads.
    """

    def __init__(
        self, endpoint: Endpoint, notify: Callable[[str], None] = lambda text: None
    ) -> None:
        self.endpoint = endpoint
        self._notify = notify
        self._opening = threading.Lock()
        self._client: Client | None = None
        self._closed = False

    def ask(self, question: Question, read: Callable[[str], T]) -> T:
        """What `read` makes of the answer.

        read: raises Unusable for an answer that will not do; then the question is asked again, up
        to TRIES times in all, and the last Unusable is raised. So it is for answers that are empty
        or cut off. It sees no thoughts and no key. Raises ChatError where the endpoint fails or is
        no chat endpoint, MissingExtra without the client.
        """
        client = self._opened()
        messages = _messages(question)
        for left in reversed(range(TRIES)):
            # The same question at temperature 0 would be given the same answer.
            answer = client.send(messages, temperature=0.0 if left == TRIES - 1 else 0.7)
            try:
                return read(_content(answer, self.endpoint))
            except Unusable as reason:
                if not left:
                    raise
                self._notify(f"{self.endpoint.model} is asked again: {reason}")
        raise AssertionError("the loop above returns or raises")

    def close(self) -> None:
        """For good; what another thread waits for, or asks later, ends in a ChatError."""
        self._closed = True
        if self._client is not None:
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _opened(self) -> Client:
        end = self.endpoint
        if end.offline_by:
            raise ChatError(
                f"{end.model} at {end.url} was not asked: {end.offline_by} forbids the network, "
                "this machine's own addresses too."
            )
        with self._opening:
            if self._closed:
                raise ChatError(f"{end.url} is not asked any more.")
            if self._client is None:
                try:
                    from imgrank.llm.client import Client
                except ModuleNotFoundError:
                    raise MissingExtra("asking a language model", "llm") from None
                self._client = Client(end, self._notify)
            return self._client


def side_by_side(
    work: Callable[[A], B], items: Sequence[A], threads: int
) -> Generator[tuple[int, B], None, None]:
    """(place, work(item)) of each item, as they are done; an error of the work is raised.

    After an error, and once the generator is closed, nothing new is begun, but what is under way is
    waited for: its answer is kept. Not after an interrupt: then an endpoint may be one that says
    nothing, and the threads of an executor would be waited for even so.
    """
    waiting = iter(enumerate(items))
    taking, stopped = threading.Lock(), threading.Event()
    done: SimpleQueue[tuple[int, B | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        while not stopped.is_set():
            with taking:
                place, item = next(waiting, (-1, None))
            if place < 0:
                return
            try:
                done.put((place, work(cast("A", item)), None))
            except BaseException as error:  # whoever waits for it raises it
                done.put((place, None, error))

    running = [threading.Thread(target=run, daemon=True) for _ in range(min(threads, len(items)))]
    for thread in running:
        thread.start()
    try:
        for _ in items:
            place, result, error = done.get()
            if error is not None:
                raise error
            yield place, cast("B", result)
    except KeyboardInterrupt:
        running.clear()
        raise
    finally:
        stopped.set()
        for thread in running:
            thread.join()


def _messages(question: Question) -> list[dict[str, Any]]:
    content: Any = question.text
    if question.jpeg is not None:
        data = base64.b64encode(question.jpeg).decode("ascii")
        content = [
            {"type": "text", "text": question.text},
            {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}},
        ]
    return [{"role": "system", "content": question.system}, {"role": "user", "content": content}]


def _content(answer: bytes, endpoint: Endpoint) -> str:
    """The text of the first choice. Raises Unusable without one, ChatError for another form."""
    try:
        found = json.loads(answer)
        if isinstance(found.get("error"), dict):
            raise _strange(endpoint, str(found["error"].get("message", "")))
        choices = found["choices"]
        if choices == []:
            raise Unusable("the answer is empty")
        choice = choices[0]
        message = choice["message"]
        content = message.get("content")
        if isinstance(content, list):  # some servers send parts
            content = "".join(part["text"] for part in content if part.get("type") == "text")
        if content is not None and not isinstance(content, str):
            raise TypeError
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, Unusable):
            raise
        raise _strange(endpoint, "") from None
    if message.get("refusal") or choice.get("finish_reason") == "content_filter":
        raise Unusable("it refused to answer")
    if choice.get("finish_reason") == "length":
        raise Unusable("the answer is cut off")
    if not (content or "").strip():
        raise Unusable("the answer is empty")
    if len(str(content)) > LONGEST:
        raise Unusable("the answer is far too long")
    return _after_thoughts(endpoint.without_key(str(content)))


def _after_thoughts(text: str) -> str:
    """What follows the thoughts that some models put before their answer.

    Raises Unusable for thoughts that do not end. Some servers leave the opening tag out.
    """
    ends = [match.end() for match in _THOUGHT_END.finditer(text)]
    said = (text[ends[-1] :] if ends else text).strip()
    if _THOUGHT.search(said):
        raise Unusable("it ends amid its thoughts")
    if not said:
        raise Unusable("the answer is empty")
    return said


def _strange(endpoint: Endpoint, said: str) -> ChatError:
    also = f" It says: {endpoint.quoted(said)}." if said else ""
    return ChatError(
        f"{endpoint.url} does not answer as a chat endpoint does.{also} Is the address right? It "
        "usually ends in /v1."
    )


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name, even one such as 127.0.0.1.example
        return False
