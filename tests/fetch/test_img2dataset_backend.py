"""img2dataset as the download back end: with a stand-in for its interpreter, and, where it is installed, for real."""

import io
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from curate.cli import main
from curate.errors import ConfigError, StageError
from curate.fetch.img2dataset import RUNNER, Arrival, download, fetch_status, options, require_possible
from curate.fetch.picture import ImageSettings
from curate.fetch.settings import FetchSettings
from curate.fetch.status import FetchStatus
from curate.shard import Shard
from curate.storage import Storage

PEERS_PYTHON = Path(__file__).resolve().parents[2] / ".venv-peers" / "bin" / "python"
FETCH = FetchSettings(backend="img2dataset", backend_unguarded=True)
URLS = [(0, "http://a.test/0.jpg"), (3, "http://a.test/3.jpg"), (4, "http://a.test/4.jpg")]

FAKE = """#!{python}
# Called as `python -c RUNNER order.json`; writes what img2dataset would have written.
import io, json, sys, tarfile, time
import pyarrow as pa, pyarrow.parquet as pq
from pathlib import Path
order = json.loads(Path(sys.argv[3]).read_text())["options"]
out = Path(order["output_folder"])
out.mkdir()
urls = pq.read_table(order["url_list"])["url"].to_pylist()
rows = []
with tarfile.open(out / "00000.tar", "w") as tar:
    for i in reversed(range(len(urls))):
        good = not urls[i].endswith("/3.jpg")
        rows.append(dict(key=f"{{i:06d}}", status="success" if good else "failed_to_download",
            error_message=None if good else "HTTP Error 404: Not Found", width=8 if good else None, height=6,
            original_width=80, original_height=60, exif="{{}}", sha256="00"))
        for name, data in ((f"{{i:06d}}.jpg", urls[i].encode()), (f"{{i:06d}}.json", b"{{}}")) if good else ():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
pq.write_table(pa.Table.from_pylist(rows), out / "00000.parquet")
"""


def interpreter(folder: Path, text: str) -> str:
    path = folder / "fake-python"
    path.write_text(text.format(python=sys.executable))
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        ("success", None, FetchStatus.SUCCESS),
        ("failed_to_download", "HTTP Error 404: Not Found", FetchStatus.NOT_FOUND),
        ("failed_to_download", "HTTP Error 410: Gone", FetchStatus.GONE),
        ("failed_to_download", "HTTP Error 429: Too Many Requests", FetchStatus.RATE_LIMITED),
        ("failed_to_download", "HTTP Error 403: Forbidden", FetchStatus.CLIENT_ERROR),
        ("failed_to_download", "HTTP Error 500: Oops", FetchStatus.SERVER_ERROR),
        ("failed_to_download", "HTTP Error 302: a redirect error that would lead to ...", FetchStatus.BAD_REDIRECT),
        ("failed_to_download", "Use of image disallowed by X-Robots-Tag directive", FetchStatus.OPTED_OUT),
        ("failed_to_download", "<urlopen error timed out>", FetchStatus.TIMEOUT),
        ("failed_to_download", "<urlopen error _ssl.c:980: The handshake operation timed out>", FetchStatus.TIMEOUT),
        ("failed_to_download", "<urlopen error [Errno -2] Name or service not known>", FetchStatus.DNS_ERROR),
        (
            "failed_to_download",
            "<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed>",
            FetchStatus.TLS_ERROR,
        ),
        ("failed_to_download", "<urlopen error [Errno 111] Connection refused>", FetchStatus.CONNECT_ERROR),
        ("failed_to_download", "IncompleteRead(10 bytes read, 90 more expected)", FetchStatus.CONNECTION_LOST),
        ("failed_to_download", "<urlopen error no host given>", FetchStatus.INVALID_URL),
        ("failed_to_download", "words of a later version", FetchStatus.CONNECTION_LOST),
        ("failed_to_download", None, FetchStatus.CONNECTION_LOST),
        ("failed_to_resize", "Image decoding error", FetchStatus.IMAGE_BROKEN),
        ("failed_to_resize", "image too small", FetchStatus.IMAGE_TOO_SMALL),
        ("failed_to_resize", "image area too large", FetchStatus.IMAGE_TOO_LARGE),
        ("failed_to_resize", "aspect ratio too large", FetchStatus.ASPECT_RATIO_TOO_LARGE),
        ("failed_to_resize", "words of a later version", FetchStatus.IMAGE_BROKEN),
    ],
)
def test_its_words_become_our_codes(status: str, message: str | None, expected: FetchStatus) -> None:
    assert fetch_status(status, message) is expected


