"""A small web on loopback that answers what a test tells it to, faults included, and remembers who asked what."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from curate.fetch.client import Client, Response
from curate.fetch.settings import FetchSettings

PICTURE = b"\xff\xd8" + bytes(range(256)) * 16
FAST = FetchSettings(contact="tests@example.org", per_host_rate=0, backoff_s=0.01, most_backoff_s=2.0)


@dataclass
class Call:
    """One request as the server got it."""

    host: str
    path: str
    headers: dict[str, str]
    at_s: float


Route = bytes | Callable[[socket.socket, Call], bytes | None]


def reply(status: int = 200, body: bytes = PICTURE, *headers: str, length: bool = True) -> bytes:
    """A whole HTTP answer; each header as `Name: value`."""
    lines = [f"HTTP/1.1 {status} Words", *([f"Content-Length: {len(body)}"] if length else []), *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def falls_silent(connection: socket.socket, call: Call) -> None:
    """A route that begins to answer and then says nothing until the client has gone."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>")
    connection.recv(1)


@dataclass
class Web:
    """Routes by `host/path`, then by path (without its query); a path without a route is 404.

    A function may write by itself; what it returns is sent, and None closes the connection.
    """

    tls: ssl.SSLContext | None = None
    routes: dict[str, Route] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    connections: int = 0
    active: Counter[str] = field(default_factory=Counter)
    most_active: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def paths(self) -> list[str]:
        return [call.path for call in self.calls]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            rest = b""
            while True:
                while b"\r\n\r\n" not in rest:
                    piece = connection.recv(65_536)
                    if not piece:
                        return
                    rest += piece
                head, _, rest = rest.partition(b"\r\n\r\n")
                if not self._answer(connection, head.decode("latin-1")):
                    connection.shutdown(socket.SHUT_RDWR)
                    return

    def _answer(self, connection: socket.socket, head: str) -> bool:
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        call = Call(headers.get("host", "").partition(":")[0], first.split()[1], headers, time.monotonic())
        with self._lock:
            self.calls.append(call)
            self.active[call.host] += 1
            self.most_active[call.host] = max(self.most_active[call.host], self.active[call.host])
        try:
            path = call.path.partition("?")[0]
            route = self.routes.get(call.host + path, self.routes.get(path, reply(404, b"no")))
            answer = route if isinstance(route, bytes) else route(connection, call)
            if answer is not None:
                connection.sendall(answer)
            return answer is not None
        finally:
            with self._lock:
                self.active[call.host] -= 1


def wait_until(true: Callable[[], bool], most_s: float = 30.0) -> None:
    """Come back as soon as something is true, however long that takes on a busy machine."""
    deadline_s = time.monotonic() + most_s
    while not true():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.002)


def collect(client: Client, urls: Iterable[str]) -> list[Response]:
    """The responses in the order of the URLs; every row exactly once."""
    asked = list(enumerate(urls))
    got = [response for response in client.fetch(asked) if response is not None]
    assert sorted(response.row for response in got) == [row for row, _ in asked]
    assert [response.url for response in sorted(got, key=lambda r: r.row)] == [url for _, url in asked]
    return sorted(got, key=lambda response: response.row)


def fetch_one(web: Web | None, url: str, settings: FetchSettings = FAST, **changes: object) -> Response:
    """One URL by a client of its own; every host name leads to `web`."""
    client = Client(replace(settings, **changes), {"*": web.address} if web else {})
    try:
        return collect(client, [url])[0]
    finally:
        client.close()
