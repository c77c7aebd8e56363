"""Look at a data set in a browser: ask any condition, see rows with their pictures, history and copies. Read-only.

It prints an address and answers until Ctrl-C. On this machine alone, unless --host says otherwise; then the address
has a token, and whoever has it sees everything that is shown. Nothing is encrypted: over a network that others read,
leave --host as it is and use a tunnel, such as ssh -L 8000:127.0.0.1:PORT."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from curate.browse.pages import Pages

__all__ = ["add_arguments", "run"]

UNITS = {"KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DIR", help="a data set: a folder or an fsspec URL")
    parser.add_argument("--host", default="127.0.0.1", help="the address to answer on (default: this machine alone)")
    parser.add_argument("--port", type=int, default=0, help="the port (default: a free one)")
    parser.add_argument("--token", action="store_true", help="ask for a token on this machine too")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="S", help="seconds a condition may take (10)")
    parser.add_argument("--memory", default="2GiB", metavar="SIZE", help="for columns and for DuckDB (2GiB)")


def run(options: argparse.Namespace) -> int:
    from curate.browse.find import Finder
    from curate.browse.pages import Pages
    from curate.config import require_range
    from curate.errors import ConfigError
    from curate.storage import Storage

    try:
        require_range("--timeout", options.timeout, 0.1, 3_600)
        require_range("--port", options.port, 0, 65_535)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    storage = Storage(options.data)
    finder = Finder(storage, memory=_bytes(options.memory) // 2, timeout_s=options.timeout)
    return _serve(Pages(finder, storage.root.rpartition("/")[2] or storage.root), options)


def _serve(pages: Pages, options: argparse.Namespace) -> int:
    """Answer until Ctrl-C, which is how this ends and no failure."""
    from curate.browse.server import BrowseServer
    from curate.errors import ConfigError

    try:
        server = BrowseServer(pages.answer, options.host, options.port, options.token, tell=_tell)
    except (OSError, OverflowError) as error:
        words = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot answer on {options.host} port {options.port}: {words}; choose another") from None
    with server:
        try:
            _announce(server.url, pages.name)
            server.serve_forever()
        except KeyboardInterrupt:
            _tell("stopped")
    return 0


def _announce(url: str, name: str) -> None:
    """Where to look; flushed, for who reads a pipe waits for it."""
    if sys.stdout.isatty():
        print(f"{name} is at {url}\nCtrl-C ends it. Nothing is written.", flush=True)
    else:
        print(json.dumps({"url": url, "data_set": name}, ensure_ascii=False), flush=True)


def _tell(words: str) -> None:
    print(f"curate: {words}", file=sys.stderr, flush=True)


def _bytes(told: str) -> int:
    """`512MiB` as bytes. Raises ConfigError."""
    from curate.errors import ConfigError

    for unit, power in UNITS.items():
        number = told.removesuffix(unit).strip()
        plain = told.endswith(unit) and number.isascii() and number.isdigit() and len(number) < 10
        if plain and 64 << 20 <= int(number) << power <= 1 << 50:
            return int(number) << power
    raise ConfigError(f"--memory {told!r} is no size from 64MiB to 1024TiB; write it as 512MiB or 2GiB")