@pytest.mark.parametrize(
    ("fetch", "image", "addresses", "words"),
    [
        (replace(FETCH, backend_unguarded=False), ImageSettings(), {}, "backend_unguarded = true"),
        (FETCH, ImageSettings(), {"*": "127.0.0.1:80"}, "serves itself"),
        (replace(FETCH, verify_tls=False), ImageSettings(), {}, "verify_tls"),
        (FETCH, ImageSettings(keep_original="always"), {}, "keep_original"),
        (FETCH, ImageSettings(box_column="faces"), {}, "box_column"),
        (FETCH, ImageSettings(sha256_column="digest"), {}, "sha256_column"),
    ],
)
def test_what_it_cannot_do_is_refused(
    fetch: FetchSettings, image: ImageSettings, addresses: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        require_possible(fetch, image, addresses)
    require_possible(FETCH, ImageSettings(keep_original="unchanged"), {})


def test_settings_become_its_arguments(scratch: Path) -> None:
    fetch = replace(FETCH, user_agent="Our-Bot/2", concurrency=7, retries=3, opt_out=("noai",), first_byte_timeout_s=33)
    image = ImageSettings(size_px=99, resize_mode="keep_ratio", format="webp", quality=101, keep_original="unchanged")
    chosen = options(5, fetch, replace(image, max_aspect_ratio=3.0, min_side_px=9, exif=False), scratch)
    expected = {
        "user_agent_token": "our-bot",
        "thread_count": 7,
        "retries": 3,
        "timeout": 33,
        "disallowed_header_directives": ["noai"],
        "image_size": 99,
        "resize_mode": "keep_ratio",
        "encode_format": "webp",
        "encode_quality": 101,
        "skip_reencode": True,
        "max_aspect_ratio": 3.0,
        "min_image_size": 9,
        "extract_exif": False,
        "number_sample_per_shard": 5,
    }
    assert chosen | expected == chosen
    assert "max_aspect_ratio" not in options(5, fetch, image, scratch)


def test_rows_come_back_in_order_under_their_own_numbers(tmp_path: Path, scratch: Path) -> None:
    fetch = replace(FETCH, img2dataset_python=interpreter(tmp_path, FAKE))
    first, second, third = download(URLS, fetch, ImageSettings(), scratch)
    assert (first.row, first.extension, first.data) == (0, "jpg", b"http://a.test/0.jpg")
    assert first.values["fetch_status"] == "success"
    assert (first.values["width"], first.values["original_height"]) == (8, 60)
    assert second == Arrival(3, second.values)
    assert (second.values["fetch_status"], second.values["http_status"]) == ("not_found", 404)
    assert (third.row, third.data) == (4, b"http://a.test/4.jpg")


def test_a_job_with_this_back_end_makes_ordinary_shards(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"{url}\n" for _, url in URLS))
    (tmp_path / "job.toml").write_text(
        'pipeline = "image_text_pairs"\n[source]\nkind = "url_table"\n'
        f'path = "{tmp_path}/list.txt"\n[fetch]\nbackend = "img2dataset"\nbackend_unguarded = true\n'
        f'contact = "test@example.org"\nimg2dataset_python = "{interpreter(tmp_path, FAKE)}"\n'
    )
    assert main(["run", str(tmp_path / "job.toml"), "--out", str(tmp_path / "out"), "--on", "inline"]) == 0
    shard = Shard(Storage(str(tmp_path / "out")), "00000")
    assert [(s.key, s.image) for s in shard.samples()] == [
        ("000000000", b"http://a.test/0.jpg"),
        ("000000002", b"http://a.test/4.jpg"),
    ]
    rows = shard.columns(["key", "status", "fetch_status", "original_width"]).to_pylist()
    assert rows[1] == {
        "key": "000000001",
        "status": "failed_to_download",
        "fetch_status": "not_found",
        "original_width": 80,
    }


def test_other_schemes_never_reach_it(tmp_path: Path, scratch: Path) -> None:
    fetch = replace(FETCH, img2dataset_python=interpreter(tmp_path, FAKE))
    urls = [(0, "file:///etc/passwd"), (1, "HTTP://a.test/1.jpg"), (2, ""), (3, "data:image/png;base64,AA")]
    statuses = [a.values["fetch_status"] for a in download(urls, fetch, ImageSettings(), scratch)]
    assert statuses == ["invalid_url", "success", "invalid_url", "invalid_url"]
    assert "passwd" not in (scratch / "urls.parquet").read_bytes().decode("latin-1")


def test_no_rows_start_nothing(scratch: Path) -> None:
    nothing = replace(FETCH, img2dataset_python="/nowhere/python")
    assert list(download([], nothing, ImageSettings(), scratch)) == []


