"""What both servers of the stand-in share: the log of requests, faults, ranges."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from server import StandIn

CODES = {404: "EntryNotFound", 403: "GatedRepo"}


@dataclass
class Fault:
    """how: alter, truncate (of what was announced), short (announced short), stall, whole (though a
    range was asked for), more (the whole, said to be that range), or a status."""

    part: str
    how: str | int
    times: int | None
    method: str
    code: str
    at: int


class Handler(BaseHTTPRequestHandler):
    """What both servers share: the log, faults, ranges."""

    protocol_version = "HTTP/1.1"
    hub: StandIn

    def log_message(self, *args: Any) -> None:
        pass

    def start(self) -> Fault | None:
        self.path = unquote(self.path)
        self.hub.requests.append(f"{self.command} {self.path}")
        self.hub.tokens.append((self.path, self.headers.get("Authorization", "")))
        length = int(self.headers.get("Content-Length") or 0)
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
        self.body = self._chunks() if chunked else self.rfile.read(length)
        fault = self.hub.fault(self.command, self.path)
        if fault and isinstance(fault.how, int):
            self.refuse(fault.how, fault.code or CODES.get(fault.how, ""))
        elif fault and fault.how == "stall" and self.command != "GET":
            self._wait()
        return fault

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _wait(self) -> None:
        self.hub.stalled.set()
        self.hub.closing.wait(60)
        self.close_connection = True

    def reply(
        self, data: bytes, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def reply_json(self, value: Any, status: int = 200) -> None:
        self.reply(json.dumps(value).encode(), status, {"Content-Type": "application/json"})

    def refuse(self, status: int, code: str = "") -> None:
        headers = {"X-Error-Code": code} if code else {}
        self.reply(b"", status, headers | ({"Retry-After": "1"} if status == 429 else {}))

    def reply_file(self, data: bytes, headers: dict[str, str], fault: Fault | None) -> None:
        """Content, whole or from a range on, with what the fault does to it."""
        how = fault.how if fault and self.command == "GET" else ""
        if how == "alter":
            data = bytes([data[0] ^ 1]) + data[1:]
        if how == "short":
            data = data[:-1]
        asked = self.headers.get("Range") or ""
        first = int((asked or "bytes=0-")[6:].partition("-")[0])
        status = 206 if first and how != "whole" else 200
        if how in ("whole", "more"):
            first = 0
        if first:
            headers = {**headers, "Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
        end = max(first, fault.at if fault else 0) if how in ("truncate", "stall") else len(data)
        self.hub.served.append((self.path, asked, end - first))
        if how not in ("truncate", "stall"):
            self.reply(data[first:], status, headers)
            return
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data) - first)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[first:end])
        self.wfile.flush()
        if how == "stall":
            self._wait()
        self.close_connection = True


class Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *args: Any) -> None:
        """A client that hangs up is what some tests are about."""
