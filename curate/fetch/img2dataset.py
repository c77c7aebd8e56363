"""img2dataset as the program that downloads, for those who have tuned it for years: `[fetch] backend = "img2dataset"`.

It runs in an environment of its own, because it pins pandas, webdataset and OpenCV, as a subprocess on one shard's
rows. Its tar is in the order of completion and holds the time of writing, so what it made is handed over row by row,
and our writer makes the shard: keys, columns and layout are as with our own client, and a finished shard does not
change.

What is lost, and the reason why the config must say `backend_unguarded = true`: no robots.txt and no TDM reservation,
no guard against private addresses (it even opens `file:` URLs, so these are refused here), no bound on bytes, redirects
or area before decoding, no limit per host, no `Retry-After`; its timeout is per read, not a deadline; it names itself
Firefox, with our name behind. X-Robots-Tag is honoured. Pictures keep their EXIF orientation unapplied and grey ones
have one channel. The start of each shard costs about 5 CPU seconds (2 of imports in each of its processes).
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import ConfigError, StageError
from curate.fetch.picture import ImageSettings
from curate.fetch.settings import FetchSettings
from curate.fetch.status import FetchStatus
from curate.tar import read_members, split_name

__all__ = ["Arrival", "download", "fetch_status", "require_possible"]

SHARD = "00000"
START_S = 180.0
ENVIRONMENT = {"NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "disabled"}
INSTALL = 'make one with `python3.11 -m venv img2dataset-env && img2dataset-env/bin/pip install "img2dataset>=1.46,<2"`'

RUNNER = """
import json, os, signal, sys, threading
def _end_with_parent():
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)
if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with open(sys.argv[1]) as file:
        order = json.load(file)
    os.environ.update(order["environment"])
    import img2dataset
    img2dataset.download(**order["options"])