def test_a_missing_interpreter_says_how_to_make_one(scratch: Path) -> None:
    nowhere = replace(FETCH, img2dataset_python="/nowhere/python")
    with pytest.raises(ConfigError, match=r"/nowhere/python.*pip install"):
        list(download(URLS, nowhere, ImageSettings(), scratch))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#!/bin/sh\necho first\necho 'disk on fire' >&2\nexit 3\n", "exit code 3: disk on fire"),
        ("#!/bin/sh\nexit 0\n", "no shard: it said nothing"),
        ("#!/bin/sh\nkill -9 $$\n", "exit code -9"),
    ],
)
def test_a_run_without_a_shard_is_an_error_with_its_last_words(
    tmp_path: Path, scratch: Path, text: str, words: str
) -> None:
    fetch = replace(FETCH, img2dataset_python=interpreter(tmp_path, text))
    with pytest.raises(StageError, match=words):
        list(download(URLS, fetch, ImageSettings(), scratch))


def test_a_run_that_hangs_is_ended_with_all_it_started(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curate.fetch.img2dataset.START_S", 2.0)
    text = f"#!/bin/sh\nsleep 600 &\necho $! > {tmp_path}/pid\nwait\n"
    fetch = replace(FETCH, img2dataset_python=interpreter(tmp_path, text), total_timeout_s=0.05, retries=0)
    with pytest.raises(StageError, match="not done after"):
        list(download(URLS, fetch, ImageSettings(), scratch))
    grandchild = int((tmp_path / "pid").read_text())
    assert gone(grandchild)


def test_the_runner_ends_with_whoever_started_it(tmp_path: Path) -> None:
    (tmp_path / "img2dataset.py").write_text(
        "import subprocess, time\n"
        "def download():\n"
        "    print(subprocess.Popen(['sleep', '600']).pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    (tmp_path / "order.json").write_text('{"options": {}, "environment": {}}')
    command = [sys.executable, "-c", RUNNER, "order.json"]
    pipe = subprocess.PIPE
    runner = subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=tmp_path, start_new_session=True)
    assert runner.stdin is not None
    assert runner.stdout is not None
    worker = int(runner.stdout.readline())
    runner.stdin.close()
    assert runner.wait(120) == -signal.SIGKILL
    assert gone(worker)
    runner.stdout.close()


def gone(pid: int) -> bool:
    for _ in range(600):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def jpeg(size: tuple[int, int]) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(target, "JPEG", quality=90)
    return target.getvalue()


class Site(BaseHTTPRequestHandler):
    """One path per behaviour."""

    def do_GET(self) -> None:
        name = self.path.strip("/").partition(".")[0]
        body = jpeg((640, 480)) if name in ("good", "noai", "short", "slow") else b"<html>no picture</html>"
        if name == "slow":
            time.sleep(3)
        if name == "closed":
            self.connection.close()
            return
        self.send_response({"missing": 404, "gone": 410, "busy": 429, "broken": 500, "loop": 302}.get(name, 200))
        if name == "loop":
            self.send_header("Location", "/loop.jpg")
        if name == "noai":
            self.send_header("X-Robots-Tag", "noai")
        self.send_header("Content-Length", str(len(body) * (2 if name == "short" else 1)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class SiteServer(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is expected."""


@pytest.fixture
def site() -> Iterator[str]:
    server = SiteServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


EXPECTED = {
    "good": "success",
    "missing": "not_found",
    "gone": "gone",
    "busy": "rate_limited",
    "broken": "server_error",
    "loop": "bad_redirect",
    "noai": "opted_out",
    "closed": "connection_lost",
    "short": "connection_lost",
    "slow": "timeout",
    "html": "image_broken",
}


@pytest.mark.slow
@pytest.mark.skipif(not PEERS_PYTHON.is_file(), reason="img2dataset's environment is not there: python -m bench.peers")
def test_img2dataset_itself(site: str, scratch: Path) -> None:
    urls = [(row, f"{site}/{name}.jpg") for row, name in enumerate(EXPECTED)]
    urls += [(len(urls), "http://127.0.0.1:9/refused.jpg"), (len(urls) + 1, "http://no-such-host.invalid/x.jpg")]
    quick = {"connect_timeout_s": 1.0, "first_byte_timeout_s": 1.0, "retries": 0, "concurrency": 16}
    fetch = replace(FETCH, img2dataset_python=str(PEERS_PYTHON), **quick)
    arrivals = list(download(urls, fetch, ImageSettings(size_px=64, resize_mode="keep_ratio_largest"), scratch))
    assert [a.row for a in arrivals] == list(range(len(urls)))
    statuses = [a.values["fetch_status"] for a in arrivals]
    assert dict(zip(EXPECTED, statuses, strict=False)) == EXPECTED
    assert statuses[-2:] == ["connect_error", "dns_error"]
    with Image.open(io.BytesIO(arrivals[0].data)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (64, 48))
    assert {k: arrivals[0].values[k] for k in ("width", "height", "original_width")} == {
        "width": 64,
        "height": 48,
        "original_width": 640,
    }
    assert json.loads(arrivals[0].values["exif"]) == {}
    assert not any(a.data for a in arrivals[1:])
