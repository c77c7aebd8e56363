"""The main job on real photos with real alt texts: a folder of pairs served on loopback, fetched, scored, selected.

    python -m bench.pairs FOLDER [--on ray] [--out DIR]      FOLDER holds NAME.jsonl (image, alt) and the pictures

The config is `configs/pairs.toml` with four lines changed: where the list is, that loopback may be dialled, and no
bound on requests to the one host.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "pairs.toml"
CURATE = Path(sys.executable).parent / "curate"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Static files without a log line each."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def main() -> int:
    """Serve, adapt, run; the exit code is that of `curate run`."""
    parser = argparse.ArgumentParser(description="run configs/pairs.toml over pairs served on loopback")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("data/pairs"))
    parser.add_argument("--on", default="local")
    parser.add_argument("--port", type=int, default=8970, help="fixed, so that a second run finds the same URLs")
    options = parser.parse_args()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", options.port), functools.partial(Quiet, directory=str(options.folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    table = options.out.with_suffix(".urls.parquet")
    pq.write_table(pairs(options.folder, f"http://127.0.0.1:{server.server_address[1]}"), table)
    config = options.out.with_suffix(".toml")
    config.write_text(adapted(table))
    try:
        return subprocess.run(
            [str(CURATE), "run", str(config), "--out", str(options.out), "--on", options.on]
        ).returncode
    finally:
        server.shutdown()


def pairs(folder: Path, base: str) -> pa.Table:
    """All pairs of a folder: url, caption (the alt text), and where the pair is from."""
    rows = [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]
    named = [row for row in rows if row.get("image")]
    urls = [f"{base}/{quote(row['image'])}" for row in named]
    columns = {"url": urls, "caption": [row.get("alt") for row in named], "origin": [row["id"] for row in named]}
    return pa.table(columns)


def adapted(table: Path) -> str:
    """The shipped config, changed as the docstring above says."""
    text = CONFIG.read_text()
    changes = {
        'path = "urls.parquet"': f'path = "{table}"\ncolumns = ["origin"] #',
        "samples = 10000": "samples = 300",
        'contact = "you@example.org"': 'contact = "you@example.org"\n'
        'allow_addresses = ["127.0.0.0/8"]\nper_host_rate = 0\nper_host_concurrency = 32 #',
    }
    for old, new in changes.items():
        if old not in text:
            raise SystemExit(f"{CONFIG} has no line {old!r} any more")
        text = text.replace(old, new)
    return text


if __name__ == "__main__":
    sys.exit(main())
