"""How a question travels to a chat endpoint: the `openai` client (extra "llm"), on a short lead.

    the client   waits and asks again after 408, 409, 429, 5xx, a lost connection or a timeout, up
                 to RETRIES times; obeys Retry-After up to two minutes, gives up where it is longer
    here         follows no redirect, so that the key is shown to no other host; sends no header but
                 the ones that are needed, whatever OPENAI_API_KEY, OPENAI_ORG_ID and the like say,
                 and nothing of this machine; bounds seconds and bytes of an answer, as a server may
                 send a byte now and then for ever

Proxies and certificates are taken from the environment (HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE).
Imported only when something is asked.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2
import openai

from imgrank.errors import ChatError

if TYPE_CHECKING:
    from imgrank.llm.chat import Endpoint

__all__ = ["Client"]

RETRIES = 2
"""How often the client asks again after trouble on the way."""
MOST_BYTES = 4_000_000
"""Of an answer; more is no answer to our questions."""
CONNECT_SECONDS = 10.0
SENT = frozenset(("host", "content-length", "connection", "transfer-encoding"))
PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
AGAIN = frozenset((408, 409, 429))


class Client:
    """One connection pool. notify: hears what made the client ask again."""

    def __init__(self, endpoint: Endpoint, notify: Callable[[str], None]) -> None:
        self._endpoint = endpoint
        self._notify = notify
        self._temperature = True
        seconds = endpoint.timeout
        self._http = httpx2.Client(
            follow_redirects=False,
            timeout=httpx2.Timeout(seconds, connect=CONNECT_SECONDS),
            event_hooks={"request": [self._bare], "response": [self._bounded]},
        )
        # All is given, so that nothing is taken from the environment; `_bare` has the last word.
        self._openai = openai.OpenAI(
            base_url=endpoint.url,
            api_key="none",
            admin_api_key="",
            organization="",
            project="",
            webhook_secret="",
            max_retries=RETRIES,
            http_client=self._http,
        )

    def send(self, messages: list[dict[str, Any]], temperature: float) -> bytes:
        """The body of the answer. Raises ChatError, which says what happened and what to do."""
        end = self._endpoint
        body: dict[str, Any] = {"model": end.model, "messages": messages}
        if self._temperature:
            body["temperature"] = temperature
        try:
            answer = self._openai.post("/chat/completions", body=body, cast_to=httpx2.Response)
            return answer.content
        except openai.APIStatusError as error:
            if self._temperature and error.status_code in (400, 422) and _of_heat(error):
                self._temperature = False  # some models answer at their own alone
                return self.send(messages, temperature)
            raise _of_status(error, end) from None
        except openai.APIConnectionError as error:
            raise _of_connection(error, end) from None
        except (openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, RuntimeError) as error:
            why = f"{type(error).__name__}: {end.quoted(str(error))}"
            raise ChatError(f"{end.url} could not be asked ({why}).") from None

    def close(self) -> None:
        self._http.close()

    def _bare(self, request: httpx2.Request) -> None:
        """Only the headers that are needed; this hook runs last, after authentication."""
        tries = request.headers.get("x-stainless-retry-count", "0")
        if tries != "0":
            self._notify(f"{self._endpoint.url} is asked again ({tries} of {RETRIES})")
        for name in [name for name in request.headers if name.lower() not in SENT]:
            del request.headers[name]
        request.headers["host"] = request.url.netloc.decode("ascii")
        request.headers["content-type"] = "application/json"
        request.headers["accept"] = "application/json"
        request.headers["accept-encoding"] = "identity"  # else bytes could not be bounded
        request.headers["user-agent"] = "imgrank"
        if self._endpoint.key:
            request.headers["authorization"] = f"Bearer {self._endpoint.key}"
        request.extensions["deadline"] = time.monotonic() + self._endpoint.timeout

    def _bounded(self, response: httpx2.Response) -> None:
        status, wait = response.status_code, response.headers.get("retry-after", "")
        if status in AGAIN or status >= 500:
            also = f", and to come back in {wait} s" if wait.isdecimal() else ""
            self._notify(f"{self._endpoint.url} says {status}{also}")
        if response.headers.get("content-encoding", "identity") != "identity":
            response.close()
            raise ChatError(
                f"{self._endpoint.url} packs its answer though it was asked not to; it was not "
                "opened. Look for compression in the settings of the server or proxy."
            )
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = _Bounded(response.stream, response.request, self._endpoint.url)


class _Bounded(httpx2.SyncByteStream):
    """The body of an answer, which ends in an error once it is too long or takes too long."""

    def __init__(self, inner: httpx2.SyncByteStream, request: httpx2.Request, url: str) -> None:
        self._inner, self._request, self._url = inner, request, url

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._inner:
            size += len(chunk)
            if size > MOST_BYTES:
                raise ChatError(
                    f"{self._url} sends more than {MOST_BYTES // 1_000_000} MB; no answer is that "
                    "long. Is the address right? It usually ends in /v1."
                )
            if time.monotonic() > self._request.extensions["deadline"]:
                raise httpx2.ReadTimeout("it takes too long to send", request=self._request)
            yield chunk

    def close(self) -> None:
        self._inner.close()


def _of_heat(error: openai.APIStatusError) -> bool:
    return "temperature" in f"{error.param} {error.message} {error.body}".lower()


def _of_status(error: openai.APIStatusError, end: Endpoint) -> ChatError:
    status, said = error.status_code, _said(error, end)
    also = f" It says: {said}." if said else ""
    if 300 <= status < 400:
        where = urlsplit(error.response.headers.get("location", "")).netloc
        to = f" to {end.quoted(where)}" if where and "@" not in where else ""
        text = f"{end.url} sends one elsewhere{to} ({status}); the key is shown to no other host, "
        return ChatError(text + "so this was not followed. Name the address itself: --llm URL.")
    if status in (401, 403):
        what = "refuses the key" if end.key else "wants a key, and none is set for it"
        hint = "Set IMGRANK_LLM_KEY, or llm_key beside llm_url in config.toml."
        return ChatError(f"{end.url} {what} ({status}).{also} {hint}")
    if status == 404:
        hint = "Check both; the address usually ends in /v1."
        return ChatError(
            f"there is no {end.url}/chat/completions, or no {end.model} (404).{also} {hint}"
        )
    if status == 413:
        return ChatError(f"what was sent is too large for {end.url} (413).{also} Raise its limit.")
    if status == 429:
        hint = f"Try again{_after(error)}; what was answered is kept."
        return ChatError(f"{end.url} is asked too often, or a quota is used up (429).{also} {hint}")
    if status >= 500:
        hint = "Try again later; what was answered is kept."
        return ChatError(f"{end.url} has trouble of its own ({status}).{also} {hint}")
    hint = f"Does {end.model} take such a question?"
    return ChatError(f"{end.url} refuses the request ({status}).{also} {hint}")


def _after(error: openai.APIStatusError) -> str:
    wait = error.response.headers.get("retry-after", "")
    return f" after {wait} seconds" if wait.isdecimal() else " later"


def _said(error: openai.APIStatusError, end: Endpoint) -> str:
    """What the server says itself; a page is not quoted."""
    body = error.body
    if isinstance(body, dict):
        body = next((body[k] for k in ("message", "detail", "error") if body.get(k)), "")
    return end.quoted(body) if isinstance(body, str) and "<" not in body else ""


def _of_connection(error: openai.APIConnectionError, end: Endpoint) -> ChatError:
    cause = error.__cause__
    if isinstance(error, openai.APITimeoutError):
        if isinstance(cause, httpx2.ConnectTimeout):
            return ChatError(f"no connection to {end.url} in time. {_network()}")
        return ChatError(
            f"{end.url} gave no whole answer in {end.timeout:g} seconds, {RETRIES + 1} times. A "
            "slow model needs more: IMGRANK_LLM_TIMEOUT, or llm_timeout in config.toml."
        )
    why = end.quoted(str(cause) or type(cause).__name__)
    if "CERTIFICATE" in why.upper():
        return ChatError(
            f"the certificate of {end.url} is not trusted here ({why}). Set SSL_CERT_FILE to the "
            "file of the one that signed it."
        )
    if isinstance(cause, httpx2.ReadError | httpx2.RemoteProtocolError | httpx2.WriteError):
        return ChatError(f"{end.url} broke the connection off ({why}). Try again.")
    return ChatError(f"no connection to {end.url} ({why}). Is it running? {_network()}")


def _network() -> str:
    """What leads the way to the network; values may hold passwords."""
    proxies = [name for name in PROXIES if os.environ.get(name)]
    also = f", and the proxy of {' and '.join(proxies)}" if proxies else ""
    return f"Check the address and the network{also}."
