"""Answers over HTTP: the transport of `curate browse`, with its bounds.

Python's own `http.server`, a thread a connection: a handful of people look at pages that take 10 to 1,000 ms to make,
where a framework would add dependencies and a second set of defaults to know. What is known to be weak there is not
used: a request's head is read here, within 32 KiB and 10 s as a whole (its own reader waits for every byte anew), a
connection carries one request, 32 connections are open at once, and no file is ever named by a path. GET and HEAD only,
so nothing can be changed by asking.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import BoundedSemaphore
from typing import Any

from curate.browse.access import Access, is_loopback, new_token
from curate.browse.answer import Answer, Asked, BadAddress, headers, read_target, refusal
from curate.document.render import plain

__all__ = ["BrowseServer", "Limits"]


@dataclass(frozen=True)
class Limits:
    """What one client may take. `head_bytes`: request line and headers; `head_s`: to send them, `crowd_s` while others
    wait; `send_s`: to take an answer; `connections` at once, and `wait_s` for one to become free before a 503."""

    head_bytes: int = 32 << 10
    head_s: float = 10.0
    crowd_s: float = 0.5
    send_s: float = 30.0
    connections: int = 32
    wait_s: float = 2.0


class BrowseServer(ThreadingHTTPServer):
    """A server of `answer` on `host` and `port` (0: a free one). Bound to another address than loopback, or with
    `ask_token`, it asks for a token. `tell` is given a line about what went wrong within. Raises OSError where the
    address cannot be had."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        answer: Callable[[Asked], Answer],
        host: str = "127.0.0.1",
        port: int = 0,
        ask_token: bool = False,
        limits: Limits | None = None,
        tell: Callable[[str], None] = lambda words: None,
    ) -> None:
        self.answer, self.tell, self.limits = answer, tell, limits or Limits()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._free = BoundedSemaphore(self.limits.connections)
        self.asking: dict[socket.socket, float] = {}  # those whose request is awaited, and since when
        super().__init__((host, port), Exchange)
        loopback = is_loopback(host)
        token = new_token() if ask_token or not loopback else ""
        self.access = Access(loopback, token, self.server_address[1])

    @property
    def url(self) -> str:
        """The address to open, with the token where one is asked for. A server on every address of this machine is
        named by the machine's name."""
        host, port = str(self.server_address[0]), self.server_address[1]
        host = socket.gethostname() if host in ("0.0.0.0", "::") else host  # noqa: S104 it is compared, not bound
        place = f"[{host}]" if ":" in host else host
        return f"http://{place}:{port}/" + (f"?token={self.access.token}" if self.access.token else "")

    def server_bind(self) -> None:
        """Bind, without asking a name server who we are."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection its thread, or the answer that there are too many."""
        if not self._has_place():
            with suppress(OSError):
                request.settimeout(self.limits.wait_s)
                request.sendall(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n")
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def _has_place(self) -> bool:
        """Take a place. While there is none, whoever has been silent for long loses theirs: browsers open connections
        in advance, and a hundred of these kept the next request waiting for 20 s."""
        until = time.monotonic() + self.limits.wait_s
        while not self._free.acquire(timeout=0.05):
            now = time.monotonic()
            if now > until:
                return False
            for silent in [one for one, since in list(self.asking.items()) if now - since > self.limits.crowd_s]:
                with suppress(OSError):
                    silent.shutdown(socket.SHUT_RDWR)
        return True

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One connection, in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no trouble of ours; what went wrong in a page was told by its exchange."""


class Exchange(BaseHTTPRequestHandler):
    """One request and its answer."""

    server: BrowseServer
    default_request_version = "HTTP/1.0"

    def handle(self) -> None:
        """Read the head within its bounds, answer, and let the client take the answer."""
        self.command = self.requestline = ""
        self.request_version = self.protocol_version
        self.server.asking[self.connection] = time.monotonic()
        head = self._read_head()
        del self.server.asking[self.connection]
        self.connection.settimeout(self.server.limits.send_s)
        if isinstance(head, Answer):
            self._send(head)
        elif head:
            self.rfile = io.BytesIO(head)
            self.handle_one_request()
        self._drain()

    def do_GET(self) -> None:
        """Answer it."""
        self._send(self._answer())

    def do_HEAD(self) -> None:
        """The same without the body."""
        self._send(self._answer())

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the library refuses, in our words and with our headers; what was sent is not repeated."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            answer = refusal(405, "this server only shows: GET and HEAD")
            self._send(Answer(answer.body, answer.status, answer.media, (("Allow", "GET, HEAD"),)))
        else:
            self._send(refusal(code, HTTPStatus(code).phrase))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged: an address holds what somebody looks for."""

    def version_string(self) -> str:
        """Who we are, without versions."""
        return "curate"

    def _read_head(self) -> bytes | Answer:
        """The request line and headers; an answer where they are too long or too slow, nothing where none came."""
        limits, found = self.server.limits, b""
        deadline = time.monotonic() + limits.head_s
        while b"\r\n\r\n" not in found and b"\n\n" not in found:
            if len(found) > limits.head_bytes:
                return refusal(431, f"the request's headers are longer than {limits.head_bytes:,} bytes")
            try:
                self.connection.settimeout(max(deadline - time.monotonic(), 0.001))
                more = self.connection.recv(limits.head_bytes)
            except TimeoutError:
                return refusal(408, f"the request did not come within {limits.head_s:g} s") if found else b""
            except OSError:
                return b""
            if not more:
                return b""
            found += more
        return found

    def _answer(self) -> Answer:
        """What the site says, or why not."""
        told: dict[str, list[str]] = {}
        for name, value in self.headers.items():
            told.setdefault(name.lower(), []).append(str(value))
        try:
            asked = read_target(self.path)
            return self.server.access.check(asked, told) or self.server.answer(asked)
        except BadAddress as error:
            return refusal(error.status, str(error))
        except Exception as error:  # noqa: BLE001 a page that fails is told to whoever runs the server, and others go on
            words = " ".join(plain(str(error)[:500]).split())
            self.server.tell(f"{self.path[:200]!r} failed: {type(error).__name__}: {words}")
            return refusal(500, "this page failed; the terminal where `curate browse` runs says why")

    def _send(self, answer: Answer) -> None:
        self.request_version = self.protocol_version  # to a request of 0.9 the library sends no headers
        self.send_response(answer.status)
        for name, value in (*headers(), *answer.headers):
            self.send_header(name, value)
        self.send_header("Content-Type", answer.media)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _drain(self) -> None:
        """Say that this was all and read a little of what still comes: a connection that is closed before its bytes
        were read is cut, and its answer lost."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(0.5)
            for _ in range(16):
                if not self.connection.recv(1 << 16):
                    return
