"""A web server on the loopback for folders of archives: with ranges as they should be, or with faults."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class RangeServer(ThreadingHTTPServer):
    """`asked` are (method, path, range) in order; `failures` first requests are answered with 503."""

    request_queue_size = 64

    def __init__(self, folder: Path, ranges: bool = True, failures: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.ranges, self.failures = folder, ranges, failures
        self.asked: list[tuple[str, str, str]] = []
        self.sent: list[int] = []

    @property
    def sent_bytes(self) -> int:
        return sum(self.sent)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(folder: Path, ranges: bool = True, failures: int = 0) -> Iterator[RangeServer]:
    server = RangeServer(folder, ranges, failures)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: RangeServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def _answer(self, body: bool) -> None:
        wanted = self.headers.get("Range", "")
        self.server.asked.append((self.command, self.path, wanted))
        path = self.server.folder / self.path.lstrip("/")
        if self.server.failures > 0 and body:
            self.server.failures -= 1
            self._send(503, b"slow down", {}, body)
        elif not path.is_file():
            self._send(404, b"no such file", {}, body)
        else:
            self._send_file(path.read_bytes(), wanted, body)

    def _send_file(self, data: bytes, wanted: str, body: bool) -> None:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
        if not found or not self.server.ranges:
            self._send(200, data, {"Accept-Ranges": "bytes"} if self.server.ranges else {}, body)
            return
        start, end = int(found[1]), min(int(found[2]) + 1, len(data))
        if start >= len(data):
            self._send(416, b"", {}, body)
        else:
            self._send(206, data[start:end], {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}, body)

    def _send(self, code: int, data: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.server.sent.append(len(data))
            self.wfile.write(data)
