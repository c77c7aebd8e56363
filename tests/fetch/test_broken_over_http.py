"""The broken pictures of the shared data, fetched over HTTP in one run and decoded: each with a status, in bounds."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stage_runs import decoded, members

from curate.fetch.status import FetchStatus

BROKEN = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "broken"
MOST_MB = 400
WORKER = """
import json, resource, sys
from pathlib import Path
import pyarrow.parquet as pq
from stage_runs import fetch_tables
from curate.fetch.image import decode
from curate.fetch.picture import ImageSettings
from curate.fetch.settings import FetchSettings

def peak_kb():
    # not getrusage: its figure is inherited from the process that started this one
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
root, address, broken = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
settings = FetchSettings(per_host_rate=0, per_host_concurrency=32, retries=0)
image = ImageSettings(size_px=128, resize_mode="keep_ratio_largest", format="png")
outcome = fetch_tables(root, [pq.read_table(root / "urls.parquet")], {"*": address}, settings, image)
for row in pq.read_table(root / "00000.parquet", columns=["file", "status"]).to_pylist():
    pixels = decode((broken / row["file"]).read_bytes())
    assert pixels is None or (pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == "uint8"), row
    assert pixels is not None or row["status"] != "success", row
print(json.dumps({"made": outcome.made, "peak_mb": peak_kb() / 1024}))
"""
PICTURE = {
    FetchStatus.SUCCESS,
    FetchStatus.EMPTY_BODY,
    FetchStatus.NOT_AN_IMAGE,
    FetchStatus.IMAGE_TRUNCATED,
    FetchStatus.IMAGE_BROKEN,
    FetchStatus.IMAGE_UNSUPPORTED,
    FetchStatus.IMAGE_TOO_LARGE,
    FetchStatus.ASPECT_RATIO_TOO_LARGE,
}


class Quiet(SimpleHTTPRequestHandler):
    """A plain file server that prints nothing."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *words: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """As many may knock at once as the client has slots."""

    request_queue_size = 64
    daemon_threads = True


def broken_files() -> list[Path]:
    folders = (BROKEN / "pillow", BROKEN / "exif_orientation")
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = Server(("127.0.0.1", 0), partial(Quiet, directory=str(BROKEN)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def run(address: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run over all files in a process of its own: what it told, the rows by file, the tar's members."""
    files = broken_files()
    if not files:
        pytest.skip("the broken pictures of the shared data are not here")
    root = tmp_path_factory.mktemp("broken")
    names = [path.relative_to(BROKEN).as_posix() for path in files]
    urls = [f"http://broken.test/{quote(name)}" for name in names]
    pq.write_table(pa.table({"file": names, "caption": names, "url": urls}), root / "urls.parquet")
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(root), address, str(BROKEN)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    tables = [pq.read_table(root / name).to_pylist() for name in ("00000.parquet", "00000.fetch.parquet")]
    rows = [sample | fetch for sample, fetch in zip(*tables, strict=True)]
    told = json.loads(done.stdout) | {"stderr": done.stderr, "files": names}
    return told | {"rows": rows, "stored": members(root / "00000.tar")}


def test_one_run_takes_them_all_quietly_in_bounded_memory(run: dict[str, Any]) -> None:
    assert (run["made"], run["stderr"]) == (1, "")
    assert run["peak_mb"] < MOST_MB
    assert len(run["rows"]) == len(run["files"]) >= 500


def test_every_row_has_a_status(run: dict[str, Any]) -> None:
    rows = run["rows"]
    assert [row["file"] for row in rows] == run["files"]
    assert {row["fetch_status"] for row in rows} <= PICTURE
    assert {row["http_status"] for row in rows} == {200}
    assert sum(row["status"] == "success" for row in rows) > 330
    assert sum(row["status"] == "failed_to_resize" for row in rows) > 50
    assert all((row["error_message"] is None) == (row["status"] == "success") for row in rows)
    sizes = {name: (BROKEN / name).stat().st_size for name in run["files"]}
    assert all(row["original_bytes"] == sizes[row["file"]] for row in rows if row["fetch_status"] != "empty_body")


def test_every_success_decodes_to_three_channels(run: dict[str, Any]) -> None:
    good = [row for row in run["rows"] if row["status"] == "success"]
    assert len(run["stored"]) == 3 * len(good)
    for row in good:
        pixels = decoded(run["stored"][f"{row['key']}.png"])
        assert pixels.shape == (row["height"], row["width"], 3), row["file"]
        assert max(pixels.shape) == 128
        record = json.loads(run["stored"][f"{row['key']}.json"])
        assert (record["file"], record["sha256"]) == (row["file"], row["sha256"])
        assert isinstance(json.loads(record["exif"]), dict)


@pytest.mark.parametrize("kind", ["Landscape", "Portrait"])
def test_all_orientations_are_upright_and_alike(run: dict[str, Any], kind: str) -> None:
    """Each photo has its own number printed in the middle, so a few pixels differ."""
    keys = {row["file"]: row["key"] for row in run["rows"]}
    shots = [decoded(run["stored"][f"{keys[f'exif_orientation/{kind}_{n}.jpg']}.png"]).astype(int) for n in range(9)]
    first = shots[1]
    assert (first.shape[1] > first.shape[0]) == (kind == "Landscape")
    for other in shots:
        assert other.shape == first.shape
        apart = np.abs(other - first)
        assert (apart > 24).any(2).mean() < 0.05
        assert apart.mean() < 4