"""
"""Runs in the other environment. When our end of its standard input closes, because the shard is done or because we
were killed, it ends itself and its workers."""


@dataclass(frozen=True)
class Arrival:
    """What img2dataset made of one row: `values` by our column names; `data` is empty unless the status is success."""

    row: int
    values: dict[str, Any]
    extension: str = ""
    data: bytes = b""


def require_possible(fetch: FetchSettings, image: ImageSettings, addresses: Mapping[str, str]) -> None:
    """Raise ConfigError for what img2dataset cannot do and would do wrongly or not at all."""
    if not fetch.backend_unguarded:
        raise ConfigError(
            '[fetch] backend = "img2dataset" honours no robots.txt, no limit per host and no address guard; '
            "write backend_unguarded = true to accept that, or remove backend"
        )
    if addresses:
        raise ConfigError(
            '[fetch] backend = "img2dataset" cannot reach a source that this program serves itself; remove backend'
        )
    if not fetch.verify_tls:
        raise ConfigError("[fetch] verify_tls = false is unknown to img2dataset 1.47; name a certificate in ca_file")
    if image.box_column or image.sha256_column:
        raise ConfigError(
            "[image] box_column and sha256_column are not handed to img2dataset; remove them, or remove [fetch] backend"
        )
    if image.keep_original == "always":
        raise ConfigError(
            '[image] keep_original = "always" makes img2dataset store every format under one extension; '
            'write "unchanged", or remove [fetch] backend'
        )


def download(
    urls: Sequence[tuple[int, str]], fetch: FetchSettings, image: ImageSettings, scratch: Path
) -> Iterator[Arrival]:
    """Every (row, url) once, in the order given, through img2dataset in the empty folder `scratch`.

    The whole list is downloaded before the first row is handed back. Raises ConfigError when there is no environment
    with img2dataset, StageError when it ends without a shard or is not done when every row has had its full time.
    """
    asked = [(row, url) for row, url in urls if url.lower().startswith(("http://", "https://"))]
    made = _run(asked, fetch, image, scratch) if asked else {}
    refused = {"fetch_status": str(FetchStatus.INVALID_URL), "fetch_detail": "not an http or https URL"}
    for row, _ in urls:
        yield made[row].read(row, scratch) if row in made else Arrival(row, dict(refused))


@dataclass(frozen=True)
class _Result:
    """A row of its table, and where its picture lies in its tar."""

    values: dict[str, Any]
    extension: str = ""
    offset: int = 0
    size: int = 0

    def read(self, row: int, scratch: Path) -> Arrival:
        if not self.size:
            return Arrival(row, self.values)
        with open(scratch / "out" / f"{SHARD}.tar", "rb") as tar:
            tar.seek(self.offset)
            return Arrival(row, self.values, self.extension, tar.read(self.size))


def _run(
    asked: Sequence[tuple[int, str]], fetch: FetchSettings, image: ImageSettings, scratch: Path
) -> dict[int, _Result]:
    """Download the list; results by our row number."""
    pq.write_table(pa.table({"url": [url for _, url in asked]}), scratch / "urls.parquet")
    environment = ENVIRONMENT | ({"SSL_CERT_FILE": fetch.ca_file} if fetch.ca_file else {})
    order = {"options": options(len(asked), fetch, image, scratch), "environment": environment}
    (scratch / "order.json").write_text(json.dumps(order))
    attempts_s = (fetch.retries + 1) * fetch.total_timeout_s
    deadline_s = START_S + attempts_s * (1 + len(asked) / fetch.concurrency)
    _execute(fetch, scratch, deadline_s)
    try:
        return {asked[place][0]: result for place, result in _results(scratch / "out", image)}
    except FileNotFoundError:
        raise StageError(f"img2dataset wrote no shard: {_last_words(scratch)}") from None


def options(rows: int, fetch: FetchSettings, image: ImageSettings, scratch: Path) -> dict[str, Any]:
    """Our settings as the arguments of `img2dataset.download`, for one shard of `rows` rows."""
    chosen: dict[str, Any] = {
        "url_list": str(scratch / "urls.parquet"),
        "input_format": "parquet",
        "output_folder": str(scratch / "out"),
        "output_format": "webdataset",
        "number_sample_per_shard": max(rows, 2),
        "processes_count": 1,
        "thread_count": fetch.concurrency,
        "timeout": max(fetch.connect_timeout_s, fetch.first_byte_timeout_s),
        "retries": fetch.retries,
        "user_agent_token": fetch.agent_token,
        "disallowed_header_directives": list(fetch.opt_out),
        "image_size": image.size_px,
        "resize_mode": image.resize_mode,
        "resize_only_if_bigger": image.resize_only_if_bigger,
        "upscale_interpolation": image.upscale_interpolation,
        "downscale_interpolation": image.downscale_interpolation,
        "encode_format": image.format,
        "encode_quality": image.encode_quality,
        "skip_reencode": image.keep_original == "unchanged",
        "min_image_size": image.min_side_px,
        "max_image_area": image.max_area_px,
        "extract_exif": image.exif,
        "compute_hash": "sha256",
    }
    if image.max_aspect_ratio is not None:
        chosen["max_aspect_ratio"] = image.max_aspect_ratio
    return chosen


def _execute(fetch: FetchSettings, scratch: Path, deadline_s: float) -> None:
    command = [_interpreter(fetch.img2dataset_python), "-c", RUNNER, str(scratch / "order.json")]
    with open(scratch / "log.txt", "wb") as log:
        try:
            process = subprocess.Popen(  # noqa: S603  (no shell; the interpreter is named by the config)
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )
        except OSError as error:
            raise ConfigError(f"[fetch] img2dataset_python = {command[0]!r}: {error.strerror}; {INSTALL}") from None
        try:
            process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise StageError(f"img2dataset was not done after {deadline_s:.0f} s; lower [shards] samples") from None
        finally:
            if process.returncode != 0:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode != 0:
        raise StageError(f"img2dataset ended with exit code {process.returncode}: {_last_words(scratch)}")


def _interpreter(named: str) -> str:
    if named:
        return named
    if importlib.util.find_spec("img2dataset") is None:
        raise ConfigError(
            '[fetch] backend = "img2dataset" needs an environment that has it; '
            f'{INSTALL} and write img2dataset_python = "img2dataset-env/bin/python"'
        )
    return sys.executable


def _last_words(scratch: Path) -> str:
    lines = (scratch / "log.txt").read_text("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"


def _results(out: Path, image: ImageSettings) -> Iterator[tuple[int, _Result]]:
    """(place in the list, result) for every row of its table."""
    with open(out / f"{SHARD}.tar", "rb") as tar:
        members = {split_name(m.name): m for m in read_members(tar, f"img2dataset's {SHARD}.tar")}
    names = ["key", "status", "error_message", "width", "height", "original_width", "original_height", "sha256"]
    names += ["exif"] if image.exif else []
    for record in pq.read_table(out / f"{SHARD}.parquet", columns=names).to_pylist():
        key, status, message = record.pop("key"), record.pop("status"), record.pop("error_message")
        code = fetch_status(status, message)
        refused = {"opt_out": "x-robots-tag"} if code is FetchStatus.OPTED_OUT else {}
        values = {**record, **refused, "fetch_status": str(code), "fetch_detail": message}
        values["http_status"] = _http_status(message)
        member = members.get((key, image.format)) if code is FetchStatus.SUCCESS else None
        place = (image.format, member.offset, member.size) if member else ("", 0, 0)
        yield int(key), _Result(values, *place)


_HTTP = re.compile(r"HTTP Error (\d{3})")
_HTTP_CODES = {404: FetchStatus.NOT_FOUND, 410: FetchStatus.GONE, 429: FetchStatus.RATE_LIMITED}
_WORDS: tuple[tuple[str, FetchStatus], ...] = (
    (r"disallowed by X-Robots-Tag", FetchStatus.OPTED_OUT),
    (r"timed out", FetchStatus.TIMEOUT),
    (r"Name or service not known|name resolution|No address associated|getaddrinfo", FetchStatus.DNS_ERROR),
    (r"SSL|certificate", FetchStatus.TLS_ERROR),
    (r"IncompleteRead|Remote end closed|Connection reset|Broken pipe|EOF occurred", FetchStatus.CONNECTION_LOST),
    (r"Connection refused|No route to host|unreachable|Cannot assign", FetchStatus.CONNECT_ERROR),
    (r"unknown url type|no host given|nonnumeric port|control characters|codec can't|label", FetchStatus.INVALID_URL),
    (r"image too small", FetchStatus.IMAGE_TOO_SMALL),
    (r"image area too large", FetchStatus.IMAGE_TOO_LARGE),
    (r"aspect ratio too large", FetchStatus.ASPECT_RATIO_TOO_LARGE),
    (r"buf\.empty|!buf|empty", FetchStatus.EMPTY_BODY),
)


def fetch_status(status: str, message: str | None) -> FetchStatus:
    """Our code for its `status` and `error_message`.

    What cannot be told from its words is `connection_lost` where the download failed and `image_broken` after that.
    """
    if status == "success":
        return FetchStatus.SUCCESS
    code = _http_status(message)
    if code is not None:
        general = FetchStatus.SERVER_ERROR if code >= 500 else FetchStatus.CLIENT_ERROR
        return _HTTP_CODES.get(code, FetchStatus.BAD_REDIRECT if code < 400 else general)
    for words, found in _WORDS:
        if re.search(words, message or ""):
            return found
    return FetchStatus.IMAGE_BROKEN if status == "failed_to_resize" else FetchStatus.CONNECTION_LOST


def _http_status(message: str | None) -> int | None:
    found = _HTTP.match(message or "")
    return int(found[1]) if found else None
