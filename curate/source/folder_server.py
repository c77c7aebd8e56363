"""A folder served read-only on the loopback, so that pictures beside pages on a disk are fetched as any others.

A server rather than a second way to pictures: limits, decoding, statuses and shards are then those of the web. It
answers GET and HEAD for regular files inside the folder and 404 for all else: paths with `..`, links that lead out,
folders, devices. Content types are those that Python knows by itself, so that they do not depend on the machine.
"""

from __future__ import annotations

import mimetypes
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

__all__ = ["inside", "serve_folder"]

IDLE_S = 60
_TYPES = mimetypes.MimeTypes()


def inside(folder: Path, name: str) -> Path | None:
    """The regular file of that relative name (with `/`), all links followed; None when it leads out or is no file.

    Names with an empty or a `..` step, a backslash or a NUL lead nowhere.
    """
    steps = name.split("/")
    if "\0" in name or "\\" in name or {"", ".."} & set(steps):
        return None
    try:
        found = folder.joinpath(*steps).resolve()
        return found if found.is_relative_to(folder.resolve()) and found.is_file() else None
    except (OSError, ValueError, RuntimeError):  # a name that is too long, a loop of links
        return None


@contextmanager
def serve_folder(folder: Path, prefix: str = "/") -> Iterator[str]:
    """Serve the files of a folder, whose paths begin with `prefix`, until the block ends; yields `127.0.0.1:port`."""
    server = _Server(("127.0.0.1", 0), partial(_Handler, folder, prefix))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="folder", daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error, and there is nobody to tell of another."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout: ClassVar[int] = IDLE_S
    disable_nagle_algorithm = True

    def __init__(self, folder: Path, prefix: str, *arguments: Any) -> None:
        self._folder, self._prefix = folder, prefix
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        path = unquote(self.path.partition("?")[0], errors="surrogateescape")
        file = inside(self._folder, path.removeprefix(self._prefix)) if path.startswith(self._prefix) else None
        if file is None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        size = file.stat().st_size
        self.send_response(200)
        self.send_header("Content-Type", _TYPES.guess_type(file.name)[0] or "application/octet-stream")
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if with_body:
            with open(file, "rb") as data:
                shutil.copyfileobj(data, self.wfile)

    def log_message(self, *words: Any) -> None:
        """Nobody reads the access log of a run."""

    def version_string(self) -> str:
        return "curate-vl"
