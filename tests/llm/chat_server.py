"""A chat endpoint on 127.0.0.1 that says what a test tells it to say, and misbehaves as told.

server.replies = [said("a cat"), Reply(503), said("a dog")]   -> in turn, the last one for ever
server.answer = lambda asked: said(...)                       -> by what was asked
server.asked                                                  -> every request, in order
"""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from PIL import Image


@dataclass(frozen=True)
class Reply:
    """how: drip (a few bytes now and then), stall (nothing), stall-later (the head), hang-up
    (no answer), cut (less than announced), endless."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    how: Literal["", "drip", "stall", "stall-later", "hang-up", "cut", "endless"] = ""


@dataclass(frozen=True)
class Asked:
    path: str
    headers: dict[str, str]  # by name in lower case
    body: dict[str, Any]

    @property
    def text(self) -> str:
        content = self.body["messages"][-1]["content"]
        return content if isinstance(content, str) else content[0]["text"]

    @property
    def picture(self) -> Image.Image:
        url = self.body["messages"][-1]["content"][1]["image_url"]["url"]
        assert url.startswith("data:image/jpeg;base64,")
        return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def said(
    text: Any, *, finish: str = "stop", refusal: str | None = None, status: int = 200
) -> Reply:
    """An ordinary answer."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
    return as_json({**answer, "choices": [choice]}, status)


def as_json(value: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


class ChatServer:
    """Closed by `close`."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.replies: list[Reply] = [said("an answer")]
        self.answer: Callable[[Asked], Reply] | None = None
        self.closing = threading.Event()
        self._guard = threading.Lock()
        self._server = Quiet(("127.0.0.1", 0), type("Handler", (_Handler,), {"chat": self}))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def reply_to(self, asked: Asked) -> Reply:
        with self._guard:
            self.asked.append(asked)
            if self.answer is not None:
                return self.answer(asked)
            return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    chat: ChatServer

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.chat.reply_to(Asked(self.path, headers, json.loads(data or b"{}")))
        if reply.how in ("stall", "hang-up"):
            if reply.how == "stall":
                self.chat.closing.wait(60)
            self.close_connection = True
            return
        more = {"cut": 10, "endless": 1 << 40}.get(reply.how, 0)
        self.send_response(reply.status)
        self.send_header("Content-Length", str(len(reply.body) + more))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        if reply.how == "stall-later":
            self.wfile.flush()
            self.chat.closing.wait(60)
        elif reply.how == "drip":
            for start in range(0, len(reply.body), 16):
                self.wfile.write(reply.body[start : start + 16])
                self.wfile.flush()
                if self.chat.closing.wait(0.02):
                    break
        elif reply.how == "endless":
            while not self.chat.closing.is_set():
                self.wfile.write(b" " * 100_000)
        else:
            self.wfile.write(reply.body)
        self.close_connection = bool(reply.how)


class Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *args: Any) -> None:
        """A client that hangs up is what some tests are about."""
