"""A server of chat completions on loopback that answers what a test tells it to, faults included, and counts."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """One request as the server got it."""

    path: str
    headers: dict[str, str]
    body: Any
    at_s: float

    @property
    def prompt(self) -> str:
        return self.body["messages"][0]["content"]


Answer = bytes | Callable[[Any, Asked], bytes | None]


def reply(status: int = 200, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    """A whole HTTP answer; each header as `Name: value`."""
    lines = [f"HTTP/1.1 {status} Words", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def completion(text: str | None, finish: str = "stop", **more: Any) -> bytes:
    """A chat completion as OpenAI words it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    found = {"id": "1", "object": "chat.completion", "model": "tiny-1", "choices": [choice], **more}
    return reply(200, json.dumps(found).encode())


ANSWER = completion("A dog on a beach.")


@dataclass
class ChatServer:
    """Answers the first requests by `script`, and all others by `otherwise`: bytes, or a function of the connection and
    the request that may write by itself; None closes the connection."""

    otherwise: Answer = ANSWER
    script: list[Answer] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    most_active: int = 0
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        lock, active = threading.Lock(), [0]
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.path, headers, json.loads(raw), time.monotonic())
                with lock:
                    active[0] += 1
                    server.most_active = max(server.most_active, active[0])
                    server.asked.append(asked)
                    answer = server.script.pop(0) if server.script else server.otherwise
                try:
                    said = answer if isinstance(answer, bytes) else answer(self.connection, asked)
                    with suppress(OSError):
                        if said is not None:
                            self.wfile.write(said)
                    self.close_connection = self.close_connection or said is None
                finally:
                    with lock:
                        active[0] -= 1

            def log_message(self, *words: Any) -> None:
                return

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign]
        if self.tls:
            self._http.socket = self.tls.wrap_socket(self._http.socket, server_side=True)
        self.base_url = f"http{'s' if self.tls else ''}://127.0.0.1:{self._http.server_address[1]}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def prompts(self) -> list[str]:
        return [asked.prompt for asked in self.asked]

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


def hang(connection: socket.socket, asked: Asked) -> None:
    time.sleep(3)


def drip(connection: socket.socket, asked: Asked) -> None:
    """A byte of the answer every 50 ms, without an end in sight."""
    with suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(60):
            connection.sendall(b"{")
            time.sleep(0.05)


def reset(connection: socket.socket, asked: Asked) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.close()


def huge(connection: socket.socket, asked: Asked) -> None:
    """A body without an end, its length untold."""
    with suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65_536)


def cut(connection: socket.socket, asked: Asked) -> None:
    """A body that ends before the length that was announced."""
    connection.sendall(reply(200, b'{"choices": [', length=500))
