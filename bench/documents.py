"""The interleaved job on real pages: archives, a book of figures, old illustrated books.

    python -m bench.documents DATA [--config configs/obelics.toml] [--out DIR] [--on ray]

DATA holds `warc/`, `openstax/` and `sites/`. The config is run as it is but for `[source]`: each folder in turn is its
input, pictures beside the pages are served on the loopback, and the archives' pictures are not asked for (their web is
gone). Prints what became of pages and parts, by reason.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

CURATE = Path(sys.executable).parent / "curate"
CONFIG = Path("configs/obelics.toml")
PAGES_PER_SHARD = 50


def main() -> int:
    """Run the config over each folder that is there; the exit code is that of the worst run."""
    parser = argparse.ArgumentParser(description="run an interleaved config over real pages")
    parser.add_argument("data", type=Path)
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--out", type=Path, default=Path("data/documents"))
    parser.add_argument("--on", default="local")
    options = parser.parse_args()
    worst = 0
    for name, source in sources(options.data.resolve()).items():
        config = options.out / f"{name}.toml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(adapted(options.config.read_text(), source, pictures=name != "warc"))
        print(f"\n== {name} ==", flush=True)
        command = [str(CURATE), "run", str(config), "--out", str(options.out / name), "--on", options.on]
        worst = max(worst, subprocess.run([*command, "--format", "table"]).returncode)
    return worst


def sources(data: Path) -> dict[str, dict[str, object]]:
    """The `[source]` table of each folder."""
    return {
        "warc": {"kind": "archives", "path": str(data / "warc")},
        "openstax": {
            "kind": "html_files",
            "path": str(data / "openstax"),
            "base_url": "http://openstax.test/",
            "serve_files": True,
        },
        "sites": {
            "kind": "html_files",
            "path": str(data / "sites"),
            "base_url": "http://sites.test/",
            "serve_files": True,
        },
    }


def adapted(config: str, source: dict[str, object], pictures: bool) -> str:
    """The config with another `[source]`, and no picture asked for where there is no web to ask."""
    before, _, rest = config.partition("[source]")
    behind = rest[rest.index("\n[") :]
    head = before if pictures else f"fetch_images = false\n{before}"
    if source["kind"] == "html_files":
        behind = behind.replace("[shards]\nrows = 1 ", f"[shards]\nrows = {PAGES_PER_SHARD} ", 1)
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in source.items())
    return f"{head}[source]\n{lines}\n{behind}"


if __name__ == "__main__":
    sys.exit(main())
